"""A thread and its steps as the memory checkpointer keeps them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from orchestrator import limits
from orchestrator.checkpointer.consistency import Expected, StepRecord, StoredState
from orchestrator.checkpointer.transition import Change
from orchestrator.envelope.list_tails import found_values
from orchestrator.envelope.seal import needs
from orchestrator.envelope.sealed_records import opened_config, opened_error, sealed
from orchestrator.frozen import replace
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import (
    SETTLED_WAITS,
    Answer,
    Commit,
    Event,
    EventDraft,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StepGuard,
    StepUpdate,
    StoredCheckpoint,
    Wait,
    as_bytes,
)


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
    sent_ms: int = -1  # When its message was last sent; -1: not since it became ready.
    completed: bool = False  # Whether it has its one result. (INV-2)
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
    keys: dict[str, str] = field(default_factory=dict)
    line: dict[str, bytes] = field(default_factory=dict)  # Queued runs.
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=limits.EVENTS_MAX))
    seq: int = 0
    fence: int = 0
    idle_since_ms: int = 0  # When the superstep was done but not yet advanced; 0: it is not.

    @property
    def waits(self) -> bool:
        """Whether the next queued run may begin."""
        return self.head.status.final and bool(self.line)

    # ---- what `transition` asks ----------------------------------------------------------

    def step(self, step_id: str) -> Step | None:
        """See `ThreadView.step`."""
        return self.steps.get(step_id)

    def run_of_key(self, key: str) -> str | None:
        """See `ThreadView.run_of_key`."""
        return self.keys.get(key)

    def is_unanswered(self, step: Step, interrupt_id: str) -> bool:
        """See `ThreadView.is_unanswered`."""
        return interrupt_id in step.asks and interrupt_id not in step.answers

    def is_enqueued(self, run_id: str) -> bool:
        """See `ThreadView.is_enqueued`."""
        return run_id in self.line

    def has_steps(self) -> bool:
        """See `ThreadView.has_steps`."""
        return bool(self.steps)

    # ---- how it changes ----------------------------------------------------------------

    def apply(self, commit: Commit, change: Change, now: int) -> None:
        """Make a commit true, but for its events."""
        self.blobs.update(commit.blobs)
        if change.guarded is not None:
            step: Step = change.guarded
            step.notes = {**commit.notes, **step.notes}
            if not commit.keeps_claim:
                step.owner = ""
            if commit.completed is not None:
                step.notes, step.completed = {}, True
                self.outcomes[step.ready.checkpoint_id, step.ready.step_id] = commit.completed
        if commit.revoke:
            for step in self.steps.values():
                step.owner = ""
        for answer in commit.answers:
            self.steps[answer.step_id].answers[answer.interrupt_id] = answer.value
        for step, to in change.steps:
            step.wait, step.reason, step.due_ms, step.error = (
                to.wait,
                to.reason,
                to.due_ms,
                to.error,
            )
            step.since_ms, step.sent_ms, step.settled = now, -1, to.settled
            step.failures, step.deaths = to.failures, to.deaths
            step.asks.update(to.update.asks)
        head: dict[str, Any] = {**commit.head, "updated_ms": now}
        if commit.checkpoint is not None:
            self.checkpoints[commit.checkpoint.id] = commit.checkpoint
            head["checkpoint_id"] = commit.checkpoint.id
            self.steps = {}
        self.outcomes.update(commit.results)
        for ready in commit.ready:
            self.steps[ready.step_id] = Step(ready, since_ms=now)
        if commit.key is not None:
            self.keys[commit.key[0]] = commit.key[1]
        if commit.dequeue is not None:
            del self.line[commit.dequeue]
        if commit.enqueue is not None:
            self.line[commit.enqueue[0]] = commit.enqueue[1]
        self.head = replace(self.head, open=change.open, status=change.status, **head)
        self.idle_since_ms = (self.idle_since_ms or now) if change.stuck else 0

    def repair(self, now: int, expected: Expected, event: EventDraft, count: int) -> None:
        """Write what an audit expects, and log that."""
        del count
        kept = {
            id_: self.steps.get(id_) or Step(must.ready) for id_, must in expected.steps.items()
        }
        for id_ in expected.changed:
            step, must = kept[id_], expected.steps[id_]
            if step.completed and not must.completed:
                kept[id_] = step = Step(must.ready)
            elif must.completed and not step.completed:
                step.owner = ""
            step.ready, step.completed, step.settled = must.ready, must.completed, must.settled
        self.steps = kept
        self.head = replace(self.head, open=expected.open)
        self.idle_since_ms = (self.idle_since_ms or now) if expected.stuck else 0
        self.log(now, event)

    def log(self, now: int, draft: EventDraft) -> None:
        """Append an event to the thread's log."""
        self.seq += 1
        fields = {key: as_bytes(value) for key, value in draft.fields.items()}
        self.events.append(Event(self.seq, now, draft.type, fields))


def thread_of(thread_id: str, loaded: LoadedThread) -> Thread:
    """Return a thread that another store loaded, as this one keeps it."""
    fields: dict[str, Any] = {"config": loaded.head.config, "error": loaded.head.error}
    kept = sealed(
        Commit(thread_id=thread_id, checkpoint=loaded.checkpoint, blobs=loaded.blobs, head=fields)
    )
    assert kept.checkpoint is not None
    fields = dict(kept.head)
    id_ = kept.checkpoint.id
    thread = Thread(
        head=replace(loaded.head, **fields),
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
        completed=loaded.completed,
        settled=loaded.wait in SETTLED_WAITS,
        reason=loaded.reason,
        error=kept.updates[0].error or b"",
        asks=dict(kept.updates[0].asks),
        answers={answer.interrupt_id: answer.value for answer in kept.answers},
        notes=dict(kept.notes),
    )


def stored_state(thread: Thread, queue: str) -> StoredState:
    """Return a thread as an audit reads it; `queue`: where a step goes that is lost."""
    head_id, steps = thread.head.checkpoint_id, thread.steps.values()
    return StoredState(
        graph=thread.head.graph,
        queue=queue,
        active=thread.head.status.active,
        checkpoint=thread.checkpoints.get(head_id),
        steps={
            step.ready.step_id: StepRecord(
                ready=step.ready, completed=step.completed, settled=step.settled
            )
            for step in steps
        },
        waits={step.ready.step_id: step.wait for step in steps},
        results=frozenset(id_ for planned_by, id_ in thread.outcomes if planned_by == head_id),
        open=thread.head.open,
        stuck=bool(thread.idle_since_ms),
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
    """Return whether a thread has a run that is active, or one queued."""
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


def is_due(step: Step, now: int, grace: int, mark: int) -> bool:
    """Return whether a step is to be sent (again); `mark` is the watermark of its queue."""
    ready = step.ready
    if not ready.queue or step.owner or step.completed:
        return False
    if step.wait is Wait.TIMER:
        return step.due_ms <= now
    if step.wait is not Wait.NOTHING:
        return False
    if step.sent_ms < 0:
        return step.since_ms <= now - grace
    return step.sent_ms < mark - grace


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
        steps={step.ready.step_id: _loaded_step(step) for step in steps},
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


def _loaded_step(step: Step) -> LoadedStep:
    return LoadedStep(
        step=step.ready,
        wait=step.wait,
        owner=step.owner,
        completed=step.completed,
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
