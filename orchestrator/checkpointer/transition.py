"""What the memory checkpointer keeps of a thread and of a step, and the rules of one step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator import limits
from orchestrator.checkpoint.commit import (
    Answer,
    Commit,
    Event,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    Refusal,
    StepGuard,
    StepUpdate,
    StoredCheckpoint,
    Wait,
    as_bytes,
)
from orchestrator.checkpoint.model import Head, RunStatus
from orchestrator.envelope.list_tails import found_values
from orchestrator.envelope.seal import needs
from orchestrator.envelope.sealed_records import opened_config, opened_error, sealed
from orchestrator.frozen import replace


@dataclass(slots=True)
class Step:
    """A step of the current plan; ready unless completed, claimed or waiting. (Rule 4)"""

    ready: ReadyStep
    wait: Wait = Wait.NOTHING
    owner: str = ""
    token: str = ""  # Of the attempt to claim that got it.
    fence: int = 0
    attempt: int = 0
    failures: int = 0
    deaths: int = 0
    due_ms: int = 0
    since_ms: int = 0  # When it became ready.
    sent_ms: int = -1  # When its message was last handed out; -1: not since it became ready.
    settled: bool = False  # Whether it no longer keeps the superstep open.
    reason: str = ""
    error: bytes = b""
    asks: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Thread:
    """Everything about a thread."""

    head: Head
    checkpoints: dict[int, StoredCheckpoint] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    outcomes: dict[tuple[int, str], bytes] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)  # completedSteps beyond the head checkpoint.
    keys: dict[str, str] = field(default_factory=dict)
    line: dict[str, bytes] = field(default_factory=dict)  # Runs that wait for the one there is.
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=limits.EVENTS_MAX))
    seq: int = 0
    fence: int = 0
    idle_since_ms: int = 0  # When the superstep was done but not yet advanced; 0: it is not.

    @property
    def waits(self) -> bool:
        """Whether the next run in line may begin."""
        return self.head.status.final and bool(self.line)

    def log(self, now: int, type_: str, fields: Mapping[str, str | int | bytes]) -> None:
        """Append an event to the thread's log."""
        self.seq += 1
        encoded = {key: as_bytes(value) for key, value in fields.items()}
        self.events.append(Event(self.seq, now, type_, encoded))


def thread_of(thread_id: str, loaded: LoadedThread) -> Thread:
    """Return a thread that was loaded from elsewhere, as it is kept here."""
    told: dict[str, Any] = {"config": loaded.head.config, "error": loaded.head.error}
    kept = sealed(
        Commit(thread_id=thread_id, checkpoint=loaded.checkpoint, blobs=loaded.blobs, head=told)
    )
    assert kept.checkpoint is not None
    told = dict(kept.head)
    id_ = kept.checkpoint.id
    thread = Thread(
        head=replace(loaded.head, **told),
        checkpoints={id_: kept.checkpoint},
        blobs=dict(kept.blobs),
        line=dict(loaded.line),
        seq=loaded.seq,
    )
    for step_id, outcome in loaded.outcomes.items():
        guard = StepGuard(step_id, 0)
        done = sealed(Commit(thread_id=thread_id, guard=guard, completed=outcome)).completed
        assert done is not None
        thread.outcomes[id_, step_id] = done
    for step_id, step in loaded.steps.items():
        thread.steps[step_id] = _kept_step(thread_id, step)
        if step.completed:
            thread.done.add(step_id)
    return thread


def _kept_step(thread_id: str, loaded: LoadedStep) -> Step:
    id_ = loaded.step.step_id
    update = StepUpdate(step=loaded.step, asks=loaded.asks, error=loaded.error or None)
    answers = tuple(Answer(id_, name, value) for name, value in loaded.answers.items())
    own = Commit(
        thread_id=thread_id,
        guard=StepGuard(id_, 0),
        updates=(update,),
        answers=answers,
        notes=loaded.notes,
    )
    kept = sealed(own)
    return Step(
        loaded.step,
        wait=loaded.wait,
        owner=loaded.owner,
        attempt=loaded.attempt,
        failures=loaded.failures,
        deaths=loaded.deaths,
        due_ms=loaded.due_ms,
        settled=loaded.wait in {Wait.ANSWER, Wait.PERSON},
        reason=loaded.reason,
        error=kept.updates[0].error or b"",
        asks=dict(kept.updates[0].asks),
        answers={answer.interrupt_id: answer.value for answer in kept.answers},
        notes=dict(kept.notes),
    )


def new_head(now: int) -> Head:
    """Return the head of a thread before its first commit."""
    return Head(
        graph="",
        fingerprint="",
        run_id="",
        status=RunStatus.QUEUED,
        checkpoint_id=0,
        created_ms=now,
        updated_ms=now,
    )


def opened_head(thread_id: str, head: Head) -> Head:
    """Return a head whose records were checked."""
    config = opened_config(thread_id, head.config)
    return replace(head, config=config, error=opened_error(thread_id, head.error))


def is_busy(thread: Thread, *, owner_alive: bool) -> bool:
    """Return whether a thread has a run that is active, or one in line."""
    claimed = any(step.owner for step in thread.steps.values())
    abandoned = thread.head.local and not claimed and not owner_alive
    return (thread.head.status.active and not abandoned) or bool(thread.line)


def drop_history(thread: Thread) -> None:
    """Delete every checkpoint but the head, and what only those need."""
    head = thread.checkpoints[thread.head.checkpoint_id]
    thread.checkpoints = {head.id: head}
    thread.outcomes = {key: value for key, value in thread.outcomes.items() if key[0] == head.id}
    args = (step.ready.arg for step in thread.steps.values() if step.ready.arg)
    named = (name for record in (head.header, *thread.outcomes.values()) for name in needs(record))
    thread.blobs = found_values(thread.blobs.get, (*head.refs, *args, *named))


def asks(thread: Thread, answer: Answer) -> bool:
    """Return whether a question is open: its step waits for the answer. (INV-8)"""
    step = thread.steps.get(answer.step_id)
    if step is None or step.wait is not Wait.ANSWER or answer.step_id in thread.done:
        return False
    return answer.interrupt_id in step.asks and answer.interrupt_id not in step.answers


def refusal(thread: Thread | None, commit: Commit) -> tuple[Refusal | None, str]:
    """Return why a commit cannot be made, and the detail of it; the order is part of it."""
    if thread is None:
        return (None, "") if commit.expect_new else (Refusal.UNKNOWN_THREAD, commit.thread_id)
    head = thread.head
    if commit.key is not None and commit.key[0] in thread.keys:
        return Refusal.KEY_USED, thread.keys[commit.key[0]]
    if commit.expect_new:
        return Refusal.THREAD_EXISTS, commit.thread_id
    if commit.guard is not None:
        step = thread.steps.get(commit.guard.step_id)
        if commit.guard.step_id in thread.done:
            return Refusal.COMPLETED, commit.guard.step_id
        if step is None or step.fence != commit.guard.fence or not step.owner:
            return Refusal.STALE_FENCE, commit.guard.step_id
    if commit.expect_head is not None and head.checkpoint_id != commit.expect_head:
        return Refusal.HEAD_MOVED, str(head.checkpoint_id)
    if commit.expect_run is not None and head.run_id != commit.expect_run:
        return Refusal.WRONG_RUN, head.run_id
    if commit.expect_status and head.status not in commit.expect_status:
        return Refusal.WRONG_STATUS, head.status
    if commit.expect_settled and head.open:
        return Refusal.UNSETTLED, str(head.open)
    return _refused_parts(thread, commit)


def _refused_parts(thread: Thread, commit: Commit) -> tuple[Refusal | None, str]:
    """Return why one of the things that a commit speaks of cannot be changed."""
    for answer in commit.answers:
        if not asks(thread, answer):
            return Refusal.NO_INTERRUPT, answer.interrupt_id
    for update in commit.updates:
        if update.step.step_id not in thread.steps:
            return Refusal.UNKNOWN_STEP, update.step.step_id
    if commit.dequeue is not None and commit.dequeue not in thread.line:
        return Refusal.NOT_WAITING, commit.dequeue
    return None, ""


def unready(thread: Thread, step_id: str, now: int) -> Refusal | None:
    """Return why a step cannot be claimed. (Rule 4)"""
    if step_id in thread.done:
        return Refusal.COMPLETED
    step = thread.steps.get(step_id)
    if step is None:
        return Refusal.UNKNOWN_STEP
    if step.owner:
        return Refusal.CLAIMED
    if step.wait is Wait.NOTHING or (step.wait is Wait.TIMER and step.due_ms <= now):
        return None
    return Refusal.WAITING


def is_due(thread: Thread, step: Step, now: int, grace: int, mark: int) -> bool:
    """Return whether a step is to be sent (again); `mark` is the watermark of its queue."""
    ready = step.ready
    if not ready.queue or step.owner or ready.step_id in thread.done:
        return False
    if step.wait is Wait.TIMER:
        return step.due_ms <= now
    if step.wait is not Wait.NOTHING:
        return False
    if step.sent_ms < 0:
        return step.since_ms <= now - grace
    return step.sent_ms < mark - grace


def update_step(step: Step, update: StepUpdate, now: int) -> int:
    """Change a step and return by how much more steps keep the superstep open."""
    step.wait = update.wait
    step.reason = update.reason
    step.due_ms = now + update.delay_ms if update.wait is Wait.TIMER else 0
    step.since_ms, step.sent_ms = now, -1
    step.asks.update(update.asks)
    if update.error is not None:
        step.error = update.error
    step.failures += update.failed
    if update.reset:
        step.failures = step.deaths = 0
    was, step.settled = step.settled, update.wait in {Wait.ANSWER, Wait.PERSON}
    return int(was) - int(step.settled)


def loaded_thread(
    thread: Thread, checkpoint_id: int | None, *, values: bool, owner_alive: bool, now: int
) -> LoadedThread | None:
    """Return a thread as it is shown to others, at its head or at another checkpoint."""
    wanted = thread.head.checkpoint_id if checkpoint_id is None else checkpoint_id
    checkpoint = thread.checkpoints.get(wanted)
    if checkpoint is None:
        return None
    steps = thread.steps.values() if wanted == thread.head.checkpoint_id else ()
    args = [step.ready.arg for step in steps if step.ready.arg]
    return LoadedThread(
        head=thread.head,
        checkpoint=checkpoint,
        blobs=found_values(thread.blobs.get, [*checkpoint.refs, *args] if values else ()),
        steps={step.ready.step_id: _loaded_step(step, thread) for step in steps},
        outcomes={
            step_id: outcome
            for (planned_by, step_id), outcome in thread.outcomes.items()
            if planned_by == wanted
        },
        line=dict(thread.line),
        owner_alive=owner_alive,
        seq=thread.seq,
        now_ms=now,
    )


def _loaded_step(step: Step, thread: Thread) -> LoadedStep:
    return LoadedStep(
        step=step.ready,
        wait=step.wait,
        owner=step.owner,
        completed=step.ready.step_id in thread.done,
        attempt=step.attempt,
        failures=step.failures,
        deaths=step.deaths,
        reason=step.reason,
        due_ms=step.due_ms if step.wait is Wait.TIMER else 0,
        error=step.error,
        asks=dict(step.asks),
        answers=dict(step.answers),
        notes=dict(step.notes),
    )
