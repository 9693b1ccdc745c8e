"""The builder of a graph: nodes, edges and routers, before `compile`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Self, Unpack

from orchestrator import limits
from orchestrator.channels import Channel, LastValue
from orchestrator.channels.reducers import is_same_rule
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.compile import (
    NodeDefaults,
    NodeSettings,
    Router,
    Written,
    WrittenNode,
    checked_settings,
    freeze,
)
from orchestrator.graph.introspection import (
    action_of,
    destinations_of,
    ends_of,
    first_hint,
    named,
    subgraph_of,
)
from orchestrator.graph.lineage import Lineage, channels_once
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy
from orchestrator.graph.routing import END, START, plain_name
from orchestrator.graph.schema import (
    ManagedValue,
    channels_of,
    codec_classes,
    managed_of,
    schema_of,
)
from orchestrator.graph.spec import (
    ContextT,
    GraphSpec,
    InputT,
    OfState,
    OutputT,
    StateT,
    handler_name,
)


class GraphBuilder(OfState[StateT, ContextT, InputT, OutputT]):
    """A graph under construction."""

    def __init__(
        self,
        state_schema: type[StateT],
        context_schema: type[ContextT] | None = None,
        *,
        input_schema: type[InputT] | None = None,
        output_schema: type[OutputT] | None = None,
        unknown_keys: Literal["error", "ignore"] = "error",
        state_version: int = 1,
    ) -> None:
        """Begin a graph over the keys of `state_schema`.

        Args:
            state_schema: a TypedDict, dataclass or pydantic model. `Annotated[T, reducer]` folds
                writes with `reducer(value, write)`; other keys take one write per superstep.
            context_schema: the type of the `context` that callers pass to a run.
            input_schema: what a run may be started with, if not the whole state.
            output_schema: what a run returns, if not the whole state.
            unknown_keys: whether an update of a key that the state does not have fails the step or,
                as in LangGraph, is ignored.
            state_version: the version of the graph's state and structure, from 1. A graph with a
                greater one continues the threads of earlier versions: see `migrate`.

        Raises:
            InvalidGraphError: if a schema cannot be understood, or the version is invalid.
        """
        if not isinstance(state_version, int) or state_version < 1:
            raise InvalidGraphError(
                f"state_version must be 1 or a greater integer (state_version={state_version!r})"
            )
        self.state_version = state_version
        self._migrations: dict[int, Callable[[dict[str, Any]], Any]] = {}
        self._renames: dict[str, str] = {}
        own: Any = schema_of(state_schema)
        self.state_schema: Any = own
        self.context_schema: Any = context_schema
        self._strict = unknown_keys == "error"
        self.input_schema: Any = schema_of(input_schema) if input_schema else own
        self.output_schema: Any = schema_of(output_schema) if output_schema else own
        self.channels: dict[str, Channel] = {}
        self.schemas: dict[Any, dict[str, Any]] = {}  # The rules of its keys, by schema.
        self.managed: dict[str, type[ManagedValue]] = {}
        self._defaults = NodeDefaults()
        self._on_resume: Callable[..., Any] | None = None
        self._nodes: dict[str, WrittenNode] = {}
        self._edges: list[tuple[str, str]] = []
        self._joins: list[tuple[tuple[str, ...], str]] = []
        self._routers: dict[str, dict[str, Router]] = {}
        for schema in (self.state_schema, self.input_schema, self.output_schema):
            self._add_schema(schema)

    @property
    def nodes(self) -> Mapping[str, WrittenNode]:
        """Return the nodes by name, in the order in which they were added."""
        return dict(self._nodes)

    @property
    def edges(self) -> set[tuple[str, str]]:
        """Return the edges from one node, or START, to another."""
        return set(self._edges)

    @property
    def waiting_edges(self) -> set[tuple[tuple[str, ...], str]]:
        """Return the joins: the nodes before each, and the node that follows."""
        return set(self._joins)

    @property
    def branches(self) -> Mapping[str, Mapping[str, Router]]:
        """Return the routers by source and name."""
        return {source: dict(routers) for source, routers in self._routers.items()}

    def add_node(self, node: Any, action: Any = None, **settings: Unpack[NodeSettings]) -> Self:
        """Add a node: a function of the state that returns an update of it.

        Args:
            node: its name, or the function itself, which then names it.
            action: the function, if `node` is the name: plain or `async`, a callable object, a
                compiled graph (a subgraph), or anything with `invoke` or `ainvoke`. It may have
                parameters named `config`, `ctx`, `previous`, `runtime`, `store` and `writer`.
            **settings: see `NodeSettings`.

        Raises:
            InvalidGraphError: if the name is taken, reserved or malformed, or there is no function.
            TypeError: if there is no such setting.
        """
        name, function = named(node, action)
        self._check_name(name)
        settings = checked_settings(name, settings)
        graph = subgraph_of(function)
        called = None if graph is not None else action_of(function)
        schema = schema_of(settings.get("input_schema"))
        if schema is None and called is not None:
            schema = first_hint(function)
        self._add_schema(schema or self.state_schema)
        if called is not None and not settings.get("destinations"):
            settings["destinations"] = destinations_of(function)
        schema = schema or self.state_schema
        self._nodes[name] = WrittenNode(called, graph, schema, settings, function)
        return self

    def set_node_defaults(
        self,
        *,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: Any = None,
        error_handler: Callable[..., Any] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
    ) -> Self:
        """Set default options for nodes that do not override them.

        An option that is `None` keeps the value of an earlier call. Subgraphs have their own
        defaults.
        """
        given = {
            "retry_policy": retry_policy,
            "cache_policy": cache_policy,
            "error_handler": error_handler,
            "timeout": timeout,
        }
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        self._defaults = dataclasses.replace(self._defaults, **changes)
        return self

    def migrate(self, from_version: int, function: Callable[[dict[str, Any]], Any]) -> Self:
        """Register the function that turns a version's state into that of the next one.

        A thread of an earlier version is migrated when it is loaded, and stored migrated with its
        next checkpoint; older checkpoints do not change. A version without a migration has the
        same state as the next one.

        Args:
            from_version: the version whose state `function` receives.
            function: receives the whole state as a dict, a copy of its own, and returns the state
                of `from_version + 1`. It is called at each load before the thread's next
                checkpoint, so it must have no side effects.

        Raises:
            InvalidGraphError: if there is one already, or the version is not below this graph's.
        """
        if not 1 <= from_version < self.state_version:
            msg = (
                f"migrate({from_version!r}, …): this graph has state_version={self.state_version}, "
                f"so migrations lead from 1 to {self.state_version - 1}"
            )
            raise InvalidGraphError(msg)
        if from_version in self._migrations:
            raise InvalidGraphError(f"there is a migration from version {from_version} already")
        self._migrations[from_version] = function
        return self

    def rename(self, old: str, new: str) -> Self:
        """Declare the earlier name of a node: threads that wait in `old` continue in `new`."""
        self._renames[plain_name(old)] = plain_name(new)
        return self

    def on_resume(self, hook: Callable[..., Any]) -> Self:
        """Call `hook(state, reason)` once when a run continues, before its first step.

        It re-opens or checks external resources: files, sessions, ids. It returns an update of the
        state. The reason is `answer`, `crash`, `failure`, `pause` or `cancel`. If it raises, the
        run fails, and calls it again when it is resumed.
        """
        self._on_resume = hook
        return self

    def add_edge(self, start_key: str | Sequence[str], end_key: str) -> Self:
        """Run `end_key` after `start_key`; given a list, after all its nodes have run (a join).

        Raises:
            InvalidGraphError: if the edge begins at END or leads to START.
        """
        start, end = plain_name(start_key), plain_name(end_key)
        sources = (start,) if isinstance(start, str) else tuple(map(plain_name, start))
        if END in sources:
            raise InvalidGraphError("an edge must not begin at END")
        if end == START:
            raise InvalidGraphError("an edge must not lead to START")
        if isinstance(start, str):
            self._edges.append((start, end))
        elif START in sources or not sources:
            msg = f"a join must begin at nodes, not START: add_edge({list(sources)!r}, {end!r})"
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
        """Route after `source` by `path(state)`: to node names, `Send`s, or END.

        Args:
            source: the node (or START) whose state the router sees, its own writes included.
            path: the router.
            path_map: the node name for each value that `path` returns; or the names that it may
                return. By default that of a `Literal` return annotation.

        Raises:
            InvalidGraphError: if the source has a router of the same name already.
        """
        source, name = plain_name(source), getattr(path, "__name__", type(path).__name__)
        path = action_of(path)
        hinted = first_hint(path)
        if hinted is not None:
            self._add_schema(hinted)
        routers = self._routers.setdefault(source, {})
        if name in routers:
            msg = f"the node {source!r} already has a router named {name!r}"
            raise InvalidGraphError(msg)
        routers[name] = Router(path, ends_of(path, path_map))
        return self

    def add_sequence(self, nodes: Sequence[Any | tuple[str, Any]]) -> Self:
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

    def set_entry_point(self, key: str) -> Self:
        """Begin at the node `key`."""
        return self.add_edge(START, key)

    def set_finish_point(self, key: str) -> Self:
        """End after the node `key`."""
        return self.add_edge(key, END)

    def set_conditional_entry_point(
        self,
        path: Callable[..., Any],
        path_map: Mapping[Hashable, str] | Sequence[str] | None = None,
    ) -> Self:
        """Begin at the nodes that `path(state)` returns."""
        return self.add_conditional_edges(START, path, path_map)

    # ---- checking ---------------------------------------------------------------------------

    def validate(self, interrupt: Iterable[str] = ()) -> Self:
        """Check that every edge leads somewhere and the graph has an entry.

        Raises:
            InvalidGraphError: for the first fault.
        """
        known = {START, *self._nodes}
        sources = [s for s, _ in self._edges] + [s for many, _ in self._joins for s in many]
        for source in [*sources, *self._routers]:
            if source not in known:
                raise InvalidGraphError(
                    f"Found edge starting at unknown node {source!r}. {self._nodes_text()}"
                )
        ends = [end for _, end in [*self._edges, *self._joins]]
        for routers in self._routers.values():
            ends += [end for router in routers.values() for end in (router.ends or {}).values()]
        for end in ends:
            if end not in self._nodes and end != END:
                raise InvalidGraphError(
                    f"Found edge ending at unknown node {end!r}. {self._nodes_text()}"
                )
        if START not in [*sources, *self._routers]:
            msg = "the graph has no entry: add an edge from START, as add_edge(START, 'first_node')"
            raise InvalidGraphError(msg)
        for node in interrupt:
            if node not in self._nodes and node not in self._handlers() and node != "*":
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
        """Check the graph and return it frozen.

        Raises:
            InvalidGraphError: if the graph has a fault.
        """
        self.validate([*interrupt_before, *interrupt_after])
        written = Written(
            schemas=(self.state_schema, self.input_schema, self.output_schema),
            channels=self.channels,
            managed=self.managed,
            nodes=self._nodes,
            edges=self._edges,
            joins=self._joins,
            routers=self._routers,
            defaults=self._defaults,
        )
        spec = freeze(name, written, interrupt_before, interrupt_after)
        return dataclasses.replace(
            spec,
            context_schema=self.context_schema,
            classes=tuple(  # Workers load the context from the thread, so its classes count.
                dict.fromkeys((*spec.classes, *codec_classes([self.context_schema])))
            ),
            strict=self._strict,
            on_resume=self._on_resume,
            lineage=Lineage(
                self.state_version,
                dict(self._migrations),
                dict(self._renames),
                channels_once(self._renames, self._nodes, self._joins),
            ),
        )

    def _add_schema(self, schema: Any) -> None:
        channels, managed = channels_of(schema), managed_of(schema)
        with contextlib.suppress(TypeError):  # A schema that cannot be hashed is not shown.
            self.schemas[schema] = {**channels, **managed}
        self.managed.update(managed)
        for key, channel in channels.items():
            known = self.channels.setdefault(key, channel)
            if isinstance(known, LastValue) and known.typ is channel.typ:
                if not isinstance(channel, LastValue):
                    self.channels[key] = channel
            elif not isinstance(channel, LastValue) and not is_same_rule(known, channel):
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

    def _handlers(self) -> set[str]:
        """Return the names of the nodes' error handlers."""
        for_all = self._defaults.error_handler is not None
        return {
            handler_name(name)
            for name, node in self._nodes.items()
            if for_all or node.settings.get("error_handler") is not None
        }

    def _nodes_text(self) -> str:
        return f"The nodes are: {', '.join(map(repr, self._nodes)) or 'none'}"
