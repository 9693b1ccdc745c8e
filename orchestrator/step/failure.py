"""The record of an exception that ended an attempt, and its log line."""

from __future__ import annotations

import logging
import traceback

from orchestrator import limits
from orchestrator.errors import StepFailedError
from orchestrator.model.checkpoint import StepError
from orchestrator.model.commit import Claim

__all__ = ["error_record", "log_failure"]

_log = logging.getLogger(__name__)


def error_record(error: BaseException, claim: Claim, worker: str) -> StepError:
    """Return the record of `error`, which ended an attempt at a claimed step."""
    step = claim.step
    assert step is not None
    if isinstance(error, StepFailedError) and error.record.get("type"):
        inner = error.record  # Of a step of the subgraph that this step is.
        names = ("type", "module", "message", "traceback", "node", "step", "attempt", "worker")
        return StepError(**{name: inner[name] for name in names if name in inner})
    try:
        message = str(error)
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception as broken:  # noqa: BLE001 - an exception of a user may not even print itself
        message = trace = f"an error that cannot be printed ({type(broken).__name__})"
    return StepError(
        type=type(error).__qualname__,
        module=type(error).__module__,
        message=message[: limits.ERROR_TEXT_CHARS_MAX],
        traceback=trace[-limits.ERROR_TEXT_CHARS_MAX :],
        node=step.node,
        step=step.step_id,
        attempt=claim.attempt,
        worker=worker,
    )


def log_failure(
    claim: Claim, error: BaseException, record: StepError, then: str, *, final: bool = False
) -> None:
    """Log a failed attempt with its traceback.

    An error that a step of a subgraph has logged is not logged again by the step around it.

    Args:
        claim: on the step.
        error: what the attempt raised.
        record: of the error.
        then: what follows, for people.
        final: the step has failed for good, which is an error; else it is a warning.
    """
    step = claim.step
    assert step is not None
    if isinstance(error, StepFailedError) and error.record.get("type"):
        return
    _log.log(
        logging.ERROR if final else logging.WARNING,
        "thread %r: node %r failed in attempt %d (step %s), %s: %s: %s\n%s",
        step.thread_id,
        step.node,
        claim.attempt,
        step.step_id,
        then,
        record.type,
        record.message,
        record.traceback,
    )
