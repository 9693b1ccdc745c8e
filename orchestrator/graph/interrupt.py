"""Asking a question from inside a node, and getting its answer when the node runs again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from orchestrator.errors import GraphInterrupt
from orchestrator.ids import short_hash
from orchestrator.model.checkpoint import Interrupt

__all__ = ["Scratchpad", "current_scratchpad", "interrupt", "is_place"]


_KEY, _INDEX = "key:", "index:"


def is_place(name: str) -> bool:
    """Return whether a name is the place of a question in its node, rather than its id."""
    return name.startswith((_KEY, _INDEX))


def _as_it_is(_: Any, answer: Any) -> Any:
    return answer


@dataclass(slots=True)
class Scratchpad:
    """What one attempt at a step knows about its questions while the node runs.

    Attributes:
        seed: different for every step of every thread; the ids of its questions come from it.
        answers: interrupt id → answer; or, of a question that was asked in another branch, its
            place.
        asked: what was asked so far, in this order.
        open: of these, what has no answer. It is asked whatever the code does with the exception.
        fit: makes an answer what its `response_schema` names.
    """

    seed: str
    answers: Mapping[str, Any] = field(default_factory=dict)
    asked: list[Interrupt] = field(default_factory=list)
    open: list[Interrupt] = field(default_factory=list)
    fit: Callable[[Any, Any], Any] = _as_it_is

    def ask(self, value: Any, key: str | None, schema: Any = None) -> Any:
        """Return the answer to the question, or raise `GraphInterrupt` while there is none."""
        name = f"{_KEY}{key}" if key is not None else f"{_INDEX}{len(self.asked)}"
        question = Interrupt(value, short_hash(self.seed, name), key, schema)
        if any(earlier.id == question.id for earlier in self.asked):
            msg = f"two interrupts of one node have the key {key!r}; keys are unique in a node"
            raise ValueError(msg)
        self.asked.append(question)
        for given in (question.id, name):
            if given in self.answers:
                return self.fit(schema, self.answers[given])
        self.open.append(question)
        raise GraphInterrupt((question,))

    def pose(self, value: Any, interrupt_id: str | None) -> Interrupt:
        """Return a question that the node asks by an exception."""
        place = f"{_INDEX}{len(self.asked)}"
        question = Interrupt(value, interrupt_id or short_hash(self.seed, place))
        self.asked.append(question)
        return question


current_scratchpad: ContextVar[Scratchpad] = ContextVar("graphstalk_scratchpad")


AnswerT = TypeVar("AnswerT")


@overload
def interrupt(value: Any, *, key: str | None = None, response_schema: type[AnswerT]) -> AnswerT: ...


@overload
def interrupt(value: Any, *, key: str | None = None, response_schema: Any = None) -> Any: ...


def interrupt(value: Any, *, key: str | None = None, response_schema: Any = None) -> Any:
    """Pause the run until somebody answers; return the answer when the node runs again.

    The node starts from its beginning once the answer is there, so what stands before this call
    runs again. Questions are told apart by the order in which a node asks them, or by `key`, which
    keeps its answer when the code around it changes.

    Args:
        value: what is asked; shown to whoever answers. It must be storable.
        key: a name for this question, unique in the node.
        response_schema: a type (as pydantic understands it) or a JSON schema that the answer must
            fit; an answer that does not is refused. With a type, the answer comes as one.

    Raises:
        RuntimeError: if called outside a node.
    """
    try:
        scratchpad = current_scratchpad.get()
    except LookupError:
        msg = "interrupt() works only inside a node of a running graph"
        raise RuntimeError(msg) from None
    return scratchpad.ask(value, key, response_schema)
