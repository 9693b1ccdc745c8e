"""What a step raises that waits for its subgraph. Control flow, not errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.checkpoint.commit import ReadyStep
from orchestrator.errors import GraphBubbleUp

__all__ = ["ChildPaused", "ChildRuns"]


class ChildRuns(GraphBubbleUp):
    """The subgraph's steps run elsewhere; the step waits, and holds no worker.

    Attributes:
        look_again_ms: when the step looks for itself, should nobody wake it.
        start: called once the step is stored as waiting; returns steps to be sent.
    """

    def __init__(self, look_again_ms: int, start: Callable[[], tuple[ReadyStep, ...]]) -> None:
        """Keep what happens next."""
        super().__init__()
        self.look_again_ms, self.start = look_again_ms, start


class ChildPaused(GraphBubbleUp, InterruptedError):  # noqa: N818 - control flow, not an error
    """A node of the subgraph paused the run.

    Attributes:
        notes: what the step remembers of it.
    """

    def __init__(self, reason: str, notes: Mapping[str, bytes]) -> None:
        """Keep the reason for people."""
        super().__init__(reason)
        self.notes = notes
