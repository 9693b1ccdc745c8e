"""The type of a stored record that is not as it was stored."""

from __future__ import annotations

from orchestrator.errors import StateCorruptedError


class Damaged(bytes):
    """A record that does not fit its seal; its bytes say which one.

    No codec decodes it, and it cannot be sealed again.
    """

    __slots__ = ()


def damaged(place: str) -> Damaged:
    """Return the damaged record of a place."""
    what = place.replace("\x1f", " ").encode("utf-8", "replace")
    return Damaged(b"is damaged, or was stored elsewhere: " + what)


def check_damage(record: bytes) -> None:
    """Refuse a record that did not fit its seal.

    Raises:
        StateCorruptedError: if it did not; the message holds the thread, the kind and the name.
    """
    if isinstance(record, Damaged):
        raise StateCorruptedError(f"a stored record {record.decode('utf-8', 'replace')}")
