"""What to commit when somebody calls: a new run, an answer, a continuation, a cancellation.

Pure, and without the graph: a client that only knows a graph's name can do all of this. Each
function takes the thread as loaded; the commit holds the preconditions under which that is still
true, so a thread that has changed meanwhile refuses it and the caller decides anew. (INV-9)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator import limits
from orchestrator.channels import storable
from orchestrator.checkpoint.commit import (
    Answer,
    Commit,
    EventDraft,
    LoadedStep,
    LoadedThread,
    StepUpdate,
    Wait,
)
from orchestrator.checkpoint.model import Checkpoint, RunStatus
from orchestrator.core.advance import accept_input
from orchestrator.core.records import Records
from orchestrator.core.stepping import ACTIVE, Placement, steps_of
from orchestrator.errors import (
    NoPendingInterruptError,
    ThreadBusyError,
    UnknownInterruptError,
    UnknownThreadError,
    UnserializableValueError,
)
from orchestrator.ids import checkpoint_text, mint_checkpoint_id

__all__ = [
    "RunConfig",
    "accept",
    "answer",
    "cancel",
    "carry_on",
    "check_idle",
    "missing",
    "new_head",
    "open_questions",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run is started with besides its input."""

    run_id: str
    fingerprint: str = ""
    recursion_limit: int = limits.RECURSION_LIMIT_DEFAULT
    metadata: Mapping[str, Any] = field(default_factory=dict)
    configurable: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None  # The caller's idempotency key.


def check_idle(thread_id: str, loaded: LoadedThread) -> None:
    """Refuse a second writer on a busy thread. (INV-9)

    A run in a caller's process is active as long as one of its steps is claimed: if that process
    was stopped or has died, nobody else would ever go on with it.

    Raises:
        ThreadBusyError: if the thread's run is active.
    """
    abandoned = loaded.head.local and not any(step.owner for step in loaded.steps.values())
    if loaded.head.status.active and not abandoned:
        msg = (
            f"the thread {thread_id!r} is busy: its run {loaded.head.run_id} is "
            f"{loaded.head.status}. Wait for it, cancel it, or use another thread"
        )
        raise ThreadBusyError(msg)


def accept(
    records: Records,
    where: Placement,
    value: Any,
    config: RunConfig,
    loaded: LoadedThread | None,
    now_ms: int,
) -> Commit:
    """Accept a run: its input checkpoint and its first step. (INV-1)

    Raises:
        ThreadBusyError: if the thread's run is active.
    """
    before: Checkpoint | None = None
    if loaded is not None:
        check_idle(where.thread_id, loaded)
        before = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    is_map = isinstance(value, Mapping)
    plain = {key: storable(write) for key, write in value.items()} if is_map else value
    checkpoint = accept_input(
        before,
        plain,
        new_id=mint_checkpoint_id(before.id if before else 0, now_ms),
        now_ms=now_ms,
        metadata=config.metadata,
    )
    head = new_head(records, where, config, checkpoint.step + 1)
    try:
        stored = records.store_checkpoint(checkpoint)
    except UnserializableValueError:
        records.check("the input", plain)
        raise
    ready = steps_of(checkpoint, where, None)
    abandoned = [s.step.node for s in (loaded.steps if loaded else {}).values() if not s.completed]
    accepted = {
        "run": config.run_id,
        "graph": where.graph,
        "checkpoint": checkpoint_text(checkpoint.id),
        "steps": ready[0].step_id,
        "abandoned": " ".join(abandoned),
    }
    return Commit(
        thread_id=where.thread_id,
        expect_new=loaded is None,
        expect_head=before.id if before else None,
        expect_status=(loaded.head.status,) if loaded else (),
        checkpoint=stored,
        ready=ready,
        status=RunStatus.QUEUED,
        head=head,
        key=(config.key, config.run_id) if config.key is not None else None,
        events=(EventDraft("run_accepted", accepted),),
    )


def new_head(
    records: Records, where: Placement, config: RunConfig, superstep: int
) -> Mapping[str, str | int | bytes]:
    """Return the head's fields for a new run that begins with START in `superstep`."""
    given = {
        "configurable": config.configurable,
        "metadata": config.metadata,
        "recursion_limit": config.recursion_limit,
    }
    return {
        "graph": where.graph,
        "fingerprint": config.fingerprint,
        "run_id": config.run_id,
        "config": records.check("the config", given),
        "local": int(not where.default_queue),
        "resumes": 0,
        "stop": superstep + config.recursion_limit,
        "error": b"",
    }


def open_questions(loaded: LoadedThread) -> dict[str, LoadedStep]:
    """Return the open interrupts of a thread: id → the step that asks."""
    return {
        question: step
        for step in loaded.steps.values()
        if not step.completed and step.wait is Wait.ANSWER
        for question in step.questions
    }


def answer(
    records: Records,
    thread_id: str,
    loaded: LoadedThread,
    resume: Any,
    *,
    to: str | None = None,
    recursion_limit: int | None = None,
) -> Commit:
    """Answer open interrupts; the steps that asked become ready again. (INV-8)

    Args:
        records: how answers are stored.
        thread_id: the thread.
        loaded: the thread at its head, with its steps.
        resume: the answer, or a mapping from interrupt id to answer.
        to: the id of the one interrupt that `resume` answers.
        recursion_limit: how many supersteps the run may take from here; as for `carry_on`.

    Raises:
        NoPendingInterruptError: if nothing is open.
        UnknownInterruptError: if an id is not open, or several are and none is named.
    """
    can_go_on = (*ACTIVE, RunStatus.PAUSED, RunStatus.FAILED)
    questions = open_questions(loaded) if loaded.head.status in can_go_on else {}
    if not questions:
        msg = (
            f"the thread {thread_id!r} ({loaded.head.status}) asks nothing, so there is nothing to "
            f"answer. Nothing was stored"
        )
        raise NoPendingInterruptError(msg)
    given = _given(thread_id, questions, resume, to)
    asking = {step.step.step_id: step for step in (questions[i] for i in given)}
    updates = [
        StepUpdate(step=step.step, reset=True)
        for step in asking.values()
        if all(question in given for question in step.questions)
    ]
    checkpoint = records.checkpoint(loaded.checkpoint.header)
    return Commit(
        thread_id=thread_id,
        expect_head=checkpoint.id,
        expect_run=loaded.head.run_id,
        expect_status=can_go_on,
        answers=tuple(
            Answer(questions[i].step.step_id, i, records.encode(value))
            for i, value in given.items()
        ),
        updates=tuple(updates),
        status=RunStatus.RUNNING if updates else None,
        head=_resumed(records, loaded, checkpoint, recursion_limit),
        events=tuple(EventDraft("interrupt_answered", {"interrupt": i}) for i in given),
    )


def _given(
    thread_id: str, questions: Mapping[str, LoadedStep], resume: Any, to: str | None
) -> dict[str, Any]:
    """Return which open interrupt gets which answer."""
    listed = ", ".join(f"{i} ({step.step.node})" for i, step in questions.items())
    if to is not None:
        given = {to: resume}
    elif isinstance(resume, Mapping) and resume and all(_is_interrupt_id(k) for k in resume):
        given = dict(resume)
    elif len(questions) > 1:
        msg = f"the thread {thread_id!r} asks {len(questions)} questions; say which: {listed}"
        raise UnknownInterruptError(msg)
    else:
        given = {next(iter(questions)): resume}
    unknown = [i for i in given if i not in questions]
    if unknown:
        msg = f"the thread {thread_id!r} has no open interrupt {unknown[0]!r}. Open: {listed}"
        raise UnknownInterruptError(msg)
    return given


def _is_interrupt_id(text: object) -> bool:
    return isinstance(text, str) and len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def carry_on(
    records: Records, thread_id: str, loaded: LoadedThread, recursion_limit: int | None = None
) -> Commit | None:
    """Continue a run that failed, was paused or was cancelled; only what has not completed runs.

    It may take `recursion_limit` supersteps, by default as many as it was given at first. Returns
    `None` if the run has nothing left to do.

    Raises:
        ThreadBusyError: if the run is active.
    """
    check_idle(thread_id, loaded)
    rest = [step for step in loaded.steps.values() if not step.completed]
    if not loaded.steps:
        return None
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    return Commit(
        thread_id=thread_id,
        expect_head=checkpoint.id,
        expect_run=loaded.head.run_id,
        expect_status=(loaded.head.status,),
        updates=tuple(StepUpdate(step=step.step, reset=True) for step in rest),
        status=RunStatus.RUNNING,
        head=_resumed(records, loaded, checkpoint, recursion_limit),
        events=(EventDraft("run_resumed", {"from": str(loaded.head.status)}),),
    )


def _resumed(
    records: Records, loaded: LoadedThread, checkpoint: Checkpoint, limit: int | None = None
) -> Mapping[str, int | bytes]:
    """Return the head's fields for a run that goes on: a fresh budget, and breaks passed once."""
    if limit is None:
        limit = int(records.decode(loaded.head.config)["recursion_limit"])
    return {
        "resumes": loaded.head.resumes + 1,
        "stop": checkpoint.step + limit + (checkpoint.source == "input"),  # START is no node.
        "breaks_seen": max(checkpoint.versions.values(), default=0),
        "error": b"",
    }


def cancel(thread_id: str, loaded: LoadedThread) -> Commit | None:
    """End a run before it finishes; what runs now loses its claim, so its commit is refused.

    Returns `None` if the run has ended already.
    """
    if loaded.head.status.final:
        return None
    return Commit(
        thread_id=thread_id,
        expect_run=loaded.head.run_id,
        expect_status=(*ACTIVE, RunStatus.PAUSED),
        status=RunStatus.CANCELLED,
        revoke=True,
        events=(EventDraft("run_cancelled", {}),),
    )


def missing(thread_id: str) -> UnknownThreadError:
    """Return the error for a thread that is not stored."""
    return UnknownThreadError(
        f"there is no thread {thread_id!r}: check the id, or start a run on it"
    )
