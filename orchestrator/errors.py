"""Every error a caller can meet, with a stable code.

Rule 1: a message holds what happened, the ids it happened to, and the next move.
Rule 2: control flow (`GraphInterrupt`) is not an `Error`; it derives from `GraphBubbleUp`.
Rule 3: an `Error` that is the world's fault and may pass (`retryable`) says so.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "CheckpointerUnavailableError",
    "EmptyChannelError",
    "EmptyInputError",
    "GraphBubbleUp",
    "GraphInterrupt",
    "GraphMismatchError",
    "GraphPausedError",
    "GraphRecursionError",
    "GraphstalkError",
    "InvalidGraphError",
    "InvalidUpdateError",
    "NoPendingInterruptError",
    "RunCancelledError",
    "RunNotFinishedError",
    "StateCorruptedError",
    "StepFailedError",
    "ThreadBusyError",
    "UnknownGraphError",
    "UnknownInterruptError",
    "UnknownThreadError",
    "UnserializableValueError",
    "WorkerLostError",
]


class GraphstalkError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "GRAPHSTALK"
    retryable: ClassVar[bool] = False  # Whether the same call may succeed later, unchanged.


# ---- the caller's fault ---------------------------------------------------------------


class InvalidGraphError(GraphstalkError, ValueError):
    """A graph that cannot be compiled: an edge to nowhere, no entry, two nodes of one name."""

    code = "INVALID_GRAPH"


class InvalidUpdateError(GraphstalkError):
    """A value that the channels of the state cannot take."""

    code = "INVALID_UPDATE"


class UnserializableValueError(InvalidUpdateError, TypeError):
    """A value that cannot be encoded; the message holds the path to it."""

    code = "UNSERIALIZABLE_VALUE"


class EmptyInputError(GraphstalkError):
    """A run without input on a thread that has nothing to continue."""

    code = "EMPTY_INPUT"


class InvalidThreadIdError(GraphstalkError, ValueError):
    """A thread id that is empty, too long, or holds control characters."""

    code = "INVALID_THREAD_ID"


class UnknownThreadError(GraphstalkError, LookupError):
    """A thread, run or checkpoint that is not stored."""

    code = "UNKNOWN_THREAD"


class UnknownGraphError(GraphstalkError, LookupError):
    """A graph name that neither this process nor any worker knows."""

    code = "UNKNOWN_GRAPH"


class GraphMismatchError(GraphstalkError):
    """A thread whose graph has another structure than the one given."""

    code = "GRAPH_MISMATCH"


class ThreadBusyError(GraphstalkError):
    """A second writer on a thread whose run is active. (INV-9)"""

    code = "THREAD_BUSY"


class NoPendingInterruptError(GraphstalkError):
    """An answer to a thread that asks nothing (any more). (INV-8)"""

    code = "NO_PENDING_INTERRUPT"


class UnknownInterruptError(NoPendingInterruptError, LookupError):
    """An answer that names an interrupt which is not open, or one that must name it."""

    code = "UNKNOWN_INTERRUPT"


class GraphRecursionError(GraphstalkError, RecursionError):
    """A run that needed more supersteps than `recursion_limit` allows."""

    code = "GRAPH_RECURSION_LIMIT"


# ---- what became of a run -------------------------------------------------------------


class StepFailedError(GraphstalkError):
    """A step of a run failed for good; `record` tells how.

    Attributes:
        record: `type`, `module`, `message`, `traceback`, `node`, `step`, `attempt`, `worker`.
    """

    code = "STEP_FAILED"

    def __init__(self, message: str, record: dict[str, Any] | None = None) -> None:
        """Keep the stored error record beside the message."""
        super().__init__(message)
        self.record: dict[str, Any] = record or {}


class WorkerLostError(GraphstalkError):
    """A step whose workers died too often while they ran it (a poison step)."""

    code = "WORKER_LOST"


class RunCancelledError(GraphstalkError):
    """The run was cancelled before it finished."""

    code = "RUN_CANCELLED"


class RunNotFinishedError(GraphstalkError, TimeoutError):
    """The run did not reach a final status within the time the caller gave."""

    code = "RUN_NOT_FINISHED"


class GraphPausedError(GraphstalkError, InterruptedError):
    """The run waits for an answer, so it has no result yet."""

    code = "GRAPH_PAUSED"


# ---- the world's fault ----------------------------------------------------------------


class CheckpointerUnavailableError(GraphstalkError, ConnectionError):
    """The server that keeps the state does not answer; nothing is half stored."""

    code = "CHECKPOINTER_UNAVAILABLE"
    retryable = True


class StateCorruptedError(GraphstalkError):
    """A stored record that is not what was stored. (INV-10)"""

    code = "STATE_CORRUPTED"


# ---- control flow ---------------------------------------------------------------------


class EmptyChannelError(GraphstalkError):
    """A channel that was read before it held a value."""

    code = "EMPTY_CHANNEL"


class GraphBubbleUp(Exception):  # noqa: N818 - control flow, not an error; LangGraph's name
    """Base of what a node raises to steer the run rather than to fail."""


class GraphInterrupt(GraphBubbleUp):
    """Raised inside a node by `interrupt()`; carries the open questions."""

    def __init__(self, interrupts: tuple[Any, ...] = ()) -> None:
        """Keep the interrupts that wait for an answer."""
        super().__init__(interrupts)
        self.interrupts = tuple(interrupts)
