"""Freezing a graph: edges become channels that trigger nodes, as in LangGraph."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from orchestrator.channels import (
    Channel,
    EphemeralValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
)
from orchestrator.graph.identity import code_of
from orchestrator.graph.inspecting import first_hint, injected
from orchestrator.graph.managed import ManagedValue
from orchestrator.graph.routing import END, START, branch_channel, join_channel, plain_name
from orchestrator.graph.schema import Reader, channels_of, codec_classes, managed_of
from orchestrator.graph.settings import NodeDefaults, NodeSettings, options_of
from orchestrator.graph.spec import (
    Branch,
    GraphSpec,
    NodeOptions,
    NodeSpec,
)

__all__ = ["Router", "Written", "WrittenNode", "freeze", "identified"]


class Bound(NamedTuple):
    """A function where LangGraph shows a runnable of it."""

    func: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class WrittenNode:
    """A node as it was added, also for programs that read `builder.nodes`."""

    action: Callable[..., Any] | None
    graph: Any  # The compiled graph that it is instead.
    schema: Any
    settings: NodeSettings
    given: Any = None  # What it was made of.

    @property
    def runnable(self) -> Any:
        """Return the runnable or graph that it is; of a function, the function as `func`."""
        return self.given if hasattr(type(self.given), "invoke") else Bound(self.given)

    @property
    def input_schema(self) -> Any:
        """Return the type of what it sees."""
        return self.schema

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """Return what was said about it."""
        return self.settings.get("metadata")


@dataclass(frozen=True, slots=True)
class Router:
    """A router as it was added."""

    path: Callable[..., Any]
    ends: Mapping[Hashable, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A graph as it was written."""

    schemas: tuple[Any, Any, Any]  # Of state, input and output.
    channels: Mapping[str, Channel]
    managed: Mapping[str, type[ManagedValue]]
    nodes: Mapping[str, WrittenNode]
    edges: Sequence[tuple[str, str]]
    joins: Sequence[tuple[tuple[str, ...], str]]
    routers: Mapping[str, Mapping[str, Router]]
    defaults: NodeDefaults


def freeze(
    name: str,
    written: Written,
    interrupt_before: Iterable[str] | Literal["*"] = (),
    interrupt_after: Iterable[str] | Literal["*"] = (),
) -> GraphSpec:
    """Return a checked graph as it will run."""
    channels = dict(written.channels)
    options = {n: options_of(n, w.settings, written.defaults) for n, w in written.nodes.items()}
    writes, triggers = _wire(written, options, channels)
    nodes = {START: _start(written, writes[START])}
    for node, each in written.nodes.items():
        branches = _branches(written, node)
        nodes[node] = NodeSpec(
            name=node,
            action=each.action,
            injected=injected(each.action) if each.action else (),
            subgraph=each.graph,
            reader=_reader(each.schema),
            triggers=tuple(triggers[node]),
            writes=tuple(writes[node]),
            branches=branches,
            options=identified(
                options[node],
                f"the node {node!r}",
                each.action or each.graph,
                writes[node],
                [[branch.name, branch.ends, branch.path] for branch in branches],
            ),
        )
    state, given, returned = written.schemas
    schemas = [given, returned, state, *(n.schema for n in written.nodes.values())]
    return GraphSpec(
        name=name,
        channels=channels,
        nodes=nodes,
        state_keys=tuple(written.channels),
        input_keys=_reader(given).keys,
        output_keys=_reader(returned).keys,
        state_schema=state,
        input_schema=given,
        output_schema=returned,
        interrupt_before=_stops(written, interrupt_before),
        interrupt_after=_stops(written, interrupt_after),
        classes=tuple(codec_classes(schemas)),
    )


def identified(options: NodeOptions, what: str, code: Any, *place: Any) -> NodeOptions:
    """Return options that say what identifies the code of a node whose results are kept.

    Raises:
        InvalidGraphError: if nothing does.
    """
    if options.cache is None:
        return options
    name = getattr(options.cache, "name", None)
    return replace(options, code=code_of(what, code if name is None else name, *place))


def _wire(
    written: Written, options: Mapping[str, NodeOptions], channels: dict[str, Channel]
) -> tuple[dict[str, list[tuple[str, Any]]], dict[str, list[str]]]:
    """Add the control channels; return what each node writes and what triggers it."""
    writes: dict[str, list[tuple[str, Any]]] = {START: []}
    triggers: dict[str, list[str]] = {}
    channels[START] = EphemeralValue(Any, key=START)
    for name in written.nodes:
        key = branch_channel(name)
        deferred = options[name].defer
        channels[key] = LastValueAfterFinish() if deferred else EphemeralValue(guard=False)
        triggers[name], writes[name] = [key], []
    for source, end in written.edges:
        if end != END:
            writes[source].append((branch_channel(end), None))
    for sources, end in written.joins:
        if end == END:
            continue
        key = join_channel(sources, end)
        barrier = NamedBarrierValueAfterFinish if options[end].defer else NamedBarrierValue
        channels[key] = barrier(str, sources, key)
        triggers[end].append(key)
        for source in sources:
            writes[source].append((key, source))
    return writes, triggers


def _start(written: Written, writes: list[tuple[str, Any]]) -> NodeSpec:
    return NodeSpec(
        name=START,
        action=None,
        reader=Reader(None, (START,)),
        triggers=(START,),
        writes=tuple(writes),
        branches=_branches(written, START),
    )


def _branches(written: Written, node: str) -> tuple[Branch, ...]:
    found = []
    for name, router in written.routers.get(node, {}).items():
        hinted = first_hint(router.path)
        own = written.nodes[node].schema if node in written.nodes else written.schemas[0]
        found.append(
            Branch(
                name=name,
                path=router.path,
                injected=injected(router.path),
                ends=router.ends,
                reader=_reader(hinted or own),
                passes_result=hinted is None,
            )
        )
    return tuple(found)


def _reader(schema: Any) -> Reader:
    return Reader(schema, tuple(channels_of(schema)), managed_of(schema))


def _stops(written: Written, nodes: Iterable[str] | Literal["*"]) -> frozenset[str]:
    return frozenset(written.nodes if "*" in nodes else map(plain_name, nodes))
