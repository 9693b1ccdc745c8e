"""Exceptions that end an attempt whose step waits or pauses. Control flow, not errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.engine.settle import ASLEEP, IN_SUBGRAPH
from orchestrator.errors import GraphBubbleUp
from orchestrator.model.commit import ReadyStep

__all__ = ["Asleep", "ChildPaused", "ChildRuns", "ClaimLost", "GivesWay", "StepWaits"]


class ClaimLost(GraphBubbleUp):
    """Another process has the step now: what this attempt does is not kept. (INV-3)"""


class StepWaits(GraphBubbleUp):
    """The step waits and holds no worker; its node runs again from its beginning.

    Attributes:
        reason: why, for people.
        recheck_ms: after how long the step runs, unless another process wakes it first; 0: never.
        notes: what the step remembers of it.
    """

    reason = ""

    def __init__(self, recheck_ms: int, notes: Mapping[str, bytes] | None = None) -> None:
        super().__init__()
        self.recheck_ms, self.notes = recheck_ms, notes or {}


class Asleep(StepWaits):
    """The node sleeps."""

    reason = ASLEEP


class ChildRuns(StepWaits):
    """The subgraph's steps run elsewhere.

    Attributes:
        start: called once the step is stored as waiting; returns the steps to dispatch.
    """

    reason = IN_SUBGRAPH

    def __init__(self, recheck_ms: int, start: Callable[[], tuple[ReadyStep, ...]]) -> None:
        super().__init__(recheck_ms)
        self.start = start


class GivesWay(StepWaits):
    """Steps before this one, or before one around it, use the same subgraph, and wake it."""

    def __init__(self, reason: str) -> None:
        super().__init__(0)
        self.reason = reason


class ChildPaused(GraphBubbleUp, InterruptedError):  # noqa: N818 - control flow, not an error
    """A node of the subgraph paused the run.

    Attributes:
        notes: what the step remembers of it.
    """

    def __init__(self, reason: str, notes: Mapping[str, bytes]) -> None:
        super().__init__(reason)
        self.notes = notes
