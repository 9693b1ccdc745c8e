"""Keys of the state that the engine fills in: how far the run may still go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

__all__ = ["IsLastStep", "Loop", "ManagedValue", "RemainingSteps"]


@dataclass(frozen=True, slots=True)
class Loop:
    """Where a run stands in its budget of supersteps.

    Attributes:
        step: the number of the current superstep.
        stop: the number of the last one that may begin.
    """

    step: int
    stop: int


class ManagedValue:
    """A value that a node may read under a key of the state and nobody writes."""

    @staticmethod
    def get(loop: Loop) -> Any:
        """Return the value in this superstep."""
        raise NotImplementedError


class IsLastStepManager(ManagedValue):
    """Whether the run's budget of supersteps is about to end."""

    @staticmethod
    def get(loop: Loop) -> bool:
        """Return whether the superstep before the last has come."""
        return loop.step == loop.stop - 1


class RemainingStepsManager(ManagedValue):
    """How many supersteps the run may still take."""

    @staticmethod
    def get(loop: Loop) -> int:
        """Return the number."""
        return loop.stop - loop.step


IsLastStep = Annotated[bool, IsLastStepManager]
RemainingSteps = Annotated[int, RemainingStepsManager]
