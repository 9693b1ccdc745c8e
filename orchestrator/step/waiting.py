"""What a step raises that waits, and holds no worker. Control flow, not errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.engine.settle import ASLEEP, IN_SUBGRAPH
from orchestrator.errors import GraphBubbleUp
from orchestrator.frozen import replace
from orchestrator.model.commit import ReadyStep
from orchestrator.step.report import Report

__all__ = ["Asleep", "ChildPaused", "ChildRuns", "GivesWay", "StepWaits"]


class StepWaits(GraphBubbleUp):
    """The step ends here for now; its node runs again from its beginning.

    Attributes:
        reason: why, for people.
        look_again_ms: when the step looks for itself, should nobody wake it.
        notes: what the step remembers of it.
    """

    reason = ""

    def __init__(self, look_again_ms: int, notes: Mapping[str, bytes] | None = None) -> None:
        """Keep what happens next."""
        super().__init__()
        self.look_again_ms, self.notes = look_again_ms, notes or {}

    def begun(self, report: Report) -> Report:
        """Do what follows once the step is stored as waiting; return the report with it."""
        return replace(report, retry_ms=self.look_again_ms)


class Asleep(StepWaits):
    """The node sleeps."""

    reason = ASLEEP


class ChildRuns(StepWaits):
    """The subgraph's steps run elsewhere.

    Attributes:
        start: called once the step is stored as waiting; returns steps to be sent.
    """

    reason = IN_SUBGRAPH

    def __init__(self, look_again_ms: int, start: Callable[[], tuple[ReadyStep, ...]]) -> None:
        """Keep what happens next."""
        super().__init__(look_again_ms)
        self.start = start

    def begun(self, report: Report) -> Report:
        """Start the subgraph."""
        return replace(report, ready=self.start())


class GivesWay(StepWaits):
    """Steps before this one, or before one around it, use the same subgraph."""

    def __init__(self, reason: str) -> None:
        """Keep which of both it is."""
        super().__init__(0)
        self.reason = reason

    def begun(self, report: Report) -> Report:
        """Do nothing: the steps before this one wake it."""
        return report


class ChildPaused(GraphBubbleUp, InterruptedError):  # noqa: N818 - control flow, not an error
    """A node of the subgraph paused the run.

    Attributes:
        notes: what the step remembers of it.
    """

    def __init__(self, reason: str, notes: Mapping[str, bytes]) -> None:
        """Keep the reason for people."""
        super().__init__(reason)
        self.notes = notes
