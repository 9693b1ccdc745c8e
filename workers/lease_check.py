"""Releases claims of live processes that do not work on them, and the files that show it.

A server that crashes may lose a commit and keep the claim before it; a call may arrive when its
sender has given the step up. Then the server holds a claim of a process that is alive and renewed,
and does not know of it: no other process would ever run the step. (decision 0025)

Each process has a file with a place for each step that it runs at a time: eight bytes, zero or the
sign of a thread. A step in place needs no place of its own: it is one of the same thread.

Rule 1: a process writes the sign of a thread before it asks for a claim, and removes it when the
        step is over: committed or handed back, and no call to the server is without an answer.
Rule 2: the check reads the claims from the server first, then the files. A claim whose thread is
        not in the file then is one under which the process does not work, and never will. In the
        other order, a step that begins in between would seem forgotten.
Rule 3: a claim is released only if two checks in a row find it so under the same fence, and only
        if it still has that fence then.
Rule 4: threads may share a sign. That only makes a process seem busier than it is.
Rule 5: without its file, every claim of a process counts as worked on. A process that can no
        longer write its file removes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from orchestrator.checkpointer.fleet import HeldClaim, SharedCheckpointer
from orchestrator.dispatch.broker import Dispatch
from orchestrator.errors import CheckpointerUnavailableError, StateCorruptedError
from orchestrator.ids import root_thread

__all__ = ["BusyFile", "LeaseCheck", "busy_path", "sign_of", "signs_in"]

_POLL_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LeaseCheck:
    """Checks that the processes which register in a folder work on the steps that they claimed."""

    folder: Path
    store: SharedCheckpointer
    dispatch: Dispatch
    doubted: frozenset[HeldClaim] = frozenset()  # By the latest check.
    _files: dict[str, Path] = field(default_factory=dict)  # Owner → its busy file.

    def once(self) -> int:
        """Check once; return how many claims were released."""
        self._files = dict(self._processes())
        found = self._unfounded(self.store.fleet.claims_of(list(self._files)))
        # A step that has just ended has no claim any more; the others have their fences.
        now = frozenset(self._unfounded(self.store.fleet.fenced(found)) if found else ())
        again, self.doubted = now & self.doubted, now
        return sum(map(self._take, again))

    def _processes(self) -> Iterable[tuple[str, Path]]:
        for path in self.folder.iterdir():
            if path.name.isdigit():
                with contextlib.suppress(FileNotFoundError):  # It has just died.
                    yield path.read_text("utf-8"), busy_path(self.folder, int(path.name))

    def _unfounded(self, claims: Iterable[HeldClaim]) -> list[HeldClaim]:
        """Return the claims whose owners are not busy with their threads, by their files."""
        claims = list(claims)  # The server has answered before a file is read.
        said = {owner: signs_in(self._files[owner]) for owner in {one.owner for one in claims}}
        return [
            claim
            for claim in claims
            if (signs := said[claim.owner]) is not None and sign_of(claim.thread_id) not in signs
        ]

    def _take(self, claim: HeldClaim) -> int:
        try:
            count, steps = self.store.fleet.release_forgotten(claim)
        except StateCorruptedError as error:  # Left to the auditor; other claims are not delayed.
            _log.error("%s", error)
            return 0
        if count:
            what = f"{claim.thread_id!r}, step {claim.step_id}"
            _log.warning("%s has forgotten its claim of %s: released", claim.owner, what)
        if steps:
            self.dispatch(steps)
        return count

    def loop(self, stop: threading.Event) -> None:
        """Check until `stop` is set."""
        while not stop.wait(_POLL_S):
            with contextlib.suppress(CheckpointerUnavailableError):
                self.once()


# ---- the busy file --------------------------------------------------------------------------

_PLACE_BYTES = 8
_NOTHING = bytes(_PLACE_BYTES)
_SET = 1 << 32  # Above the checksum, so that no sign is zero.


class BusyFile:
    """The busy file of this process; may be used by several OS threads."""

    def __init__(self, path: Path | None = None) -> None:
        """Write to a file, or, without one, only count."""
        self._path, self._file = path, -1
        self._free: list[int] = []  # Places that were used and are not now.
        self._places = 0
        self._lock = threading.Lock()
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def begin(self, thread_id: str) -> int:
        """Record that a step of a thread is about to be claimed; return its place, to `end`."""
        try:
            place = self._free.pop()
        except IndexError:
            with self._lock:
                place, self._places = self._places, self._places + 1
        self._write(place, sign_of(thread_id))
        return place

    def end(self, place: int) -> None:
        """Record that the step of this place is over, and all steps in place after it."""
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


def busy_path(folder: Path, pid: int) -> Path:
    """Return the path of a process's busy file."""
    return folder / f"{pid}.busy"


def signs_in(path: Path) -> frozenset[bytes] | None:
    """Return the signs of the threads that a process is busy with; `None` without a file."""
    try:
        said = path.read_bytes()
    except OSError:
        return None
    places = range(0, len(said), _PLACE_BYTES)
    return frozenset(said[at : at + _PLACE_BYTES] for at in places)


def sign_of(thread_id: str) -> bytes:
    """Return the sign of a thread. A subgraph has that of its root thread."""
    root, _ = root_thread(thread_id)
    return (crc32(root.encode("utf-8", "surrogatepass")) | _SET).to_bytes(_PLACE_BYTES, "little")
