"""Writing a graph: nodes, edges, routers; and freezing it after it was checked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from orchestrator import limits
from orchestrator.channels import (
    Channel,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
)
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.inspecting import ends_of, first_hint, injected, is_async, named
from orchestrator.graph.policy import RetryPolicy
from orchestrator.graph.routing import END, START
from orchestrator.graph.schema import Reader, channels_of, codec_classes
from orchestrator.graph.spec import (
    Branch,
    GraphSpec,
    NodeOptions,
    NodeSpec,
    branch_channel,
    join_channel,
)

__all__ = ["GraphBuilder"]


@dataclass(frozen=True, slots=True)
class _Node:
    action: Callable[..., Any]
    schema: Any
    options: NodeOptions


@dataclass(frozen=True, slots=True)
class _Router:
    path: Callable[..., Any]
    ends: Mapping[Hashable, str] | None


class GraphBuilder:
    """The graph while it is written."""

    def __init__(
        self, state_schema: Any, *, input_schema: Any = None, output_schema: Any = None
    ) -> None:
        """Begin a graph over the keys of `state_schema`.

        Args:
            state_schema: a TypedDict, dataclass or pydantic model. `Annotated[T, reducer]` folds
                writes with `reducer(value, write)`; other keys take one write per superstep.
            input_schema: what a run may be started with, if not the whole state.
            output_schema: what a run returns, if not the whole state.

        Raises:
            InvalidGraphError: if a schema cannot be understood.
        """
        self.state_schema = state_schema
        self.input_schema = input_schema or state_schema
        self.output_schema = output_schema or state_schema
        self.channels: dict[str, Channel] = {}
        self._nodes: dict[str, _Node] = {}
        self._edges: list[tuple[str, str]] = []
        self._joins: list[tuple[tuple[str, ...], str]] = []
        self._routers: dict[str, dict[str, _Router]] = {}
        for schema in (self.state_schema, self.input_schema, self.output_schema):
            self._add_schema(schema)

    def add_node(
        self,
        node: str | Callable[..., Any],
        action: Callable[..., Any] | None = None,
        *,
        defer: bool = False,
        metadata: Mapping[str, Any] | None = None,
        input_schema: Any = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        destinations: Iterable[str] | None = None,
        queue: str | None = None,
    ) -> Self:
        """Add a node: a function of the state that returns an update of it.

        Args:
            node: its name, or the function itself, which then names it.
            action: the function, if `node` is the name. `config` and `ctx` are passed to parameters
                of these names.
            defer: run it only when the run would otherwise end.
            metadata: plain data for people, shown with the graph.
            input_schema: what it sees, if not the whole state; its other keys become private state.
            retry_policy: when to try again after an error; of several, the first that fits.
            destinations: the nodes a returned `Command` may lead to, for drawing.
            queue: the Celery queue whose workers run it, if not the default one.

        Raises:
            InvalidGraphError: if the name is taken, reserved or malformed, or there is no function.
        """
        name, function = named(node, action)
        self._check_name(name)
        schema = input_schema or first_hint(function) or self.state_schema
        self._add_schema(schema)
        retry = (retry_policy,) if isinstance(retry_policy, RetryPolicy) else retry_policy or ()
        options = NodeOptions(
            queue=queue,
            retry=tuple(retry),
            defer=defer,
            metadata=dict(metadata or {}),
            destinations=tuple(destinations or ()),
        )
        self._nodes[name] = _Node(function, schema, options)
        return self

    def add_edge(self, start: str | Sequence[str], end: str) -> Self:
        """Run `end` after `start`; of a list, after all of them have run (a join).

        Raises:
            InvalidGraphError: if the edge begins at END or leads to START.
        """
        sources = (start,) if isinstance(start, str) else tuple(start)
        if END in sources:
            raise InvalidGraphError("an edge cannot begin at END")
        if end == START:
            raise InvalidGraphError("an edge cannot lead to START")
        if isinstance(start, str):
            self._edges.append((start, end))
        elif START in sources or not sources:
            msg = f"a join waits for nodes, and START is none: add_edge({list(sources)!r}, {end!r})"
            raise InvalidGraphError(msg)
        else:
            self._joins.append((sources, end))
        return self

    def add_conditional_edges(
        self,
        source: str,
        path: Callable[..., Any],
        path_map: Mapping[Hashable, str] | Sequence[str] | None = None,
    ) -> Self:
        """Let `path(state)` say where to go after `source`: names, `Send`s, or END.

        Args:
            source: the node (or START) whose state the router sees, its own writes included.
            path: the router.
            path_map: from what `path` returns to node names; or the names it may return. Taken from
                a `Literal` return annotation if absent.

        Raises:
            InvalidGraphError: if the source has a router of the same name already.
        """
        name = getattr(path, "__name__", type(path).__name__)
        hinted = first_hint(path)
        if hinted is not None:
            self._add_schema(hinted)
        routers = self._routers.setdefault(source, {})
        if name in routers:
            msg = f"the node {source!r} already has a router named {name!r}"
            raise InvalidGraphError(msg)
        routers[name] = _Router(path, ends_of(path, path_map))
        return self

    def add_sequence(
        self, nodes: Sequence[Callable[..., Any] | tuple[str, Callable[..., Any]]]
    ) -> Self:
        """Add nodes that run one after the other.

        Raises:
            InvalidGraphError: if there are none, or two of one name.
        """
        if not nodes:
            raise InvalidGraphError("add_sequence() needs at least one node")
        previous: str | None = None
        for item in nodes:
            name, action = item if isinstance(item, tuple) else named(item, None)
            self.add_node(name, action)
            if previous is not None:
                self.add_edge(previous, name)
            previous = name
        return self

    def set_entry_point(self, node: str) -> Self:
        """Begin at `node`."""
        return self.add_edge(START, node)

    def set_finish_point(self, node: str) -> Self:
        """End after `node`."""
        return self.add_edge(node, END)

    def set_conditional_entry_point(
        self,
        path: Callable[..., Any],
        path_map: Mapping[Hashable, str] | Sequence[str] | None = None,
    ) -> Self:
        """Let `path(state)` say where to begin."""
        return self.add_conditional_edges(START, path, path_map)

    # ---- freezing -----------------------------------------------------------------------

    def validate(self, interrupt: Iterable[str] = ()) -> Self:
        """Check that every edge leads somewhere and the graph has an entry.

        Raises:
            InvalidGraphError: with the first thing that is wrong.
        """
        known = {START, *self._nodes}
        sources = [s for s, _ in self._edges] + [s for many, _ in self._joins for s in many]
        for source in [*sources, *self._routers]:
            if source not in known:
                raise InvalidGraphError(
                    f"an edge begins at {source!r}, which is no node. {self._nodes_text()}"
                )
        ends = [end for _, end in [*self._edges, *self._joins]]
        for routers in self._routers.values():
            ends += [end for router in routers.values() for end in (router.ends or {}).values()]
        for end in ends:
            if end not in self._nodes and end != END:
                raise InvalidGraphError(
                    f"an edge leads to {end!r}, which is no node. {self._nodes_text()}"
                )
        if START not in [*sources, *self._routers]:
            msg = "the graph has no entry: add an edge from START, as add_edge(START, 'first_node')"
            raise InvalidGraphError(msg)
        for node in interrupt:
            if node not in self._nodes and node != "*":
                raise InvalidGraphError(
                    f"cannot interrupt at {node!r}, which is no node. {self._nodes_text()}"
                )
        return self

    def freeze(
        self,
        name: str,
        interrupt_before: Iterable[str] | Literal["*"] = (),
        interrupt_after: Iterable[str] | Literal["*"] = (),
    ) -> GraphSpec:
        """Check the graph and return it as it will run.

        Raises:
            InvalidGraphError: if something is wrong with it.
        """
        self.validate([*interrupt_before, *interrupt_after])
        state_keys = tuple(self.channels)
        channels = dict(self.channels)
        writes, triggers = self._wire(channels)
        nodes = {START: self._start(writes[START])}
        for node, written in self._nodes.items():
            nodes[node] = NodeSpec(
                name=node,
                action=written.action,
                injected=injected(written.action),
                is_async=is_async(written.action),
                reader=self._reader(written.schema),
                triggers=tuple(triggers[node]),
                writes=tuple(writes[node]),
                branches=self._branches(node),
                options=written.options,
            )
        schemas = [self.state_schema, *(n.schema for n in self._nodes.values())]
        return GraphSpec(
            name=name,
            channels=channels,
            nodes=nodes,
            state_keys=state_keys,
            input_keys=self._reader(self.input_schema).keys,
            output_keys=self._reader(self.output_schema).keys,
            interrupt_before=self._stops(interrupt_before),
            interrupt_after=self._stops(interrupt_after),
            classes=tuple(codec_classes([self.input_schema, self.output_schema, *schemas])),
        )

    def _wire(
        self, channels: dict[str, Channel]
    ) -> tuple[dict[str, list[tuple[str, Any]]], dict[str, list[str]]]:
        """Add the control channels; return what each node writes and what triggers it."""
        writes: dict[str, list[tuple[str, Any]]] = {START: []}
        triggers: dict[str, list[str]] = {}
        channels[START] = EphemeralValue(Any, key=START)
        for name, node in self._nodes.items():
            key = branch_channel(name)
            deferred = node.options.defer
            channels[key] = LastValueAfterFinish() if deferred else EphemeralValue(guard=False)
            triggers[name], writes[name] = [key], []
        for source, end in self._edges:
            if end != END:
                writes[source].append((branch_channel(end), None))
        for sources, end in self._joins:
            if end == END:
                continue
            key = join_channel(sources, end)
            deferred = self._nodes[end].options.defer
            barrier = NamedBarrierValueAfterFinish if deferred else NamedBarrierValue
            channels[key] = barrier(str, sources, key)
            triggers[end].append(key)
            for source in sources:
                writes[source].append((key, source))
        return writes, triggers

    def _start(self, writes: list[tuple[str, Any]]) -> NodeSpec:
        return NodeSpec(
            name=START,
            action=None,
            reader=Reader(None, (START,)),
            triggers=(START,),
            writes=tuple(writes),
            branches=self._branches(START),
        )

    def _branches(self, node: str) -> tuple[Branch, ...]:
        found = []
        for name, router in self._routers.get(node, {}).items():
            hinted = first_hint(router.path)
            own = self._nodes[node].schema if node in self._nodes else self.state_schema
            found.append(
                Branch(
                    name=name,
                    path=router.path,
                    injected=injected(router.path),
                    ends=router.ends,
                    reader=self._reader(hinted or own),
                    passes_result=hinted is None,
                )
            )
        return tuple(found)

    def _reader(self, schema: Any) -> Reader:
        return Reader(schema, tuple(channels_of(schema)))

    def _stops(self, nodes: Iterable[str] | Literal["*"]) -> frozenset[str]:
        return frozenset(self._nodes if "*" in nodes else nodes)

    def _add_schema(self, schema: Any) -> None:
        for key, channel in channels_of(schema).items():
            known = self.channels.get(key)
            if known is None or (isinstance(known, LastValue) and known.typ is channel.typ):  # type: ignore[attr-defined]
                self.channels[key] = channel
            elif not isinstance(channel, LastValue) and channel.describe() != known.describe():
                msg = f"the key {key!r} has two rules: {known.describe()} and {channel.describe()}"
                raise InvalidGraphError(msg)

    def _check_name(self, name: str) -> None:
        if name in self._nodes:
            msg = f"the graph already has a node named {name!r}; give this one another name"
            raise InvalidGraphError(msg)
        if name in {START, END}:
            raise InvalidGraphError(f"{name!r} is reserved")
        if not name or len(name) > limits.NODE_NAME_CHARS_MAX or not name.isprintable():
            size = limits.NODE_NAME_CHARS_MAX
            msg = f"{name[:40]!r} cannot name a node: 1 to {size} printable characters can"
            raise InvalidGraphError(msg)
        if "|" in name or ":" in name:
            raise InvalidGraphError(f"{name!r} cannot name a node: '|' and ':' are reserved")

    def _nodes_text(self) -> str:
        return f"The nodes are: {', '.join(map(repr, self._nodes)) or 'none'}"
