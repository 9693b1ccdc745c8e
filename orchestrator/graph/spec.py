"""A frozen graph, which plans, workers and drawings read; nothing in it changes after compiling."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol

from orchestrator.channels import BinaryOperatorAggregate, Channel, DeltaChannel
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.conversation import merges_messages
from orchestrator.graph.fields import fields_of
from orchestrator.graph.lineage import Lineage
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy
from orchestrator.graph.routing import END, START, plain_name
from orchestrator.graph.schema import ROOT, Reader
from orchestrator.ids import short_hash

# ---- the type parameters of graphs, for type checkers: `StateGraph[S]` ---------------------
# The order and the defaults are LangGraph's: what is not named is the state, or `Any`.

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # It has defaults on every supported Python.

    StateT = TypeVar("StateT", default=Any)
    ContextT = TypeVar("ContextT", default=Any)
    InputT = TypeVar("InputT", default=StateT)
    OutputT = TypeVar("OutputT", default=StateT)

    class OfState(Generic[StateT, ContextT, InputT, OutputT]):
        """A class with the type parameters of a graph."""

else:
    from typing import TypeVar

    StateT, ContextT = TypeVar("StateT"), TypeVar("ContextT")
    InputT, OutputT = TypeVar("InputT"), TypeVar("OutputT")

    class OfState:
        """A class with the type parameters of a graph."""

        def __class_getitem__(cls, parameters: Any) -> GenericAlias:
            return GenericAlias(cls, parameters)


DispatchMode = Literal["queue", "inline"]
# The keys of states of one value, shown without a key: of a schema without fields, and of an
# entrypoint.
SINGLE = frozenset({(ROOT,), (END,)})
DEFAULT_HANDLER = "__default_error_handler__"  # LangGraph's name of the handler of all nodes.
DEFAULT_NAME = "graph"  # Of a graph without a name.


class Subgraph(Protocol):
    """The interface of a compiled graph that is a node of another."""

    @property
    def spec(self) -> GraphSpec:
        """The graph, frozen."""
        ...

    @property
    def checkpointer(self) -> Any:
        """The checkpointer; `True`, `False` and `None` as in `compile`."""
        ...


def handler_name(node: str) -> str:
    """Return LangGraph's name of a node's error handler, for limits and breaks."""
    return f"__error_handler__{node}"


@dataclass(frozen=True, slots=True)
class Handler:
    """The function that runs instead of a node that failed for good."""

    action: Callable[..., Any]
    injected: tuple[str, ...]
    retry: tuple[RetryPolicy, ...] = ()  # The graph's default policies.
    name: str = ""  # In drawings.
    shared: bool = False  # Whether it is the default handler of the graph.


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """The options of a node: its queue, policies and metadata."""

    queue: str | None = None  # The Celery queue of its steps; `None`: the run's, or the graph's.
    dispatch: DispatchMode | None = None  # `None`: the graph's.
    retry: tuple[RetryPolicy, ...] = ()
    defer: bool = False  # Run only when the run would otherwise end.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    destinations: Mapping[str, str | None] = field(default_factory=dict)  # For drawing: → label.
    cache: Any = None  # A `CachePolicy`: when a cached result is reused.
    code: str = ""  # With a cache policy: the digest of its code, edges and routers.
    timeout: TimeoutPolicy | None = None  # Of one attempt.
    handler: Handler | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A router: chooses the next nodes after its source."""

    name: str
    path: Callable[..., Any]
    injected: tuple[str, ...]  # Its parameters besides the state.
    ends: Mapping[Hashable, str] | None  # Its values → nodes; `None`: its values are node names.
    reader: Reader
    passes_result: bool  # Whether it also gets keys that the node returned but does not read.


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A node with its triggers, writes and routers."""

    name: str
    action: Callable[..., Any] | None  # `None` for START, which only returns the input.
    injected: tuple[str, ...] = ()
    subgraph: Subgraph | None = None  # The graph that the node is, instead of an action.
    label: str = ""  # The name for people, if it is another one.
    # Of a functional step: turns its result into writes.
    returns: Callable[[Any], tuple[tuple[str, Any], ...]] | None = None
    reader: Reader
    triggers: tuple[str, ...]
    writes: tuple[tuple[str, Any], ...]  # Made when it completes, for every result.
    branches: tuple[Branch, ...] = ()
    options: NodeOptions = NodeOptions()


def _as_class(schema: Any, values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    try:
        return Reader(schema, tuple(values)).coerce(values)
    except (TypeError, ValueError):
        return values  # Not all of its fields have a value yet.


def _merges(channel: Channel) -> bool | None:
    """Return whether a channel converts dicts to messages; `None`: it holds no messages."""
    if isinstance(channel, DeltaChannel):
        return True
    merges = isinstance(channel, BinaryOperatorAggregate) and merges_messages(channel.operator)
    return False if merges else None


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
    on_resume: Callable[..., Any] | None = None  # Called once when a run continues.
    state_schema: Any = None
    input_schema: Any = None
    output_schema: Any = None
    context_schema: Any = None  # The type of the `context` that callers pass.
    dispatch: DispatchMode | None = None  # How steps reach workers; `None`: the workers' default.
    queue: str | None = None  # Of nodes without an own one; `None`: the run's, or the default.
    strict: bool = True  # Whether an update of a key that the state does not have is an error.
    lineage: Lineage = field(default_factory=Lineage)  # Its version, and migrations to it.
    classes: tuple[type, ...] = ()  # The classes in the types of state and context, for codecs.

    @cached_property
    def control(self) -> frozenset[str]:
        """Return the channels that are not keys of the state."""
        return frozenset(self.channels).difference(self.state_keys)

    @cached_property
    def triggers(self) -> Mapping[str, tuple[str, ...]]:
        """Return the nodes that each channel triggers, in order of name."""
        found: dict[str, list[str]] = {}
        for node in sorted(self.nodes):
            for channel in self.nodes[node].triggers:
                found.setdefault(channel, []).append(node)
        return {channel: tuple(nodes) for channel, nodes in found.items()}

    @cached_property
    def trigger_places(self) -> Mapping[str, int]:
        """Return the place of each channel in `triggers`."""
        return {channel: place for place, channel in enumerate(self.triggers)}

    @cached_property
    def finishing(self) -> tuple[str, ...]:
        """Return the channels that act when the run is about to end."""
        return tuple(key for key, channel in self.channels.items() if channel.finishes)

    @cached_property
    def growing(self) -> frozenset[str]:
        """Return the keys of the state whose lists may grow without being decoded."""
        return frozenset(key for key in self.state_keys if self.channels[key].appends)

    @cached_property
    def message_keys(self) -> Mapping[str, bool]:
        """Return the keys of the state whose messages get ids, and whether dicts become messages.

        As in LangGraph: keys that `add_messages` merges, and keys of a `DeltaChannel`.
        """
        found = {key: _merges(self.channels[key]) for key in self.state_keys}
        return {key: converts for key, converts in found.items() if converts is not None}

    @property
    def viewer(self) -> Reader:
        """Return the reader for code outside of nodes: with private keys if the type allows."""
        fields = fields_of(self.state_schema)
        whole = Reader(self.state_schema, self.state_keys)
        if whole.make is None:
            return whole
        return Reader(self.state_schema, tuple(key for key in self.state_keys if key in fields))

    @cached_property
    def begun(self) -> frozenset[str]:
        """Return the keys of the state whose reducer begins with a declared default."""
        return frozenset(key for key in self.state_keys if self.channels[key].begins())

    @cached_property
    def untracked(self) -> frozenset[str]:
        """Return the keys of the state whose values are never stored."""
        return frozenset(key for key in self.state_keys if not self.channels[key].persisted)

    @cached_property
    def transient_state(self) -> tuple[str, ...]:
        """Return the keys of the state that a superstep without writes clears."""
        return tuple(key for key in self.state_keys if self.channels[key].transient)

    @cached_property
    def fingerprint(self) -> str:
        """Return a hash of the graph's structure: nodes, edges, channels; not of the nodes' code.

        Threads store it: a process with another structure under the same name must not run them.
        """
        parts: list[str] = []
        for name, channel in sorted(self.channels.items()):
            parts += ["channel", name, channel.describe()]
        for name, node in sorted(self.nodes.items()):
            parts += ["node", name, *sorted(node.triggers)]
            parts += [f"{channel}={value}" for channel, value in node.writes]
            if node.subgraph is not None:
                parts += ["subgraph", node.subgraph.spec.fingerprint]
            for branch in node.branches:
                ends = sorted(map(str, branch.ends.values())) if branch.ends else ["*"]
                parts += ["branch", branch.name, *ends]
        parts += ["input", *self.input_keys, "output", *self.output_keys]
        return short_hash(*parts)

    @property
    def visible_keys(self) -> tuple[str, ...]:
        """Return the keys of the state that `values` shows."""
        return self.state_keys if self.start.action is None else self.output_keys

    def shown(self, node: str) -> str:
        """Return the name of a node for people."""
        known = self.nodes.get(node)
        return (known.label or node) if known else node

    @property
    def breakable(self) -> frozenset[str]:
        """Return the names at which a run can pause: nodes, and error handlers of nodes."""
        handlers = {handler_name(n) for n, node in self.nodes.items() if node.options.handler}
        return frozenset({*self.nodes, *handlers} - {START})

    @property
    def subgraphs(self) -> Mapping[str, Subgraph]:
        """Return the nodes that are graphs."""
        return {n: node.subgraph for n, node in self.nodes.items() if node.subgraph is not None}

    def inner_classes(self) -> Iterator[type]:
        """Yield the classes in the types of subgraphs, at any depth."""
        for graph in self.subgraphs.values():
            yield from graph.spec.classes
            yield from graph.spec.inner_classes()

    def as_output(self, values: Any) -> Any:
        """Return output as an instance of the output schema, if that is a class with fields."""
        return _as_class(self.output_schema, values)

    def as_state(self, values: Any) -> Any:
        """Return a state as an instance of its schema, if that is a class with fields."""
        return _as_class(self.state_schema, values)

    def stops(self, nodes: Iterable[str] | Literal["*"]) -> frozenset[str]:
        """Return the nodes at which a run pauses; `"*"`: all of them.

        Raises:
            InvalidGraphError: if a node is unknown.
        """
        names = frozenset(self.nodes) - {START}
        chosen = names if "*" in nodes else frozenset(map(plain_name, nodes))
        unknown = sorted(chosen - names)
        if unknown:
            known = ", ".join(map(repr, sorted(names)))
            raise InvalidGraphError(
                f"cannot interrupt at {unknown[0]!r}, which is no node. The nodes are: {known}"
            )
        return chosen

    def queue_of(self, node: str, run_queue: str, default: str) -> str:
        """Return the Celery queue on which steps of `node` run: its own, the run's, the graph's."""
        return self.nodes[node].options.queue or run_queue or self.queue or default

    def is_inline(self, node: str, default: DispatchMode) -> bool:
        """Return whether a worker may run a step of `node` at once after the one before."""
        return (self.nodes[node].options.dispatch or self.dispatch or default) == "inline"

    @property
    def start(self) -> NodeSpec:
        """Return the node that every run begins with."""
        return self.nodes[START]

    def within(self, ns: str) -> GraphSpec | None:
        """Return the graph of a namespace below this one, or `None` if there is no such graph."""
        graph: GraphSpec | None = self
        for part in filter(None, ns.split("|")):
            if graph is None or part.isdigit():
                continue
            inner = graph.nodes.get(part.partition(":")[0])
            graph = inner.subgraph.spec if inner and inner.subgraph else None
        return graph
