"""Between steps and langchain-core, where the program uses it.

langchain's runnables find their config in a context variable: so a model that a node calls without
passing its config on still has the caller's callbacks and tags. Handlers hear of the graph, of its
nodes, and of what runs inside them, as a tree.

Rule 1: nothing here imports langchain-core unless a handler can hear: the program has imported
        what handlers are made of, its environment asks for traces, or a caller reads `messages`.
Rule 2: without handlers no run is reported, and a node costs no more than it did.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from orchestrator.engine.advance import Frame
from orchestrator.engine.apply import values_with
from orchestrator.errors import InvalidUpdateError
from orchestrator.frozen import replace
from orchestrator.graph.conversation import MessageIds, message_sink
from orchestrator.graph.routing import Command
from orchestrator.graph.scope import Scope, TaskCall, open_scope, scope_of
from orchestrator.graph.spec import Branch, GraphSpec, NodeSpec

__all__ = [
    "CodeRun",
    "GraphRun",
    "child_run",
    "graph_run",
    "merged_callbacks",
    "message_ids",
    "node_run",
    "prepare_handlers",
    "task_run",
]

_MANAGER = "langchain_core.callbacks.manager"
_MESSAGES = "langchain_core.messages"
_CONFIG = "langchain_core.runnables.config"
_TRACER = "langchain_core.tracers.langchain"
# Where one of these is imported, there may be handlers: in a config, a context or a setting.
_HANDLERS = ("langchain_core.callbacks.base", "langchain_core.globals")
# The variables of the environment by which langchain-core sends traces without any handler.
_TRACING = (
    "LANGSMITH_TRACING_V2",
    "LANGCHAIN_TRACING_V2",
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING",
)
_HIDDEN = "langsmith:hidden"  # The tag of what readers do not care about.
_OF_RUN = {"run_id", "run_name"}  # What a config says about the graph's run, not about nodes.
_NAMELESS = "RunnableCallable"  # What traces of LangGraph call a router without a name.
_INTEGRATION = {"ls_integration": "langgraph"}  # By which readers of traces know graphs.


# ---- the graph ----------------------------------------------------------------------------------


@dataclass(slots=True)
class GraphRun:
    """A call of a graph, as handlers hear of it.

    Attributes:
        callbacks: what its nodes inherit.
        has_handlers: whether a handler is notified of it.
        output: what it returned, for handlers.
        run_id: the id under which handlers know it.
    """

    callbacks: Any = None
    has_handlers: bool = False
    output: Any = None
    run_id: Any = None


@contextmanager
def graph_run(
    name: str, value: Any, config: Mapping[str, Any], around: Any = None
) -> Iterator[GraphRun]:
    """Report to handlers that a graph runs while the block does.

    Args:
        name: the graph's; the config's `run_name` goes before.
        value: its input.
        config: the caller's `callbacks`, `tags`, `metadata`, `run_name` and `run_id`.
        around: the callbacks that hold around it, where no runnable of langchain is.
    """
    around = _inherited().get("callbacks") or around
    given = merged_callbacks(around, config.get("callbacks"))
    manager = _manager(_managers(), given, config)
    if manager is None:
        yield GraphRun(given, run_id=config.get("run_id"))
        return
    if "ls_integration" not in manager.metadata:
        manager.add_metadata(_INTEGRATION)
    started = manager.on_chain_start(
        None, value, name=config.get("run_name") or name, run_id=config.get("run_id")
    )
    run = GraphRun(started.get_child(), has_handlers=True, run_id=started.run_id)
    try:
        yield run
    except BaseException as error:
        started.on_chain_error(error)
        raise
    started.on_chain_end(run.output)


@contextmanager
def child_run(name: str, value: Any, config: Mapping[str, Any]) -> Iterator[GraphRun]:
    """Report to handlers that the code or node in the current scope runs a subgraph.

    Args:
        name: the subgraph's.
        value: its input.
        config: what the code that calls it gave; empty for a node that is a graph.
    """
    outer = scope_of("a subgraph").config
    around = outer.get("callbacks")
    if not (around or config.get("callbacks") or _inherited().get("callbacks")):
        yield GraphRun()
        return
    ns = outer["configurable"]["checkpoint_ns"]
    metadata = {"checkpoint_ns": ns, **(config.get("metadata") or {})}
    with graph_run(name, value, {**config, "metadata": metadata}, around) as run:
        yield run


# ---- nodes and tasks ----------------------------------------------------------------------------


class RunningStep(Protocol):
    """A step whose code runs, as handlers and readers of messages need it."""

    node: NodeSpec
    frame: Frame
    scope: Scope

    @property
    def spec(self) -> GraphSpec:
        """Return its graph."""
        ...

    @property
    def key(self) -> str:
        """Return the name that all attempts at the step share."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the caller's config, besides what is stored."""
        ...

    @property
    def streams_messages(self) -> bool:
        """Whether a caller reads the stream mode `messages`."""
        ...

    def write(self, data: Any, mode: str = "custom") -> None:
        """Write to the stream."""
        ...


@dataclass(slots=True)
class CodeRun:
    """A node or a task of an attempt, as handlers and readers of messages hear of it.

    Attributes:
        attempt: the attempt.
        task_id: of a task, its id.
        result: what the code returned; to be set by the caller of the code.
        pushed: what `push_message` writes.
    """

    attempt: RunningStep
    task_id: str = ""
    result: Any = None
    pushed: list[tuple[str, Any]] = field(default_factory=list)
    _started: Any = None  # langchain's manager of the run.
    _reader: Any = None  # The handler that shows messages, where a caller reads them.
    _ids: MessageIds | None = None
    _returned: list[Any] = field(default_factory=list)  # What a reader may see when it is done.
    _sink: Any = None  # What restores the message sink.

    def __enter__(self) -> Self:
        self._sink = message_sink.set(self.push)
        return self

    def __exit__(self, *exception: object) -> None:
        message_sink.reset(self._sink)

    @property
    def is_heard(self) -> bool:
        """Whether a handler may hear of the run, or its config differs from its attempt's."""
        if _MANAGER in sys.modules or _CONFIG in sys.modules:
            return True
        return not _OF_RUN.isdisjoint(self.attempt.config) or self.attempt.streams_messages

    def frame(self) -> Frame:
        """Return the frame as the routers of the node see it: with what was pushed."""
        frame, spec = self.attempt.frame, self.attempt.spec
        if not self.pushed:
            return frame
        return replace(frame, values=values_with(spec, frame.checkpoint, frame.values, self.pushed))

    def begin(
        self, around: Mapping[str, Any], given: Any, seen: Any, *, hidden: bool = False
    ) -> dict[str, Any]:
        """Report that the code begins; return its config.

        Args:
            around: the config that it would have without handlers.
            given: the callbacks that it inherits.
            seen: what it is called with.
            hidden: whether it is nothing that a user wrote.
        """
        config = {key: value for key, value in around.items() if key not in _OF_RUN}
        metadata, module = config["metadata"], sys.modules.get(_MANAGER)
        if self.attempt.streams_messages and not hidden:
            module, self._reader = _listening(metadata["langgraph_checkpoint_ns"], self._show)
        if module is None or not (given or self._reader):
            return config
        tags = [*config["tags"], _HIDDEN] if hidden else config["tags"]
        handlers = [self._reader] if self._reader else []
        manager = _manager(module, given, {**config, "tags": tags}, handlers)
        config["callbacks"] = None
        if manager is None:
            return config
        if "ls_integration" not in manager.metadata:
            manager.add_metadata(_INTEGRATION)
        if not self.task_id:
            manager.add_tags([f"graph:step:{metadata['langgraph_step']}"], inherit=False)
        self._started = manager.on_chain_start(None, seen, name=metadata["langgraph_node"])
        if self._reader:
            self._reader.begin(self._started.metadata, seen)
        config["callbacks"] = self._started.get_child("seq:step:1")
        return config

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        """Open `scope` around the code, for langchain's runnables, too; report how it ends."""
        close, withdraw = open_scope(scope), _inherit(scope.config)
        try:
            yield
            if self._returned and not self._hands_up:
                self._reader.returned(self._returned)
            if self._started is not None:
                _tap(self._started, self.result)
                self._started.on_chain_end(None if self._hands_up else self.result)
        except BaseException as error:
            if self._started is not None:
                self._started.on_chain_error(error)
            raise
        finally:
            withdraw()
            close()

    @property
    def _hands_up(self) -> bool:
        """Whether the result is what a subgraph hands to the graph around, not what it says."""
        return self.attempt.node.subgraph is not None and isinstance(self.result, Command)

    # ---- messages ---------------------------------------------------------------------------

    def named(self, writes: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return writes whose messages have ids, as they are stored and shown to a reader.

        The ids follow from the step: another attempt gives the same messages the same ids. (INV-6)
        """
        pairs, keys = list(writes), self.attempt.spec.message_keys
        is_read = self._reader is not None
        if not (is_read or keys):
            return pairs
        if self._ids is None:
            self._ids = MessageIds(self.attempt.key)
        named = [
            (
                key,
                self._ids.given(key, value, converts=keys.get(key, False))
                if is_read or key in keys
                else value,
            )
            for key, value in pairs
        ]
        self._returned += [value for _, value in named] if is_read else ()
        return named

    def unnamed(self, writes: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        """Return writes as the node returned them, for a cache: others give ids of their own."""
        if self._ids is None:
            return writes
        return tuple((key, self._ids.taken(value)) for key, value in writes)

    def returned(self, result: Any) -> Any:
        """Return what a function returned, with ids for its messages if a reader is shown them."""
        if self._reader is None:
            return result
        if self._ids is None:
            self._ids = MessageIds(self.task_id or self.attempt.key)
        if not isinstance(result, dict):
            named = self._ids.given("", result)
            self._returned.append(named)
            return named
        fields = {key: self._ids.given(str(key), value) for key, value in result.items()}
        self._returned += fields.values()
        return fields

    def push(self, message: Any, key: str | None) -> None:
        """Do what `push_message` asks: show the message, and write it to a key.

        Raises:
            InvalidUpdateError: if a key is named that the state does not have.
        """
        keys = self.attempt.spec.state_keys
        # "messages" is also what callers get who name no key: then there is nothing to write to.
        if key is not None and key not in keys and key != "messages":
            msg = (
                f"push_message(…, state_key={key!r}) names no key of the state. The keys are: "
                f"{', '.join(keys)}; state_key=None only shows the message"
            )
            raise InvalidUpdateError(msg)
        if self.attempt.streams_messages:
            self._show(message, self.attempt.scope.config["metadata"], whole=False)
        if key in keys:
            self.pushed.append((str(key), message))

    def _show(self, message: Any, metadata: Mapping[str, Any], whole: bool) -> None:  # noqa: FBT001 - `Show`
        self.attempt.write((message, metadata, whole), mode="messages")

    # ---- routers ----------------------------------------------------------------------------

    def routed(self, branch: Branch, number: int, seen: Any, call: Callable[[], Any]) -> Any:
        """Return what a router chose; handlers hear of it as of a part of its node.

        Args:
            branch: the router.
            number: its place among the parts of the node, for people who read traces.
            seen: what it is called with.
            call: calls it.
        """
        if self._started is None:
            return call()
        name = getattr(branch.path, "__name__", branch.name)
        started = self._started.get_child(f"seq:step:{number}").on_chain_start(
            None, seen, name=_NAMELESS if name == "<lambda>" else name
        )
        withdraw = _inherit({**self.attempt.scope.config, "callbacks": started.get_child()})
        try:
            chosen = call()
        except BaseException as error:
            started.on_chain_error(error)
            raise
        finally:
            withdraw()
        started.on_chain_end(chosen)
        return chosen


def node_run(attempt: RunningStep, seen: Any) -> AbstractContextManager[CodeRun]:
    """Surround an attempt at a node, with its routers, or its handler.

    Args:
        attempt: the attempt; its scope, which is open, gets the config of the run.
        seen: what the node is called with.

    Returns:
        a context of the run; the caller of the node sets `result`.
    """
    run = CodeRun(attempt)
    return _heard(run, seen) if run.is_heard else run


@contextmanager
def _heard(run: CodeRun, seen: Any) -> Iterator[CodeRun]:
    config, node = run.attempt.scope.config, run.attempt.node
    given = config.get("callbacks")
    passes = node.action is None and node.subgraph is None
    if passes and not node.branches:  # START, which does nothing that a handler could hear of.
        own = {key: value for key, value in config.items() if key not in _OF_RUN}
    else:
        own = run.begin(config, given, seen, hidden=passes)
    scope = run.attempt.scope = _with_config(run.attempt.scope, own)
    with run, run.within(scope):
        yield run


@contextmanager
def task_run(attempt: RunningStep, scope: Scope, call: TaskCall, task_id: str) -> Iterator[CodeRun]:
    """Surround a task inside an attempt.

    Args:
        attempt: the attempt.
        scope: the task's, with the config of the code that called it.
        call: the call of the task.
        task_id: the task's id.

    Yields:
        the run; the caller of the task sets `result`.
    """
    run, config = CodeRun(attempt, task_id), scope.config
    ns = f"{config['metadata']['langgraph_checkpoint_ns']}|{call.name}:{task_id}"
    metadata = {
        **config["metadata"],
        "langgraph_node": call.name,
        "langgraph_triggers": ("__pregel_push",),
        "langgraph_checkpoint_ns": ns,
    }
    own = {**config, "metadata": metadata}
    own["configurable"] = {**config["configurable"], "checkpoint_ns": ns}
    given = config.get("callbacks")
    seen = _arguments(call) if given else None
    scope = _with_config(scope, run.begin(own, given, seen))
    with run.within(scope):
        yield run


def _arguments(call: TaskCall) -> Any:
    """Return the arguments of a task by name; where they do not fit, as they were given."""
    try:
        bound = inspect.signature(call.function).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError):
        return {"args": call.args, "kwargs": dict(call.kwargs)}
    bound.apply_defaults()
    return dict(bound.arguments)


def message_ids(seen: Any) -> set[str]:
    """Return the ids of langchain's messages that a node is called with."""
    if _MESSAGES not in sys.modules:
        return set()  # So there are none.
    from orchestrator.integrations.langchain_messages import ids_in  # noqa: PLC0415 - imports langchain-core

    return ids_in(seen)


def _with_config(scope: Scope, config: Mapping[str, Any]) -> Scope:
    """Return a scope with another config."""
    return Scope(
        scratchpad=scope.scratchpad,
        make_config=lambda: config,
        make_runtime=lambda: scope.runtime,
        host=scope.host,
    )


# ---- langchain ----------------------------------------------------------------------------------


def _inherit(config: Mapping[str, Any]) -> Callable[[], None]:
    """Make `config` the one that langchain's runnables inherit; return what ends that."""
    module = sys.modules.get(_CONFIG)
    if module is None:
        return lambda: None
    variable = module.var_child_runnable_config
    token = variable.set(dict(config))
    traced = _traced(config.get("callbacks"))

    def withdraw() -> None:
        traced.close()
        variable.reset(token)

    return withdraw


def _traced(callbacks: Any) -> ExitStack:
    """Make the run of a manager the one under which LangSmith traces; close it to end that."""
    stack, tracing = ExitStack(), sys.modules.get(_TRACER)
    run_id = str(getattr(callbacks, "parent_run_id", None))
    if tracing is not None and run_id != "None":
        tracers = (h for h in callbacks.handlers if isinstance(h, tracing.LangChainTracer))
        runs = (tracer.run_map.get(run_id) for tracer in tracers)
        run = next((found for found in runs if found is not None), None)
        if run is not None:
            stack.enter_context(sys.modules["langsmith.run_helpers"].tracing_context(parent=run))
    return stack


def _tap(started: Any, result: Any) -> None:
    """Show what a node returned to handlers that listen to what runnables stream."""
    for handler in started.handlers:
        tap = getattr(handler, "tap_output_iter", None)
        if tap is not None:
            for _ in tap(started.run_id, iter([result])):
                pass


def _inherited() -> Mapping[str, Any]:
    """Return the config that langchain's runnables inherit here."""
    module = sys.modules.get(_CONFIG)
    return (module.var_child_runnable_config.get() if module else None) or {}


def merged_callbacks(around: Any, own: Any) -> Any:
    """Return the callbacks of a call together with those that hold around it.

    Args:
        around: a list of handlers, or one of langchain's managers, or nothing.
        own: the same.
    """
    if not around or not own:
        return own or around
    lists = isinstance(around, (list, tuple)), isinstance(own, (list, tuple))
    if all(lists):
        return [*around, *own]
    if not any(lists):
        return around.merge(own)
    manager, handlers = (own, around) if lists[0] else (around, own)
    manager = manager.copy()
    for handler in handlers:
        manager.add_handler(handler, inherit=True)
    return manager


def _managers() -> Any:
    """Return langchain's module of managers, if there may be a handler; else `None`."""
    module = sys.modules.get(_MANAGER)
    if module is not None:
        return module
    traces = any(os.environ.get(name, "").lower() == "true" for name in _TRACING)
    if not traces and sys.modules.keys().isdisjoint(_HANDLERS):
        return None
    try:
        from langchain_core.callbacks import manager  # noqa: PLC0415 - optional, slow to import
    except ImportError:
        return None
    return manager


def prepare_handlers() -> None:
    """Let langchain import now what it imports when it is first asked for a manager.

    That takes half a second, which the first call, perhaps with a time limit, must not pay.
    """
    manager = _managers()
    if manager is not None:
        manager.CallbackManager.configure()


def _listening(ns: str, show: Any) -> tuple[Any, Any]:
    """Return langchain's module of managers, and a handler that shows messages, if there is one."""
    try:
        from langchain_core.callbacks import manager  # noqa: PLC0415 - optional, slow to import

        from orchestrator.integrations.langchain_messages import MessagesHandler  # noqa: PLC0415 - imports it, too
    except ImportError:
        return None, None
    return manager, MessagesHandler(ns, show)


def _manager(
    module: Any, given: Any, config: Mapping[str, Any], handlers: list[Any] | None = None
) -> Any:
    """Return a manager for a run, or `None` if no handler would hear of it."""
    if module is None:
        return None
    if isinstance(given, (list, tuple)):  # Others hear of pauses only; langchain trips over them.
        given = [handler for handler in given if hasattr(handler, "ignore_chain")]
    manager = module.CallbackManager.configure(
        inheritable_callbacks=given,
        inheritable_tags=list(config.get("tags") or ()),
        inheritable_metadata=dict(config.get("metadata") or {}),
    )
    for handler in handlers or ():
        manager.add_handler(handler, inherit=True)
    return manager if manager.handlers else None
