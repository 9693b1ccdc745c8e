"""Results of before that serve again: of nodes and tasks with a `CachePolicy`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.engine.apply import NO_CHANNELS, SENDS, Writes
from orchestrator.errors import StateCorruptedError
from orchestrator.graph.scope import TaskCall
from orchestrator.graph.spec import GraphSpec, NodeSpec
from orchestrator.graph.task import task_namespace
from orchestrator.step.services import StepServices

__all__ = ["Cached", "Found", "fits", "node_namespaces"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a cache held; `None` is a value too."""

    value: Any


def node_namespaces(spec: GraphSpec, nodes: Iterable[str]) -> list[tuple[str, ...]]:
    """Return where a cache keeps the results of nodes, for those whose results are kept."""
    return [_namespace(spec, spec.nodes[node]) for node in nodes if spec.nodes[node].options.code]


def _namespace(spec: GraphSpec, node: NodeSpec) -> tuple[str, ...]:
    return ("graphstalk", "node", spec.name, node.name, node.options.code)


@dataclass(frozen=True, slots=True)
class Cached:
    """One place in a cache."""

    services: StepServices
    key: tuple[tuple[str, ...], str]
    ttl: int | None

    @classmethod
    def of_node(
        cls, services: StepServices, node: NodeSpec, value: Any, graph: str
    ) -> Cached | None:
        """Return the place of a node's result for this input, if it may be cached.

        Args:
            services: of the step.
            node: the node.
            value: its input.
            graph: the path of its graph, from that of the run.
        """
        policy = node.options.cache
        if policy is None or services.live.cache is None:
            return None
        name = f"{graph}/{_text(policy.key_func(value))}"
        return cls(services, (_namespace(services.spec, node), name), policy.ttl)

    @classmethod
    def of_task(cls, services: StepServices, call: TaskCall) -> Cached | None:
        """Return the place of a task's result for these arguments, if it may be cached."""
        if call.cache is None or services.live.cache is None:
            return None
        name = _text(call.cache.key_func(*call.args, **call.kwargs))
        namespace = task_namespace(call.function, call.code)
        return cls(services, (namespace, name), call.cache.ttl)

    def get(self) -> Found | None:
        """Return what is there, if anything is and this process can read it."""
        found = self.services.live.cache.get([self.key]).get(self.key)
        try:
            return None if found is None else Found(self.services.records.decode(found))
        except StateCorruptedError as error:  # As of a class that has changed since.
            logger.warning("a cached result of %s is not used: %s", self.key[0], error)
            return None

    def put(self, value: Any) -> None:
        """Keep a value there."""
        self.services.live.cache.set({self.key: (self.services.records.encode(value), self.ttl)})


def fits(spec: GraphSpec, writes: Writes) -> bool:
    """Return whether cached writes are writes of this graph: it may have changed since."""
    for channel, value in writes:
        if channel == SENDS:
            if value.node not in spec.nodes:
                return False
        elif channel not in spec.channels and channel not in NO_CHANNELS:
            return False
    return True


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.hex()
