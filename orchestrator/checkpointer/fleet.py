"""The seam between a checkpointer that processes share and the fleet of workers on it.

Clients, keepers, sweepers and the command line use a `SharedCheckpointer` and its `Fleet`, so any
store that several processes reach can serve them.

Rule 1: all times are the store's own, in milliseconds.
Rule 2: a method that gets no answer raises `CheckpointerUnavailableError`, except `probe`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.config import Settings
from orchestrator.errors import NotSupportedError
from orchestrator.model.commit import Claim, ReadyStep

__all__ = [
    "ClaimTimes",
    "Fleet",
    "Halt",
    "HeldClaim",
    "SharedCheckpointer",
    "Worker",
    "settings_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker as it last announced itself."""

    name: str
    host: str
    pid: int
    queues: Sequence[str]
    pool: str
    concurrency: int
    graphs: Sequence[str]
    beat_ms: int = 0  # The store's time of the announcement.
    broker: str = ""  # Which broker it reads, see `Settings.broker_name`; empty: not known.


@dataclass(frozen=True, slots=True)
class ClaimTimes:
    """The times of a claim, in the store's time."""

    since_ms: int  # When the step was claimed; 0: not known.
    lease_ends_ms: int  # 0: there is none.


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """A claim that a store holds for an owner."""

    owner: str
    partition: int
    step_id: str
    thread_id: str
    fence: int = 0  # 0: not read yet.


@dataclass(frozen=True, slots=True)
class Halt:
    """The reason for which a partition is halted."""

    kind: str  # `back`: it is older than it was; `other`: it holds nothing of what it held.
    epoch: str  # That was there.
    from_ms: int  # The latest mark that is left.
    seen_ms: int  # The mark that was seen.

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


class Fleet(Protocol):
    """The workers of a deployment, their claims, and the halts of its partitions."""

    def announce(self, worker: Worker) -> None:
        """Record that a worker is alive; a record that is not renewed for 15 s is forgotten."""
        ...

    def leave(self, name: str) -> None:
        """Record that a worker has ended."""
        ...

    def workers(self) -> list[Worker]:
        """Return the workers that are alive, by name."""
        ...

    def publish_graphs(
        self, fingerprints: Mapping[str, str], queues: Mapping[str, str] | None = None
    ) -> None:
        """Record which graphs workers know, and the queues that they were compiled with."""
        ...

    def graphs(self) -> dict[str, str]:
        """Return the graphs that workers have published: name → fingerprint."""
        ...

    def queue_of(self, graph: str) -> str:
        """Return the queue that a published graph was compiled with, empty without one."""
        ...

    def claim_times(self, thread_id: str, owners: Mapping[str, str]) -> dict[str, ClaimTimes]:
        """Return the times of the claims on a thread's steps, by step.

        Args:
            thread_id: the thread.
            owners: the owners of the claims, by step id.
        """
        ...

    def claims_of(self, owners: Sequence[str]) -> list[HeldClaim]:
        """Return the claims that are recorded for some owners, without fences."""
        ...

    def fenced(self, claims: Iterable[HeldClaim]) -> list[HeldClaim]:
        """Return those of some claims that still hold, with their fences."""
        ...

    def lost(self, owner: str, claims: Sequence[Claim]) -> list[bool]:
        """Return for each claim of an owner whether it was released."""
        ...

    def release_forgotten(self, claim: HeldClaim) -> tuple[int, list[ReadyStep]]:
        """Release a claim whose owner is alive and does not work on it.

        This is no death for its step. Returns how many were released, and the steps to send
        again: neither if the claim has changed since it was read.
        """
        ...

    def halts(self) -> dict[int, Halt]:
        """Return the halts, by partition."""
        ...

    def halted_at(self, thread_id: str) -> Halt | None:
        """Return the halt of a thread's partition; `None` if there is none."""
        ...

    def accept_loss(self) -> dict[int, Halt]:
        """Accept what the server lost, and let everything continue; return the former halts."""
        ...

    def watch_rollbacks(self, folder: Path) -> None:
        """Let sweeps detect a store that was rolled back; `folder` keeps what this host saw."""
        ...


class SharedCheckpointer(Checkpointer, Protocol):
    """A checkpointer that several processes share, with a fleet on it."""

    settings: Settings

    @property
    def fleet(self) -> Fleet:
        """Return the fleet of the store's deployment."""
        ...

    def probe(self) -> None:
        """Ask each partition once; raise what the store's client raises if that fails."""
        ...

    def stale_refused(self) -> int:
        """Return how many commits were refused because their fence was stale."""
        ...

    def check(self) -> None:
        """Check that this process and the store agree on the number of partitions.

        Raises:
            PartitionsDifferError: if they do not.
        """
        ...

    def now_ms(self) -> int:
        """Return the store's time."""
        ...

    def push(self, steps: Sequence[ReadyStep], *, again: bool = True) -> None:
        """Send the messages of steps, if the store is the broker, too (`pushes`).

        Those that are sent again go to the front of their queues.
        """
        ...

    def take_message(self, queue: str) -> bytes | None:
        """Remove and return the first message of a queue, if the store is the broker, too."""
        ...

    def put_back(self, queue: str, message: bytes) -> None:
        """Put a message back to the front of its queue."""
        ...


def settings_of(
    checkpointer: SharedCheckpointer | None, settings: Settings | None, url: str | None
) -> Settings:
    """Return the settings of a deployment: of its store, else as given, else the environment's.

    Raises:
        NotSupportedError: if no workers share the checkpointer.
    """
    if checkpointer is None:
        return settings or Settings.from_env(url=url)
    if not hasattr(checkpointer, "fleet"):
        msg = (
            f"the checkpointer of a fleet must be one that workers share "
            f"({type(checkpointer).__name__}): it has no workers. Use a RedisCheckpointer, or "
            f"leave out the fleet and invoke the graph in this process"
        )
        raise NotSupportedError(msg)
    return checkpointer.settings


def _clock(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
