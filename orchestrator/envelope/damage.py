"""What stands for a stored record that is not what was stored: bytes that no codec decodes."""

from __future__ import annotations

from orchestrator.errors import StateCorruptedError

_DAMAGED = b"\xc1"  # The one byte with which nothing in msgpack begins.


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
