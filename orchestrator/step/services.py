"""The objects that the steps of one graph share in this process; no store keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.engine.records import Records
from orchestrator.engine.settle import append_event, tracked_writes
from orchestrator.graph.scope import RunControl
from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import Outcome
from orchestrator.model.commit import ReadyStep
from orchestrator.model.events import STREAMS
from orchestrator.step.facts import Fact, Listener
from orchestrator.step.store_access import Access
from orchestrator.step.untracked import Untracked

__all__ = ["ChildRunner", "Live", "StepServices"]


class ChildRunner(Protocol):
    """Runs subgraphs; the layer that knows compiled graphs implements it."""

    def run(self, attempt: Any, graph: Any, value: Any, config: Mapping[str, Any]) -> Any:
        """Run `graph` as part of an attempt at a step, and return its output."""
        ...

    def ended(self, runner: Any, thread_id: str) -> tuple[ReadyStep, ...]:
        """Wake the step whose subgraph run has ended; return the steps to dispatch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The objects that a call passes to its steps.

    Attributes:
        store: the long-term memory that nodes get.
        cache: where nodes with a `CachePolicy` keep results.
        children: runs subgraphs.
        listener: gets facts as they happen.
        context: the caller's `context`.
        config: what the caller's config holds besides what is stored: callbacks, tags, any object
            under `configurable`.
        control: the caller's, to stop the run.
        messages: whether a caller reads tokens of language models.
        logs: whether what steps write goes to the thread's log: a step of a fleet runs them here.
        answers: the answers to the steps of a run that no store keeps: each attempt at the step
            that runs it begins it anew, and its steps are known by their places. `None`: it is
            kept.
        untracked: the values that are never stored.
        is_named: whether a caller named the thread; else its id is not shown.
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


@dataclass(slots=True)
class StepServices:
    """What an attempt at a step uses: the graph, its codec, the store, the caller's objects."""

    spec: GraphSpec
    records: Records
    access: Access
    default_queue: str = ""  # Empty: next steps run in this process.
    live: Live = field(default_factory=Live)

    def emit(self, kind: type[Fact], thread_id: str, **fields: Any) -> None:
        """Emit a fact to the listener of this process, if there is one."""
        if self.live.listener is not None:
            self.live.listener(kind(thread_id=thread_id, spec=self.spec, **fields))

    def log(self, step: ReadyStep, mode: str, data: Any) -> None:
        """Append what a node streams to the thread's log; readers see that the step is alive."""
        encoded = self.records.check(f"what the node {step.node!r} streams", data)
        event = STREAMS[mode](step=step.step_id, data=encoded).draft()
        self.access.commit(append_event(step.thread_id, event))

    def stored(self, writes: tuple[tuple[str, Any], ...]) -> bytes:
        """Return writes as a cache keeps them."""
        tracked = tracked_writes(writes, self.spec.untracked)
        return self.records.store_outcome(Outcome(writes=tracked))
