"""What a process says that it is busy with, so that its keeper vouches for that and for no more.

A file beside the one by which the process is known to its keeper, with a place for each step that
is done at a time: eight bytes, zero or the sign of a thread. A step in place costs nothing more: it
is one of the same thread.

Rule 1: a thread is written down before a claim of it is asked for, and struck out when its step is
        over: committed or handed back, and no question to the server is without an answer.
Rule 2: so who sees a claim on the server, then reads the file and does not find its thread, knows
        that the process does not work under that claim, and never will.
Rule 3: signs may be those of several threads. That only makes a process look busier than it is.
Rule 4: a file that is not there says nothing, and everything is vouched for. A process that cannot
        write its file any more takes it away.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from zlib import crc32

from orchestrator.ids import root_thread

__all__ = ["Busy", "busy_file", "sign_of", "signs_in"]

_PLACE_BYTES = 8
_NOTHING = bytes(_PLACE_BYTES)
_SET = 1 << 32  # Above the checksum, so that no sign is zero.


class Busy:
    """Says what this process does; may be used by several OS threads."""

    def __init__(self, path: Path | None = None) -> None:
        """Say it in a file, or, without one, to nobody."""
        self._path, self._file = path, -1
        self._free: list[int] = []  # Places that were used and are not now.
        self._places = 0
        self._lock = threading.Lock()
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def begin(self, thread_id: str) -> int:
        """Say that a step of a thread is about to be claimed; return what to `end`."""
        try:
            place = self._free.pop()
        except IndexError:
            with self._lock:
                place, self._places = self._places, self._places + 1
        self._write(place, sign_of(thread_id))
        return place

    def end(self, place: int) -> None:
        """Say that the step that began with this place is over, and all in place after it."""
        self._write(place, _NOTHING)
        self._free.append(place)

    @property
    def is_idle(self) -> bool:
        """Whether no step runs."""
        with self._lock:
            return len(self._free) == self._places

    def _write(self, place: int, what: bytes) -> None:
        if self._file < 0:
            return
        try:
            os.pwrite(self._file, what, place * _PLACE_BYTES)
        except OSError:
            self._file = -1  # Not closed: another OS thread may be writing.
            assert self._path is not None
            self._path.unlink(missing_ok=True)


def busy_file(folder: Path, pid: int) -> Path:
    """Return where a process says what it is busy with."""
    return folder / f"{pid}.busy"


def signs_in(path: Path) -> frozenset[bytes] | None:
    """Return the signs of the threads that a process is busy with; `None` if it does not say."""
    try:
        said = path.read_bytes()
    except OSError:
        return None
    places = range(0, len(said), _PLACE_BYTES)
    return frozenset(said[at : at + _PLACE_BYTES] for at in places)


def sign_of(thread_id: str) -> bytes:
    """Return the sign of a thread. Those of subgraphs are done for the one around them."""
    root, _ = root_thread(thread_id)
    return (crc32(root.encode("utf-8", "surrogatepass")) | _SET).to_bytes(_PLACE_BYTES, "little")
