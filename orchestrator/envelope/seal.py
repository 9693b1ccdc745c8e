"""The seal of a stored record: what shows later that it is what was stored, where it was stored.

A sealed record is one byte for the layout of the seal, eight bytes of checksum, and the record. The
checksum covers the record and its place: the thread, what kind of record it is, and its name. So
damage shows, and so does a record that was moved to another place. (INV-10)

A record may need others to be whole. Then it has the second layout, and begins with their names,
one a line, up to an empty line: whoever keeps it can bring them along without understanding it.

Either may be compressed: that is the third and the fourth layout. Names stay readable, and the
checksum covers what is stored, so nothing is decompressed that was not sealed.

Rule 1: a seal proves nothing against somebody who can write to the store and make seals: that would
        take a key.
Rule 2: a record that does not fit its seal is never decoded. It becomes bytes that no codec
        decodes, which say what was damaged, so that only who needs it fails.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import blake2b

import zstandard

from orchestrator import limits
from orchestrator.envelope.damage import damaged

_LAYOUT = b"\x01"
_NEEDING = b"\x02"
_COMPACT = b"\x03"
_COMPACT_NEEDING = b"\x04"
_SIZE = 8  # Bytes of checksum: one damaged record in 10^19 passes.
_JOINED_MAX = 4096  # A record that is not longer is copied, which is faster than a second call.
SEAL_BYTES = 1 + _SIZE  # What a seal adds to a record, in front of it.
# What ends the place of a record of each layout, so that none is taken for another.
_ENDS = {
    _LAYOUT: "",
    _NEEDING: "\x1fneeds",
    _COMPACT: "\x1fzstd",
    _COMPACT_NEEDING: "\x1fneeds zstd",
}


def _checksum(place: str, record: bytes) -> bytes:
    prefix = place.encode("utf-8", "surrogatepass") + b"\0"
    if len(record) <= _JOINED_MAX:
        return blake2b(prefix + record, digest_size=_SIZE).digest()
    made = blake2b(prefix, digest_size=_SIZE)
    made.update(record)
    return made.digest()


def _sealed(layout: bytes, place: str, record: bytes) -> bytes:
    return layout + _checksum(place + _ENDS[layout], record) + record


def seal(place: str, record: bytes, *, compact: bool = False) -> bytes:
    """Return a record with its seal.

    Args:
        place: where it is to be found, unlike any other.
        record: any bytes.
        compact: whether to compress it if that is worth it.
    """
    small = compressed(record) if compact else None
    if small is not None:
        return _sealed(_COMPACT, place, small)
    return _LAYOUT + _checksum(place, record) + record


def unseal(place: str, stored: bytes) -> bytes:
    """Return the record; if it is not what was stored in that place, bytes that say so."""
    record = bytes(stored[SEAL_BYTES:])
    layout = stored[:1]
    if layout == _LAYOUT and stored[1:SEAL_BYTES] == _checksum(place, record):
        return record
    if layout == _COMPACT and stored[1:SEAL_BYTES] == _checksum(place + _ENDS[layout], record):
        return _decompressed(place, record)
    return damaged(place)


def seal_needing(
    place: str, names: Sequence[str], record: bytes, *, compact: bool = False
) -> bytes:
    """Return a record with its seal, which names the records that it needs; else as `seal`."""
    head = ("".join(f"{name}\n" for name in names) + "\n").encode("utf-8", "surrogatepass")
    small = compressed(record) if compact else None
    if small is not None:
        return _sealed(_COMPACT_NEEDING, place, head + small)
    return _sealed(_NEEDING, place, head + record)


def unseal_needing(place: str, stored: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return the names of what a record needs, and the record; as `unseal` if it is damaged."""
    if not needs_any(stored):
        return (), unseal(place, stored)
    layout, record = stored[:1], stored[SEAL_BYTES:]
    if stored[1:SEAL_BYTES] != _checksum(place + _ENDS[layout], record):
        return (), damaged(place)
    record = record[record.index(b"\n\n") + 2 :]
    if layout == _COMPACT_NEEDING:
        record = _decompressed(place, record)
    return needs(stored), record


def _decompressed(place: str, record: bytes) -> bytes:
    try:
        return decompressed(record)
    except ValueError:
        return damaged(place)


def needs_any(stored: bytes) -> bool:
    """Return whether a stored record needs others, if it is not damaged."""
    return stored[:1] in {_NEEDING, _COMPACT_NEEDING}


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
