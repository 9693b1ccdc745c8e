"""What a call brings along that no store keeps: objects of the process in which steps run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.graph.scope import RunControl
from orchestrator.model.commit import ReadyStep
from orchestrator.step.facts import Listener
from orchestrator.step.untracked import Untracked

__all__ = ["ChildRunner", "Live"]


class ChildRunner(Protocol):
    """Runs subgraphs; the layer that knows compiled graphs implements it."""

    def run(self, attempt: Any, graph: Any, value: Any, config: Mapping[str, Any]) -> Any:
        """Run `graph` as part of an attempt at a step, and return its output."""
        ...

    def ended(self, protocol: Any, thread_id: str) -> tuple[ReadyStep, ...]:
        """Wake the step whose subgraph a run was that rests now; return steps to be sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The surroundings of steps in this process.

    Attributes:
        store: the long-term memory that nodes get.
        cache: where nodes with a `CachePolicy` keep results.
        children: who runs subgraphs.
        listener: who hears facts as they happen.
        context: what the caller passed as `context`.
        config: what the caller's config holds besides what is stored: callbacks, tags, any object
            under `configurable`.
        control: the caller's, to stop the run.
        messages: whether somebody reads tokens of language models.
        logs: whether what steps write goes to the thread's log: a step of a fleet runs them here.
        answers: what was answered to the steps of a run that nothing keeps: in each attempt at the
            step that runs it, it begins anew, and its steps are known by their places. `None`: it
            is kept.
        untracked: the values that are never stored.
        is_named: whether a caller named the thread; else its id is nothing to show.
        keeps: whether the thread outlives the call.
    """

    store: Any = None
    cache: Any = None
    children: ChildRunner | None = None
    listener: Listener | None = None
    context: Any = None
    config: Mapping[str, Any] = field(default_factory=dict)
    control: RunControl | None = None
    messages: bool = False
    logs: bool = False
    answers: Mapping[str, Any] | None = None
    untracked: Untracked = field(default_factory=Untracked)
    is_named: bool = True
    keeps: bool = True
