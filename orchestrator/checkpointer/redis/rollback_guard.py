"""Detection of a server that was rolled back: restored from an old copy, or a late replica.

A server cannot know by itself what it has lost. Sweepers remember what they have seen, and send it
with every sweep; `sweep.lua` compares.

Rule 1: the *epoch* of a partition is a random id, made by the first sweep and whenever a person
        accepts a loss. Its *mark* is the server's time of the latest sweep; it only grows.
Rule 2: a sweeper that has seen a mark that the partition does not reach, or that falls into a gap
        between two sweeps, proves a loss. A loss over `LOSS_MS_MAX` halts the partition: no step of
        it is claimed, no message of it is sent, until a person accepts the loss.
Rule 3: claims need a recent sweep. So after a restart nothing runs before the first sweep; and a
        sweeper that has not seen the end of the stored data waits a lease for those that have.
Rule 4: marks are also stored in a file, for the case that all processes end with the server.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from orchestrator.checkpointer.redis.keys import Deployment
from orchestrator.checkpointer.redis.scripts import available
from orchestrator.config import Settings
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.ids import new_uuid

_log = logging.getLogger(__name__)
_WAS_MAX = 20  # Former epochs that a partition remembers.
_ACCEPT = "graphstalk doctor --accept-loss"


class ServerWentBackError(CheckpointerUnavailableError):
    """Nothing runs: the server lost data, and the loss is not accepted yet."""

    code = "SERVER_WENT_BACK"


@dataclass(frozen=True, slots=True)
class Halt:
    """The reason for which a partition is halted."""

    kind: str  # `back`: it is older than it was; `other`: it is not what it was at all.
    epoch: str  # That was there.
    from_ms: int  # The latest mark that is left.
    seen_ms: int  # The mark that was seen.

    @classmethod
    def of(cls, text: str) -> Halt:
        """Return what `sweep.lua` wrote."""
        kind, epoch, from_ms, seen_ms = text.split(" ")
        return cls(kind, epoch, int(from_ms), int(seen_ms))

    @property
    def lost_ms(self) -> int:
        """Return how much is lost."""
        return self.seen_ms - self.from_ms

    def __str__(self) -> str:
        if self.kind == "other":
            return (
                "the server has nothing of what it had: it was emptied, or another one answers "
                f"at its address. It was last seen at {_clock(self.seen_ms)}"
            )
        lost = self.lost_ms / 1000
        span = f"{lost:.0f} s" if lost < 120 else f"{lost / 60:.0f} min"
        return (
            f"the server went back in time by {span}: it is as it was at {_clock(self.from_ms)}, "
            f"and was seen at {_clock(self.seen_ms)}"
        )


def halted_error(detail: bytes) -> ServerWentBackError:
    """Return the error for a claim that was refused because nothing may run now."""
    if not detail:
        msg = "the server was silent and has not been swept since; workers sweep it within seconds"
        return ServerWentBackError(msg)
    msg = f"nothing runs: {Halt.of(detail.decode())}. Accept it with: {_ACCEPT}"
    return ServerWentBackError(msg)


@dataclass(frozen=True, slots=True)
class Known:
    """The epoch and mark that are known of a partition."""

    epoch: str = ""
    mark_ms: int = 0
    seen: bool = True  # By this process itself.


class MarkStorage(Protocol):
    """Storage of marks that outlives the processes that have seen them."""

    def find(self, prefix: str, current: str) -> Known:
        """Return the known epoch and mark of the partition whose epoch is `current`."""
        ...

    def saw(self, prefix: str, epoch: str, mark_ms: int) -> None:
        """Remember a mark."""
        ...


@dataclass(slots=True)
class Epochs:
    """The epochs and marks that a process has seen."""

    file: MarkStorage | None = None
    _known: dict[str, Known] = field(default_factory=dict)
    _halted: set[str] = field(default_factory=set)  # Those whose halt was logged.

    def known(self, prefix: str, current: Callable[[], str]) -> Known:
        """Return the epoch and mark that are known of a partition.

        Args:
            prefix: of its keys.
            current: asks for its epoch, by which a file finds what others have seen.
        """
        if prefix in self._known or self.file is None:
            return self._known.get(prefix, Known())
        return self.file.find(prefix, current())

    def saw(
        self,
        prefix: str,
        epoch: str,
        mark_ms: int,
        found: str,
        loss_ms: int,
        *,
        safe: bool = True,
    ) -> None:
        """Remember an answer of `sweep.lua`; log what it has found out.

        Args:
            prefix: of the partition's keys.
            epoch: that of the partition.
            mark_ms: its mark.
            found: what the script found out.
            loss_ms: how much the server lost.
            safe: whether the replicas have the mark, where commits wait for them. One that they
                lack is not remembered.
        """
        if found:
            self._report(prefix, found, loss_ms)
        # While it is halted the earlier mark counts: a better copy may be put back.
        if found not in {"back", "other", "halted"}:
            if prefix in self._halted:
                self._halted.discard(prefix)
                _log.warning("%s everything continues", prefix)
            if not safe:
                return
            self._known[prefix] = Known(epoch, mark_ms)
            if self.file is not None:
                self.file.saw(prefix, epoch, mark_ms)

    def _report(self, prefix: str, found: str, loss_ms: int) -> None:
        if found == "slipped":
            what = "%s the server has lost its last %d ms; all steps that were claimed run again"
            _log.warning(what, prefix, loss_ms)
        elif found == "new":
            _log.warning("%s another server was at this address, or this one was emptied", prefix)
        elif prefix not in self._halted:
            self._halted.add(prefix)
            sentences = {
                "back": f"the server went back in time by {loss_ms / 1000:.1f} s",
                "other": "the server has nothing of what it had",
                "halted": "another process has seen that the server lost data",
            }
            what = "%s %s: nothing runs until a person decides (graphstalk doctor)"
            _log.error(what, prefix, sentences[found])


def halts(store: Deployment) -> dict[int, Halt]:
    """Return the partitions that are halted."""
    with available():
        pipe: Any = store.client.pipeline(transaction=False)
        for partition in range(store.partitions):
            pipe.hget(store.keys.partition(partition) + "sweep", "halted")
        found = pipe.execute()
    return {p: Halt.of(text.decode()) for p, text in enumerate(found) if text}


def halted_at(store: Deployment, thread_id: str) -> Halt | None:
    """Return why nothing of a thread runs, if its partition is halted."""
    with available():
        found: Any = store.client.hget(store.keys.of_thread(thread_id)[0] + "sweep", "halted")
    return Halt.of(found.decode()) if found else None


def accept(store: Deployment) -> dict[int, Halt]:
    """Accept what is lost, and let everything continue; return what was halted.

    All claims are released first. Those in the copy may be of live processes that do not have
    them, and steps that still run from before must not commit on the copy. (INV-3,
    INV-7)
    """
    found = halts(store)
    for partition, halt in found.items():
        prefix = store.keys.partition(partition)
        with available():
            owners: Any = store.client.zrange(prefix + "leases", 0, -1)
        for owner in owners:
            store.release_in(partition, owner)
        with available():
            _lift(store, prefix, halt)
    return found


def _lift(store: Deployment, prefix: str, halt: Halt) -> None:
    values: Any = store.client.hmget(prefix + "sweep", ["was", "epoch"])
    former = [epoch for value in values if value for epoch in value.decode().split()]
    seconds, _ = store.client.time()
    fields: dict[Any, Any] = {
        "epoch": new_uuid(),
        "opens": 0,
        "floor": (int(seconds) + 1) * 1000,  # Time is not given twice, as the lost fences would be.
        "was": " ".join(list(dict.fromkeys([*former, halt.epoch]))[-_WAS_MAX:]),
    }
    pipe = store.client.pipeline(transaction=True)
    pipe.hset(prefix + "sweep", mapping=fields)
    pipe.hdel(prefix + "sweep", "halted", "slipped")
    pipe.delete(prefix + "gaps")
    pipe.execute()


def _clock(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


_log = logging.getLogger(__name__)
_KEEP_S = 1.0  # Between two writes.
_EPOCHS_MAX = 1_000  # That it remembers; those not seen for longest are forgotten.


class EpochFile:
    """The greatest mark of each epoch that was seen from this host.

    It is one file for all deployments: epochs are found by their ids wherever they are, so a copy
    that is put on another machine is known, too.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Keep it in `folder`, which is made if it is missing.

        Where nothing can be kept the log says so, and what each process sees itself must do.
        """
        self._path, self._lock = folder / "epochs.json", folder / "epochs.lock"
        parts = urlsplit(settings.url)
        self._place = (
            f"{parts.hostname}:{parts.port}{parts.path}"  # By which an emptied one is noticed.
        )
        self._marks: dict[str, int] = {}  # Epoch → the greatest mark that this process has seen.
        self._places: dict[str, str] = {}  # Address and partition → its epoch.
        self._kept_s = float("-inf")
        self._works = True

    def find(self, prefix: str, current: str) -> Known:
        """Return the known epoch and mark of the partition whose epoch is `current`."""
        marks, places = self._read()
        if current in marks:
            return Known(current, marks[current])
        before = places.get(f"{self._place} {prefix}", "")
        return Known(before, marks.get(before, 0), seen=False)

    def saw(self, prefix: str, epoch: str, mark_ms: int) -> None:
        """Remember a mark; the file is written about once a second."""
        place = f"{self._place} {prefix}"
        urgent = self._places.get(place) != epoch
        self._places[place] = epoch
        self._marks[epoch] = max(mark_ms, self._marks.get(epoch, 0))
        if urgent or time.monotonic() - self._kept_s > _KEEP_S:
            self._kept_s = time.monotonic()
            self._safely(self._write)

    def _safely(self, change: Callable[[], None]) -> None:
        """Do something to the files, while no other process of this host does."""
        if not self._works:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                change()
        except OSError as error:
            self._works = False
            what = "what was seen of the server is not kept (%s): set GRAPHSTALK_STATE_DIR"
            _log.warning(what, error)

    def _write(self) -> None:
        marks, places = self._read()
        for seen, mark in self._marks.items():
            marks[seen] = max(mark, marks.get(seen, 0))
        newest = sorted(marks, key=lambda epoch: marks[epoch])[-_EPOCHS_MAX:]
        kept = {epoch: marks[epoch] for epoch in newest}
        places = {at: e for at, e in {**places, **self._places}.items() if e in kept}
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"marks": kept, "places": places}), "utf-8")
        draft.replace(self._path)

    def _read(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return what the file holds; nothing if there is none, or it cannot be parsed."""
        try:
            content = json.loads(self._path.read_text("utf-8"))
            marks = {str(epoch): int(mark) for epoch, mark in content["marks"].items()}
            places = {str(at): str(epoch) for at, epoch in content["places"].items()}
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            return {}, {}
        return marks, places
