"""The promises of a checkpointer.

A checkpointer knows nothing of graphs, plans or nodes: it keeps bytes, compares versions, and
commits all of a `Commit` or none of it.

Rule 1: `commit` is the only method that changes what a thread has stored; `claim`, `release` and
        `sweep` only move the right to run its steps, `audit` restores what was written, and
        `delete` removes it.
Rule 2: time is the store's own; a checkpointer never reads the clock of the process that calls.
Rule 3: a method that cannot decide raises `CheckpointerUnavailableError`; it never guesses.
Rule 4: a step is ready unless it is completed, claimed, or waits. Only a ready step is claimed, and
        each claim gets a fence greater than any before. (INV-2, INV-3)
Rule 5: a value may be the tail of a list: it continues another value, stored before. It is loaded
        whole; any number of values may continue the same one. (INV-11)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from orchestrator.model.audit import Audited
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import (
    Claim,
    Commit,
    CommitResult,
    Event,
    LoadedThread,
    ReadyStep,
    Refusal,
    StoredCheckpoint,
    Swept,
)

__all__ = ["Checkpointer", "Planner", "Renderer"]

# Turns a ready step and the store's time into (queue list, message) for a store that is also the
# broker and can push the message inside the commit.
Renderer = Callable[[ReadyStep, int], tuple[str, bytes]]

# Returns the steps that a thread's checkpoint planned, for a graph of that name; their queues are
# not known. Raises `StateCorruptedError` if it cannot be read.
Planner = Callable[[str, str, StoredCheckpoint], Sequence[ReadyStep]]


class Checkpointer(Protocol):
    """The persistence seam."""

    partitions: int  # Sweeping is done per partition.
    shared: bool  # Whether other processes see its threads.
    pushes: bool  # Whether commits send the messages of ready steps themselves.

    def commit(self, commit: Commit, meanwhile: Callable[[], None] | None = None) -> CommitResult:
        """Make all of `commit` true, or refuse and change nothing.

        A store that has to wait for an answer calls `meanwhile` while it does: once, several times
        or never. It must not raise, nor rely on the commit.

        A refusal for a stale fence is counted and leaves an event. (INV-3) A refusal for a known
        idempotency key holds the run accepted under it in `detail`. Queued runs keep the order in
        which they were enqueued. Events go to the log that the commit names, if that
        thread exists, else to the thread's own.
        """
        ...

    def claim(
        self,
        thread_id: str,
        step_id: str,
        *,
        owner: str,
        token: str,
        known: Sequence[str] = (),
        sent_ms: int = 0,
    ) -> Claim:
        """Give `owner` the right to run a ready step, with what it needs beyond the `known` blobs.

        Of a list whose beginning is known only the tail since then is returned; `Claim.tails` names
        it. Claiming renews the owner's lease. `token` names this attempt to claim: a caller that
        did not get the answer asks again with the same token and gets the same claim. `sent_ms` is
        when the message of the step was sent (the store's time): older messages of that queue that
        were not claimed are lost.
        """
        ...

    def load(
        self, thread_id: str, *, checkpoint_id: int | None = None, values: bool = True
    ) -> LoadedThread | None:
        """Return the thread at its head or at another checkpoint; `None` if there is none.

        Steps come with the head only. Without `values` the blobs are left out.
        """
        ...

    def history(self, thread_id: str, *, before: int | None = None, limit: int = 100) -> list[int]:
        """Return checkpoint ids, newest first by succession, older than `before`."""
        ...

    def threads(
        self, *, status: RunStatus | None = None, limit: int = 100
    ) -> list[tuple[str, Head]]:
        """Return threads, the latest changed first; those of subgraphs are not listed."""
        ...

    def events(
        self, thread_id: str, *, after: int = 0, limit: int = 1000, wait_s: float = 0
    ) -> list[Event]:
        """Return events after number `after`, waiting for the first if there is none."""
        ...

    def news(
        self, thread_id: str, *, after: int
    ) -> AbstractContextManager[Callable[[float], bool]]:
        """Subscribe to changes of the run status of a thread after event number `after`.

        The function that is yielded waits at most its argument, in seconds, until a run began,
        paused, ended or was withdrawn, and returns whether one did. It may wake spuriously, and may
        miss a notification after a reconnect. Callers re-read the thread after subscribing, after
        each wake-up, and periodically.
        """
        ...

    def renew(self, owners: Sequence[str], *, ttl_s: float) -> None:
        """Extend the leases of processes that are known to be alive."""
        ...

    def release(self, owner: str, *, died: bool = True) -> list[ReadyStep]:
        """Take all claims from a process that is known to be dead; return the steps to send again.

        Each counts as a worker's death for its step, unless the process only has to stop
        (`died=False`), and is logged in the log of the thread that a caller named, also for a step
        of one of its subgraphs. The step's reason says which of both it was.
        """
        ...

    def sweep(self, partition: int, *, leader: str) -> Swept:
        """Find expired leases, due timers, lost and unsent messages, stuck supersteps, once.

        A stuck superstep is returned as one of its steps: the worker that gets the message finds it
        completed, and advances. A thread whose run has ended while others are queued is returned by
        its id: the caller begins the next run.

        One leader per partition at a time. Time in which the store could not be asked does not
        count against leases.
        """
        ...

    def mark_sent(self, steps: Sequence[ReadyStep]) -> None:
        """Remember that the messages of these steps were handed to the broker."""
        ...

    def audit(
        self, partition: int, *, plan: Planner, repair: bool, cursor: str = "", limit: int = 100
    ) -> Audited:
        """Check about `limit` threads from `cursor` on, whether or not an index holds them.

        Each that has not ended must have a ready step that will be sent, a claim that can run out,
        a timer, an open question, or be paused; else it would never continue. (INV-7) With `repair`
        damage is repaired where that is possible, and an event is logged.
        """
        ...

    def children(self, thread_id: str) -> list[str]:
        """Return the ids of the child threads of a root thread, at any depth, in order."""
        ...

    def delete(self, thread_id: str, *, keep_head: bool = False) -> Refusal | None:
        """Delete a thread, its child threads, and every entry of an index that names one of them.

        With `keep_head`: of the thread alone, every checkpoint but the head, their outcomes, and
        the values that the head does not need. The log stays.

        Refused, and nothing changed: `UNKNOWN_THREAD`; `WRONG_STATUS`, while a run is active or
        queued. A run in a process that has no lease and no claimed step is not active. A
        fence that was given on a deleted thread is not given again. (INV-3) If the process dies in
        between, a second call deletes what is left.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...
