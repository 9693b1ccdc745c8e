"""What to commit when somebody calls on a run: an answer, a continuation, a cancellation.

Pure, and without the graph: a client that only knows a graph's name can do all of this. Each
function takes the thread as loaded; the commit holds the preconditions under which that is still
true, so a thread that has changed meanwhile refuses it and the caller decides anew. (INV-9)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.engine.accept import check_idle, go_on, marks_in
from orchestrator.engine.questions import answers_given, open_questions
from orchestrator.engine.records import Records
from orchestrator.engine.settle import Placement
from orchestrator.errors import ResumesExhaustedError, UnknownThreadError
from orchestrator.frozen import replace
from orchestrator.graph.routing import START
from orchestrator.model.checkpoint import Checkpoint, RunStatus
from orchestrator.model.commit import (
    RESUMED,
    Answer,
    Commit,
    EventDraft,
    LoadedThread,
    StepUpdate,
)
from orchestrator.model.events import InterruptAnswered, RunResumed, run_ended
from orchestrator.model.lifecycle import RUNS, RunMove

__all__ = ["answer", "cancel", "carry_on", "missing", "reason_of"]


def answer(
    records: Records,
    thread_id: str,
    loaded: LoadedThread,
    resume: Any,
    *,
    to: str | None = None,
    recursion_limit: int | None = None,
    queue: str = "",
    call: Mapping[str, Any] | None = None,
) -> Commit:
    """Answer open interrupts; the steps that asked become ready again. (INV-8)

    If the run had ended or paused, it continues: steps of the superstep that failed run again, too.

    Args:
        records: how answers are stored.
        thread_id: the thread.
        loaded: the thread at its head, with its steps.
        resume: the answer, or a mapping from interrupt id to answer.
        to: the id of the one interrupt that `resume` answers.
        recursion_limit: how many supersteps the run may take from here; as for `carry_on`.
        queue: where its steps go; empty: they run in the process that calls.
        call: what is known of the call that answers; see `RunConfig.call`.

    Raises:
        NoPendingInterruptError: if nothing is open.
        UnknownInterruptError: if an id is not open, or several are and none is named.
    """
    given = answers_given(thread_id, loaded, resume, to)
    config = records.decode(loaded.head.config)
    if config.get("on_resume") and set(given) == set(open_questions(loaded)):
        where = Placement(thread_id, loaded.head.graph, queue, config.get("queue") or "")
        checkpoint = records.checkpoint(loaded.checkpoint.header)
        head = _resumed(records, loaded, checkpoint, recursion_limit, call)
        return go_on(records, where, loaded, head, reason="answer", given=given, call=call)
    questions = open_questions(loaded)
    asking = {step.step.step_id: step for step in (questions[i] for i in given)}
    updates = [
        StepUpdate(step=step.step, reset=True)
        for step in asking.values()
        if all(question in given for question in step.questions)
    ]
    resumes = bool(updates) and not loaded.head.status.active
    if resumes:
        updates += [
            StepUpdate(step=step.step, reset=True, reason=RESUMED)
            for step in loaded.steps.values()
            if step.error and not step.completed and step.step.step_id not in asking
        ]
    checkpoint = records.checkpoint(loaded.checkpoint.header)
    return Commit(
        thread_id=thread_id,
        expect_head=checkpoint.id,
        expect_run=loaded.head.run_id,
        expect_status=(loaded.head.status,) if resumes else RUNS[RunMove.ANSWER].before,
        answers=tuple(
            Answer(questions[i].step.step_id, i, records.encode(value))
            for i, value in given.items()
        ),
        updates=tuple(updates),
        status=RunStatus.RUNNING if updates else None,
        head=_resumed(records, loaded, checkpoint, recursion_limit, call),
        events=_answered(loaded, checkpoint, given, goes_on=bool(updates)),
    )


def carry_on(
    records: Records,
    thread_id: str,
    loaded: LoadedThread,
    recursion_limit: int | None = None,
    queue: str = "",
    call: Mapping[str, Any] | None = None,
) -> Commit | None:
    """Continue a run that failed, was paused or was cancelled; only what has not completed runs.

    It may take `recursion_limit` supersteps, by default as many as it was given at first. Returns
    `None` if the run has nothing left to do.

    Raises:
        ThreadBusyError: if the run is active.
        ResumesExhaustedError: if it failed or crashed, and was resumed too often.
    """
    check_idle(thread_id, loaded)
    rest = [step for step in loaded.steps.values() if not step.completed]
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    if not loaded.steps:
        return None
    config, reason = records.decode(loaded.head.config), reason_of(loaded)
    _check_resumes(thread_id, loaded, config, reason)
    # A hook that failed is called again by its own step.
    if config.get("on_resume") and rest and all(step.step.node != START for step in rest):
        where = Placement(thread_id, loaded.head.graph, queue, config.get("queue") or "")
        head = _resumed(records, loaded, checkpoint, recursion_limit, call)
        return go_on(records, where, loaded, head, reason=reason, given={}, call=call)
    return Commit(
        thread_id=thread_id,
        expect_head=checkpoint.id,
        expect_run=loaded.head.run_id,
        expect_status=(loaded.head.status,),
        updates=tuple(
            StepUpdate(step=step.step, reset=True, reason=RESUMED if step.error else "")
            for step in rest
        ),
        status=RunStatus.RUNNING,
        head=_resumed(records, loaded, checkpoint, recursion_limit, call),
        events=(
            RunResumed(
                from_=str(loaded.head.status),
                reason=reason,
                checkpoint=checkpoint.id,
                done=_completed(loaded),
            ).draft(),
        ),
    )


def _completed(loaded: LoadedThread) -> tuple[str, ...]:
    """Return the ids of the completed steps of the superstep."""
    return tuple(step.step.step_id for step in loaded.steps.values() if step.completed)


def _answered(
    loaded: LoadedThread, checkpoint: Checkpoint, given: Mapping[str, Any], *, goes_on: bool
) -> tuple[EventDraft, ...]:
    """Return an event for each answer; if the run continues, the last one holds where."""
    events = [InterruptAnswered(interrupt=i) for i in given]
    if goes_on:
        done = _completed(loaded)
        events[-1] = replace(events[-1], checkpoint=checkpoint.id, done=done)
    return tuple(event.draft() for event in events)


def reason_of(loaded: LoadedThread) -> str:
    """Return why a run is resumed, as its hook is told."""
    status = loaded.head.status
    known = {RunStatus.FAILED: "failure", RunStatus.CANCELLED: "cancel", RunStatus.PAUSED: "pause"}
    return known.get(status, "crash")


def _check_resumes(
    thread_id: str, loaded: LoadedThread, config: Mapping[str, Any], reason: str
) -> None:
    """Refuse to resume for ever what fails or crashes each time."""
    allowed = config.get("resumes_max")
    if allowed is None or reason not in {"failure", "crash"} or loaded.head.resumes < allowed:
        return
    msg = (
        f"the run {loaded.head.run_id} of thread {thread_id!r} was resumed {loaded.head.resumes} "
        f"times, and resumes_max is {allowed}. Look at why it ends each time (get_state), then "
        f"repair it with update_state, or start a new run"
    )
    raise ResumesExhaustedError(msg)


def _resumed(
    records: Records,
    loaded: LoadedThread,
    checkpoint: Checkpoint,
    limit: int | None,
    call: Mapping[str, Any] | None,
) -> Mapping[str, int | bytes]:
    """Return the head's fields for a run that goes on: a fresh budget, and breaks passed once."""
    config = records.decode(loaded.head.config)
    if limit is None:
        limit = int(config["recursion_limit"])
    return {
        **({} if call is None else _called(records, config, call)),
        "resumes": loaded.head.resumes + 1,
        "stop": checkpoint.step + limit + (checkpoint.source == "input"),  # START is no node.
        "breaks_seen": max(checkpoint.versions.values(), default=0),
        "error": b"",
    }


def _called(
    records: Records, config: Mapping[str, Any], call: Mapping[str, Any]
) -> Mapping[str, bytes]:
    """Return the head's config with what a call says by which the run continues, if it is new.

    Metadata is that of the call. What it does not say in `configurable` is as it was at first: a
    client that only answers may not know it.
    """
    configurable = {**config.get("configurable", {}), **call["configurable"]}
    now = {**config, **call, "configurable": configurable}
    same = marks_in(config) == call["marks"] and config.get("metadata", {}) == call["metadata"]
    if same and configurable == config.get("configurable", {}):
        return {}
    return {"config": records.check("the config", now)}


def cancel(thread_id: str, loaded: LoadedThread) -> Commit | None:
    """End a run before it finishes; what runs now loses its claim, so its commit is refused.

    Returns `None` if the run has ended already.
    """
    if loaded.head.status.final:
        return None
    return Commit(
        thread_id=thread_id,
        expect_run=loaded.head.run_id,
        expect_status=RUNS[RunMove.CANCEL].before,
        status=RunStatus.CANCELLED,
        revoke=True,
        events=(run_ended(RunStatus.CANCELLED),),
    )


def missing(thread_id: str) -> UnknownThreadError:
    """Return the error for a thread that is not stored."""
    return UnknownThreadError(
        f"there is no thread {thread_id!r}: it was deleted, or never began. Check the id, or start "
        f"a run on it"
    )
