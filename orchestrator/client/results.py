"""What a call returns or raises, once a run is at rest."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from orchestrator.checkpoint.commit import LoadedThread
from orchestrator.checkpoint.model import RunStatus
from orchestrator.client.snapshot import live_values, shown
from orchestrator.core.calling import open_questions
from orchestrator.core.records import Records
from orchestrator.errors import GraphRecursionError, RunCancelledError, StepFailedError
from orchestrator.graph.spec import GraphSpec

__all__ = ["INTERRUPT", "outcome_of"]

INTERRUPT = "__interrupt__"  # The key under which a result shows open questions.


def outcome_of(
    thread_id: str,
    loaded: LoadedThread,
    records: Records,
    spec: GraphSpec | None,
    raised: BaseException | None = None,
) -> Any:
    """Return the output of a run at rest, with its open questions if it has any.

    Args:
        thread_id: the thread.
        loaded: the thread at its head.
        records: how it is stored.
        spec: the graph, if the caller has it; without, all keys of the state are output.
        raised: what a node raised in this process.

    Raises:
        StepFailedError: if the run failed; `raised` itself, if that is given.
        GraphRecursionError: if it used up its supersteps.
        RunCancelledError: if it was cancelled.
    """
    head = loaded.head
    if head.status is RunStatus.FAILED:
        if raised is not None:
            raise raised
        record = records.error(head.error)
        if record is not None and record.type == "GraphRecursionError":
            raise GraphRecursionError(record.message)
        fields = asdict(record) if record else {}
        where = f" in node {record.node!r}" if record and record.node else ""
        what = f"{record.type}: {record.message}" if record else "no record of why"
        msg = (
            f"the run {head.run_id} of thread {thread_id!r} failed{where}: {what}. "
            f"Resume the thread to try again"
        )
        raise StepFailedError(msg, fields)
    if head.status is RunStatus.CANCELLED:
        msg = f"the run {head.run_id} of thread {thread_id!r} was cancelled"
        raise RunCancelledError(msg)
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    live = live_values(checkpoint, loaded, records, spec)
    values = shown(live, spec, spec.output_keys if spec else ())
    asked = [
        records.interrupt(step.asks[question]) for question, step in open_questions(loaded).items()
    ]
    return {**values, INTERRUPT: asked} if asked and isinstance(values, dict) else values
