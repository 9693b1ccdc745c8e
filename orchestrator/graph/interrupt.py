"""Asking a question from inside a node, and getting its answer when the node runs again."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from orchestrator.checkpoint.model import Interrupt
from orchestrator.errors import GraphInterrupt
from orchestrator.ids import short_hash

__all__ = ["Scratchpad", "current_step", "interrupt"]


@dataclass(slots=True)
class Scratchpad:
    """What one attempt at a step knows about itself while the node runs."""

    seed: str  # Different for every step of every thread; the ids of its questions come from it.
    answers: Mapping[str, Any] = field(default_factory=dict)  # Interrupt id → answer.
    asked: list[Interrupt] = field(default_factory=list)  # In the order of asking.

    def ask(self, value: Any, key: str | None) -> Any:
        """Return the answer to the question, or raise `GraphInterrupt` while there is none."""
        place = f"key:{key}" if key is not None else f"index:{len(self.asked)}"
        question = Interrupt(value, short_hash(self.seed, place), key)
        if any(earlier.id == question.id for earlier in self.asked):
            msg = f"two interrupts of one node have the key {key!r}; keys are unique in a node"
            raise ValueError(msg)
        self.asked.append(question)
        if question.id in self.answers:
            return self.answers[question.id]
        raise GraphInterrupt((question,))


current_step: ContextVar[Scratchpad] = ContextVar("graphstalk_step")


def interrupt(value: Any, *, key: str | None = None) -> Any:
    """Pause the run until somebody answers; return the answer when the node runs again.

    The node starts from its beginning once the answer is there, so what stands before this call
    runs again. Questions are told apart by the order in which a node asks them, or by `key`, which
    keeps its answer when the code around it changes.

    Args:
        value: what is asked; shown to whoever answers. It must be storable.
        key: a name for this question, unique in the node.

    Raises:
        RuntimeError: if called outside a node.
    """
    try:
        scratchpad = current_step.get()
    except LookupError:
        msg = "interrupt() works only inside a node of a running graph"
        raise RuntimeError(msg) from None
    return scratchpad.ask(value, key)
