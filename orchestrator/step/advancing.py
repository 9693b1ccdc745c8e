"""The end of a superstep of many steps: whoever sees that all are settled plans the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.engine.advance import Frame
from orchestrator.engine.compat import control_written, mismatch
from orchestrator.engine.settle import ended
from orchestrator.engine.turns import turns
from orchestrator.errors import GraphstalkError, InvalidUpdateError, StateCorruptedError
from orchestrator.frozen import replace
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    Claim,
    Commit,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StepUpdate,
    Wait,
)
from orchestrator.model.lifecycle import ACTIVE
from orchestrator.step.access import values_after
from orchestrator.step.failure import error_record
from orchestrator.step.report import Report
from orchestrator.step.untracked import Overlaid

if TYPE_CHECKING:
    from orchestrator.step.protocol import StepProtocol

__all__ = ["advance_thread", "failed_step"]


def advance_thread(protocol: StepProtocol, thread_id: str) -> Report:
    """Plan what follows a superstep whose steps are settled, or end the run there."""
    loaded = protocol.access.load(thread_id)
    if loaded is None or loaded.head.open or not loaded.head.status.active:
        return Report()
    if _is_anothers(protocol, loaded):
        return Report()  # Another process has the graph as it was.
    unfinished = [step for step in loaded.steps.values() if not step.completed]
    if not unfinished:
        try:
            return _advance_loaded(protocol, thread_id, loaded)
        except StateCorruptedError as damage:
            set_back = protocol.salvaged(thread_id, damage)
            return set_back or _fail(protocol, thread_id, loaded, damage)
    failed = failed_step(loaded)
    if failed is None and (ready := turns(loaded)):
        return _take_turns(protocol, loaded, ready)
    status = RunStatus.FAILED if failed else RunStatus.PAUSED
    error = failed.error if failed else b""
    return _end(protocol, ended(thread_id, loaded.checkpoint.id, status, error))


def _take_turns(
    protocol: StepProtocol, loaded: LoadedThread, ready: tuple[ReadyStep, ...]
) -> Report:
    """Make the steps ready whose turn has come."""
    commit = Commit(
        thread_id=ready[0].thread_id,
        expect_head=loaded.checkpoint.id,
        expect_status=ACTIVE,
        expect_settled=True,
        updates=tuple(StepUpdate(step=step) for step in ready),
    )
    refused = protocol.access.commit(commit).refused
    return Report(refused=refused, ready=() if refused else ready)


def failed_step(loaded: LoadedThread) -> LoadedStep | None:
    """Return the first step, by plan order, that failed for good."""
    failed = [
        step
        for step in loaded.steps.values()
        if not step.completed and step.wait is Wait.PERSON and step.error
    ]
    return min(failed, key=lambda step: step.step.planned.order, default=None)


def _is_anothers(protocol: StepProtocol, loaded: LoadedThread) -> bool:
    """Return whether only a graph of another structure can say what follows the superstep."""
    spec, records = protocol.spec, protocol.records
    if loaded.head.fingerprint in {"", spec.fingerprint}:
        return False
    try:
        checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
        written = (records.outcome(data).writes for data in loaded.outcomes.values())
        unknown = any(key not in spec.channels for key in control_written(written))
    except StateCorruptedError:
        return True
    nodes = [step.node for step in checkpoint.plan]
    return unknown or bool(mismatch(spec, loaded.head, checkpoint, nodes))


def _advance_loaded(protocol: StepProtocol, thread_id: str, loaded: LoadedThread) -> Report:
    records = protocol.records
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    untracked = protocol.live.untracked
    results = [
        (
            step,
            untracked.whole(
                thread_id,
                step.id_in(checkpoint),
                records.outcome(loaded.outcome(step.id_in(checkpoint))).writes,
            ),
        )
        for step in checkpoint.plan
    ]
    stored = records.values(checkpoint, loaded.blobs)
    values = Overlaid(stored, untracked.values(thread_id))
    frame = Frame(checkpoint, values, loaded.head.stop, changes=stored.changes)
    try:
        head = loaded.head
        marks = records.decode(head.config).get("marks") if head.resumes else None
        following = protocol.advance_frame(thread_id, frame, results, loaded.now_ms, marks)
        commit = protocol.stepping.next(thread_id, loaded.head, following)
    except StateCorruptedError:
        raise
    except GraphstalkError as error:
        return _fail(protocol, thread_id, loaded, error)
    known = values_after(commit, loaded.blobs)
    queue = next(iter(loaded.steps.values())).step.queue
    commit = protocol.taking(replace(commit, expect_status=ACTIVE), loaded.head, queue, known)
    result = protocol.access.commit(commit, known)
    if result.refused is not None:
        return Report(refused=result.refused, claim=protocol.access.taken(commit, known))
    stop, claim = loaded.head.stop, result.claim
    return protocol.advanced(commit, following, stop, result.waiting, claim)


def _fail(
    protocol: StepProtocol, thread_id: str, loaded: LoadedThread, error: GraphstalkError
) -> Report:
    """End the run because its superstep cannot be advanced."""
    step = next(iter(loaded.steps.values())).step
    record = error_record(
        error, Claim(step=replace(step, node="", step_id="")), protocol.access.owner
    )
    stored = protocol.records.store_error(record)
    report = _end(protocol, ended(thread_id, loaded.checkpoint.id, RunStatus.FAILED, stored))
    raised = error.as_raised if isinstance(error, InvalidUpdateError) else error
    return replace(report, error=None if report.refused else raised)


def _end(protocol: StepProtocol, commit: Commit) -> Report:
    result = protocol.access.commit(commit)
    if result.refused is not None:
        return Report(refused=result.refused)
    return Report(ready=protocol.rested(commit.thread_id, waiting=result.waiting))
