"""A node of a compiled graph, to be called on its own: in tests, above all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.client.aio import in_thread
from orchestrator.graph.scope import Runtime, silent
from orchestrator.step.call import finish

if TYPE_CHECKING:
    from orchestrator.client.compiled import CompiledStateGraph
    from orchestrator.graph.spec import NodeSpec

__all__ = ["GraphNode"]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node, as `graph.nodes` shows it; the names are LangGraph's.

    Attributes:
        graph: the graph it is a node of.
        spec: what is known of it.
    """

    graph: CompiledStateGraph
    spec: NodeSpec

    @property
    def name(self) -> str:
        """Return its name."""
        return self.spec.label or self.spec.name

    @property
    def bound(self) -> Any:
        """Return its function, or the graph that it is; `None` for START."""
        return self.spec.action or self.spec.subgraph

    @property
    def triggers(self) -> tuple[str, ...]:
        """Return the channels that trigger it."""
        return self.spec.triggers

    @property
    def channels(self) -> list[str]:
        """Return the keys of the state that it reads."""
        return list(self.spec.reader.keys)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Return what was said about it as `metadata`."""
        return self.spec.options.metadata

    @property
    def retry_policy(self) -> tuple[Any, ...]:
        """Return when it is tried again."""
        return self.spec.options.retry

    @property
    def cache_policy(self) -> Any:
        """Return when a result of before serves again."""
        return self.spec.options.cache

    @property
    def subgraphs(self) -> list[Any]:
        """Return the graphs that it is or calls."""
        return [graph for name, graph in self.graph.direct_subgraphs() if name == self.spec.name]

    def copy(self, update: Mapping[str, Any]) -> GraphNode:
        """Return the same node with another graph or other facts; the graph keeps its own."""
        return GraphNode(**{"graph": self.graph, "spec": self.spec, **update})

    def invoke(
        self,
        input: Any,  # noqa: A002 - LangGraph's name
        config: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Any:
        """Call the node with a state of the caller's; return what it returns.

        Nothing is checked, applied or stored, and no router is asked. `interrupt()` raises, as it
        does outside of a graph.

        Args:
            input: the state, as the node is to see it.
            config: what a parameter named `config` gets.
            **given: what other parameters get that a node asks for by name, as `runtime`.
        """
        if self.spec.subgraph is not None:
            return self.bound.invoke(input, config, **given)
        if self.spec.action is None:
            return input
        store = self.graph.store
        extras: dict[str, Any] = {
            "config": {"tags": [], "metadata": {}, "configurable": {}, **(config or {})},
            "runtime": Runtime(store=store),
            "store": store,
            "writer": silent,
            **given,
        }
        asked = {name: extras.get(name) for name in self.spec.injected}
        return finish(self.spec.action(input, **asked))

    async def ainvoke(
        self,
        input: Any,  # noqa: A002 - LangGraph's name
        config: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Any:
        """Await `invoke`."""
        return await in_thread(lambda: self.invoke(input, config, **given))
