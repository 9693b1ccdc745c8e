"""Reports to a caller's handlers that a run pauses for questions, or is resumed."""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.engine.questions import open_questions
from orchestrator.engine.records import Records
from orchestrator.ids import checkpoint_text, root_thread
from orchestrator.model.checkpoint import Interrupt
from orchestrator.model.commit import LoadedThread
from orchestrator.step.invoke import finish

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GraphInterruptEvent:
    """A run that pauses; the fields are LangGraph's.

    Attributes:
        run_id: the id under which langchain's handlers know the run, or the config's `run_id`.
        status: what the run does.
        checkpoint_id: where it pauses.
        checkpoint_ns: in which subgraph, as a path.
        interrupts: what it asks.
    """

    run_id: uuid.UUID | None
    status: str
    checkpoint_id: str
    checkpoint_ns: tuple[str, ...]
    interrupts: tuple[Interrupt, ...]


@dataclass(frozen=True, slots=True)
class GraphResumeEvent:
    """A run that is resumed; the fields are LangGraph's."""

    run_id: uuid.UUID | None
    status: str
    checkpoint_id: str
    checkpoint_ns: tuple[str, ...]


if TYPE_CHECKING:

    class GraphCallbackHandler:
        """Base of handlers that hear of pauses, passed in `config["callbacks"]`.

        Where langchain-core is installed it is one of its handlers, too: what a subclass defines of
        `on_chain_start` and the like is called as well.
        """

        def on_interrupt(self, event: GraphInterruptEvent) -> Any:
            """Hear that a run pauses; may be a coroutine function."""

        def on_resume(self, event: GraphResumeEvent) -> Any:
            """Hear that a run is resumed; may be a coroutine function."""


class _Pauses:
    """Base of handlers that hear of pauses: override what you want to hear."""

    raise_error = False  # Whether an error in the handler ends the call; else it is logged.

    def on_interrupt(self, event: GraphInterruptEvent) -> Any:
        """Hear that a run pauses; may be a coroutine function."""

    def on_resume(self, event: GraphResumeEvent) -> Any:
        """Hear that a run is resumed; may be a coroutine function."""


def __getattr__(name: str) -> Any:
    """Return `GraphCallbackHandler`: one of langchain-core's handlers, where that is installed."""
    if name != "GraphCallbackHandler":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    bases: tuple[type, ...] = (_Pauses,)
    with suppress(ImportError):
        from langchain_core.callbacks import BaseCallbackHandler  # noqa: PLC0415 - optional

        bases = (_Pauses, BaseCallbackHandler)
    about = {"__doc__": _Pauses.__doc__, "__module__": __name__}
    made = globals()[name] = type(name, bases, about)
    return made


def pause_handlers(*given: Any) -> list[Any]:
    """Return the handlers that hear of pauses, each once.

    Args:
        *given: lists of handlers, callback managers of langchain-core, or `None`.
    """
    found: list[Any] = []
    for callbacks in given:
        if hasattr(callbacks, "handlers"):
            found += [*callbacks.handlers, *callbacks.inheritable_handlers]
        else:
            found += callbacks or ()
    wanted = (h for h in found if hasattr(h, "on_interrupt") and hasattr(h, "on_resume"))
    return list({id(handler): handler for handler in wanted}.values())


def report_paused(
    handlers: list[Any], run_id: Any, thread_id: str, loaded: LoadedThread, records: Records
) -> None:
    """Report to handlers that a run paused because it asks something, or a node paused it."""
    asked = [records.interrupt(step.asks[i]) for i, step in open_questions(loaded).items()]
    event = GraphInterruptEvent(run_id, *_place(thread_id, loaded), interrupts=tuple(asked))
    _report(handlers, "on_interrupt", event)


def report_resumed(handlers: list[Any], run_id: Any, thread_id: str, loaded: LoadedThread) -> None:
    """Report to handlers that a run is resumed."""
    _report(handlers, "on_resume", GraphResumeEvent(run_id, *_place(thread_id, loaded)))


def _report(handlers: list[Any], method: str, event: Any) -> None:
    """Call a method of each handler; a handler that fails does not end the run.

    Raises:
        Exception: what a handler raises that has `raise_error`.
    """
    for handler in handlers:
        try:
            finish(getattr(handler, method)(event))
        except Exception:
            if getattr(handler, "raise_error", False):
                raise
            _log.warning(
                "%s.%s raised an error; the run continues. Set raise_error on the handler to let "
                "the call fail instead",
                type(handler).__name__,
                method,
                exc_info=True,
            )


def _place(thread_id: str, loaded: LoadedThread) -> tuple[str, str, tuple[str, ...]]:
    ns = root_thread(thread_id)[1]
    path = tuple(ns.split("|")) if ns else ()
    return "pending", checkpoint_text(loaded.head.checkpoint_id), path
