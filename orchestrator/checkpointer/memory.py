"""The checkpointer in this process's memory: the specification of the others. Read this first.

One lock makes every method atomic. Nothing here outlives the process. `transition.py` decides what
a commit does; the Lua scripts decide the same in the same order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from orchestrator import limits
from orchestrator.checkpointer.base import Planner
from orchestrator.checkpointer.consistency import audited
from orchestrator.checkpointer.lease_trust import LEAD_MS, Trust
from orchestrator.checkpointer.memory_thread import (
    Step,
    Thread,
    drop_history,
    is_busy,
    is_due,
    loaded_thread,
    new_head,
    opened_head,
    stored_state,
)
from orchestrator.checkpointer.saver import BaseCheckpointSaver, check_serde
from orchestrator.checkpointer.transition import (
    Refused,
    released_event,
    stale_event,
    transition,
    unready,
)
from orchestrator.clock import Clock, SystemClock
from orchestrator.config import Settings
from orchestrator.envelope import sealed_records
from orchestrator.envelope.event_codec import opened_events
from orchestrator.envelope.list_tails import found_values, named_values
from orchestrator.frozen import replace
from orchestrator.ids import CHILD, partition_of, root_thread
from orchestrator.model.audit import Audited, Damage
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import (
    CRASHED,
    HANDED_BACK,
    Claim,
    Commit,
    CommitResult,
    Event,
    EventDraft,
    LoadedThread,
    ReadyStep,
    Refusal,
    Swept,
    Wait,
)

__all__ = ["MemoryCheckpointer"]


class MemoryCheckpointer(BaseCheckpointSaver):
    """Threads in dictionaries."""

    shared = False
    pushes = False  # Nothing is pushed: there is no broker in memory.

    def __init__(
        self,
        *,
        serde: None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_serde(serde)
        self._settings = settings or Settings()
        self.partitions = self._settings.partitions
        self._clock = clock or SystemClock()
        self._threads: dict[str, Thread] = {}
        # Thread → the call that holds it, and until when.
        self._holds: dict[str, tuple[str, int]] = {}
        self._leases: dict[str, int] = {}  # Owner → when its lease ends.
        self._marks: dict[str, int] = {}  # Queue → when its latest claimed message was sent.
        self._leaders: dict[int, tuple[str, int]] = {}
        self._trust: dict[int, Trust] = {}
        self._changed = threading.Condition(threading.RLock())
        self._fence_floor = 0  # The greatest fence of a thread that was deleted.
        self._stale_refused = 0

    def stale_refused(self) -> int:
        """Return how many commits under an old fence were refused. (INV-3)"""
        return self._stale_refused

    # ---- commit -----------------------------------------------------------------------

    def commit(self, commit: Commit, meanwhile: Callable[[], None] | None = None) -> CommitResult:
        """See `Checkpointer.commit`."""
        del meanwhile  # There is nothing to wait for.
        commit = sealed_records.sealed(commit)
        with self._changed:
            now = self._clock.now_ms()
            thread = self._threads.get(commit.thread_id)
            held, until = self._holds.get(commit.thread_id, (None, 0))
            holder = held if until > now else None
            change = transition(thread, commit, now, holder, self._is_planned)
            if isinstance(change, Refused):
                if change.why is Refusal.STALE_FENCE and thread is not None:
                    self._stale_refused += 1
                    self._log(commit.log, thread, now, stale_event(commit))
                return CommitResult(refused=change.why, detail=change.detail, now_ms=now)
            if commit.hold_ms is not None:
                self._holds[commit.thread_id] = commit.holder, now + commit.hold_ms
                if not commit.hold_ms:
                    del self._holds[commit.thread_id]
            if commit.only_holds:
                return CommitResult(now_ms=now)
            if thread is None:
                thread = Thread(new_head(now), fence=self._fence_floor)
                self._threads[commit.thread_id] = thread
            thread.apply(commit, change, now)
            for draft in commit.events:
                self._log(commit.log, thread, now, draft)
            claim, waits = self._claim_of_commit(commit), commit.moves_line and thread.waits
            return CommitResult(now_ms=now, open=change.open, claim=claim, waiting=waits)

    def _is_planned(self, thread_id: str, step_id: str) -> bool:
        thread = self._threads.get(thread_id)
        return thread is not None and step_id in thread.steps

    def _log(self, log: str, thread: Thread, now: int, draft: EventDraft) -> None:
        """Append an event to a thread's log, or to that of `thread` itself if there is none."""
        self._threads.get(log, thread).log(now, draft)
        self._changed.notify_all()

    def _claim_of_commit(self, commit: Commit) -> Claim | None:
        take, step = commit.take, commit.takes
        if take is None or step is None:
            return None
        claim = self.claim(
            step.thread_id, step.step_id, owner=take.owner, token=take.token, known=take.known
        )
        return claim if claim.refused is None else None

    # ---- deleting -------------------------------------------------------------------------

    def delete(self, thread_id: str, *, keep_head: bool = False) -> Refusal | None:
        """See `Checkpointer.delete`."""
        with self._changed:
            thread = self._threads.get(thread_id)
            if thread is None:
                return Refusal.UNKNOWN_THREAD
            owner, now = thread.head.owner, self._clock.now_ms()
            alive = bool(owner) and self._leases.get(owner, -1) >= now
            held = self._holds.get(thread_id, ("", 0))[1] > now
            if held or is_busy(thread, owner_alive=alive):
                return Refusal.WRONG_STATUS
            if keep_head:
                drop_history(thread)
                return None
            for name in (thread_id, *self.children(thread_id)):
                self._fence_floor = max(self._fence_floor, self._threads.pop(name).fence)
            self._changed.notify_all()
            return None

    def children(self, thread_id: str) -> list[str]:
        """See `Checkpointer.children`."""
        with self._changed:
            return sorted(name for name in self._threads if name.startswith(thread_id + CHILD))

    # ---- the right to run a step --------------------------------------------------------

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
        with self._changed:
            now = self._clock.now_ms()
            thread = self._threads.get(thread_id)
            if thread is None:
                return Claim(refused=Refusal.UNKNOWN_THREAD, detail=thread_id, now_ms=now)
            if not thread.head.status.active:
                return Claim(refused=Refusal.WRONG_STATUS, detail=thread.head.status, now_ms=now)
            step = thread.steps.get(step_id)
            if step is not None and step.owner and step.token == token:
                return self._claimed(thread, step, set(known), now)
            refused = unready(step, now)
            if refused is not None:
                return Claim(refused=refused, detail=step_id, now_ms=now)
            assert step is not None
            thread.fence += 1
            step.owner, step.fence, step.attempt = owner, thread.fence, step.attempt + 1
            step.token = token
            step.wait = Wait.NOTHING
            lease_end = now + int(self._settings.lease_ttl_s * 1000)
            self._leases[owner] = max(lease_end, self._leases.get(owner, 0))
            queue = step.ready.queue
            self._marks[queue] = max(self._marks.get(queue, 0), sent_ms)
            if thread.head.status is RunStatus.QUEUED:
                thread.head = replace(thread.head, status=RunStatus.RUNNING)
            return self._claimed(thread, step, set(known), now)

    def _claimed(self, thread: Thread, step: Step, known: set[str], now: int) -> Claim:
        checkpoint = thread.checkpoints[step.ready.checkpoint_id]
        wanted = [*checkpoint.refs, step.ready.arg] if step.ready.arg else checkpoint.refs
        claim = Claim(
            now_ms=now,
            step=step.ready,
            fence=step.fence,
            attempt=step.attempt,
            failures=step.failures,
            deaths=step.deaths,
            reason=step.reason,
            head=opened_head(step.ready.thread_id, thread.head),
            header=checkpoint.header,
            refs=checkpoint.refs,
            blobs=found_values(thread.blobs.get, wanted, known),
            asks=dict(step.asks),
            answers=dict(step.answers),
            notes=dict(step.notes),
        )
        return sealed_records.opened_claim(step.ready.thread_id, claim)

    def renew(self, owners: Sequence[str], *, ttl_s: float) -> None:
        """See `Checkpointer.renew`."""
        with self._changed:
            end = self._clock.now_ms() + int(ttl_s * 1000)
            for owner in owners:
                self._leases[owner] = max(end, self._leases.get(owner, 0))

    def release(self, owner: str, *, died: bool = True) -> list[ReadyStep]:
        """See `Checkpointer.release`."""
        with self._changed:
            now = self._clock.now_ms()
            self._leases.pop(owner, None)
            released = []
            for thread in self._threads.values():
                for step in thread.steps.values():
                    if step.owner == owner:
                        self._release_step(thread, step, now, died=died)
                        if step.ready.queue and thread.head.status.active:
                            released.append(step.ready)
            return released

    def _release_step(self, thread: Thread, step: Step, now: int, *, died: bool = True) -> None:
        ready = step.ready
        event = released_event(ready.thread_id, ready.step_id, step.owner, step.fence)
        self._log(root_thread(ready.thread_id)[0], thread, now, event)
        step.owner = ""
        step.deaths += died
        step.reason = CRASHED if died else HANDED_BACK
        step.since_ms, step.sent_ms = now, -1

    # ---- sweeping -------------------------------------------------------------------------

    def sweep(self, partition: int, *, leader: str) -> Swept:
        """See `Checkpointer.sweep`."""
        with self._changed:
            now = self._clock.now_ms()
            lease_ms = int(self._settings.lease_ttl_s * 1000)
            # A dead leader is no silence: that others ask shows that keepers could have renewed.
            trust = self._trust.get(partition, Trust()).seen(now, lease_ms)
            self._trust[partition] = trust
            name, until = self._leaders.get(partition, ("", 0))
            if name != leader and until > now:
                return Swept()
            self._leaders[partition] = (leader, now + min(lease_ms, LEAD_MS))
            mine = self._mine(partition)
            released = self._expire(mine, now) if trust.expires(now, lease_ms) else 0
            due = []
            for thread in mine.values():
                if thread.head.status.active:
                    due += [step for step in thread.steps.values() if self._is_due(step, now)]
            due = due[: limits.SWEEP_BATCH_MAX]
            for step in due:
                step.wait, step.since_ms, step.sent_ms = Wait.NOTHING, now, -1
            grace = int(self._settings.hint_grace_s * 1000)
            idle = [
                thread
                for thread in mine.values()
                if thread.idle_since_ms and thread.idle_since_ms <= now - grace
            ]
            for thread in idle:
                thread.idle_since_ms = now
            ended = {i: t for i, t in mine.items() if t.head.updated_ms <= now - grace}
            return Swept(
                leading=True,
                due=tuple(step.ready for step in due),
                stuck=tuple(next(iter(t.steps.values())).ready for t in idle if not t.head.local),
                waiting=tuple(i for i, t in ended.items() if t.waits),
                released=released,
            )

    def _mine(self, partition: int) -> dict[str, Thread]:
        threads = self._threads.items()
        return {i: t for i, t in threads if partition_of(i, self.partitions) == partition}

    def _expire(self, threads: Mapping[str, Thread], now: int) -> int:
        released = 0
        for thread in threads.values():
            for step in thread.steps.values():
                if step.owner and self._leases.get(step.owner, 0) < now:
                    self._release_step(thread, step, now)
                    step.since_ms, step.sent_ms = 0, -1
                    released += 1
        return released

    def _is_due(self, step: Step, now: int) -> bool:
        grace = int(self._settings.hint_grace_s * 1000)
        return is_due(step, now, grace, self._marks.get(step.ready.queue, 0))

    def mark_sent(self, steps: Sequence[ReadyStep]) -> None:
        """See `Checkpointer.mark_sent`."""
        with self._changed:
            now = self._clock.now_ms()
            for ready in steps:
                thread = self._threads.get(ready.thread_id)
                step = thread.steps.get(ready.step_id) if thread else None
                if step is not None:
                    step.sent_ms = now

    def audit(
        self, partition: int, *, plan: Planner, repair: bool, cursor: str = "", limit: int = 100
    ) -> Audited:
        """See `Checkpointer.audit`."""
        with self._changed:
            mine, now, found = self._mine(partition), self._clock.now_ms(), list[Damage]()
            following = sorted(name for name in mine if name > cursor)
            for name in following[:limit]:
                thread = mine[name]
                queue = "" if thread.head.local else self._settings.queue
                write = partial(thread.repair, now) if repair else None
                found += audited(name, stored_state(thread, queue), plan, write)
            last = following[limit - 1] if len(following) > limit else ""
            return Audited(cursor=last, threads=len(following[:limit]), found=tuple(found))

    # ---- reading ------------------------------------------------------------------------

    def load(
        self, thread_id: str, *, checkpoint_id: int | None = None, values: bool = True
    ) -> LoadedThread | None:
        """See `Checkpointer.load`."""
        with self._changed:
            thread = self._threads.get(thread_id)
            if thread is None:
                return None
            now, owner = self._clock.now_ms(), thread.head.owner
            alive = bool(owner) and self._leases.get(owner, -1) >= now
            found = loaded_thread(thread, checkpoint_id, values=values, owner_alive=alive, now=now)
            if found is None:
                return None
            found = replace(found, head=opened_head(thread_id, found.head))
            named = named_values(thread.blobs.get, found.outcomes.values())
            return sealed_records.opened_thread(thread_id, found, named)

    def history(self, thread_id: str, *, before: int | None = None, limit: int = 100) -> list[int]:
        """See `Checkpointer.history`."""
        with self._changed:
            thread = self._threads.get(thread_id)
            ids = [
                i for i in (thread.checkpoints if thread else ()) if before is None or i < before
            ]
            return sorted(ids, reverse=True)[:limit]

    def threads(
        self, *, status: RunStatus | None = None, limit: int = 100
    ) -> list[tuple[str, Head]]:
        """See `Checkpointer.threads`."""
        with self._changed:
            own = [(id_, t.head) for id_, t in self._threads.items() if CHILD not in id_]
            found = [(id_, opened_head(id_, head)) for id_, head in own]
            found = [pair for pair in found if status is None or pair[1].status is status]
            return sorted(found, key=lambda pair: -pair[1].updated_ms)[:limit]

    def events(
        self, thread_id: str, *, after: int = 0, limit: int = 1000, wait_s: float = 0
    ) -> list[Event]:
        """See `Checkpointer.events`."""

        def newer() -> list[Event]:
            thread = self._threads.get(thread_id)
            return [e for e in thread.events if e.seq > after][:limit] if thread else []

        with self._changed:
            if wait_s > 0:
                self._changed.wait_for(lambda: bool(newer()), timeout=wait_s)
            return opened_events(thread_id, newer())

    # ---- for an overlay -------------------------------------------------------------------

    def restore(self, thread_id: str, thread: Thread) -> None:
        """Keep a thread as it is kept elsewhere."""
        with self._changed:
            self._threads[thread_id] = thread

    def add_values(self, thread_id: str, values: Mapping[str, bytes]) -> None:
        """Keep values of a thread that are kept elsewhere, if there is the thread."""
        with self._changed:
            thread = self._threads.get(thread_id)
            if thread is not None and values:
                sealed = sealed_records.sealed(Commit(thread_id=thread_id, blobs=values)).blobs
                thread.blobs = {**sealed, **thread.blobs}

    def knows(self, thread_id: str, names: Collection[str]) -> bool:
        """Return whether values of these names are kept of a thread."""
        with self._changed:
            thread = self._threads.get(thread_id)
            return all(name in thread.blobs for name in names) if thread else not names

    def is_active(self, thread_id: str) -> bool:
        """Return whether a thread is kept and its run is active."""
        thread = self._threads.get(thread_id)
        return thread is not None and thread.head.status.active

    def trim(self, thread_id: str) -> None:
        """Forget the checkpoints of a thread before its head, and what only they need."""
        with self._changed:
            thread = self._threads[thread_id]
            head = thread.head.checkpoint_id
            checkpoint = thread.checkpoints[head]
            args = (step.ready.arg for step in thread.steps.values() if step.ready.arg)
            thread.checkpoints = {head: checkpoint}
            thread.outcomes = {key: o for key, o in thread.outcomes.items() if key[0] == head}
            thread.blobs = found_values(thread.blobs.get, (*checkpoint.refs, *args))

    def close(self) -> None:
        """Do nothing: there are no connections."""
