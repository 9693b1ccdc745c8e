"""Telling a caller's handlers that a run pauses for questions, or goes on."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.checkpoint.commit import LoadedThread
from orchestrator.checkpoint.model import Interrupt, RunStatus
from orchestrator.core.questions import open_questions
from orchestrator.ids import checkpoint_text, root_thread

if TYPE_CHECKING:
    from orchestrator.client.running import Running

__all__ = ["GraphCallbackHandler", "GraphInterruptEvent", "GraphResumeEvent", "tell_rest"]


@dataclass(frozen=True, slots=True)
class GraphInterruptEvent:
    """A run that pauses; the fields are LangGraph's.

    Attributes:
        run_id: the caller's `run_id`, if the config held one.
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
    """A run that goes on; the fields are LangGraph's."""

    run_id: uuid.UUID | None
    status: str
    checkpoint_id: str
    checkpoint_ns: tuple[str, ...]


class GraphCallbackHandler:
    """Base of handlers, passed in `config["callbacks"]`; override what you want to hear."""

    def on_interrupt(self, event: GraphInterruptEvent) -> Any:
        """Hear that a run pauses."""

    def on_resume(self, event: GraphResumeEvent) -> Any:
        """Hear that a run goes on."""


def tell_rest(running: Running, loaded: LoadedThread) -> None:
    """Tell handlers that a run rests because it asks something, or was told to pause."""
    handlers = _handlers(running.parsed.more.get("callbacks"))
    if not handlers or running.is_reported or loaded.head.status is not RunStatus.PAUSED:
        return
    running.is_reported = True
    records = running.graph.records
    asked = [records.interrupt(step.asks[i]) for i, step in open_questions(loaded).items()]
    for handler in handlers:
        handler.on_interrupt(GraphInterruptEvent(*_where(running, loaded), interrupts=tuple(asked)))


def tell_resumed(running: Running) -> None:
    """Tell handlers that a run goes on."""
    loaded = running.store.load(running.thread_id, values=False)
    assert loaded is not None
    for handler in _handlers(running.parsed.more.get("callbacks")):
        handler.on_resume(GraphResumeEvent(*_where(running, loaded)))


def _where(running: Running, loaded: LoadedThread) -> tuple[Any, str, str, tuple[str, ...]]:
    ns = root_thread(running.thread_id)[1]
    path = tuple(ns.split("|")) if ns else ()
    run_id = running.parsed.more.get("run_id")
    return run_id, "pending", checkpoint_text(loaded.head.checkpoint_id), path


def _handlers(callbacks: Any) -> list[Any]:
    """Return those handlers that hear of pauses; langchain's managers hold more of them."""
    found: Iterable[Any] = callbacks or ()
    if hasattr(callbacks, "handlers"):
        found = [*callbacks.handlers, *callbacks.inheritable_handlers]
    wanted = (h for h in found if hasattr(h, "on_interrupt") and hasattr(h, "on_resume"))
    return list({id(h): h for h in wanted}.values())
