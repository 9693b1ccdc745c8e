"""The report of one attempt at a step: how it ended, and which steps follow."""

from __future__ import annotations

from orchestrator.frozen import frozen
from orchestrator.model.commit import Claim, ReadyStep, Refusal
from orchestrator.step.prefetch import Prefetch

__all__ = ["Report"]


@frozen(kw_only=False)
class Report:
    """How one attempt at a step ended, and which steps follow."""

    refused: Refusal | None = None  # Of the claim or of the commit.
    ready: tuple[ReadyStep, ...] = ()  # Steps that are ready now and not yet sent anywhere.
    due: tuple[ReadyStep, ...] = ()  # Steps of the same superstep whose turn to be sent has come.
    retry_ms: int | None = None  # The step is due again after so long.
    error: BaseException | None = None  # What the node raised, if it failed for good.
    raised: BaseException | None = None  # What the attempt raised, also if it is retried.
    claim: Claim | None = None  # On the one ready step, if the same commit claimed it.
    prefetch: Prefetch | None = None  # What was prepared of the attempt under that claim.
