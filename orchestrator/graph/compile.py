"""From a written graph to its frozen form: edges become channels that trigger nodes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypedDict, cast

from orchestrator.channels import (
    Channel,
    EphemeralValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
)
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.identity import code_of
from orchestrator.graph.introspection import first_hint, injected
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy, policies_of
from orchestrator.graph.routing import END, START, branch_channel, join_channel, plain_name
from orchestrator.graph.schema import ManagedValue, Reader, channels_of, codec_classes, managed_of
from orchestrator.graph.spec import (
    DEFAULT_HANDLER,
    Branch,
    DispatchMode,
    GraphSpec,
    Handler,
    NodeOptions,
    NodeSpec,
    handler_name,
)
from orchestrator.ids import QUEUE_RULE, is_queue

# ---- the options of a node ------------------------------------------------------------------


class NodeSettings(TypedDict, total=False):
    """The options of `add_node`, besides name and function.

    Keys:
        defer: run it only when the run would otherwise end.
        metadata: plain data for people, shown with the graph.
        input_schema: the type of its input, if not the whole state; keys that the state lacks
            become private state.
        retry_policy: when to try again after an error; of several, the first that fits.
        cache_policy: when a cached result is reused; needs a cache at `compile`.
        error_handler: a function `(state, error)` that runs instead of a node that failed for good;
            its result is the result of the node.
        destinations: the nodes a returned `Command` may lead to, for drawing; a mapping gives
            labels.
        timeout: seconds, a `timedelta` or a `TimeoutPolicy` for one attempt.
        queue: the Celery queue whose workers run it, if not the default one.
        dispatch: how its steps reach a worker, if not as those of other nodes; see `compile`.
        retry: the old name of `retry_policy`, deprecated.
        input: the old name of `input_schema`, deprecated.
    """

    defer: bool
    metadata: Mapping[str, Any] | None
    input_schema: Any
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None
    cache_policy: Any
    error_handler: Callable[..., Any] | None
    destinations: Iterable[str] | Mapping[str, str | None] | None
    timeout: float | timedelta | TimeoutPolicy | None
    queue: str | None
    dispatch: DispatchMode | None
    retry: RetryPolicy | Sequence[RetryPolicy] | None
    input: Any


_OLD_NAMES: Mapping[str, str] = {"retry": "retry_policy", "input": "input_schema"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDefaults:
    """The defaults of nodes that do not override them; `None`: there is no default."""

    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None
    cache_policy: Any = None
    error_handler: Callable[..., Any] | None = None
    timeout: float | timedelta | TimeoutPolicy | None = None


def checked_settings(name: str, settings: NodeSettings) -> NodeSettings:
    """Return options with deprecated names replaced, and warn about these.

    Raises:
        TypeError: if an option is unknown; the message lists the known ones.
    """
    known = NodeSettings.__annotations__
    unknown = [key for key in settings if key not in known]
    if unknown:
        names = ", ".join(key for key in known if key not in _OLD_NAMES)
        msg = f"add_node({name!r}) has no option {unknown[0]!r}. The options are: {names}"
        raise TypeError(msg)
    found: dict[str, Any] = {**settings}
    for old in _OLD_NAMES.keys() & found.keys():
        new, value = _OLD_NAMES[old], found.pop(old)
        msg = f"add_node({name!r}, {old}=…) is deprecated: write {new}="
        warnings.warn(msg, DeprecationWarning, stacklevel=3)
        if found.get(new) is None:
            found[new] = value
    return cast("NodeSettings", found)


def options_of(name: str, settings: NodeSettings, defaults: NodeDefaults) -> NodeOptions:
    """Return the options of a node, with defaults for those that it does not set.

    Raises:
        InvalidGraphError: if the timeout is invalid.
    """
    chosen: dict[str, Any] = {
        key: settings.get(key) if settings.get(key) is not None else getattr(defaults, key)
        for key in ("retry_policy", "cache_policy", "error_handler", "timeout")
    }
    handler, own = chosen["error_handler"], settings.get("error_handler") is not None
    try:
        timeout = TimeoutPolicy.coerce(chosen["timeout"])
    except (ValueError, TypeError) as error:
        raise InvalidGraphError(f"the timeout of the node {name!r}: {error}") from error
    return NodeOptions(
        queue=checked_queue(settings.get("queue")),
        dispatch=checked_dispatch(settings.get("dispatch")),
        retry=policies_of(chosen["retry_policy"]),
        defer=bool(settings.get("defer")),
        metadata=dict(settings.get("metadata") or {}),
        destinations=_labelled(settings.get("destinations")),
        cache=chosen["cache_policy"],
        timeout=timeout,
        handler=(
            Handler(
                action=handler,
                injected=injected(handler),
                retry=policies_of(defaults.retry_policy),
                name=handler_name(name) if own else DEFAULT_HANDLER,
                shared=not own,
            )
            if handler is not None
            else None
        ),
    )


def checked_dispatch(dispatch: DispatchMode | None) -> DispatchMode | None:
    """Return a mode of dispatch.

    Raises:
        InvalidGraphError: if it is unknown.
    """
    if dispatch not in {None, "queue", "inline"}:
        raise InvalidGraphError(f'dispatch must be "queue" or "inline" (dispatch={dispatch!r})')
    return dispatch


def checked_queue(queue: str | None) -> str | None:
    """Return the name of a queue.

    Raises:
        InvalidGraphError: if workers cannot consume a queue of that name.
    """
    if queue is not None and not is_queue(queue):
        raise InvalidGraphError(f"{QUEUE_RULE} (queue={queue!r})")
    return queue


def _labelled(
    given: Iterable[str] | Mapping[str, str | None] | None,
) -> Mapping[str, str | None]:
    labelled = given if isinstance(given, Mapping) else dict.fromkeys(given or ())
    return {plain_name(node): label for node, label in labelled.items()}


# ---- the graph ------------------------------------------------------------------------------


class Bound(NamedTuple):
    """A function where LangGraph shows a runnable of it."""

    func: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class WrittenNode:
    """A node before it is frozen; programs read it in `builder.nodes`."""

    action: Callable[..., Any] | None
    graph: Any  # The compiled graph that it is, instead of an action.
    schema: Any
    settings: NodeSettings
    given: Any = None  # The object that was passed to `add_node`.

    @property
    def runnable(self) -> Any:
        """Return the runnable or graph; a function is the `func` of a `Bound`."""
        return self.given if hasattr(type(self.given), "invoke") else Bound(self.given)

    @property
    def input_schema(self) -> Any:
        """Return the type of its input."""
        return self.schema

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """Return the metadata that its author gave."""
        return self.settings.get("metadata")


@dataclass(frozen=True, slots=True)
class Router:
    """A router before it is frozen."""

    path: Callable[..., Any]
    ends: Mapping[Hashable, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A graph before it is frozen."""

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
    """Return a checked graph, frozen."""
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
    """Return options with the digest of the code, for a node whose results are cached.

    Raises:
        InvalidGraphError: if its code cannot be identified.
    """
    if options.cache is None:
        return options
    name = getattr(options.cache, "name", None)
    return replace(options, code=code_of(what, code if name is None else name, *place))


def _wire(
    written: Written, options: Mapping[str, NodeOptions], channels: dict[str, Channel]
) -> tuple[dict[str, list[tuple[str, Any]]], dict[str, list[str]]]:
    """Add the control channels; return the writes and the triggers of each node."""
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
