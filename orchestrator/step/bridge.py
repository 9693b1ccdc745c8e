"""Between steps and langchain-core, where the program uses it.

langchain's runnables find their config in a context variable: so a model that a node calls without
passing its config on still has the caller's callbacks and tags. Handlers hear of the graph, of its
nodes, and of what runs inside them, as a tree.

Rule 1: nothing here imports langchain-core unless the program has, or somebody reads `messages`.
Rule 2: without handlers nothing is told, and a node costs no more than it did.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.core.advance import Frame
from orchestrator.core.apply import values_with
from orchestrator.errors import InvalidUpdateError
from orchestrator.graph.messages import message_sink
from orchestrator.graph.routing import Command
from orchestrator.graph.scope import Scope, open_scope
from orchestrator.record import replace

if TYPE_CHECKING:
    from orchestrator.step.attempt import Attempt

__all__ = ["CodeRun", "GraphRun", "graph_run", "message_ids", "node_run", "task_run"]

_MANAGER = "langchain_core.callbacks.manager"
_MESSAGES = "langchain_core.messages"
_CONFIG = "langchain_core.runnables.config"
_HIDDEN = "langsmith:hidden"  # The tag of what readers do not care about.
_OF_RUN = {"run_id", "run_name"}  # What a config says about the graph's run, not about nodes.


# ---- the graph ----------------------------------------------------------------------------------


@dataclass(slots=True)
class GraphRun:
    """A call of a graph, as handlers hear of it.

    Attributes:
        callbacks: what its nodes inherit.
        is_told: whether somebody hears of it.
        output: what it returned, for handlers.
    """

    callbacks: Any = None
    is_told: bool = False
    output: Any = None


@contextmanager
def graph_run(name: str, value: Any, config: Mapping[str, Any]) -> Iterator[GraphRun]:
    """Tell handlers that a graph runs while the block does.

    Args:
        name: the graph's; the config's `run_name` goes before.
        value: its input.
        config: the caller's `callbacks`, `tags`, `metadata`, `run_name` and `run_id`.
    """
    given = config.get("callbacks") or _inherited().get("callbacks")
    manager = _manager(sys.modules.get(_MANAGER), given, config)
    if manager is None:
        yield GraphRun(given)
        return
    told = manager.on_chain_start(
        None, value, name=config.get("run_name") or name, run_id=config.get("run_id")
    )
    run = GraphRun(told.get_child(), is_told=True)
    try:
        yield run
    except BaseException as error:
        told.on_chain_error(error)
        raise
    told.on_chain_end(run.output)


# ---- nodes and tasks ----------------------------------------------------------------------------


@dataclass(slots=True)
class CodeRun:
    """A node or a task of an attempt, as handlers and readers of messages hear of it.

    Attributes:
        attempt: the attempt.
        result: what the code returned; to be set by whoever calls it.
        pushed: what `push_message` writes.
    """

    attempt: Attempt
    result: Any = None
    pushed: list[tuple[str, Any]] = field(default_factory=list)
    _told: Any = None  # langchain's manager of the run.

    @property
    def _is_read(self) -> bool:
        """Whether somebody reads the stream mode `messages`."""
        live, step = self.attempt.protocol.live, self.attempt.step
        if live.listener is not None:
            return live.messages
        return bool(step.queue) and bool(self.attempt.given.get("messages"))

    @property
    def is_heard(self) -> bool:
        """Whether somebody may hear of the run, or its config differs from that of its attempt."""
        of_run = self.attempt.protocol.live.config.keys() & _OF_RUN
        return bool(of_run) or _MANAGER in sys.modules or _CONFIG in sys.modules or self._is_read

    def frame(self) -> Frame:
        """Return the frame as the routers of the node see it: with what was pushed."""
        frame, spec = self.attempt.frame, self.attempt.protocol.spec
        if not self.pushed:
            return frame
        return replace(frame, values=values_with(spec, frame.checkpoint, frame.values, self.pushed))

    def begin(self, around: Mapping[str, Any], given: Any, seen: Any) -> dict[str, Any]:
        """Tell that the code begins; return its config.

        Args:
            around: the config that it would have without handlers.
            given: the callbacks that it inherits.
            seen: what it is called with.
        """
        config = {key: value for key, value in around.items() if key not in _OF_RUN}
        metadata, module = config["metadata"], sys.modules.get(_MANAGER)
        handlers: list[Any] = []
        if self._is_read:
            module, handlers = _listening(metadata["langgraph_checkpoint_ns"], self._show)
        if module is None or not (given or handlers):
            return config
        hidden = self.attempt.node.action is None and self.attempt.node.subgraph is None
        tags = [*config["tags"], _HIDDEN] if hidden else config["tags"]
        manager = _manager(module, given, {**config, "tags": tags}, handlers)
        config["callbacks"] = None
        if manager is not None:
            manager.add_tags([f"graph:step:{metadata['langgraph_step']}"], inherit=False)
            self._told = manager.on_chain_start(None, seen, name=metadata["langgraph_node"])
            config["callbacks"] = self._told.get_child("seq:step:1")
        return config

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        """Open `scope` around the code, for langchain's runnables, too; tell how it ends."""
        close, withdraw = open_scope(scope), _inherit(scope.config)
        try:
            yield
            if self._told is not None:
                # What a subgraph hands to the graph around it is nothing that its node says.
                hands = self.attempt.node.subgraph is not None and isinstance(self.result, Command)
                self._told.on_chain_end(None if hands else self.result)
        except BaseException as error:
            if self._told is not None:
                self._told.on_chain_error(error)
            raise
        finally:
            withdraw()
            close()

    def push(self, message: Any, key: str | None) -> None:
        """Do what `push_message` asks: show the message, and write it to a key.

        Raises:
            InvalidUpdateError: if a key is named that the state does not have.
        """
        keys = self.attempt.protocol.spec.state_keys
        # "messages" is also what callers get who name no key: then there is nothing to write to.
        if key is not None and key not in keys and key != "messages":
            msg = (
                f"push_message(…, state_key={key!r}) names no key of the state. The keys are: "
                f"{', '.join(keys)}; state_key=None only shows the message"
            )
            raise InvalidUpdateError(msg)
        if self._is_read:
            self._show(message, self.attempt.scope.config["metadata"], whole=False)
        if key in keys:
            self.pushed.append((str(key), message))

    def _show(self, message: Any, metadata: Mapping[str, Any], whole: bool) -> None:  # noqa: FBT001 - `Show`
        self.attempt.write((message, metadata, whole), mode="messages")


def node_run(attempt: Attempt, seen: Any) -> AbstractContextManager[CodeRun]:
    """Surround an attempt at a node, with its routers, or its handler.

    Args:
        attempt: the attempt; its scope, which is open, gets the config of the run.
        seen: what the node is called with.

    Returns:
        a context of the run; whoever has the node's result sets `result`.
    """
    run = CodeRun(attempt)
    return _heard(run, seen) if run.is_heard else _Collecting(run)


@contextmanager
def _heard(run: CodeRun, seen: Any) -> Iterator[CodeRun]:
    config = run.attempt.scope.config
    given = _around(config["configurable"]) or config.get("callbacks")
    scope = run.attempt.scope = _with_config(run.attempt.scope, run.begin(config, given, seen))
    with _Collecting(run), run.within(scope):
        yield run


class _Collecting:
    """Takes what a node pushes: a class, not a generator, since every node is surrounded by one."""

    __slots__ = ("_run", "_sink")

    def __init__(self, run: CodeRun) -> None:
        self._run = run

    def __enter__(self) -> CodeRun:
        self._sink = message_sink.set(self._run.push)
        return self._run

    def __exit__(self, *exception: object) -> None:
        message_sink.reset(self._sink)


@contextmanager
def task_run(attempt: Attempt, scope: Scope, name: str, task_id: str) -> Iterator[CodeRun]:
    """Surround a task inside an attempt.

    Args:
        attempt: the attempt.
        scope: the task's, with the config of the code that called it.
        name: the task's name.
        task_id: the task's id.

    Yields:
        the run; whoever has the task's result sets `result`.
    """
    run, config = CodeRun(attempt), scope.config
    ns = f"{config['metadata']['langgraph_checkpoint_ns']}|{name}:{task_id}"
    metadata = {
        **config["metadata"],
        "langgraph_node": name,
        "langgraph_triggers": ("__pregel_push",),
        "langgraph_checkpoint_ns": ns,
    }
    own = {**config, "metadata": metadata}
    own["configurable"] = {**config["configurable"], "checkpoint_ns": ns}
    scope = _with_config(scope, run.begin(own, config.get("callbacks"), None))
    with run.within(scope):
        yield run


def message_ids(seen: Any) -> set[str]:
    """Return the ids of langchain's messages that a node is called with."""
    if _MESSAGES not in sys.modules:
        return set()  # So there are none.
    from orchestrator.step.tokens import ids_in  # noqa: PLC0415 - imports langchain-core

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
    return lambda: variable.reset(token)


def _inherited() -> Mapping[str, Any]:
    """Return the config that langchain's runnables inherit here."""
    module = sys.modules.get(_CONFIG)
    return (module.var_child_runnable_config.get() if module else None) or {}


def _around(configurable: Mapping[str, Any]) -> Any:
    """Return the callbacks of the step around the one with this config, if it is a subgraph's."""
    inherited = _inherited()
    outer = inherited.get("configurable", {})
    ns = outer.get("checkpoint_ns")
    if not ns or outer.get("thread_id") != configurable["thread_id"]:
        return None
    inside = configurable["checkpoint_ns"].startswith(f"{ns}|")
    return inherited.get("callbacks") if inside else None


def _listening(ns: str, show: Any) -> tuple[Any, list[Any]]:
    """Return langchain's module of managers, and a handler that shows messages, if there is one."""
    try:
        from langchain_core.callbacks import manager  # noqa: PLC0415 - optional, slow to import

        from orchestrator.step.tokens import MessagesHandler  # noqa: PLC0415 - imports it, too
    except ImportError:
        return None, []
    return manager, [MessagesHandler(ns, show)]


def _manager(
    module: Any, given: Any, config: Mapping[str, Any], handlers: list[Any] | None = None
) -> Any:
    """Return a manager for a run, or `None` if nobody would hear of it."""
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
