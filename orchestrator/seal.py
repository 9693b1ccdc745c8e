"""The seal of a stored record: what shows later that it is what was stored, where it was stored.

A sealed record is one byte for the layout of the seal, eight bytes of checksum, and the record. The
checksum covers the record and its place: the thread, what kind of record it is, and its name. So
damage shows, and so does a record that was moved to another place. (INV-10)

Rule 1: a seal proves nothing against somebody who can write to the store and make seals: that would
        take a key.
Rule 2: a record that does not fit its seal is never decoded. It becomes bytes that no codec
        decodes, which say what was damaged, so that only who needs it fails.
"""

from __future__ import annotations

from hashlib import blake2b

from orchestrator.errors import StateCorruptedError

__all__ = ["SEAL_BYTES", "check_damage", "damaged", "is_damaged", "seal", "unseal"]

_LAYOUT = b"\x01"
_SIZE = 8  # Bytes of checksum: one damaged record in 10^19 passes.
_JOINED_MAX = 4096  # A record that is not longer is copied, which is faster than a second call.
SEAL_BYTES = 1 + _SIZE  # What a seal adds to a record, in front of it.
_DAMAGED = b"\xc1"  # The one byte with which nothing in msgpack begins.


def _checksum(place: str, record: bytes) -> bytes:
    prefix = place.encode("utf-8", "surrogatepass") + b"\0"
    if len(record) <= _JOINED_MAX:
        return blake2b(prefix + record, digest_size=_SIZE).digest()
    made = blake2b(prefix, digest_size=_SIZE)
    made.update(record)
    return made.digest()


def seal(place: str, record: bytes) -> bytes:
    """Return a record with its seal.

    Args:
        place: where it is to be found, unlike any other.
        record: any bytes.
    """
    return _LAYOUT + _checksum(place, record) + record


def unseal(place: str, stored: bytes) -> bytes:
    """Return the record; if it is not what was stored in that place, bytes that say so."""
    record = bytes(stored[SEAL_BYTES:])
    if stored[:1] == _LAYOUT and stored[1:SEAL_BYTES] == _checksum(place, record):
        return record
    return damaged(place)


def damaged(place: str) -> bytes:
    """Return what stands for the damaged record of a place."""
    what = place.replace("\x1f", " ").encode("utf-8", "replace")
    return _DAMAGED + b"is damaged, or was stored elsewhere: " + what


def is_damaged(record: bytes) -> bool:
    """Return whether a record did not fit its seal."""
    return record[:1] == _DAMAGED


def check_damage(record: bytes) -> None:
    """Refuse a record that did not fit its seal.

    Raises:
        StateCorruptedError: if it did not; the message holds the thread, the kind and the name.
    """
    if is_damaged(record):
        raise StateCorruptedError(f"a stored record {record[1:].decode('utf-8', 'replace')}")
