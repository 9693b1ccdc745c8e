"""The surroundings of code in a running step: its config, runtime and questions.

The step runner opens a scope around the node, its routers and its tasks. Context variables carry
it into coroutines; OS threads that a node starts itself must copy their context. The names are
LangGraph's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Generic, Protocol, TypeVar, overload

from orchestrator.errors import GraphInterrupt
from orchestrator.frozen import frozen
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy
from orchestrator.ids import short_hash
from orchestrator.model.checkpoint import Interrupt

# ---- questions ------------------------------------------------------------------------------


_KEY, _INDEX = "key:", "index:"


def is_place(name: str) -> bool:
    """Return whether a name is the place of a question in its node, rather than its id."""
    return name.startswith((_KEY, _INDEX))


def _as_it_is(_: Any, answer: Any) -> Any:
    return answer


@dataclass(slots=True)
class Scratchpad:
    """The questions and answers of one attempt at a step.

    Attributes:
        seed: unique to the step; the ids of its questions are derived from it.
        answers: interrupt id → answer; of a question asked in another branch, its place → answer.
        asked: the questions so far, in this order.
        open: those without an answer. They count even if the code catches the exception.
        fit: converts an answer to the type of the `response_schema`.
    """

    seed: str
    answers: Mapping[str, Any] = field(default_factory=dict)
    asked: list[Interrupt] = field(default_factory=list)
    open: list[Interrupt] = field(default_factory=list)
    fit: Callable[[Any, Any], Any] = _as_it_is

    def ask(self, value: Any, key: str | None, schema: Any = None) -> Any:
        """Return the answer to the question, or raise `GraphInterrupt` while there is none."""
        name = f"{_KEY}{key}" if key is not None else f"{_INDEX}{len(self.asked)}"
        question = Interrupt(value, short_hash(self.seed, name), key, schema)
        if any(earlier.id == question.id for earlier in self.asked):
            msg = f"the keys of a node's interrupts must be unique (key={key!r})"
            raise ValueError(msg)
        self.asked.append(question)
        for given in (question.id, name):
            if given in self.answers:
                return self.fit(schema, self.answers[given])
        self.open.append(question)
        raise GraphInterrupt((question,))

    def pose(self, value: Any, interrupt_id: str | None) -> Interrupt:
        """Return a question that the node asks by an exception."""
        place = f"{_INDEX}{len(self.asked)}"
        question = Interrupt(value, interrupt_id or short_hash(self.seed, place))
        self.asked.append(question)
        return question


AnswerT = TypeVar("AnswerT")


@overload
def interrupt(value: Any, *, key: str | None = None, response_schema: type[AnswerT]) -> AnswerT: ...


@overload
def interrupt(value: Any, *, key: str | None = None, response_schema: Any = None) -> Any: ...


def interrupt(value: Any, *, key: str | None = None, response_schema: Any = None) -> Any:
    """Pause the run until a caller answers; return the answer when the node runs again.

    The node restarts from its beginning once the answer is given, so code before this call runs
    again. Questions are identified by their order in the node, or by `key`, which keeps its answer
    when the code around it changes.

    Args:
        value: the question, shown to the caller who answers. It must be storable.
        key: a name for this question, unique in the node.
        response_schema: a type (as pydantic understands it) or a JSON schema that the answer must
            fit; an answer that does not is refused. With a type, the answer comes as one.

    Raises:
        RuntimeError: if called outside a node.
    """
    return scope_of("interrupt()").scratchpad.ask(value, key, response_schema)


# ---- the runtime ----------------------------------------------------------------------------


ContextT = TypeVar("ContextT")
StreamWriter = Callable[[Any], None]


def silent(_: Any) -> None:
    """Discard a value: the stream writer of a run whose stream is not read."""


def _alive() -> None:
    """Do nothing: the `heartbeat` of a step without an idle timeout."""


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """The ids and the attempt of a running step.

    Attributes:
        checkpoint_id: the checkpoint that planned it.
        checkpoint_ns: its namespace, which a subgraph it runs gets.
        task_id: the step's id.
        thread_id: the thread, `None` if it is not stored.
        run_id: the run.
        node_attempt: the number of its attempts, this one included.
        node_first_attempt_time: when this attempt began, in seconds since the epoch.
    """

    checkpoint_id: str
    checkpoint_ns: str
    task_id: str
    thread_id: str | None = None
    run_id: str | None = None
    node_attempt: int = 1
    node_first_attempt_time: float | None = None

    def patch(self, **overrides: Any) -> ExecutionInfo:
        """Return a copy with other fields."""
        return replace(self, **overrides)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """LangGraph's server as a node reads it; here there is no such server, so it is absent."""

    assistant_id: str
    graph_id: str
    user: Any = None


class RunControl:
    """Stops a run between two supersteps, from any OS thread. Make one for each run."""

    __slots__ = ("_reason",)

    def __init__(self) -> None:
        self._reason: str | None = None

    def request_drain(self, reason: str = "shutdown") -> None:
        """End the run after the current superstep; it can be resumed."""
        self._reason = reason

    @property
    def drain_requested(self) -> bool:
        """Whether a stop of the run was requested."""
        return self._reason is not None

    @property
    def drain_reason(self) -> str | None:
        """The reason of the request, or `None`."""
        return self._reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Generic[ContextT]):
    """The value of a node's parameter `runtime`.

    Attributes:
        context: the caller's `context`, as an instance of the graph's `context_schema`.
        store: the long-term memory that the graph was compiled with.
        stream_writer: writes to the stream mode `custom`.
        heartbeat: reports progress, where a `TimeoutPolicy` limits idle time.
        previous: the value that the thread's last run returned or saved (functional API).
        execution_info: which step this is.
        server_info: always `None`; LangGraph's server has one.
        control: the caller's `RunControl`.
    """

    context: ContextT = None  # type: ignore[assignment]
    store: Any = None
    stream_writer: StreamWriter = silent
    heartbeat: Callable[[], None] = _alive
    previous: Any = None
    execution_info: ExecutionInfo | None = None
    server_info: ServerInfo | None = None
    control: RunControl | None = None

    def override(self, **overrides: Any) -> Runtime[ContextT]:
        """Return a copy with other fields."""
        return replace(self, **overrides)

    def merge(self, other: Runtime[ContextT]) -> Runtime[ContextT]:
        """Return a copy with the fields that `other` sets."""
        empty: Runtime[ContextT] = Runtime()
        names = [*Runtime.__dataclass_fields__]
        given = {name: getattr(other, name) for name in names}
        news = {n: value for n, value in given.items() if value is not getattr(empty, n)}
        return replace(self, **news)

    def patch_execution_info(self, **overrides: Any) -> Runtime[ContextT]:
        """Return a copy with other fields in `execution_info`.

        Raises:
            RuntimeError: if the runtime belongs to no running step.
        """
        if self.execution_info is None:
            msg = "patch_execution_info() works only on the runtime of a running step"
            raise RuntimeError(msg)
        return replace(self, execution_info=self.execution_info.patch(**overrides))

    @property
    def drain_requested(self) -> bool:
        """Whether a stop of the run after this superstep was requested."""
        return self.control is not None and self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """The reason of the request, or `None`."""
        return self.control.drain_reason if self.control is not None else None


# ---- the scope ------------------------------------------------------------------------------


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
    """The interface of the process that runs the step, for the code in it."""

    def call(self, call: TaskCall) -> Any:
        """Begin a task, or find its result of an earlier attempt; return a future."""
        ...

    def run_child(self, graph: Any, value: Any, config: Mapping[str, Any]) -> Any:
        """Run a subgraph as part of the step and return its output."""
        ...

    def in_event_loop(self) -> bool:
        """Return whether the run was begun from an event loop, where its coroutines run."""
        ...


@frozen
class Scope:
    """The surroundings of code in a step; config and runtime are made when they are first read."""

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
    """Make `scope` the current one; the returned function restores the one before."""
    return partial(current_scope.reset, current_scope.set(scope))


def scope_of(what: str) -> Scope:
    """Return the current scope.

    Raises:
        RuntimeError: outside of a step; the message names `what`, the function that was called.
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
    """Return the writer of the stream mode `custom`.

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
