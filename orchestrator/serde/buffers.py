"""Finding the few objects that msgpack takes for bytes without asking, and that are not `bytes`.

Its packer asks about every type it does not know, but packs a `bytearray` or a `memoryview` as if
it were `bytes`. Looking at every part of a value for one costs more than packing it. So first the
packed bytes are asked, which is quick: where there are no bytes at all, there is none of these.
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack

__all__ = ["hold_buffers", "may_hold_bytes"]

_BUFFERS = frozenset({bytearray, memoryview, msgpack.ExtType})

# Heads of what is no bytes, by how many bytes after them are a number, a length or a type.
_REACH = bytearray(256)
for _heads, _reach in (
    (b"\xcc\xd0\xd9\xd4\xd5\xd6\xd7\xd8", 1),
    (b"\xcd\xd1\xda\xdc\xde\xc7", 2),
    (b"\xc8", 3),
    (b"\xce\xd2\xca\xdb\xdd\xdf", 4),
    (b"\xc9", 5),
    (b"\xcf\xd3\xcb", 8),
):
    for _head in _heads:
        _REACH[_head] = _reach
_REACH_MAX = 8


def may_hold_bytes(packed: bytes) -> bool:
    """Return whether packed data may hold bytes; `False` is certain."""
    # One of three heads stands before bytes: by their length, and always the shortest that fits.
    return (
        (b"\xc4" in packed and _is_head_somewhere(packed, 0xC4))
        or (len(packed) > 0xFF and b"\xc5" in packed and _is_head_somewhere(packed, 0xC5))
        or (len(packed) > 0xFFFF and b"\xc6" in packed)
    )


def _is_head_somewhere(packed: bytes, byte: int) -> bool:
    """Return whether `byte` may be a head anywhere; in a number or a length it is one by chance."""
    at = packed.find(byte)
    for _ in range(4 + (len(packed) >> 13)):  # As many as texts of one length may be in it.
        if at < 0:
            return False
        for head in range(max(at - _REACH_MAX, 0), at):
            if _REACH[packed[head]] >= at - head and _is_head(packed, head):
                break
        else:
            return True
        at = packed.find(byte, at + 1)
    return at >= 0  # With more of them, looking at the parts of the value is quicker.


def _is_head(packed: bytes, at: int) -> bool:
    """Return whether the byte is a head for certain, if no bytes stand before it.

    Then it is in a text, or reached by another head, or it is one. In a text, heads with a reach
    are what begins a character of two bytes (UTF-8), which ends with a byte of another kind.
    """
    if 0x80 <= packed[at + 1] <= 0xBF:
        return False
    # A plain loop: `any` with a generator takes three times as long.
    for head in range(max(at - _REACH_MAX, 0), at):  # noqa: SIM110
        if _REACH[packed[head]] >= at - head:
            return False
    return True


def hold_buffers(layer: list[Any]) -> bool:
    """Return whether plain data holds what msgpack would store as something else."""
    while layer:  # Level by level: few steps over many parts are quicker than a step for each.
        if type(layer[0]) is float and _are_numbers(layer):
            return False
        kinds = set(map(type, layer))
        if not kinds.isdisjoint(_BUFFERS):
            return True
        below: list[Any] = []
        if dict in kinds:
            for mapping in [part for part in layer if type(part) is dict]:
                below += mapping.values()
        if list in kinds:
            for items in [part for part in layer if type(part) is list]:
                below += items
        layer = below
    return False


def _are_numbers(layer: list[Any]) -> bool:
    """Return whether all are numbers: three times quicker than asking for types (an embedding)."""
    if type(layer[-1]) is not float:
        return False
    try:
        struct.pack(f"{len(layer)}d", *layer)
    except Exception:  # noqa: BLE001 - a type with a `__float__` may raise anything
        return False
    return True
