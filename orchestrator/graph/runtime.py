"""What a run gives its nodes besides the state; the names are LangGraph's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

__all__ = ["ExecutionInfo", "RunControl", "Runtime", "ServerInfo", "StreamWriter", "silent"]

ContextT = TypeVar("ContextT")
StreamWriter = Callable[[Any], None]


def silent(_: Any) -> None:
    """Write to nobody: what a stream writer does while nobody reads the stream."""


def _alive() -> None:
    """Show progress to nobody: what `heartbeat` does where no idle time is measured."""


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """Where and how often a step runs.

    Attributes:
        checkpoint_id: the checkpoint that planned it.
        checkpoint_ns: its namespace, which a subgraph it runs gets.
        task_id: the step's id.
        thread_id: the thread, `None` if none is kept.
        run_id: the run.
        node_attempt: how often it was tried, this time included.
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
    """What LangGraph's server tells about itself; here there is none, so it is always absent."""

    assistant_id: str
    graph_id: str
    user: Any = None


class RunControl:
    """Stops a run between two supersteps, from any OS thread. Make one for each run."""

    __slots__ = ("_reason",)

    def __init__(self) -> None:
        """Let the run go on."""
        self._reason: str | None = None

    def request_drain(self, reason: str = "shutdown") -> None:
        """Let the run end after the current superstep; it can be resumed."""
        self._reason = reason

    @property
    def drain_requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self._reason is not None

    @property
    def drain_reason(self) -> str | None:
        """Why, or `None`."""
        return self._reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Generic[ContextT]):
    """What a node with a parameter `runtime` gets.

    Attributes:
        context: what the caller passed as `context`, as the graph's `context_schema`.
        store: the long-term memory that the graph was compiled with.
        stream_writer: writes to the stream mode `custom`.
        heartbeat: shows progress, where a `TimeoutPolicy` measures idle time.
        previous: what the thread's last run returned or saved (functional API).
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
        """Return a copy in which what `other` holds replaces what this one holds."""
        empty: Runtime[ContextT] = Runtime()
        names = [*Runtime.__dataclass_fields__]
        given = {name: getattr(other, name) for name in names}
        news = {n: value for n, value in given.items() if value is not getattr(empty, n)}
        return replace(self, **news)

    def patch_execution_info(self, **overrides: Any) -> Runtime[ContextT]:
        """Return a copy with other fields in `execution_info`.

        Raises:
            RuntimeError: if there is none.
        """
        if self.execution_info is None:
            msg = "the runtime has no execution_info to patch: it belongs to no running step"
            raise RuntimeError(msg)
        return replace(self, execution_info=self.execution_info.patch(**overrides))

    @property
    def drain_requested(self) -> bool:
        """Whether the run was asked to stop after this superstep."""
        return self.control is not None and self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """Why, or `None`."""
        return self.control.drain_reason if self.control is not None else None
