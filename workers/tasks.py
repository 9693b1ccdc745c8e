"""The Celery task that does a step: a few lines that call the step protocol."""

from __future__ import annotations

from typing import Any

from orchestrator.dispatch.message import STEP_TASK
from workers.app import app
from workers.requests import AttemptFailed, AttemptRetried, DoneInPlace, StepRequest, StepRevoked
from workers.runtime import runtime

__all__ = ["run_step"]


@app.task(
    name=STEP_TASK,
    bind=True,
    Request=StepRequest,
    resultrepr_maxsize=10_000_000,
    throws=(
        AttemptFailed,
        StepRevoked,
    ),  # The step has logged why; Celery's line needs no traceback.
)
def run_step(self: Any, *, thread: str, step: str, sent: int = 0) -> DoneInPlace | None:
    """Do a step of a thread, if it is to be done, and others while the slice of time lasts.

    The message is only a hint.

    Raises:
        AttemptFailed: if the node failed for good, so that Celery's log and Flower show it.
        AttemptRetried: if the node failed and is retried.
        StepRevoked: if the run of the step was cancelled.
    """
    done, mine = DoneInPlace(), runtime()
    report = mine.run(thread, step, sent, done.add)
    if report.raised is not None:
        if report.retry_ms is not None:
            raise AttemptRetried.of(report.raised, report.retry_ms) from report.raised
        raise AttemptFailed.of(report.raised) from report.raised
    if report.refused is not None:
        if mine.is_cancelled(thread):
            raise StepRevoked("the run was cancelled")
        done.refused = True
    mine.run_waiting(self.request.delivery_info["routing_key"], done.add)
    return done or None
