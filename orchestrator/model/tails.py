"""Lists as they are encoded: recognized, cut and joined without decoding them.

A list that grew is stored as its tail: the list of what was added to an earlier version of it. The
tail is an encoded list like any other, and what is joined is byte for byte what encoding the whole
list would have given. Joining copies the list; so what a process knows of one is kept in parts, and
joined when it is read.

Rule 1: nothing here raises. What is no list has no tail, and does not become a list by joining.
"""

from __future__ import annotations

from collections.abc import Sequence

# How msgpack begins a list: with its length in the head itself, in two bytes, or in four.
_SHORT, _SHORT_MAX = 0x90, 0xF
_WIDE, _WIDE_MAX = 0xDC, 0xFFFF
_WIDEST = 0xDD
# What only the first item of a list can begin with that encodes a value of a type.
_TAGS = frozenset((0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8))


class Grown:
    """An encoded list in parts: the bytes of an earlier version, and its tails since."""

    __slots__ = ("_size", "parts")

    def __init__(self, before: bytes | Grown, tail: bytes) -> None:
        """Continue a list by a tail."""
        parts = before.parts if isinstance(before, Grown) else (before,)
        self.parts: tuple[bytes, ...] = (*parts, tail)
        self._size = len(before) + len(tail)

    def __len__(self) -> int:
        """Return how many bytes the parts have."""
        return self._size

    def joined(self) -> bytes:
        """Return the whole list; it is joined once."""
        if len(self.parts) > 1:
            self.parts = (joined(self.parts),)
        return self.parts[0]


Encoded = bytes | Grown  # A value as a process knows it.


def whole(data: Encoded) -> bytes:
    """Return the bytes of an encoded value."""
    return data.joined() if isinstance(data, Grown) else data


def _head(data: bytes) -> tuple[int, int] | None:
    """Return how many items an encoded list has, and where they begin; `None`: it is no list."""
    first = data[0] if data else 0
    if _SHORT <= first <= _SHORT + _SHORT_MAX:
        count, at = first - _SHORT, 1
    elif first in {_WIDE, _WIDEST}:
        at = 3 if first == _WIDE else 5
        count = int.from_bytes(data[1:at], "big")
    else:
        return None
    return None if count and data[at : at + 1] and data[at] in _TAGS else (count, at)


def _headed(count: int, *items: bytes | memoryview) -> bytes:
    """Return a list of `count` items, whose bytes may be of several lists; they are copied once."""
    if count <= _SHORT_MAX:
        head = bytes((_SHORT + count,))
    elif count <= _WIDE_MAX:
        head = bytes((_WIDE,)) + count.to_bytes(2, "big")
    else:
        head = bytes((_WIDEST,)) + count.to_bytes(4, "big")
    return b"".join((head, *items))


def is_list(data: Encoded) -> bool:
    """Return whether an encoded value is a list, and nothing that is encoded as a list."""
    return _head(data.parts[0] if isinstance(data, Grown) else data) is not None


def joined(parts: Sequence[bytes]) -> bytes:
    """Return an encoded list with its tails; if a part is no list, that part."""
    total, items = 0, list[memoryview]()
    for part in parts:
        head = _head(part)
        if head is None:
            return part
        total += head[0]
        items.append(memoryview(part)[head[1] :])
    return _headed(total, *items)


def tail_of(before: bytes, after: bytes) -> bytes | None:
    """Return what an encoded list added to an earlier one; `None`: it does not begin with it."""
    old, new = _head(before), _head(after)
    if old is None or new is None or len(after) - new[1] < len(before) - old[1]:
        return None
    if not after.startswith(before[old[1] :], new[1]):
        return None
    # Each item shows where it ends, so as many items as before have the same bytes.
    return _headed(new[0] - old[0], after[new[1] + len(before) - old[1] :])
