"""The seal of a stored record: it proves that the record is unchanged and in its place.

A sealed record is one byte of flags, eight bytes of checksum, and the record. The
checksum covers the record and its place: the thread, what kind of record it is, and its name. So
damage shows, and so does a record that was moved to another place. (INV-10)

A record may need others to be whole. Then it begins with their names, one a line, up to an empty
line: a store can return them with it without understanding it. A record may be compressed; the
names stay readable, and the checksum covers the stored bytes, so only sealed bytes are
decompressed.

Rule 1: a seal proves nothing against a program that can write to the store and make seals: that
        would take a key.
Rule 2: a record that does not fit its seal is never decoded. It becomes `Damaged`, which names the
        record, so that only the reader that needs it fails.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import blake2b

import zstandard

from orchestrator import limits
from orchestrator.envelope.damage import Damaged, damaged

# The first byte of a sealed record is 1 and these flags. 4 is reserved for encrypted records, which
# begin with the id of their key; until then such a record is damaged.
NEEDS = 1  # The record begins with the names of others, one a line, up to an empty line.
COMPRESSED = 2
_PLAIN = b"\x01"
_NEEDING = {bytes((1 + flags,)) for flags in (NEEDS, NEEDS | COMPRESSED)}
_SIZE = 8  # Bytes of checksum: one damaged record in 10^19 passes.
_JOINED_MAX = 4096  # A record that is not longer is copied, which is faster than a second call.
SEAL_BYTES = 1 + _SIZE  # What a seal adds to a record, in front of it.
# The end of a record's place by its flags, so that no layout is read as another.
_ENDS = {
    0: "",
    NEEDS: "\x1fneeds",
    COMPRESSED: "\x1fzstd",
    NEEDS | COMPRESSED: "\x1fneeds zstd",
}


def _checksum(place: str, record: bytes) -> bytes:
    prefix = place.encode("utf-8", "surrogatepass") + b"\0"
    if len(record) <= _JOINED_MAX:
        return blake2b(prefix + record, digest_size=_SIZE).digest()
    made = blake2b(prefix, digest_size=_SIZE)
    made.update(record)
    return made.digest()


def seal(place: str, record: bytes, *, needs: Sequence[str] = (), compact: bool = False) -> bytes:
    """Return a record with its seal.

    Args:
        place: where it is stored, unlike any other record.
        record: any bytes; one that is `Damaged` gets no seal, and stays damaged.
        needs: the names of the records that it needs.
        compact: whether to compress it if that saves enough.
    """
    if not (compact or needs) and type(record) is bytes:  # Most records.
        return _PLAIN + _checksum(place, record) + record
    if isinstance(record, Damaged):
        return bytes(record)
    small = compressed(record) if compact else None
    if small is None and not needs:
        return _PLAIN + _checksum(place, record) + record
    flags = NEEDS * bool(needs) + COMPRESSED * (small is not None)
    body = record if small is None else small
    if needs:
        body = ("\n".join(needs) + "\n\n").encode("utf-8", "surrogatepass") + body
    return bytes((1 + flags,)) + _checksum(place + _ENDS[flags], body) + body


def unseal(place: str, stored: bytes) -> bytes:
    """Return a record that needs no others; `Damaged` if it is not what was stored there."""
    record = bytes(stored[SEAL_BYTES:])
    if stored[:1] == _PLAIN and stored[1:SEAL_BYTES] == _checksum(place, record):
        return record
    names, record = unseal_needing(place, stored)
    return damaged(place) if names else record


def unseal_needing(place: str, stored: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return the names of the records that a record needs, and the record; or as `unseal`."""
    flags = stored[0] - 1 if stored else -1
    end, record = _ENDS.get(flags), bytes(stored[SEAL_BYTES:])
    names: tuple[str, ...] = ()
    if end is None or stored[1:SEAL_BYTES] != _checksum(place + end, record):
        return (), damaged(place)
    if flags & NEEDS:
        names, record = needs(stored), record[record.index(b"\n\n") + 2 :]
    if flags & COMPRESSED:
        try:
            record = decompressed(record)
        except ValueError:
            record = damaged(place)
    return names, record


def needs_any(stored: bytes) -> bool:
    """Return whether a stored record needs others, if it is not damaged."""
    return stored[:1] in _NEEDING


def needs(stored: bytes) -> tuple[str, ...]:
    """Return the names of the records that a stored one needs, if it is not damaged."""
    if not needs_any(stored):
        return ()
    end = stored.find(b"\n\n", SEAL_BYTES)
    try:
        names = stored[SEAL_BYTES : max(end, SEAL_BYTES)].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return ()
    return tuple(names.split("\n"))


_LEVEL = 1
_GAIN = 8  # At least an eighth must be saved; what does not shrink is kept as it is.


class _Own(threading.local):
    """What each thread has for itself: neither may be used by two at once."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_own = _Own()


def compressed(record: bytes) -> bytes | None:
    """Return a record made smaller; None if it is short, or does not get much smaller."""
    size = len(record)
    if size < limits.COMPRESSED_BYTES_MIN:
        return None
    made = _own.compress(record)
    return made if len(made) <= size - size // _GAIN else None


def decompressed(data: bytes) -> bytes:
    """Return what was compressed.

    Raises:
        ValueError: if that is not what the bytes are, or if it is larger than a record may be.
    """
    try:
        if not 0 <= zstandard.frame_content_size(data) <= limits.DECOMPRESSED_BYTES_MAX:
            msg = "it does not say that it is as large as a record may be"
            raise ValueError(msg)
        return _own.decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
