"""A graph, frozen: what plans, workers and drawings read. Nothing in it changes after compiling."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrator.channels import Channel
from orchestrator.graph.policy import RetryPolicy
from orchestrator.graph.routing import START
from orchestrator.graph.schema import Reader
from orchestrator.ids import short_hash

__all__ = ["Branch", "GraphSpec", "NodeOptions", "NodeSpec", "branch_channel", "join_channel"]


def branch_channel(node: str) -> str:
    """Return the channel that triggers `node` when an edge or a router leads to it."""
    return f"branch:to:{node}"


def join_channel(sources: tuple[str, ...], node: str) -> str:
    """Return the channel that triggers `node` once all sources have run."""
    return f"join:{'|'.join(sources)}:{node}"  # No name holds a '|', so no two joins are one.


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How and where a node is run."""

    queue: str | None = None  # The Celery queue of its steps; `None`: the deployment's default.
    retry: tuple[RetryPolicy, ...] = ()
    defer: bool = False  # Run only when the run would otherwise end.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    destinations: tuple[str, ...] = ()  # Where a `Command` may lead; for drawing and checking.


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A router: decides after its source node where to go."""

    name: str
    path: Callable[..., Any]
    injected: tuple[str, ...]  # Parameters it takes by name besides the state.
    ends: Mapping[Hashable, str] | None  # What it returns → node, or `None`: node names.
    reader: Reader
    passes_result: bool  # Whether it also sees keys that the node returned but does not read.


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A node with all that follows from the edges around it."""

    name: str
    action: Callable[..., Any] | None  # `None` for START, which only passes the input on.
    injected: tuple[str, ...] = ()
    is_async: bool = False
    reader: Reader
    triggers: tuple[str, ...]
    writes: tuple[tuple[str, Any], ...]  # What completing it writes, whatever it returns.
    branches: tuple[Branch, ...] = ()
    options: NodeOptions = NodeOptions()


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """A compiled graph."""

    name: str
    channels: Mapping[str, Channel]
    nodes: Mapping[str, NodeSpec]  # START included.
    state_keys: tuple[str, ...]
    input_keys: tuple[str, ...]
    output_keys: tuple[str, ...]
    interrupt_before: frozenset[str] = frozenset()
    interrupt_after: frozenset[str] = frozenset()
    classes: tuple[type, ...] = ()  # The classes that the state's types name, to be storable.

    @cached_property
    def control(self) -> frozenset[str]:
        """Return the channels that are not keys of the state."""
        return frozenset(self.channels).difference(self.state_keys)

    @cached_property
    def triggers(self) -> Mapping[str, tuple[str, ...]]:
        """Return which nodes each channel triggers, in order of name."""
        found: dict[str, list[str]] = {}
        for node in sorted(self.nodes):
            for channel in self.nodes[node].triggers:
                found.setdefault(channel, []).append(node)
        return {channel: tuple(nodes) for channel, nodes in found.items()}

    @cached_property
    def finishing(self) -> tuple[str, ...]:
        """Return the channels that act when the run is about to end."""
        return tuple(key for key, channel in self.channels.items() if channel.finishes)

    @cached_property
    def transient_state(self) -> tuple[str, ...]:
        """Return the keys of the state that a superstep without writes clears."""
        return tuple(key for key in self.state_keys if self.channels[key].transient)

    @cached_property
    def fingerprint(self) -> str:
        """Return a hash of the graph's structure: nodes, edges, channels; not of the nodes' code.

        Threads remember it: a process with another structure under the same name may not run them.
        """
        parts: list[str] = []
        for name, channel in sorted(self.channels.items()):
            parts += ["channel", name, channel.describe()]
        for name, node in sorted(self.nodes.items()):
            parts += ["node", name, *sorted(node.triggers)]
            parts += [f"{channel}={value}" for channel, value in node.writes]
            for branch in node.branches:
                ends = sorted(map(str, branch.ends.values())) if branch.ends else ["*"]
                parts += ["branch", branch.name, *ends]
        parts += ["input", *self.input_keys, "output", *self.output_keys]
        return short_hash(*parts)

    def queue_of(self, node: str, default: str) -> str:
        """Return the Celery queue on which steps of `node` run."""
        return self.nodes[node].options.queue or default

    @property
    def start(self) -> NodeSpec:
        """Return the node that every run begins with."""
        return self.nodes[START]
