"""Results of before that serve again: of nodes and tasks with a `CachePolicy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.graph.scope import TaskCall
from orchestrator.graph.spec import NodeSpec

if TYPE_CHECKING:
    from orchestrator.step.protocol import StepProtocol

__all__ = ["Cached", "Found", "namespace_of_node", "namespace_of_task"]

_ROOT = "graphstalk"


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a cache held; `None` is a value too."""

    value: Any


def namespace_of_node(protocol: StepProtocol, node: str) -> tuple[str, ...]:
    """Return where a cache keeps the results of a node."""
    return (_ROOT, "node", protocol.spec.name, node)


def namespace_of_task(call: TaskCall) -> tuple[str, ...]:
    """Return where a cache keeps the results of a task."""
    module = getattr(call.function, "__module__", "") or ""
    qualname = getattr(call.function, "__qualname__", call.name)
    return (_ROOT, "task", f"{module}.{qualname}")


@dataclass(frozen=True, slots=True)
class Cached:
    """One place in a cache."""

    protocol: StepProtocol
    key: tuple[tuple[str, ...], str]
    ttl: int | None

    @classmethod
    def of_node(cls, protocol: StepProtocol, node: NodeSpec, value: Any) -> Cached | None:
        """Return the place of a node's result for this input, if it may be cached."""
        policy = node.options.cache
        if policy is None or protocol.live.cache is None:
            return None
        name = _text(policy.key_func(value))
        return cls(protocol, (namespace_of_node(protocol, node.name), name), policy.ttl)

    @classmethod
    def of_task(cls, protocol: StepProtocol, call: TaskCall) -> Cached | None:
        """Return the place of a task's result for these arguments, if it may be cached."""
        if call.cache is None or protocol.live.cache is None:
            return None
        name = _text(call.cache.key_func(*call.args, **call.kwargs))
        return cls(protocol, (namespace_of_task(call), name), call.cache.ttl)

    def get(self) -> Found | None:
        """Return what is there, if anything is."""
        found = self.protocol.live.cache.get([self.key]).get(self.key)
        return None if found is None else Found(self.protocol.records.decode(found))

    def put(self, value: Any) -> None:
        """Keep a value there."""
        self.protocol.live.cache.set({self.key: (self.protocol.records.encode(value), self.ttl)})


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.hex()
