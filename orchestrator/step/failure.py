"""What is kept of an exception: a record that people and callers can read anywhere."""

from __future__ import annotations

import traceback

from orchestrator import limits
from orchestrator.checkpoint.commit import Claim
from orchestrator.checkpoint.model import StepError
from orchestrator.errors import StepFailedError

__all__ = ["error_record"]


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
