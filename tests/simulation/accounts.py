"""What really happened, kept apart from the store: each event is held against the promises.

The accounts see every operation as it takes effect, whoever asked and whether or not the answer
arrives. They believe nothing that the store says of itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import limits
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.checkpointer.memory_thread import Thread
from orchestrator.ids import root_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    Claim,
    Commit,
    CommitResult,
    ReadyStep,
    Refusal,
    Swept,
    Wait,
)
from tests.simulation.world import Process, World

__all__ = ["Accounts"]

_Key = tuple[str, str]  # Thread and step.
_RESTS = (RunStatus.PAUSED, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


@dataclass(slots=True)
class _Held:
    """The right to run a step, as it was given."""

    fence: int
    owner: str
    token: str
    live: bool = True  # Nobody has taken it away, nor was it used.


class Accounts:
    """The accounts of one world."""

    def __init__(self, world: World, store: MemoryCheckpointer, lease_ms: int) -> None:
        """Begin with nothing."""
        self.world, self.store, self._lease_ms = world, store, lease_ms
        self.wrong = world.wrong
        self.committed: set[_Key] = set()
        self.held: dict[str, dict[str, _Held]] = defaultdict(dict)  # Thread → step of its plan.
        self.fences: dict[str, int] = defaultdict(int)
        self.leases: dict[str, int] = {}
        self.plans: dict[str, tuple[str, ...]] = {}
        self.asked: set[_Key] = set()  # Thread and question.
        self.answered: dict[_Key, bytes] = {}
        self.runs: dict[str, dict[str, str]] = defaultdict(dict)  # Thread → run → what it does.
        self.given_up: set[str] = set()  # Threads in which a step lost its worker too often.

    # ---- commits ------------------------------------------------------------------------------

    def commit(self, process: Process, commit: Commit) -> CommitResult:
        """Let a commit take effect, or be refused; check either."""
        store, thread_id = self.store, commit.thread_id
        before = _shape(store, commit)
        refused_before = store.stale_refused()
        was = store._threads.get(thread_id)
        head = was.head if was is not None else None
        result = store.commit(commit)
        counts = self.world.counts
        if self.world.trace is not None:
            self.world.note(process.name, "commit", _brief(commit), result.refused or "")
        if result.refused is not None:
            counts[f"refused: {result.refused}"] += 1
            stale = int(result.refused is Refusal.STALE_FENCE)
            if stale:
                counts["stale refused"] += 1
            if store.stale_refused() != refused_before + stale:
                self.wrong("INV-3", f"a refusal was not counted: {_brief(commit)}")
            if _shape(store, commit, -stale) != before:
                self.wrong("INV-3", f"a refused commit changed something: {_brief(commit)}")
            return result
        self._check_line(commit, head)
        if commit.guard is not None:
            self._check_guard(commit)
        if commit.answers:
            self._check_answers(commit)
        self._check_updates(commit)
        if commit.checkpoint is not None:
            self._check_plan(commit)
        self._check_told(commit)
        if result.claim is not None:  # Who committed goes on in place.
            assert commit.take is not None
            self.world.counts["in place"] += 1
            self._took(thread_id, result.claim, commit.take.owner, commit.take.token)
        thread = store._threads[thread_id]
        self._check_not_forgotten(thread_id, thread)
        return result

    def _check_guard(self, commit: Commit) -> None:
        assert commit.guard is not None
        key = (commit.thread_id, commit.guard.step_id)
        held = self.held[commit.thread_id].get(commit.guard.step_id)
        if held is None or held.fence != commit.guard.fence:
            self.wrong("INV-3", f"a commit under an old fence was accepted: {_brief(commit)}")
        if not held.live:
            self.wrong("INV-3", f"a commit without the claim was accepted: {_brief(commit)}")
        if not commit.keeps_claim:
            held.live = False
        if commit.completed is not None:
            if key in self.committed:
                self.wrong("INV-2", f"a step was committed twice: {_brief(commit)}")
            self.committed.add(key)
            self.world.counts["commits"] += 1

    def _check_line(self, commit: Commit, head: Any) -> None:
        """Hold against INV-9: a run begins where none is active; and keep the book of runs."""
        new = commit.head.get("run_id")
        runs = self.runs[commit.thread_id]
        if new is not None and head is not None and head.run_id != new and head.status.active:
            self.wrong("INV-9", f"the run {new} begins while {head.run_id} is {head.status}")
        if commit.enqueue is not None:
            runs[commit.enqueue[0]] = "waits"
        if commit.dequeue is not None and new is None:
            runs[commit.dequeue] = "withdrawn"
        if new is not None:
            runs[str(new)] = "active"
        run = str(new or (head.run_id if head is not None else ""))
        if commit.status is not None and run:
            runs[run] = str(commit.status)

    def _check_answers(self, commit: Commit) -> None:
        for answer in commit.answers:
            key = (commit.thread_id, answer.interrupt_id)
            if key in self.answered:
                self.wrong("INV-8", f"a question was answered twice: {answer.interrupt_id}")
            if key not in self.asked:
                self.wrong("INV-8", f"an answer without a question: {answer.interrupt_id}")
            self.answered[key] = answer.value
            self.world.counts["answers"] += 1

    def _check_updates(self, commit: Commit) -> None:
        if commit.revoke:
            for held in self.held[commit.thread_id].values():
                held.live = False
        for update in commit.updates:
            for question in update.asks:
                key = (commit.thread_id, question)
                if key in self.answered:
                    self.wrong("INV-8", f"a question is asked again after its answer: {question}")
                self.asked.add(key)
            if update.wait is Wait.PERSON and update.error:
                if "step_failed" not in {event.type for event in commit.events}:
                    self.wrong("INV-7", f"a step failed for good without an event: {update.step}")
                if "lost its worker" in update.reason:
                    self.given_up.add(root_thread(commit.thread_id)[0])

    def _check_plan(self, commit: Commit) -> None:
        """Hold against INV-2 and INV-4: a superstep ends when each of its steps is committed."""
        thread_id = commit.thread_id
        begins = {event.type for event in commit.events} & {
            "run_accepted",
            "run_resumed",
            "state_edited",
        }
        if not begins:
            open_ = [s for s in self.plans[thread_id] if (thread_id, s) not in self.committed]
            if open_:
                self.wrong("INV-2", f"a superstep ended without its steps {open_}")
        self.plans[thread_id] = tuple(step.step_id for step in commit.ready)
        self.held[thread_id] = {}

    def _check_told(self, commit: Commit) -> None:
        if commit.status in _RESTS:
            told = {event.type for event in commit.events}
            if f"run_{commit.status}" not in told and "state_edited" not in told:
                self.wrong("INV-7", f"a run came to rest without an event: {_brief(commit)}")

    def _check_not_forgotten(self, thread_id: str, thread: Thread) -> None:
        """Hold against INV-7: something will make an active thread go on."""
        head = thread.head
        if not head.status.active:
            return
        open_ = [s for s in thread.steps.values() if not s.completed]
        moves = [s for s in open_ if s.owner or s.wait in {Wait.NOTHING, Wait.TIMER}]
        if moves or (thread.steps and not head.open):
            return
        self.wrong("INV-7", f"nothing will make the thread {thread_id!r} go on: {open_}")

    # ---- claims ---------------------------------------------------------------------------------

    def claim(
        self, process: Process, thread_id: str, step_id: str, owner: str, given: Mapping[str, Any]
    ) -> Claim:
        """Let a claim be made; check what was given."""
        claim = self.store.claim(thread_id, step_id, owner=owner, **given)
        if self.world.trace is not None:
            what = claim.refused or claim.fence
            self.world.note(process.name, "claim", _path(thread_id), step_id[:8], what)
        if claim.refused is None:
            self._took(thread_id, claim, owner, given["token"])
        else:
            self.world.counts[f"claim refused: {claim.refused}"] += 1
        return claim

    def _took(self, thread_id: str, claim: Claim, owner: str, token: str) -> None:
        assert claim.step is not None
        key = (thread_id, claim.step.step_id)
        known = self.held[thread_id].get(claim.step.step_id)
        if known is not None and known.live and known.fence == claim.fence and known.token == token:
            return  # The same claim, for who did not get the answer.
        if key in self.committed:
            self.wrong("INV-4", f"a committed step is given out again: {claim.step.task_id}")
        if known is not None and known.live:
            self.wrong("INV-2", f"{owner} and {known.owner} both hold {claim.step.task_id}")
        if claim.fence <= self.fences[thread_id]:
            self.wrong("INV-3", f"the fence of {claim.step.task_id} does not grow: {claim.fence}")
        self.fences[thread_id] = claim.fence
        self.held[thread_id][claim.step.step_id] = _Held(claim.fence, owner, token)
        self.leases[owner] = max(self.leases.get(owner, 0), claim.now_ms + self._lease_ms)
        self.world.counts["steps"] += 1

    def renew(self, owners: Sequence[str], ttl_s: float) -> None:
        """Prolong leases."""
        self.store.renew(owners, ttl_s=ttl_s)
        end = self.world.clock.now_ms() + int(ttl_s * 1000)
        for owner in owners:
            self.leases[owner] = max(self.leases.get(owner, 0), end)

    def release(self, process: Process, owner: str) -> list[ReadyStep]:
        """Take the claims of a dead process away."""
        released = self.store.release(owner)
        self.leases.pop(owner, None)
        for held in (held for steps in self.held.values() for held in steps.values()):
            if held.owner == owner:
                held.live = False
        self.world.counts["released"] += len(released)
        self.world.note(process.name, "release", owner, len(released))
        return released

    def sweep(self, process: Process, partition: int, leader: str) -> Swept:
        """Sweep; check what is taken away, and how much is handed out at once."""
        swept = self.store.sweep(partition, leader=leader)
        if swept.released:
            self._check_taken()
            self.world.counts["expired"] += swept.released
        if len(swept.due) > limits.SWEEP_BATCH_MAX:
            self.wrong("INV-7", f"{len(swept.due)} steps are handed out at once: a storm")
        if swept.released or swept.due or swept.stuck or swept.waiting:
            self.world.counts["stuck"] += len(swept.stuck)
            self.world.note(process.name, "sweep", swept.released, len(swept.due), len(swept.stuck))
        return swept

    def _check_taken(self) -> None:
        """Hold against INV-4: nobody loses a claim whose lease was kept."""
        now = self.world.clock.now_ms()
        for thread_id, step_id, held in [
            (t, s, held) for t, steps in self.held.items() for s, held in steps.items()
        ]:
            thread = self.store._threads[thread_id]
            step = thread.steps.get(step_id)
            if not held.live or (step is not None and step.owner == held.owner):
                continue
            if self.leases.get(held.owner, 0) >= now:
                self.wrong("INV-4", f"{held.owner} lost a step while its lease was kept")
            held.live = False


def _shape(store: MemoryCheckpointer, commit: Commit, added: int = 0) -> Any:
    """Return the parts of a thread that a commit can change; `added`: events that it may add."""
    thread = store._threads.get(commit.thread_id)
    if thread is None:
        return None
    log = store._threads.get(commit.log, thread)
    sizes = (len(thread.checkpoints), len(thread.blobs), len(thread.outcomes), len(thread.line))
    return (
        thread.head,
        sizes,
        len(thread.steps),
        sum(s.completed for s in thread.steps.values()),
        log.seq + added,
    )


def _path(thread_id: str) -> str:
    return thread_id.replace("\x1f", "/")[:40]


def _brief(commit: Commit) -> str:
    what = [_path(commit.thread_id)]
    if commit.guard is not None:
        what.append(f"{commit.guard.step_id[:8]}#{commit.guard.fence}")
    what += [event.type for event in commit.events]
    if commit.completed is not None and commit.checkpoint is None:
        what.append("of several")
    return " ".join(what)
