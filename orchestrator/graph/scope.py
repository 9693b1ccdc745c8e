"""What user code can reach while its step runs, wherever it stands in the call stack.

The step protocol opens a scope around the node, its routers and its tasks. Context variables carry
it into coroutines; OS threads that a node starts itself must copy their context.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Protocol

from orchestrator.frozen import frozen
from orchestrator.graph.interrupt import Scratchpad, current_scratchpad
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy
from orchestrator.graph.runtime import Runtime, StreamWriter

__all__ = [
    "Host",
    "Scope",
    "TaskCall",
    "current_scope",
    "get_config",
    "get_runtime",
    "get_store",
    "get_stream_writer",
    "open_scope",
    "scope_of",
]


@frozen
class TaskCall:
    """One call of a `@task`."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    retry: tuple[RetryPolicy, ...] = ()
    timeout: TimeoutPolicy | None = None
    cache: Any = None  # A `CachePolicy`.
    code: str = ""  # With one: what identifies the function.


class Host(Protocol):
    """What runs the step, as the code in the step sees it."""

    def call(self, call: TaskCall) -> Any:
        """Begin a task, or find the result of an earlier attempt; return a future."""
        ...

    def run_child(self, graph: Any, value: Any, config: Mapping[str, Any]) -> Any:
        """Run a subgraph as part of the step and return its output."""
        ...

    def in_event_loop(self) -> bool:
        """Return whether the run was begun from an event loop, where its coroutines run."""
        ...


@frozen
class Scope:
    """The surroundings of code in a step. What few nodes ask for is made when one does."""

    scratchpad: Scratchpad
    make_config: Callable[[], Mapping[str, Any]]
    make_runtime: Callable[[], Runtime[Any]]
    host: Host

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Return the config, as LangGraph's `RunnableConfig`."""
        return self.make_config()

    @cached_property
    def runtime(self) -> Runtime[Any]:
        """Return the runtime."""
        return self.make_runtime()


current_scope: ContextVar[Scope | None] = ContextVar("graphstalk_scope", default=None)


def open_scope(scope: Scope) -> Callable[[], None]:
    """Make `scope` the current one; the returned function restores what was before."""
    outer = current_scope.set(scope)
    inner = current_scratchpad.set(scope.scratchpad)

    def close() -> None:
        current_scratchpad.reset(inner)
        current_scope.reset(outer)

    return close


def scope_of(what: str) -> Scope:
    """Return the current scope.

    Raises:
        RuntimeError: outside of a step; the message names `what` was called.
    """
    scope = current_scope.get()
    if scope is None:
        msg = (
            f"{what} works only inside a node or task of a running graph. An OS thread that a node "
            f"starts itself needs its context: contextvars.copy_context().run(…)"
        )
        raise RuntimeError(msg)
    return scope


def get_config() -> Mapping[str, Any]:
    """Return the config of the step that runs, as a node's parameter `config` gets it.

    Raises:
        RuntimeError: outside of a step.
    """
    return scope_of("get_config()").config


def get_store() -> Any:
    """Return the store that the graph was compiled with.

    Raises:
        RuntimeError: outside of a step.
    """
    return scope_of("get_store()").runtime.store


def get_stream_writer() -> StreamWriter:
    """Return what writes to the stream mode `custom`.

    Raises:
        RuntimeError: outside of a step.
    """
    return scope_of("get_stream_writer()").runtime.stream_writer


def get_runtime(context_schema: Any = None) -> Runtime[Any]:
    """Return the `Runtime` of the step that runs; `context_schema` only serves type checkers.

    Raises:
        RuntimeError: outside of a step.
    """
    del context_schema
    return scope_of("get_runtime()").runtime
