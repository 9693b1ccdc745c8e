"""Values as they are stored: lists as tails of earlier lists, and nothing twice.

A value that is the tail of a list is stored with the name of the value that it continues, and
returned whole. The parts of a step's outcome, or of the input of a run, that are values of the same
commit are not stored a second time: the record names the values, and is returned as it was.

Rule 1: a store finds the names that a record needs without checking them; a reader trusts them only
        if the record fits its seal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from orchestrator import limits
from orchestrator.envelope.damage import Damaged, damaged
from orchestrator.envelope.seal import needs, needs_any, seal, unseal, unseal_needing
from orchestrator.model.commit import Commit
from orchestrator.model.tails import joined


def _place(thread_id: str) -> str:
    return f"{thread_id}\x1fvalue\x1f"


def sealed_values(thread: str, commit: Commit, *, compact: bool = False) -> dict[str, bytes]:
    """Return the values of a commit, sealed; a tail names the value that it continues."""
    place, tails, blobs = _place(thread), commit.tails, commit.blobs
    if not tails:
        return {name: seal(place + name, value, compact=compact) for name, value in blobs.items()}
    return {
        name: seal(
            place + name, value, needs=(tails[name],) if name in tails else (), compact=compact
        )
        for name, value in blobs.items()
    }


def sealed_naming(
    place: str, record: bytes, values: Mapping[str, bytes], *, compact: bool = False
) -> bytes | None:
    """Return a record with names in place of values it contains; `None`: it contains none."""
    found, end = [], 0
    for name, value in values.items():
        if len(value) >= limits.NAMED_BYTES_MIN and (at := record.find(value)) >= 0:
            found.append((at, name, len(value)))
    if not found:
        return None
    names, places, parts = [], [], []
    for at, name, size in sorted(found):
        if at >= end:
            parts.append(record[end:at])
            names.append(name)
            places.append(len(parts[-1]))
            end = at + size
    lengths = " ".join(map(str, places)).encode()
    rest = lengths + b"\n" + b"".join(parts) + record[end:]
    return seal(place, rest, needs=names, compact=compact)


def opened_naming(thread_id: str, place: str, stored: bytes, named: Mapping[str, bytes]) -> bytes:
    """Return a record that was checked, with the values that it names."""
    names, record = unseal_needing(place, stored)
    if not names:
        return record
    lengths, _, rest = record.partition(b"\n")
    parts, at = [], 0
    for name, length in zip(names, map(int, lengths.split()), strict=True):
        value = named.get(name, b"")
        _, value = unseal_needing(_place(thread_id) + name, value)
        if isinstance(value, Damaged):
            return damaged(place)
        parts += [rest[at : at + length], value]
        at += length
    return b"".join(parts) + rest[at:]


def found_values(
    find: Callable[[str], bytes | None], wanted: Iterable[str], known: Collection[str] = ()
) -> dict[str, bytes]:
    """Return the wanted values as stored, with those that they continue, back to known ones.

    Args:
        find: returns a stored value, if there is one.
        wanted: their names.
        known: what need not be found.
    """
    found: dict[str, bytes] = {}
    for each in wanted:
        name = each
        while name not in known and name not in found:
            value = find(name)
            if value is None:  # The reader of a missing value raises.
                break
            found[name] = value
            before = needs(value)
            if not before:
                break
            name = before[0]
    return found


def named_values(
    find: Callable[[str], bytes | None], outcomes: Iterable[bytes]
) -> dict[str, bytes]:
    """Return the stored values that stored outcomes name."""
    names = (name for outcome in outcomes for name in needs(outcome))
    return {name: value for name in names if (value := find(name)) is not None}


def opened_values(
    thread_id: str,
    stored: Mapping[str, bytes],
    wanted: Iterable[str],
    more: Mapping[str, bytes] | None = None,
    tails: Mapping[str, str] | None = None,
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the wanted values, checked and whole; and which of them continue one not found.

    Args:
        thread_id: the thread.
        stored: the result of `found_values`.
        wanted: the names of the wanted values.
        more: values that need no check.
        tails: the values that these continue.
    """
    if not (stored or more):
        return {}, {}
    place = _place(thread_id)
    if not (more or any(map(needs_any, stored.values()))):
        return {name: unseal(place + name, value) for name, value in stored.items()}, {}
    records, before = dict(more or {}), dict(tails or {})
    for name, value in stored.items():
        names, records[name] = unseal_needing(place + name, value)
        if names:
            before[name] = names[0]
    whole: dict[str, bytes] = {}
    unfinished: dict[str, str] = {}
    for name in wanted:
        parts: list[bytes] = []
        at = name
        while at in records and len(parts) < len(records):
            parts.append(records[at])
            at = before.get(at, "")
        if parts:  # Of parts one of which is damaged, that one is left.
            whole[name] = joined(parts[::-1]) if len(parts) > 1 else parts[0]
        if at and parts:
            unfinished[name] = at
    return whole, unfinished
