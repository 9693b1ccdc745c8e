"""A call's own copy of its thread: in memory while the call runs, stored when it ends.

The engine claims and commits here as in any checkpointer; the store below gets a hold at the first
commit, and the final state at the end. So a call is one change of the thread, or none.

Rule 1: nothing of a thread is changed below before `flush`; until then the thread is held.
Rule 2: the commits since the last checkpoint are stored, in their order: each state in between is
        one that the same run without an overlay would have left. (INV-2, INV-4)
Rule 3: of the checkpoints only the last is stored; its parent is the last one that was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.checkpointer.base import Checkpointer, Planner
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.checkpointer.memory_thread import thread_of
from orchestrator.checkpointer.replay import Behind, NotMadeError, Patiently, Replay
from orchestrator.clock import SystemClock
from orchestrator.envelope.sealed_records import HEAD_FIELDS
from orchestrator.errors import CheckpointerUnavailableError, RunCancelledError
from orchestrator.frozen import replace
from orchestrator.ids import root_thread
from orchestrator.model import events
from orchestrator.model.audit import Audited
from orchestrator.model.checkpoint import Checkpoint, Head, RunStatus
from orchestrator.model.commit import (
    Claim,
    Commit,
    CommitResult,
    Event,
    EventDraft,
    LoadedThread,
    ReadyStep,
    Refusal,
    StoredCheckpoint,
    Swept,
)

__all__ = ["Headers", "Overlay"]

_HOLD_MS, _BEAT_S = 5_000, 1.0
_FOR_EVER_MS = 1 << 42  # Of a store in this process: the hold ends with the call, or with both.
_OF_STEPS = frozenset(  # Events of a checkpoint and its steps.
    entry.type
    for entry in (
        *(events.Superstep, events.StepCommitted, events.StepInterrupted, events.StepFailed),
        *(events.StepRetried, events.StepDeferred, events.StepHandedBack, events.TaskCompleted),
    )
)
_SPARE = 64  # How many values may be kept that are no longer needed.


class Headers(Protocol):
    """How checkpoints of a thread are read and written; see `Records`."""

    def checkpoint(self, header: bytes, plan: bytes | None = None) -> Checkpoint:
        """Return a stored checkpoint."""
        ...

    def store_checkpoint(self, checkpoint: Checkpoint) -> StoredCheckpoint:
        """Return a checkpoint as it is stored."""
        ...


# Returns what history shows of the steps of a checkpoint that a run leaves: see `Commit.results`.
Left = Callable[[LoadedThread], Mapping[tuple[int, str], bytes]]


def _nothing(_: LoadedThread) -> Mapping[tuple[int, str], bytes]:
    return {}


@dataclass(slots=True)
class _Own:
    """One thread of the call.

    Attributes:
        thread_id: the thread.
        headers: how its checkpoints are read.
        left: what history shows of steps that are left.
        parent: the thread and the step whose subgraph it is.
        begun: whether it is in memory.
        held: whether the store below holds it for this call.
        stored: the checkpoint that is the head below; 0: the thread does not exist there.
        parents: the parents of checkpoints that are not stored, made before the run's steps.
        commits: what was committed since the last checkpoint, with the commit that brought it.
        events: what is to be logged, with numbers that give the order over all threads.
        blobs: values that are not stored yet.
        tails: of these: the value that each one continues.
        results: what history shows of steps of stored checkpoints that were left.
    """

    thread_id: str
    headers: Headers
    left: Left = _nothing
    parent: tuple[str, str] | None = None
    begun: bool = False
    is_new: bool = False  # Whether it was not there below when it was last asked for.
    held: bool = False
    stored: int = 0
    parents: dict[int, int | None] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    events: list[tuple[int, EventDraft]] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    tails: dict[str, str] = field(default_factory=dict)
    results: dict[tuple[int, str], bytes] = field(default_factory=dict)
    learned: dict[str, bytes] = field(default_factory=dict)  # Values of earlier checkpoints.
    key: tuple[str, str] | None = None

    @property
    def depth(self) -> int:
        """Return how deep a subgraph it is."""
        ns = root_thread(self.thread_id)[1]
        return ns.count("|") + 1 if ns else 0

    @property
    def lasts(self) -> bool:
        """Whether it outlives the run: a thread that a caller named, or a subgraph with memory."""
        return ":" not in root_thread(self.thread_id)[1]

    def needed(self, stored: StoredCheckpoint, ready: Sequence[ReadyStep]) -> dict[str, bytes]:
        """Return the values that a checkpoint needs and the store does not have."""
        found: dict[str, bytes] = {}
        for wanted in (*stored.refs, *(step.arg for step in ready)):
            name = wanted
            while name in self.blobs and name not in found:
                found[name] = self.blobs[name]
                name = self.tails.get(name, "")
        return found

    def note(self, commit: Commit, count: Callable[[], int]) -> bool:
        """Remember what was committed; return whether much that came before may be forgotten."""
        spare = False
        self.blobs.update(commit.blobs)
        self.tails.update(commit.tails)
        self.results |= {key: left for key, left in commit.results.items() if key[0] <= self.stored}
        self.key = commit.key or self.key
        if commit.checkpoint is not None:
            self.commits.clear()
            self.events = [pair for pair in self.events if pair[1].type not in _OF_STEPS]
            spare = len(self.blobs) > _SPARE + 2 * len(commit.checkpoint.refs)
            if spare:
                self.blobs = self.needed(commit.checkpoint, commit.ready)
                self.tails = {k: v for k, v in self.tails.items() if k in self.blobs}
        drafts = [e for e in commit.events if not commit.checkpoint or e.type[:5] != "step_"]
        self.events += [(count(), draft) for draft in drafts]
        self.commits.append(replace(commit, events=(), take=None))
        return spare


class _StoreClock(SystemClock):
    """The time of the store below, as far as it is known."""

    ahead_ms = 0

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return super().now_ms() + self.ahead_ms


class Overlay:
    """A checkpointer for one call, over the one that keeps its thread."""

    shared = False  # No other process sees it.
    pushes = False

    def __init__(
        self, base: Checkpointer, holder: str, owner: str, *, trails: bool = False
    ) -> None:
        """Begin empty.

        Args:
            base: where the thread is kept.
            holder: the name of the call, which no other call has.
            owner: under which name it claims steps below.
            trails: whether the store below follows the call, rather than waiting for its end.
        """
        self.base, self.holder, self.owner = base, holder, owner
        self.partitions = base.partitions
        self._clock = _StoreClock()
        self._memory = MemoryCheckpointer(clock=self._clock)
        self._own: dict[str, _Own] = {}
        self._lock = threading.RLock()
        self._hold_ms = _HOLD_MS if base.shared else _FOR_EVER_MS
        self._count = 0
        self._trails = trails
        self._behind: Behind | None = (
            None  # Makes the commits below, if the store follows the call.
        )

    def adopt(
        self,
        thread_id: str,
        headers: Headers,
        parent: tuple[str, str] | None = None,
        left: Left = _nothing,
    ) -> None:
        """Let a thread be one of the call's.

        Args:
            thread_id: the thread.
            headers: how its checkpoints are read.
            parent: the thread and the step whose subgraph it is now.
            left: returns what history shows of steps that a run leaves.
        """
        with self._lock:
            own = self._own.setdefault(thread_id, _Own(thread_id, headers, left))
            own.parent = parent

    def parent_of(self, thread_id: str, before: Checkpoint) -> int | None:
        """Return the parent of what follows a checkpoint: the last one that is stored."""
        own = self._own[thread_id]
        if self._trails or before.id <= own.stored:
            return before.id
        return before.parent

    # ---- commit and claim ---------------------------------------------------------------

    def commit(self, commit: Commit, meanwhile: Callable[[], None] | None = None) -> CommitResult:
        """See `Checkpointer.commit`."""
        own = self._own.get(commit.thread_id)
        if own is None or commit.only_holds:
            return self.base.commit(commit, meanwhile)
        with self._lock:
            if self._behind is not None:
                return self._followed(self._behind, own, commit)
            refused = None if own.begun else self._begin(own, commit)
            if refused is not None:
                return refused
            if self._lacks(own, commit):
                return self._passed(own, commit)
            commit = self._anchored(own, commit)
            result = self._memory.commit(commit)
            if result.refused is None and own.note(commit, self._next):
                self._memory.trim(own.thread_id)
            return result

    def _followed(self, behind: Behind, own: _Own, commit: Commit) -> CommitResult:
        """Commit here, and below in order; below first where other calls may commit in between."""
        if behind.refused:
            return self.base.commit(commit)
        begins = commit.expect_new and own.is_new and own.depth
        is_ours = commit.guard is not None or self._memory.is_active(own.thread_id)
        if not (begins or (own.begun and is_ours)):
            behind.settle()
            result = self.base.commit(commit)
            if result.refused is None:
                self._copy(own)
            return result
        own.begun = True
        result = self._memory.commit(commit)
        if result.refused is None:
            behind.put(commit, result.claim)
            if commit.keeps_claim:
                behind.settle()  # An effect may follow, of which the note must be stored.
            if commit.checkpoint is not None and self._next() % _SPARE == 0:
                self._memory.trim(own.thread_id)
        return result

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _begin(self, own: _Own, commit: Commit) -> CommitResult | None:
        """Hold a thread and copy it; return why that is refused, if it is."""
        if commit.expect_new and own.is_new and own.depth:
            own.begun = True  # No other call can make a thread below one that is held.
            return None
        hold = Commit(
            thread_id=own.thread_id,
            expect_new=commit.expect_new,
            expect_head=commit.expect_head,
            expect_status=commit.expect_status,
            expect_run=commit.expect_run,
            key=commit.key,
            holder=self.holder,
            hold_ms=self._hold_ms,
        )
        result = self.base.commit(hold)
        if result.refused is not None:
            return result
        self._clock.ahead_ms += result.now_ms - self._clock.now_ms()
        own.held = True
        self._copy(own)
        return None

    def _copy(self, own: _Own) -> None:
        loaded = self.base.load(own.thread_id)
        own.begun = True
        if loaded is not None:
            own.stored = loaded.head.checkpoint_id
            own.results = {} if self._trails else dict(own.left(loaded))
            self._memory.restore(own.thread_id, thread_of(own.thread_id, loaded))
            self._memory.add_values(own.thread_id, own.learned)

    def _lacks(self, own: _Own, commit: Commit) -> bool:
        """Return whether a commit speaks of values that only the store below has."""
        if commit.guard is not None or commit.checkpoint is None:
            return False
        names = (*commit.checkpoint.refs, *(step.arg for step in commit.ready if step.arg))
        return not self._memory.knows(own.thread_id, {*names} - {*commit.blobs})

    def _passed(self, own: _Own, commit: Commit) -> CommitResult:
        """Commit below what cannot be done here, and begin again from there."""
        assert not own.commits, "a run has all that its checkpoints speak of"
        result = self.base.commit(replace(commit, holder=self.holder))
        if result.refused is None:
            self._copy(own)
        return result

    def _anchored(self, own: _Own, commit: Commit) -> Commit:
        """Return a commit whose checkpoint has a parent that is stored."""
        if commit.checkpoint is None or commit.guard is not None:
            return commit  # `parent_of` gave the step a stored parent.
        stored = commit.checkpoint
        made = own.headers.checkpoint(stored.header, stored.plan)
        if made.parent in own.parents:
            made = replace(made, parent=own.parents[made.parent])
            header = own.headers.store_checkpoint(made).header
            commit = replace(commit, checkpoint=replace(stored, header=header))
        own.parents = {made.id: made.parent}
        return commit

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
        """See `Checkpointer.claim`."""
        store = self.base if self._is_lost else self._memory
        return store.claim(
            thread_id, step_id, owner=owner, token=token, known=known, sent_ms=sent_ms
        )

    @property
    def _is_lost(self) -> bool:
        """Whether the store below no longer follows the call, since another call has the thread."""
        return self._behind is not None and self._behind.refused

    def renew(self, owners: Sequence[str], *, ttl_s: float) -> None:
        """See `Checkpointer.renew`; below before the first run, as the call keeps its lease."""
        if not self._memory.threads(limit=1) and self._trails:
            self.base.renew(owners, ttl_s=ttl_s)
        self._memory.renew(owners, ttl_s=ttl_s)

    def release(self, owner: str, *, died: bool = True) -> list[ReadyStep]:
        """See `Checkpointer.release`."""
        return [*self._memory.release(owner, died=died), *self.base.release(owner, died=died)]

    # ---- reading ------------------------------------------------------------------------

    def load(
        self, thread_id: str, *, checkpoint_id: int | None = None, values: bool = True
    ) -> LoadedThread | None:
        """See `Checkpointer.load`."""
        own = self._own.get(thread_id)
        is_begun = own is not None and own.begun and not own.depth
        if is_begun and self._behind is not None and not self._memory.is_active(thread_id):
            self._behind.settle()
        if self._is_lost:
            return self.base.load(thread_id, checkpoint_id=checkpoint_id, values=values)
        found = self._memory.load(thread_id, checkpoint_id=checkpoint_id, values=values)
        if found is not None:
            return found
        if own is not None and own.begun and checkpoint_id is None:
            return None
        loaded = self.base.load(thread_id, checkpoint_id=checkpoint_id, values=values)
        if own is not None and checkpoint_id is None:
            own.is_new = loaded is None
        if loaded is not None and own is not None and checkpoint_id is not None:
            own.learned.update(loaded.blobs)
            self._memory.add_values(thread_id, loaded.blobs)
        return loaded

    def history(self, thread_id: str, *, before: int | None = None, limit: int = 100) -> list[int]:
        """See `Checkpointer.history`."""
        own = self._memory.history(thread_id, before=before, limit=limit)
        stored = self.base.history(thread_id, before=before, limit=limit)
        return sorted({*own, *stored}, reverse=True)[:limit]

    def threads(
        self, *, status: RunStatus | None = None, limit: int = 100
    ) -> list[tuple[str, Head]]:
        """See `Checkpointer.threads`; as they are stored."""
        return self.base.threads(status=status, limit=limit)

    def events(
        self, thread_id: str, *, after: int = 0, limit: int = 1000, wait_s: float = 0
    ) -> list[Event]:
        """See `Checkpointer.events`; those that are stored, then those of the call."""
        newer = self._memory.events(thread_id, after=after, limit=limit)
        wait_s = 0 if newer else wait_s
        return [*self.base.events(thread_id, after=after, limit=limit, wait_s=wait_s), *newer][
            :limit
        ]

    def news(
        self, thread_id: str, *, after: int
    ) -> AbstractContextManager[Callable[[float], bool]]:
        """See `Checkpointer.news`; of the stored thread."""
        return self.base.news(thread_id, after=after)

    def children(self, thread_id: str) -> list[str]:
        """See `Checkpointer.children`."""
        return sorted({*self._memory.children(thread_id), *self.base.children(thread_id)})

    # ---- passed to the store below ----------------------------------------------------------

    def sweep(self, partition: int, *, leader: str) -> Swept:
        """See `Checkpointer.sweep`."""
        return self.base.sweep(partition, leader=leader)

    def mark_sent(self, steps: Sequence[ReadyStep]) -> None:
        """See `Checkpointer.mark_sent`."""
        self.base.mark_sent(steps)

    def audit(
        self, partition: int, *, plan: Planner, repair: bool, cursor: str = "", limit: int = 100
    ) -> Audited:
        """See `Checkpointer.audit`."""
        return self.base.audit(partition, plan=plan, repair=repair, cursor=cursor, limit=limit)

    def delete(self, thread_id: str, *, keep_head: bool = False) -> Refusal | None:
        """See `Checkpointer.delete`; of the stored thread."""
        return self.base.delete(thread_id, keep_head=keep_head)

    def close(self) -> None:
        """Do nothing: other calls use the store below."""

    # ---- the end --------------------------------------------------------------------------

    @contextmanager
    def kept(self, patiently: Patiently) -> Iterator[None]:
        """Keep what the call begins while the block runs, and store all of it, however it ends.

        Args:
            patiently: asks a store until it answers.

        Raises:
            RunCancelledError: as `flush`.
            CheckpointerUnavailableError: if the store does not answer.
        """
        with self._following(patiently) if self._trails else self._holding(patiently):
            yield

    @contextmanager
    def _following(self, patiently: Patiently) -> Iterator[None]:
        behind = self._behind = Behind(Replay(self.base, self.owner, patiently, self.holder))
        try:
            try:
                yield
            finally:
                behind.stop()
        except NotMadeError as failed:
            raise failed.cause from None

    @contextmanager
    def _holding(self, patiently: Patiently) -> Iterator[None]:
        stop = threading.Event()
        beat = threading.Thread(
            target=self._beat, args=(stop,), name="graphstalk-hold", daemon=True
        )
        if self.base.shared:
            beat.start()
        try:
            try:
                yield
            finally:
                self.flush(patiently)
        finally:
            stop.set()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(_BEAT_S):
            with suppress(CheckpointerUnavailableError):  # The next beat tries again.
                for own in [own for own in self._own.values() if own.held]:
                    with self._lock:
                        if own.held and self._hold(own, self._hold_ms).refused is not None:
                            self._stop(own)

    def _hold(self, own: _Own, ms: int) -> CommitResult:
        new, name = not own.stored, self.holder
        return self.base.commit(
            Commit(thread_id=own.thread_id, expect_new=new, holder=name, hold_ms=ms)
        )

    def _stop(self, own: _Own) -> None:
        """End the run whose thread another call has changed."""
        self._memory.commit(
            Commit(thread_id=own.thread_id, status=RunStatus.CANCELLED, revoke=True)
        )

    def flush(self, patiently: Patiently) -> None:
        """Store the final state of the call, and release its threads.

        Raises:
            RunCancelledError: if another call has changed the thread in between.
            CheckpointerUnavailableError: if the store does not answer.
        """
        with self._lock:
            begun = sorted((o for o in self._own.values() if o.begun), key=lambda own: -own.depth)
            left = [own for own in begun if own.commits and self._is_left(own)]
            events = sorted((pair for own in left for pair in own.events), key=lambda pair: pair[0])
            try:
                for own in left:
                    last = tuple(draft for _, draft in events) if own is left[-1] else ()
                    self._store(own, last, patiently)
            finally:
                for own in begun:
                    if own.held:
                        own.held = False
                        with suppress(CheckpointerUnavailableError):  # It runs out.
                            self._hold(own, 0)

    def _is_left(self, own: _Own) -> bool:
        """Return whether a thread is stored: a subgraph's is not if its step needs it no more."""
        if own.lasts or own.parent is None:
            return True
        loaded = self._memory.load(own.thread_id, values=False)
        if loaded is None or loaded.head.status is not RunStatus.SUCCEEDED:
            return True
        around, step_id = own.parent
        found = self._memory.load(around, values=False)
        step = found.steps.get(step_id) if found else None
        return step is not None and not step.completed and self._is_left(self._own[around])

    def _store(self, own: _Own, events: tuple[EventDraft, ...], patiently: Patiently) -> None:
        """Commit below what was committed to a thread since its last checkpoint."""
        first, *more = own.commits
        if first.checkpoint is not None:
            first = self._first(own, first, is_last=not more)
        if own.held:
            first = replace(first, holder=self.holder, hold_ms=0)
        root = root_thread(own.thread_id)[0] if own.depth else ""
        commits = [first, *more]
        commits[-1] = replace(commits[-1], events=events, log=root)
        if more:  # The thread is the process's from here on, until the last of them.
            self.base.renew([self.owner], ttl_s=_HOLD_MS / 1000)
        replay = Replay(self.base, self.owner, patiently, self.holder)
        for commit in commits:
            refused = replay.commit(commit)
            if refused is not None:
                raise _lost(own.thread_id, refused)
            own.held = False
        own.commits.clear()

    def _first(self, own: _Own, commit: Commit, *, is_last: bool) -> Commit:
        """Return a commit with a checkpoint as the first one that the store sees."""
        assert commit.checkpoint is not None
        loaded = self._memory.load(own.thread_id, values=False)
        assert loaded is not None
        head = {name: getattr(loaded.head, name) for name in HEAD_FIELDS}
        head["local"] = int(head["local"])
        if not is_last:
            head |= {"owner": self.owner, "error": b""}
        blobs = own.needed(commit.checkpoint, commit.ready)
        return Commit(
            thread_id=own.thread_id,
            expect_new=not own.stored,
            expect_head=own.stored or None,
            checkpoint=commit.checkpoint,
            blobs=blobs,
            tails={name: own.tails[name] for name in blobs if name in own.tails},
            ready=commit.ready,
            status=commit.status or RunStatus.RUNNING,
            head=head if own.stored else {name: value for name, value in head.items() if value},
            key=own.key,
            results=own.results,
        )


def _lost(thread_id: str, refused: Refusal) -> RunCancelledError:
    return RunCancelledError(
        f"another call has changed the thread {thread_id!r} ({refused}) while this one ran with "
        f"durability='exit': this run was not stored. Read get_state, then call again"
    )
