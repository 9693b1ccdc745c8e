"""The checkpointer in this process's memory: the specification of the others. Read this first.

One lock makes every method atomic. Nothing here outlives the process. What an `if` refuses here,
the Lua scripts refuse in the same order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from orchestrator import limits
from orchestrator.checkpoint.audit import Audited
from orchestrator.checkpoint.commit import (
    CRASHED,
    HANDED_BACK,
    Claim,
    Commit,
    CommitResult,
    Event,
    LoadedThread,
    ReadyStep,
    Refusal,
    Swept,
    Wait,
)
from orchestrator.checkpoint.model import Head, RunStatus
from orchestrator.checkpointer.base import Planner
from orchestrator.checkpointer.lease_trust import LEAD_MS, Trust
from orchestrator.checkpointer.memory_audit import Auditing
from orchestrator.checkpointer.saver import BaseCheckpointSaver, check_serde
from orchestrator.checkpointer.transition import (
    Step,
    Thread,
    drop_history,
    is_busy,
    is_due,
    loaded_thread,
    new_head,
    opened_head,
    refusal,
    unready,
    update_step,
)
from orchestrator.clock import Clock, SystemClock
from orchestrator.config import Settings
from orchestrator.envelope import sealed_records
from orchestrator.envelope.event_codec import opened_events
from orchestrator.envelope.list_tails import found_values, named_values
from orchestrator.frozen import replace
from orchestrator.ids import CHILD, below, partition_of, root_thread

__all__ = ["MemoryCheckpointer"]

_Fields = Mapping[str, str | int | bytes]


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
        """Start empty; `serde` is refused, since there is one codec."""
        check_serde(serde)
        self._settings = settings or Settings()
        self.partitions = self._settings.partitions
        self._clock = clock or SystemClock()
        self._threads: dict[str, Thread] = {}
        self._holds: dict[str, tuple[str, int]] = {}  # Thread → who holds it, and until when.
        self._leases: dict[str, int] = {}  # Owner → when its lease ends.
        self._marks: dict[str, int] = {}  # Queue → when its latest claimed message was sent.
        self._leaders: dict[int, tuple[str, int]] = {}
        self._trust: dict[int, Trust] = {}
        self._changed = threading.Condition(threading.RLock())
        self._fence_floor = 0  # The greatest fence of a thread that was deleted.
        self.refused_stale = 0

    # ---- commit -----------------------------------------------------------------------

    def commit(self, commit: Commit, meanwhile: Callable[[], None] | None = None) -> CommitResult:
        """See `Checkpointer.commit`."""
        del meanwhile  # It waits for nobody.
        commit = sealed_records.sealed(commit)
        with self._changed:
            now = self._clock.now_ms()
            thread = self._threads.get(commit.thread_id)
            refused, detail = self._hold_refusal(commit, now)
            if refused is None:
                refused, detail = refusal(thread, commit)
            if refused is None and commit.parent is not None:
                refused, detail = self._parent_refusal(*commit.parent)
            if refused is not None:
                if refused is Refusal.STALE_FENCE and thread is not None:
                    self.refused_stale += 1
                    assert commit.guard is not None
                    step, fence = commit.guard.step_id, commit.guard.fence
                    what: _Fields = {"step": step, "reason": refused, "fence": fence}
                    what = {**what, **below(commit.thread_id)}
                    self._log(commit.log, thread, now, "commit_refused", what)
                return CommitResult(refused=refused, detail=detail, now_ms=now)
            if commit.hold_ms is not None:
                self._holds[commit.thread_id] = commit.holder, now + commit.hold_ms
                if not commit.hold_ms:
                    del self._holds[commit.thread_id]
            if commit.only_holds:
                return CommitResult(now_ms=now)
            if thread is None:
                thread = Thread(new_head(now), fence=self._fence_floor)
                self._threads[commit.thread_id] = thread
            self._apply(thread, commit, now)
            claim = self._take(commit)
            opened, waits = thread.head.open, commit.moves_line and thread.waits
            return CommitResult(now_ms=now, open=opened, claim=claim, waiting=waits)

    def _parent_refusal(self, thread_id: str, step_id: str) -> tuple[Refusal | None, str]:
        around = self._threads.get(thread_id)
        planned = around is not None and step_id in around.steps
        return (None, "") if planned else (Refusal.UNKNOWN_STEP, step_id)

    def _hold_refusal(self, commit: Commit, now: int) -> tuple[Refusal | None, str]:
        """Return whether another call holds the thread, and which."""
        held, until = self._holds.get(commit.thread_id, ("", 0))
        fits = until <= now or held == commit.holder or commit.guard is not None
        return (None, "") if fits else (Refusal.HELD, held)

    def _apply(self, thread: Thread, commit: Commit, now: int) -> None:
        head: dict[str, Any] = {"updated_ms": now, **commit.head}
        opened = thread.head.open
        thread.blobs.update(commit.blobs)
        if commit.guard is not None:
            step = thread.steps[commit.guard.step_id]
            step.notes = {**commit.notes, **step.notes}
            if not commit.keeps_claim:
                step.owner = ""
            if commit.completed is not None:
                step.notes = {}
                thread.done.add(commit.guard.step_id)
                thread.outcomes[step.ready.checkpoint_id, commit.guard.step_id] = commit.completed
                opened -= 1
        for step in thread.steps.values() if commit.revoke else ():
            step.owner = ""
        for answer in commit.answers:
            thread.steps[answer.step_id].answers[answer.interrupt_id] = answer.value
        for update in commit.updates:
            if update.step.step_id not in thread.done:
                opened += update_step(thread.steps[update.step.step_id], update, now)
        if commit.checkpoint is not None:
            thread.checkpoints[commit.checkpoint.id] = commit.checkpoint
            head["checkpoint_id"] = commit.checkpoint.id
            thread.steps = {}
            thread.done = set()
            opened = 0
        thread.outcomes.update(commit.results)
        for ready in commit.ready:
            thread.steps[ready.step_id] = Step(ready, since_ms=now)
            opened += 1
        if commit.status is not None:
            head["status"] = commit.status
        if commit.key is not None:
            thread.keys[commit.key[0]] = commit.key[1]
        if commit.dequeue is not None:
            del thread.line[commit.dequeue]
        if commit.enqueue is not None:
            thread.line[commit.enqueue[0]] = commit.enqueue[1]
        thread.head = replace(thread.head, open=opened, **head)
        stuck = opened == 0 and bool(thread.steps) and thread.head.status.active
        thread.idle_since_ms = (thread.idle_since_ms or now) if stuck else 0
        for draft in commit.events:
            self._log(commit.log, thread, now, draft.type, draft.fields)

    def _log(self, log: str, thread: Thread, now: int, type_: str, fields: _Fields) -> None:
        """Append an event to a thread's log, or to that of `thread` itself if there is none."""
        self._threads.get(log, thread).log(now, type_, fields)
        self._changed.notify_all()

    def _take(self, commit: Commit) -> Claim | None:
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
            refused = unready(thread, step_id, now)
            if refused is not None:
                return Claim(refused=refused, detail=step_id, now_ms=now)
            step = thread.steps[step_id]
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
                        self._take_away(thread, step, now, died=died)
                        if step.ready.queue and thread.head.status.active:
                            released.append(step.ready)
            return released

    def _take_away(self, thread: Thread, step: Step, now: int, *, died: bool = True) -> None:
        ready = step.ready
        what: _Fields = {"step": ready.step_id, "owner": step.owner, "fence": step.fence}
        what = {**what, **below(ready.thread_id)}
        self._log(root_thread(ready.thread_id)[0], thread, now, "step_released", what)
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
                    due += [
                        step for step in thread.steps.values() if self._is_due(thread, step, now)
                    ]
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
                    self._take_away(thread, step, now)
                    step.since_ms, step.sent_ms = 0, -1
                    released += 1
        return released

    def _is_due(self, thread: Thread, step: Step, now: int) -> bool:
        grace = int(self._settings.hint_grace_s * 1000)
        return is_due(thread, step, now, grace, self._marks.get(step.ready.queue, 0))

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
            auditing = Auditing(plan, self._settings.queue, self._clock.now_ms(), repair)
            return auditing.some(self._mine(partition), cursor, limit)

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

    # ---- what an overlay does with it -----------------------------------------------------

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
        """Keep everything: closing is for those who hold connections."""
