"""Whose turn it is among steps that use one subgraph whose state outlives its runs. Pure. (INV-6)

Such a subgraph has one thread, and a thread has one writer (INV-9): steps of a superstep that use
it take turns, in the order of the plan. They are steps of one node, since another node has another
thread for it. A step whose turn it is not is settled, so that it holds nothing, and is made ready
by the advance of its superstep.
"""

from __future__ import annotations

from orchestrator.engine.settle import TURN, TURN_ABOVE
from orchestrator.model.commit import LoadedStep, LoadedThread, ReadyStep

__all__ = ["gives_way", "is_before", "turns"]


def is_before(loaded: LoadedThread, step_id: str) -> bool:
    """Return whether a step of the same node comes before this one, and has not completed."""
    own = loaded.steps.get(step_id)
    return own is not None and any(_comes_first(other, own) for other in loaded.steps.values())


def _comes_first(other: LoadedStep, own: LoadedStep) -> bool:
    mine, theirs = own.step.planned, other.step.planned
    return theirs.node == mine.node and theirs.order < mine.order and not other.completed


def gives_way(step: LoadedStep) -> bool:
    """Return whether a step waits for its turn, or for that of a step around it."""
    return not step.completed and step.reason in {TURN, TURN_ABOVE} and not step.error


def turns(loaded: LoadedThread) -> tuple[ReadyStep, ...]:
    """Return the steps whose turn has come."""
    return tuple(
        step.step
        for step in loaded.steps.values()
        if gives_way(step) and step.reason == TURN and not is_before(loaded, step.step.step_id)
    )
