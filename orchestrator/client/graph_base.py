"""The base of a compiled graph: its parts, its nodes, its subgraphs, the schemas of its data."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast, get_args

from orchestrator.channels import Channel
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.saver import BaseCheckpointSaver
from orchestrator.client.aio import in_thread
from orchestrator.client.options import (
    CallOptions,
    ConfigError,
    StreamMode,
    ThreadConfig,
    checked_checkpointer,
)
from orchestrator.client.thread_calls import run_config
from orchestrator.dispatch.base import Executor
from orchestrator.dispatch.local import InProcess
from orchestrator.engine.accept import RunConfig
from orchestrator.engine.records import Records
from orchestrator.graph.fields import field_hints
from orchestrator.graph.routing import START
from orchestrator.graph.schema import ROOT, channels_of
from orchestrator.graph.scope import Runtime, silent
from orchestrator.graph.spec import DEFAULT_NAME, SINGLE, GraphSpec, NodeSpec
from orchestrator.integrations.langchain import prepare_handlers
from orchestrator.integrations.validation import (
    adapter,
    fields_model,
    is_model,
    is_typeddict,
    root_model,
)
from orchestrator.serde.codec import UNKNOWN_TYPED, USERS_TYPED, Codec
from orchestrator.step.invoke import finish
from orchestrator.step.store_access import new_owner
from orchestrator.step.untracked import Untracked

UNNAMED = "LangGraph"  # What a graph without a name is called in LangGraph, and in schemas here.


_NODES_SHOWN = 8  # By `repr`.


class GraphBase:
    """A frozen graph with its checkpointer, its executor, and what it reports of itself."""

    spec: GraphSpec
    config: Mapping[str, Any]  # What holds for all calls; see `with_config`.
    default_name = "graph"  # What it is called if nothing is said.
    # As in LangGraph, these may be set until the graph runs.
    stream_mode: StreamMode | Sequence[StreamMode] = "updates"  # What `stream` shows by default.
    step_timeout: float | None = None  # How many seconds a superstep may take.
    debug: bool = False  # Whether calls print updates and values.
    builder: Any = None
    cache: Any = None
    store: Any = None

    def __init__(
        self,
        spec: GraphSpec,
        *,
        checkpointer: Checkpointer | bool | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Join graph, checkpointer and executor; `StateGraph.compile` calls it."""
        self.spec = spec
        self.executor: Executor = executor or InProcess()
        self.checkpointer = self.executor.checkpointer() if checkpointer is None else checkpointer
        codec = Codec()
        for cls in spec.classes:
            codec.register_class(cls)
        for cls in spec.inner_classes():  # Of questions and answers that pass through.
            with suppress(ValueError):  # Another class of this graph has the same name.
                codec.register_class(cls)
        self.records = Records(codec.encode, codec.decode, spec.lineage)
        # What calls on threads of a fleet use: they read no values, but may bring some.
        self.carrying = Records(codec.encode, partial(codec.decode, placeholders=USERS_TYPED))
        # What shows values, also of types that only other processes know.
        self.showing = Records(
            codec.encode, partial(codec.decode, placeholders=UNKNOWN_TYPED), spec.lineage
        )
        prepare_handlers()
        self.config: Mapping[str, Any] = {}  # What holds for all calls; see `with_config`.
        self.owner = new_owner()
        self.untracked = Untracked()

    def __repr__(self) -> str:
        """Return the name, the nodes and the checkpointer of the graph."""
        names = [name for name in self.spec.nodes if not name.startswith("__")]
        more = f", … ({len(names)} in all)" if len(names) > _NODES_SHOWN else ""
        store = self.checkpointer
        kept = store if store is None or isinstance(store, bool) else type(store).__name__
        nodes = ", ".join(names[:_NODES_SHOWN]) + more
        return f"<{type(self).__name__} {self.name!r}: nodes {nodes}; checkpointer {kept}>"

    @property
    def checkpointer(self) -> Checkpointer | bool | None:
        """Return what keeps the threads; as in LangGraph, another may be set."""
        return self._checkpointer

    @checkpointer.setter
    def checkpointer(self, checkpointer: Any) -> None:
        self._checkpointer = checked_checkpointer(checkpointer)
        if isinstance(self._checkpointer, BaseCheckpointSaver):
            self._checkpointer.learn((*self.spec.classes, *self.spec.inner_classes()))

    @property
    def trace_name(self) -> str:
        """Return the name under which handlers hear of the graph, if a call has no `run_name`."""
        return "LangGraph" if self.name == self.default_name else self.name

    def run_config(self, parsed: ThreadConfig, options: CallOptions) -> RunConfig:
        """Return what a run is started with besides its input."""
        owner = "" if self.executor.default_queue else self.owner
        return dataclasses.replace(run_config(parsed, options, self.spec), owner=owner)

    @property
    def default_queue(self) -> str:
        """Return where steps go whose node and run name no queue; empty: they run here."""
        default = self.executor.default_queue
        return default and (self.spec.queue or default)

    @property
    def name(self) -> str:
        """Return the name under which workers and people know the graph; it may be set."""
        return self.spec.name

    @name.setter
    def name(self, name: str) -> None:
        self.spec = dataclasses.replace(self.spec, name=name)

    @property
    def nodes(self) -> Mapping[str, GraphNode]:
        """Return the nodes by name, to be called on their own: `graph.nodes["a"].invoke(…)`."""
        return {spec.label or name: GraphNode(self, spec) for name, spec in self.spec.nodes.items()}

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Return the channels: the keys of the state, and those that trigger nodes."""
        return self.spec.channels

    @property
    def context_schema(self) -> Any:
        """Return the type of the `context` that callers pass, if the graph names one."""
        return self.spec.context_schema

    @property
    def input_channels(self) -> str:
        """Return the channel that takes the input."""
        return START

    @property
    def output_channels(self) -> str | list[str]:
        """Return the keys of the output; of a state without fields, its one channel."""
        return _one_or_all(self.spec.output_keys)

    @property
    def stream_channels(self) -> str | list[str]:
        """Return the keys that streams show; of a state without fields, its one channel."""
        return _one_or_all(self.spec.visible_keys)

    @property
    def stream_channels_list(self) -> list[str]:
        """Return the keys that streams show."""
        return list(self.spec.visible_keys)

    @property
    def interrupt_before_nodes(self) -> list[str]:
        """Return the nodes before which a run pauses; it may be set, also to `"*"`."""
        return [name for name in self.spec.nodes if name in self.spec.interrupt_before]

    @interrupt_before_nodes.setter
    def interrupt_before_nodes(self, nodes: Iterable[str] | Literal["*"]) -> None:
        self.spec = dataclasses.replace(self.spec, interrupt_before=self.spec.stops(nodes))

    @property
    def interrupt_after_nodes(self) -> list[str]:
        """Return the nodes after which a run pauses; it may be set, also to `"*"`."""
        return [name for name in self.spec.nodes if name in self.spec.interrupt_after]

    @interrupt_after_nodes.setter
    def interrupt_after_nodes(self, nodes: Iterable[str] | Literal["*"]) -> None:
        self.spec = dataclasses.replace(self.spec, interrupt_after=self.spec.stops(nodes))

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Return the graph's name, or `name`, with a suffix; LangGraph's for one without a name."""
        own = name or (UNNAMED if self.spec.name == DEFAULT_NAME else self.spec.name)
        if not suffix:
            return own
        return own + suffix.title() if own[0].isupper() else f"{own}_{suffix.lower()}"

    def direct_subgraphs(self) -> Iterator[tuple[str, GraphBase]]:
        """Iterate over the nodes that are graphs, or whose code calls one."""
        for node in self.spec.nodes:
            found = next(self.subgraphs_of(node), None)
            if found is not None:
                yield node, found

    def subgraphs_of(self, node: str) -> Iterator[GraphBase]:
        """Iterate over the graphs that a node is, or that its code names."""
        spec = self.spec.nodes[node]
        if spec.subgraph is not None:
            yield cast("GraphBase", spec.subgraph)
        elif spec.action is not None:
            yield from (graph for graph in _named_in(spec.action) if graph is not self)

    def store_of_threads(self) -> Checkpointer:
        """Return where the graph keeps its threads.

        Raises:
            ConfigError: if it keeps none.
        """
        if self.checkpointer is None or isinstance(self.checkpointer, bool):
            msg = "No checkpointer set: the graph keeps no threads; give compile() a checkpointer"
            raise ConfigError(msg)
        return self.checkpointer

    def graph_of(self, ns: str, fingerprint: str = "") -> GraphBase | None:
        """Return the graph of a namespace: this one, or a subgraph at any depth.

        Args:
            ns: the namespace.
            fingerprint: that of the graph's thread, by which it is known where code calls several.
        """
        graphs: list[GraphBase] = [self]
        for part in filter(None, ns.split("|")):
            if not part.isdigit():
                graphs = [below for graph in graphs for below in _below(graph, part)]
        same = (graph for graph in graphs if graph.spec.fingerprint == fingerprint)
        return next(same, graphs[0] if graphs else None)

    def get_input_jsonschema(self, config: Any = None) -> dict[str, Any]:
        """Return the JSON schema of what a run may be started with."""
        del config
        return self._json_schema(self.spec.input_schema, "Input")

    def get_output_jsonschema(self, config: Any = None) -> dict[str, Any]:
        """Return the JSON schema of what a run returns."""
        del config
        return self._json_schema(self.spec.output_schema, "Output")

    def get_input_schema(self, config: Any = None) -> Any:
        """Return a pydantic model of what a run may be started with."""
        del config
        schema = self.spec.input_schema
        return schema if is_model(schema) else root_model(self._title("Input"), schema)

    def get_output_schema(self, config: Any = None) -> Any:
        """Return a pydantic model of what a run returns; every key may be absent."""
        del config
        title, keys = self._title("Output"), self.spec.output_keys
        if keys in SINGLE:
            return root_model(title, self.spec.output_schema)
        channels = self.spec.channels
        return fields_model(title, {key: (channels[key].typ, None) for key in keys})

    @property
    def input_schema(self) -> Any:
        """Return what `get_input_schema` returns."""
        return self.get_input_schema()

    @property
    def output_schema(self) -> Any:
        """Return what `get_output_schema` returns."""
        return self.get_output_schema()

    def _title(self, suffix: str) -> str:
        is_function = self.spec.start.action is not None  # LangGraph gives entrypoints no name.
        return self.get_name(suffix, name=UNNAMED if is_function else None)

    def _json_schema(self, schema: Any, suffix: str) -> dict[str, Any]:
        """Return the JSON schema of a state type, in LangGraph's form."""
        title = self._title(suffix)
        found: dict[str, Any]
        if self.spec.start.action is not None and not is_model(schema):
            found = root_model(title, schema).model_json_schema()
        elif is_model(schema) or is_typeddict(schema):
            found = adapter(schema).json_schema()
        elif not (hints := field_hints(schema)):
            found = root_model(title, channels_of(schema)[ROOT].typ, None).model_json_schema()
        else:
            typed = {key: self.spec.channels[key].typ for key in hints if key in self.spec.channels}
            fields = {key: (typ, _default_of(schema, key, typ)) for key, typ in typed.items()}
            found = fields_model(title, fields).model_json_schema()
        return found

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """Return the JSON schema of the `context` that callers pass, if the graph names one."""
        schema = self.spec.context_schema
        if schema is None:
            return None
        found: dict[str, Any] = adapter(schema).json_schema()
        return found


def _below(graph: GraphBase, part: str) -> Iterator[GraphBase]:
    """Iterate over the graphs that the step of a namespace may run."""
    name = part.partition(":")[0]
    for node in graph.spec.nodes:
        if name in {node, graph.spec.shown(node)}:
            yield from graph.subgraphs_of(node)


def _named_in(function: Any) -> Iterator[GraphBase]:
    """Iterate over the compiled graphs that a function's code names."""
    target = inspect.unwrap(function)
    target = getattr(target, "__func__", target)
    if not inspect.isfunction(target):
        return
    for found in inspect.getclosurevars(target)[:2]:
        for value in found.values():
            if isinstance(value, GraphBase):
                yield value


def _one_or_all(keys: tuple[str, ...]) -> str | list[str]:
    return keys[0] if keys in SINGLE else list(keys)


def _default_of(schema: Any, key: str, typ: Any) -> Any:
    """Return the default of a field; `...` if it has none; `None` if it may hold that."""
    for each in dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else ():
        if each.name == key and each.default is not dataclasses.MISSING:
            return each.default
        if each.name == key and each.default_factory is not dataclasses.MISSING:
            return each.default_factory()
    return None if type(None) in get_args(typ) else ...


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node, as `graph.nodes` shows it; the names are LangGraph's.

    Attributes:
        graph: the graph it is a node of.
        spec: what is known of it.
    """

    graph: GraphBase
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
