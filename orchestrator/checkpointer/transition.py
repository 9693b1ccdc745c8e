"""What a commit makes of a thread, or why it is refused. Pure: memory and SQLite both obey it.

A store shows the thread as a `ThreadView`, calls `transition`, and writes what the answer says:
those fields of the head and of steps that a rule decides. What a commit merely brings (values, a
checkpoint, events, keys) each store writes as it is. `commit.lua` decides the same in the same
order; a test compares the two.

Rule 1: every check comes before the first write, in one order. (INV-1)
Rule 2: a step is ready unless it is completed, claimed, or waits. (INV-2, INV-3)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from orchestrator.frozen import frozen
from orchestrator.ids import below
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    SETTLED_WAITS,
    Answer,
    Commit,
    EventDraft,
    Refusal,
    StepUpdate,
    Wait,
)
from orchestrator.model.events import CommitRefused, Entry, StepReleased


class StepView(Protocol):
    """A step of the current plan, as a store keeps it."""

    @property
    def wait(self) -> str:
        """What it waits for: a `Wait`, or its text."""
        ...

    @property
    def failures(self) -> int:
        """How many attempts failed."""
        ...

    @property
    def deaths(self) -> int:
        """How many times its worker died."""
        ...

    @property
    def due_ms(self) -> int:
        """When its timer is due."""
        ...

    @property
    def error(self) -> bytes:
        """The error of its last failed attempt."""
        ...

    @property
    def completed(self) -> bool:
        """Whether it has its one result. (INV-2)"""
        ...

    @property
    def owner(self) -> Any:
        """The process that has claimed it; empty or `None` without a claim."""
        ...

    @property
    def fence(self) -> int | None:
        """The fence of its claim."""
        ...

    @property
    def settled(self) -> Any:
        """Whether it waits for an answer or a person."""
        ...


_Step = TypeVar("_Step", bound=StepView)


class HeadView(Protocol):
    """The fields of a head that decide: those of `Head`."""

    @property
    def status(self) -> RunStatus:
        """The status of its run."""
        ...

    @property
    def checkpoint_id(self) -> int:
        """The head checkpoint."""
        ...

    @property
    def run_id(self) -> str:
        """The run."""
        ...

    @property
    def open(self) -> int:
        """How many steps keep the superstep open."""
        ...


class ThreadView(Protocol[_Step]):
    """A thread as a store reads it, before a commit. Each method reads only what it returns."""

    @property
    def head(self) -> HeadView:
        """The head."""
        ...

    def run_of_key(self, key: str) -> str | None:
        """Return the run that was accepted under an idempotency key."""
        ...

    def step(self, step_id: str) -> _Step | None:
        """Return a step of the current plan."""
        ...

    def is_unanswered(self, step: _Step, interrupt_id: str) -> bool:
        """Return whether a step has asked a question that has no answer."""
        ...

    def is_enqueued(self, run_id: str) -> bool:
        """Return whether a run waits in the thread's queue."""
        ...

    def has_steps(self) -> bool:
        """Return whether the current plan has steps."""
        ...


@frozen(kw_only=False)
class Refused:
    """A commit that changes nothing."""

    why: Refusal
    detail: str


@frozen
class StepChange:
    """The new fields of a step that is not completed."""

    update: StepUpdate
    wait: Wait
    reason: str
    due_ms: int
    since_ms: int
    error: bytes
    failures: int
    deaths: int
    settled: bool


@frozen(kw_only=False)
class Change:
    """What a commit makes of a thread, beyond what it brings."""

    status: RunStatus
    open: int  # How many steps keep the superstep open.
    stuck: bool  # Whether the superstep is settled and must be advanced.
    guarded: Any = None  # The step of the guard, as the view returned it.
    steps: Sequence[tuple[Any, StepChange]] = ()  # Steps as the view returned them.


def transition(
    view: ThreadView[Any] | None,
    commit: Commit,
    now: int,
    holder: str | None,
    is_planned: Callable[[str, str], bool],
) -> Refused | Change:
    """Return what a commit makes of a thread, or why it is refused.

    Args:
        view: the thread; `None` if there is none.
        commit: the commit.
        now: the store's time.
        holder: the call that holds the thread, if one does.
        is_planned: returns whether a thread has a step in its current plan.
    """
    guard = commit.guard
    if guard is None and holder is not None and holder != commit.holder:
        return Refused(Refusal.HELD, holder)
    guarded, open_, status = None, 0, commit.status or RunStatus.QUEUED
    if view is not None:
        open_, status = view.head.open, commit.status or view.head.status
        guarded = view.step(guard.step_id) if guard is not None else None
        refused = _refusal(view, commit, guarded)
    else:
        refused = None if commit.expect_new else Refused(Refusal.UNKNOWN_THREAD, commit.thread_id)
    if refused is None and commit.parent is not None and not is_planned(*commit.parent):
        refused = Refused(Refusal.UNKNOWN_STEP, commit.parent[1])
    if refused is not None:
        return refused
    if commit.completed is not None and guarded is not None:
        open_ -= 1
    steps: Sequence[tuple[StepView, StepChange]] = ()
    if commit.updates and view is not None:
        steps = _changes(view, commit, now)
        open_ += sum(bool(step.settled) - change.settled for step, change in steps)
    if commit.checkpoint is not None:
        open_ = 0
    open_ += len(commit.ready)
    stuck = False
    if not open_ and status.active and commit.checkpoint is None and view is not None:
        stuck = view.has_steps()
    return Change(status, open_, stuck, guarded, steps)


def _refusal(view: ThreadView[Any], commit: Commit, guarded: StepView | None) -> Refused | None:
    """Return why a commit is refused; the order of the checks is part of the contract."""
    head, guard = view.head, commit.guard
    if commit.key is not None and (run := view.run_of_key(commit.key[0])) is not None:
        return Refused(Refusal.KEY_USED, run)
    if commit.expect_new:
        return Refused(Refusal.THREAD_EXISTS, commit.thread_id)
    if guard is not None:
        if guarded is not None and guarded.completed:
            return Refused(Refusal.COMPLETED, guard.step_id)
        if guarded is None or guarded.fence != guard.fence or not guarded.owner:
            return Refused(Refusal.STALE_FENCE, guard.step_id)
    if commit.expect_head is not None and head.checkpoint_id != commit.expect_head:
        return Refused(Refusal.HEAD_MOVED, str(head.checkpoint_id))
    if commit.expect_run is not None and head.run_id != commit.expect_run:
        return Refused(Refusal.WRONG_RUN, head.run_id)
    if commit.expect_status and head.status not in commit.expect_status:
        return Refused(Refusal.WRONG_STATUS, head.status)
    if commit.expect_settled and head.open:
        return Refused(Refusal.UNSETTLED, str(head.open))
    for answer in commit.answers:
        if not _is_open(view, answer):
            return Refused(Refusal.NO_INTERRUPT, answer.interrupt_id)
    for update in commit.updates:
        if view.step(update.step.step_id) is None:
            return Refused(Refusal.UNKNOWN_STEP, update.step.step_id)
    if commit.dequeue is not None and not view.is_enqueued(commit.dequeue):
        return Refused(Refusal.NOT_WAITING, commit.dequeue)
    return None


def _is_open(view: ThreadView[Any], answer: Answer) -> bool:
    """Return whether a step waits for this answer. (INV-8)"""
    step = view.step(answer.step_id)
    if step is None or step.wait != Wait.ANSWER or step.completed:
        return False
    return view.is_unanswered(step, answer.interrupt_id)


def _changes(view: ThreadView[Any], commit: Commit, now: int) -> list[tuple[StepView, StepChange]]:
    completes = commit.guard.step_id if commit.guard and commit.completed is not None else ""
    found = []
    for update in commit.updates:
        step = view.step(update.step.step_id)
        if step is not None and not step.completed and update.step.step_id != completes:
            found.append((step, _changed(step, update, now)))
    return found


def _changed(step: StepView, update: StepUpdate, now: int) -> StepChange:
    wait = update.wait
    return StepChange(
        update=update,
        wait=wait,
        reason=update.reason,
        due_ms=now + update.delay_ms if wait is Wait.TIMER else 0,
        since_ms=now,
        error=step.error if update.error is None else update.error,
        failures=0 if update.reset else step.failures + update.failed,
        deaths=0 if update.reset else step.deaths,
        settled=wait in SETTLED_WAITS,
    )


def unready(step: StepView | None, now: int) -> Refusal | None:
    """Return why a step cannot be claimed; `None` if it is ready. (Rule 2)"""
    if step is None:
        return Refusal.UNKNOWN_STEP
    if step.completed:
        return Refusal.COMPLETED
    if step.owner:
        return Refusal.CLAIMED
    if step.wait == Wait.NOTHING or (step.wait == Wait.TIMER and step.due_ms <= now):
        return None
    return Refusal.WAITING


def stale_event(commit: Commit) -> EventDraft:
    """Return the event of a commit that was refused for its fence. (INV-3)"""
    assert commit.guard is not None
    step, fence = commit.guard.step_id, commit.guard.fence
    entry = CommitRefused(step=step, reason=Refusal.STALE_FENCE.value, fence=fence)
    return _in_namespace(entry, commit.thread_id)


def released_event(thread_id: str, step_id: str, owner: str, fence: int) -> EventDraft:
    """Return the event of a claim that was released."""
    return _in_namespace(StepReleased(step=step_id, owner=owner, fence=fence), thread_id)


def _in_namespace(entry: Entry, thread_id: str) -> EventDraft:
    draft = entry.draft()
    return EventDraft(draft.type, {**draft.fields, **below(thread_id)})
