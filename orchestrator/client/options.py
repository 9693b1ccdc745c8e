"""The config and the options of a call, parsed and checked; the names are LangGraph's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict, cast

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.dispatch.base import Executor
from orchestrator.engine.accept import NO_MARKS, Multitask
from orchestrator.errors import GraphstalkError, InvalidThreadIdError
from orchestrator.graph.scope import RunControl
from orchestrator.graph.spec import DispatchMode
from orchestrator.ids import (
    QUEUE_RULE,
    ThreadId,
    check_thread_id,
    child_thread,
    is_queue,
    parse_checkpoint_id,
)
from orchestrator.integrations.langchain import merged_callbacks

_TOP = {"thread_id", "checkpoint_id", "checkpoint_ns"}  # The short form's keys.
_MAP = "checkpoint_map"  # Of a subgraph's snapshot: the checkpoints of the graphs around it.
_MORE = ("callbacks", "tags", "run_name", "run_id")  # What only this process can use.
# What else a config may hold; any other key of it counts as one of `configurable`, as in LangGraph.
_KEYS = {
    *_TOP, *_MORE, _MAP, "configurable", "metadata", "recursion_limit", "max_concurrency",
    "resumes_max",
}  # fmt: skip
# What of `configurable` is shown to handlers and readers of messages, too, as in LangGraph.
_SHOWN = ("task_id", "run_id", "assistant_id", "graph_id")


class ConfigError(GraphstalkError, ValueError):
    """A config that does not say what is needed, or says it twice."""

    code = "INVALID_CONFIG"


class RootCheckpointerError(ConfigError, RuntimeError):
    """A graph with `checkpointer=True` that is no subgraph; as in LangGraph a `RuntimeError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadConfig:
    """A config, understood."""

    thread_id: str | None = None
    ns: str = ""  # The namespace of a subgraph.
    checkpoint_id: int | None = None
    unknown_checkpoint: str = ""  # Given as a checkpoint id, and is none.
    around: Mapping[str, int] = field(default_factory=dict)  # Namespace → checkpoint around it.
    recursion_limit: int | None = None  # As the caller gave it.
    concurrency_max: int | None = None
    resumes_max: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    configurable: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)  # Callbacks, tags and the like.
    names: Mapping[str, Any] = field(default_factory=dict)  # Which checkpoint, as it was given.

    @property
    def shown(self) -> Mapping[str, Any]:
        """Return the metadata of the call as handlers and readers see it: with what it names."""
        own = {key: self.configurable.get(key) for key in _SHOWN}
        named = {**self.names, "thread_id": self.thread_id, **own}
        return {**{key: value for key, value in named.items() if value}, **self.metadata}

    @property
    def of_steps(self) -> Mapping[str, Any]:
        """Return what the caller says of each step: metadata, with tags, as streams show it."""
        tags = [tag for tag in self.more.get("tags") or () if not tag.startswith("seq:step")]
        shown = {key: v for key, v in self.shown.items() if key not in NO_MARKS}
        return {**shown, **({"tags": tags} if tags else {})}

    def thread(self) -> str:
        """Return the thread id; with a namespace, that of the subgraph's thread.

        Raises:
            ConfigError: if the config names no thread, or no checkpoint where it must.
        """
        if self.thread_id is None:
            msg = (
                'the graph keeps its threads, so say which one: config={"configurable": '
                '{"thread_id": "my-thread"}}, or short config={"thread_id": "my-thread"}'
            )
            raise ConfigError(msg)
        self._check_checkpoint()  # Only a graph that keeps threads reads the field at all.
        return child_thread(self.thread_id, self.ns)

    def before(self) -> int | None:
        """Return the checkpoint id, of a config that need not name a thread.

        Raises:
            ConfigError: if the checkpoint id is none.
        """
        self._check_checkpoint()
        return self.checkpoint_id

    def _check_checkpoint(self) -> None:
        if self.unknown_checkpoint:
            try:
                parse_checkpoint_id(self.unknown_checkpoint)
            except ValueError as error:
                raise ConfigError(str(error)) from None

    def without_thread(self) -> ThreadConfig:
        """Return the config as a graph understands it that keeps no threads."""
        return replace(self, checkpoint_id=None)


def _bare_thread_id(config: Any) -> str:
    try:
        return check_thread_id(config)
    except InvalidThreadIdError as error:
        if isinstance(config, str):
            raise
        msg = f"a config must be a mapping or a thread id ({type(config).__name__}): {error}"
        raise ConfigError(msg) from None


def parse_config(config: Mapping[str, Any] | ThreadId | None) -> ThreadConfig:
    """Understand `{"configurable": {"thread_id": …}}`, `{"thread_id": …}` or a bare thread id.

    Raises:
        ConfigError: if a value is of the wrong kind.
        InvalidThreadIdError: if the thread id cannot be one.
    """
    if config is None:
        return ThreadConfig()
    if not isinstance(config, Mapping):
        return ThreadConfig(thread_id=_bare_thread_id(config))
    configurable = _mapping(config, "configurable")
    configurable |= {k: v for k, v in config.items() if k not in _KEYS and v is not None}
    named = {**configurable, **{key: config[key] for key in _TOP if key in config}}
    for key in _TOP.intersection(config).intersection(configurable):
        if str(configurable[key]) != str(config[key]):
            msg = (
                f"the config names two: {key} is {config[key]!r}, and {configurable[key]!r} inside"
            )
            raise ConfigError(msg)
    limit = config.get("recursion_limit")
    whole = isinstance(limit, int) and not isinstance(limit, bool)
    if limit is not None and not (whole and limit >= 1):
        msg = f"recursion_limit is the number of supersteps a run may take, at least 1: {limit!r}"
        raise ConfigError(msg)
    thread_id, checkpoint = named.get("thread_id"), named.get("checkpoint_id")
    checkpoint_id, unknown = None, ""
    try:
        checkpoint_id = None if checkpoint is None else parse_checkpoint_id(str(checkpoint))
    except ValueError:
        unknown = str(checkpoint)
    ns = named.get("checkpoint_ns") or ""
    if not isinstance(ns, str) or not (ns == "" or ns.isprintable()):
        msg = f"checkpoint_ns is the namespace of a subgraph, as a snapshot shows it: {ns!r:.100}"
        raise ConfigError(msg)
    return ThreadConfig(
        thread_id=None if thread_id is None else check_thread_id(thread_id),
        ns=ns,
        checkpoint_id=checkpoint_id,
        unknown_checkpoint=unknown,
        around=_around(named.get(_MAP)),
        recursion_limit=limit,
        concurrency_max=_count("max_concurrency", config.get("max_concurrency"), 1),
        resumes_max=_count("resumes_max", config.get("resumes_max"), 0),
        more={key: config[key] for key in _MORE if key in config},
        metadata=_mapping(config, "metadata"),
        names={key: value for key, value in named.items() if key in _TOP and value},
        configurable={
            key: value
            for key, value in configurable.items()
            if key not in _TOP and key != _MAP and not key.startswith("__graphstalk_")
        },
    )


def merged(always: Mapping[str, Any], config: Mapping[str, Any] | ThreadId | None) -> ThreadConfig:
    """Understand a config together with one that holds for all calls.

    Raises:
        ConfigError: as `parse_config`.
    """
    mine = parse_config(config)
    if not always:
        return mine
    base = parse_config(always)
    return ThreadConfig(
        thread_id=mine.thread_id or base.thread_id,
        ns=mine.ns or base.ns,
        checkpoint_id=mine.checkpoint_id or base.checkpoint_id,
        unknown_checkpoint=mine.unknown_checkpoint or base.unknown_checkpoint,
        around=mine.around or base.around,
        recursion_limit=mine.recursion_limit or base.recursion_limit,
        concurrency_max=mine.concurrency_max or base.concurrency_max,
        resumes_max=base.resumes_max if mine.resumes_max is None else mine.resumes_max,
        metadata={**base.metadata, **mine.metadata},
        configurable={**base.configurable, **mine.configurable},
        more=_more(base.more, mine.more),
        names={**base.names, **mine.names},
    )


def _around(given: Any) -> dict[str, int]:
    """Return the checkpoints that a `checkpoint_map` names, by namespace."""
    if given is None:
        return {}
    try:
        return {str(ns): parse_checkpoint_id(str(text)) for ns, text in given.items()}
    except (AttributeError, ValueError):
        msg = (
            f"{_MAP} is a mapping from namespace to checkpoint id, as a snapshot shows it: "
            f"{given!r:.100}"
        )
        raise ConfigError(msg) from None


def joined(base: Mapping[str, Any], more: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return two configs, as they are given, as one: the second adds to the first."""
    found = {**base, **more, **_more(base, {key: more[key] for key in _MORE if key in more})}
    for key in ("metadata", "configurable"):
        if key in base and key in more:
            found[key] = {**_mapping(base, key), **_mapping(more, key)}
    return found


def _more(base: Mapping[str, Any], mine: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what both say about handlers: tags and callbacks of both, other things of the last."""
    found = {**base, **{key: value for key, value in mine.items() if value is not None}}
    callbacks = merged_callbacks(base.get("callbacks"), mine.get("callbacks"))
    tags = [*(base.get("tags") or ()), *(mine.get("tags") or ())]
    return {
        **found,
        **({"callbacks": callbacks} if callbacks else {}),
        **({"tags": tags} if tags else {}),
    }


def _count(key: str, value: Any, least: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        msg = f"{key} in a config is a whole number, at least {least}: {value!r:.100}"
        raise ConfigError(msg)
    return value


def _mapping(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return what the config holds under `key`, which is a mapping if it is there."""
    value = config.get(key)
    if value is not None and not isinstance(value, Mapping):
        msg = f"{key!r} in a config is a mapping, not {type(value).__name__}: {value!r:.100}"
        raise ConfigError(msg)
    return dict(value or {})


StreamMode = Literal["values", "updates", "custom", "messages", "tasks", "checkpoints", "debug"]
MODES: tuple[str, ...] = (
    "values", "updates", "custom", "messages", "tasks", "checkpoints", "debug",
)  # fmt: skip

_VALUES: Mapping[str, tuple[Any, ...]] = {
    "durability": (None, "sync", "async", "exit"),
    "version": (None, "v1", "v2"),
    "on_pending": (None, "discard", "apply", "reject"),
    "on_corrupt": (None, "raise", "restart"),
    "multitask_strategy": (None, "reject", "enqueue", "interrupt", "rollback"),
}


class OptionError(GraphstalkError, ValueError, TypeError):
    """An option of a call or of `compile` that does not exist, or has a value it cannot have."""

    code = "INVALID_OPTION"


class ValueOptions(TypedDict, total=False):
    """The options of `invoke`, `stream` and their relatives, but for the `version` of results.

    Keys:
        context: what nodes get as `runtime.context`; a mapping becomes the `context_schema`.
        stream_mode: what is streamed, one mode or a list of them.
        print_mode: what is also printed, as `stream_mode`.
        output_keys: the keys of the state to show, instead of the graph's output.
        interrupt_before: nodes before which this call stops, instead of the graph's.
        interrupt_after: nodes after which this call stops.
        durability: when commits are made, where this process runs the graph: "sync", each before
            the next step begins; "async", while the next steps run, in the same order, all of them
            before the call returns or raises; "exit", when the call ends: the thread gets one
            checkpoint, and a process that dies leaves it as it was. On a fleet always "sync".
        control: a `RunControl`, to stop the run from elsewhere.
        subgraphs: whether streams show what happens inside subgraphs.
        debug: whether to print updates and values.
        on_pending: what happens to steps that are left when a new input comes: "discard" drops
            them, "apply" keeps the writes of those that completed, "reject" refuses the input.
        on_corrupt: what happens to a new input if none of the thread's checkpoints is whole:
            "raise", or "restart", which begins on an empty state.
        multitask_strategy: what happens if the thread has a run that has not ended; LangGraph's
            name: "reject" raises `ThreadBusyError`, "enqueue" waits until it has, "interrupt" stops
            it and keeps what it has done, "rollback" stops it and takes back what it has done.
    """

    context: Any
    stream_mode: StreamMode | Sequence[StreamMode] | None
    print_mode: StreamMode | Sequence[StreamMode]
    output_keys: str | Sequence[str] | None
    interrupt_before: Sequence[str] | Literal["*"] | None
    interrupt_after: Sequence[str] | Literal["*"] | None
    durability: Literal["sync", "async", "exit"] | None
    control: RunControl | None
    subgraphs: bool
    debug: bool | None
    on_pending: Literal["discard", "apply", "reject"]
    on_corrupt: Literal["raise", "restart"]
    multitask_strategy: Multitask


class CallOptions(ValueOptions, total=False):
    """The options of `invoke`, `stream` and their relatives: `ValueOptions`, and one more.

    Keys:
        version: "v2" gives a `GraphOutput`, and stream parts as dicts.
    """

    version: Literal["v1", "v2"]


class SubmitOptions(TypedDict, total=False):
    """The options of `Client.submit`: what holds for a run that this process does not wait for.

    Keys:
        context: what nodes get as `runtime.context`; it is stored with the run, so any process that
            runs a step gets it.
        stream_mode: with "messages", tokens of language models are kept in the thread's log, for
            `RunHandle.stream(stream_mode="messages")`. All other modes can be read in any case.
        on_pending: as for `CallOptions`.
        on_corrupt: as for `CallOptions`.
        multitask_strategy: as for `CallOptions`.
        queue: where the run's steps go, those of its subgraphs included, whose nodes name no queue:
            instead of the one that the graph was compiled with, or the default one.
    """

    context: Any
    stream_mode: StreamMode | Sequence[StreamMode] | None
    on_pending: Literal["discard", "apply", "reject"]
    on_corrupt: Literal["raise", "restart"]
    multitask_strategy: Multitask
    queue: str | None


class CompileOptions(TypedDict, total=False):
    """The options of `compile` that few graphs need.

    Keys:
        debug: whether calls print updates and values; a call may say otherwise.
        executor: who runs the steps, if not this process.
        dispatch: how a fleet gets to the next step. `"queue"`: always by a message, to any worker
            of its queue. `"inline"`: where it is the only one, and of the same queue, the worker
            that did the one before may do it at once, for a slice of time, then by a message again.
            It is claimed and committed as ever. A node may say otherwise. By default as the workers
            are set, `"queue"` if nothing is (`GRAPHSTALK_DISPATCH`).
        queue: where a fleet runs the nodes that name no queue, from the first step on. A run may
            name another (`Client.submit(queue=…)`); subgraphs that name none are run there, too.
    """

    debug: bool
    executor: Executor | None
    dispatch: DispatchMode | None
    queue: str | None


def checked(options: Mapping[str, Any]) -> CallOptions:
    """Return the options of a call, checked.

    Raises:
        OptionError: if one does not exist, or cannot have its value.
    """
    return cast("CallOptions", _checked(options, CallOptions))


def checked_submit(options: Mapping[str, Any]) -> SubmitOptions:
    """Return the options of `submit`, checked by the same rules as those of a call.

    Raises:
        OptionError: if one does not exist, or cannot have its value.
    """
    modes_of(options.get("stream_mode"), ())
    queue = options.get("queue")
    if queue is not None and not is_queue(queue):
        raise OptionError(f"{QUEUE_RULE} (queue={queue!r})")
    return cast("SubmitOptions", _checked(options, SubmitOptions))


_NODES = frozenset({"interrupt_before", "interrupt_after"})  # Options that name nodes.


def check_output_keys(options: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse keys to show that the state does not have.

    Raises:
        OptionError: if there is one.
    """
    given = options.get("output_keys")
    if given is None:
        return
    for key in (given,) if isinstance(given, str) else given:
        if key not in known:
            msg = f"output_keys must be keys of the state ({key!r}). They are: {', '.join(known)}"
            raise OptionError(msg)


def _check_kind(name: str, given: Any) -> None:
    """Refuse a value of an option that is of the wrong kind."""
    if given is None:
        return
    wanted = ""
    if name == "control" and not hasattr(given, "drain_requested"):
        wanted = "a RunControl()"
    elif name == "output_keys" and not _are_names(given):
        wanted = "a key of the state, or a list of keys"
    elif name in _NODES and given != "*" and (isinstance(given, str) or not _are_names(given)):
        wanted = "a list of nodes, or '*' for all"
    if wanted:
        raise OptionError(f"{name} must be {wanted} ({given!r:.100})")


def _are_names(given: Any) -> bool:
    return isinstance(given, str) or (
        isinstance(given, Collection) and all(isinstance(name, str) for name in given)
    )


def _checked(options: Mapping[str, Any], known: type) -> Mapping[str, Any]:
    _check_names(options, known)
    for name, values in _VALUES.items():
        if options.get(name) not in values:
            allowed = ", ".join(repr(value) for value in values if value is not None)
            raise OptionError(f"{name}={options[name]!r} is not one of {allowed}")
    for name, given in options.items():
        _check_kind(name, given)
    return options


def checked_compile(options: Mapping[str, Any]) -> CompileOptions:
    """Return options of `compile`, whose values are checked where they are used.

    Raises:
        OptionError: if one does not exist.
    """
    _check_names(options, CompileOptions)
    return cast("CompileOptions", options)


def checked_checkpointer(given: Any) -> Checkpointer | bool | None:
    """Return what a graph keeps its threads in.

    Raises:
        OptionError: if it is no checkpointer; for one of LangGraph's, it names the one to use.
    """
    if given is None or isinstance(given, bool):
        return given
    if all(hasattr(given, method) for method in ("commit", "claim", "load", "history")):
        if not isinstance(given, type):
            return cast("Checkpointer", given)
        remedy = f"make one: {given.__name__}(…)"
    elif hasattr(given, "get_tuple"):
        name = type(given).__name__
        own = next((o for o in ("InMemorySaver", "SqliteSaver", "RedisSaver") if o in name), "")
        remedy = "LangGraph's savers store other records, so import the saver from orchestrator: "
        remedy += own or "InMemorySaver, SqliteSaver or RedisSaver"
    elif hasattr(given, "__enter__"):
        remedy = "enter the context manager first: with … as saver"
    else:
        remedy = "pass InMemorySaver(), SqliteSaver(path) or RedisSaver(url)"
    kind = given if isinstance(given, type) else type(given)
    where = f"{kind.__module__}.{kind.__qualname__}"
    msg = (
        f"Invalid checkpointer provided: it must be a checkpointer of this package, True, False or "
        f"None ({where}); {remedy}"
    )
    raise OptionError(msg)


# What `compile` and `entrypoint` take besides: what each must be able to do, and what to pass.
_PARTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "store": (("get", "put", "search"), "InMemoryStore() or another BaseStore"),
    "cache": (("get", "set", "clear"), "InMemoryCache() or another BaseCache"),
    "executor": (("proceed", "send", "checkpointer"), "InProcess() or CeleryExecutor(…)"),
}


def check_parts(**given: Any) -> None:
    """Refuse a store, cache or executor that is none, before a run finds out.

    Raises:
        OptionError: with what to pass instead.
    """
    for name, part in given.items():
        methods, remedy = _PARTS[name]
        if part is None:
            continue
        if isinstance(part, type) or not all(hasattr(part, method) for method in methods):
            kind = part if isinstance(part, type) else type(part)
            what = "the class itself, " if isinstance(part, type) else ""
            msg = (
                f"{name} must have the methods {', '.join(methods)} ({what}"
                f"{kind.__module__}.{kind.__qualname__}): pass {remedy}"
            )
            raise OptionError(msg)


def _check_names(options: Mapping[str, Any], known: type) -> None:
    unknown = [key for key in options if key not in known.__annotations__]
    if unknown:
        names = ", ".join(known.__annotations__)
        raise OptionError(f"there is no option {unknown[0]!r}. The options are: {names}")


def modes_of(given: str | Sequence[str] | None, default: str | Sequence[str]) -> tuple[str, ...]:
    """Return stream modes as a tuple.

    Raises:
        OptionError: if one does not exist.
    """
    chosen = default if given is None else given
    modes = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    for mode in modes:
        if mode not in MODES:
            raise OptionError(f"stream_mode={mode!r} is not one of {', '.join(map(repr, MODES))}")
    return modes
