"""Every error a caller can meet, with a stable code.

Rule 1: a message holds what happened, the ids it happened to, and the next move.
Rule 2: control flow (`GraphInterrupt`) is not an `Error`; it derives from `GraphBubbleUp`.
Rule 3: an `Error` that is the world's fault and may pass (`retryable`) says so.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

__all__ = [
    "CheckpointerUnavailableError",
    "EmptyChannelError",
    "EmptyInputError",
    "ErrorCode",
    "GraphBubbleUp",
    "GraphDrained",
    "GraphInterrupt",
    "GraphMismatchError",
    "GraphPausedError",
    "GraphRecursionError",
    "GraphstalkError",
    "InvalidAnswerError",
    "InvalidGraphError",
    "InvalidNodeError",
    "InvalidThreadIdError",
    "InvalidUpdateError",
    "NoPendingInterruptError",
    "NodeCancelledError",
    "NodeError",
    "NodeInterrupt",
    "NodeTimeoutError",
    "NotSupportedError",
    "ParentCommand",
    "PartitionsDifferError",
    "ResumesExhaustedError",
    "RunCancelledError",
    "RunNotFinishedError",
    "SlowTransferError",
    "StateCorruptedError",
    "StepFailedError",
    "StreamGapError",
    "TaskNotFound",
    "ThreadBusyError",
    "UnknownEffectError",
    "UnknownGraphError",
    "UnknownInterruptError",
    "UnknownThreadError",
    "UnknownTypeError",
    "UnserializableValueError",
    "ValueTooLargeError",
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


class InvalidNodeError(InvalidGraphError, TypeError, RuntimeError):
    """A node whose function is missing, or is nothing that can be called.

    LangGraph raises a `RuntimeError` for the former and a `TypeError` for the latter.
    """


class InvalidUpdateError(GraphstalkError, ValueError):
    """A value that the channels of the state cannot take, or an update that leads nowhere.

    Attributes:
        raised: what a reducer raised, if one did; a call in this process raises that.
    """

    code = "INVALID_UPDATE"
    raised: Exception | None = None

    @property
    def as_raised(self) -> Exception:
        """Return what the reducer raised, with a note that names it; else this error."""
        if self.raised is None:
            return self
        if str(self) not in getattr(self.raised, "__notes__", ()):
            self.raised.add_note(str(self))
        return self.raised


class UnserializableValueError(InvalidUpdateError, TypeError):
    """A value that cannot be encoded; the message holds the path to it."""

    code = "UNSERIALIZABLE_VALUE"


class ValueTooLargeError(InvalidUpdateError):
    """A value that the server cannot hold, or that does not get there in time."""

    code = "VALUE_TOO_LARGE"


class NotSupportedError(GraphstalkError, NotImplementedError):
    """A call of LangGraph's that this project refuses; the message names what to call instead."""

    code = "NOT_SUPPORTED"


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


class PartitionsDifferError(GraphstalkError):
    """Settings with another number of partitions than the store has; nothing was accepted."""

    code = "PARTITIONS_DIFFER"


class UnknownRunError(GraphstalkError, LookupError):
    """A run that its thread does not have, or that ended so long ago that its log forgot it."""

    code = "UNKNOWN_RUN"


class ThreadBusyError(GraphstalkError):
    """A second writer on a thread whose run is active. (INV-9)"""

    code = "THREAD_BUSY"


class NoPendingInterruptError(GraphstalkError, RuntimeError):
    """An answer to a thread that asks nothing (any more). (INV-8)

    As LangGraph's error for an answer without a checkpointer it is a `RuntimeError`, too.
    """

    code = "NO_PENDING_INTERRUPT"


class UnknownInterruptError(NoPendingInterruptError, LookupError, RuntimeError):
    """An answer that names an interrupt which is not open, or one that must name it.

    As LangGraph's error for the latter it is a `RuntimeError`, too.

    Attributes:
        reason: `not_pending`, `empty_map` or `ambiguous`.
        interrupt_ids: what was named and is not open.
        pending_ids: what is open.
    """

    code = "UNKNOWN_INTERRUPT"

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["not_pending", "empty_map", "ambiguous"] = "not_pending",
        interrupt_ids: Sequence[str] = (),
        pending_ids: Sequence[str] = (),
    ) -> None:
        """Keep the ids beside the message."""
        super().__init__(message)
        self.reason = reason
        self.interrupt_ids, self.pending_ids = tuple(interrupt_ids), tuple(pending_ids)


class InvalidAnswerError(GraphstalkError, ValueError):
    """An answer that does not fit the `response_schema` of its question; nothing was stored."""

    code = "INVALID_ANSWER"


class ResumesExhaustedError(GraphstalkError):
    """A run that was resumed as often as its `resumes_max` allows; nothing was changed."""

    code = "RESUMES_EXHAUSTED"


class GraphRecursionError(GraphstalkError, RecursionError):
    """A run that needed more supersteps than `recursion_limit` allows."""

    code = "GRAPH_RECURSION_LIMIT"


# ---- outcomes of a run -------------------------------------------------------------


class StepFailedError(GraphstalkError):
    """A step of a run failed for good; `record` has the details.

    Attributes:
        record: `type`, `module`, `message`, `traceback`, `node`, `step`, `attempt`, `worker`.
    """

    code = "STEP_FAILED"

    def __init__(self, message: str, record: dict[str, Any] | None = None) -> None:
        """Keep the stored error record beside the message."""
        super().__init__(message)
        self.record: dict[str, Any] = record or {}
        self.notes_for_step: dict[str, bytes] = {}  # Ours: what the step around remembers of it.


class WorkerLostError(GraphstalkError):
    """A step whose workers died too often while they ran it (a poison step)."""

    code = "WORKER_LOST"


class RunCancelledError(GraphstalkError):
    """The run was cancelled before it finished."""

    code = "RUN_CANCELLED"


class RunNotFinishedError(GraphstalkError, TimeoutError):
    """The run did not reach a final status within the time the caller gave."""

    code = "RUN_NOT_FINISHED"


class StreamGapError(GraphstalkError):
    """A stream of a fleet's run of which events cannot be read any more; the run continues.

    Attributes:
        first: the number of the first event that is missing.
        last: that of the last.
    """

    code = "STREAM_GAP"

    def __init__(self, thread_id: str, first: int, last: int, reason: str) -> None:
        """Say which events are missing, and how to read what came after."""
        super().__init__(
            f"the events {first} to {last} of thread {thread_id!r} are {reason}, so the stream "
            f"would have a gap. The run continues: read what comes after with "
            f"Client.stream({thread_id!r}, from_seq={last}), and the state with get_state"
        )
        self.first, self.last = first, last


class GraphPausedError(GraphstalkError, InterruptedError):
    """The run waits for an answer, so it has no result yet.

    Attributes:
        thread_id: the thread that waits.
        node: the node that paused it, if one did by raising `InterruptedError`.
        reason: what that node said.
    """

    code = "GRAPH_PAUSED"

    def __init__(
        self, message: str, *, thread_id: str = "", node: str = "", reason: str = ""
    ) -> None:
        """Keep where and why the run waits."""
        super().__init__(message)
        self.thread_id, self.node, self.reason = thread_id, node, reason


class UnknownEffectError(GraphstalkError):
    """An effect that was begun and not seen to end: whether it happened is not known. (INV-5)"""

    code = "UNKNOWN_EFFECT"


# ---- outcomes of a node --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeError:
    """The argument of an error handler; LangGraph's name.

    Attributes:
        node: the node that failed.
        error: what it raised.
    """

    node: str
    error: BaseException


class NodeTimeoutError(GraphstalkError):
    """A node that took longer than its `TimeoutPolicy` allows; tried again by default.

    It is no `TimeoutError`, as in LangGraph, so that the default retry policy tries again.

    Attributes:
        node: the node.
        kind: which limit was passed: `run` or `idle`.
        timeout: that limit, in seconds.
        run_timeout: the limit of the whole attempt, if there is one.
        idle_timeout: the limit between two signs of progress, if there is one.
        elapsed: seconds since the attempt began.
    """

    code = "NODE_TIMEOUT"
    retryable = True

    def __init__(
        self,
        node: str,
        *,
        kind: Literal["run", "idle"],
        elapsed: float,
        run_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        """Say which limit was passed, and by how much."""
        limit = run_timeout if kind == "run" else idle_timeout
        assert limit is not None
        self.node, self.kind, self.timeout, self.elapsed = node, kind, limit, elapsed
        self.run_timeout, self.idle_timeout = run_timeout, idle_timeout
        what = "ran" if kind == "run" else "made no progress"
        super().__init__(
            f"the node {node!r} {what} for longer than its {kind}_timeout of {limit:g} s and was "
            f"stopped after {elapsed:.3f} s"
        )


class NodeCancelledError(GraphstalkError):
    """A node that raised `asyncio.CancelledError` itself: a failure like any other.

    Attributes:
        node: the node.
    """

    code = "NODE_CANCELLED"

    def __init__(self, node: str, message: str | None = None) -> None:
        """Name the node."""
        super().__init__(message or f"the node {node!r} raised asyncio.CancelledError")
        self.node = node


class TaskNotFound(GraphstalkError):  # noqa: N818 - LangGraph's name
    """A step that is not in the plan (any more)."""

    code = "STEP_NOT_FOUND"


# ---- the world's fault ----------------------------------------------------------------


class CheckpointerUnavailableError(GraphstalkError, ConnectionError):
    """The server that keeps the state does not answer; nothing is half stored."""

    code = "CHECKPOINTER_UNAVAILABLE"
    retryable = True


class SlowTransferError(CheckpointerUnavailableError):
    """A large command that was not answered in time by a server that answers small ones."""

    code = "SLOW_TRANSFER"


class StateCorruptedError(GraphstalkError):
    """A stored record that is not what was stored. (INV-10)"""

    code = "STATE_CORRUPTED"


class UnknownTypeError(StateCorruptedError):
    """A stored value of a type that this process does not know. It is whole, and left alone.

    What cannot be read is handled alike, so it is a `StateCorruptedError`; nothing is set back.
    """

    code = "UNKNOWN_TYPE"


class NotReplicatedError(CheckpointerUnavailableError):
    """A commit that was made, and is not (yet) as safe as the settings ask for."""

    code = "NOT_REPLICATED"


class NewerLayoutError(GraphstalkError):
    """A stored record that a later version of this program wrote. It is whole, and left alone."""

    code = "NEWER_LAYOUT"


# ---- control flow ---------------------------------------------------------------------


class EmptyChannelError(GraphstalkError):
    """A channel that was read before it held a value."""

    code = "EMPTY_CHANNEL"


class GraphBubbleUp(Exception):  # noqa: N818 - control flow, not an error; LangGraph's name
    """Base of what a node raises to control the run rather than to fail."""


class GraphInterrupt(GraphBubbleUp):
    """Raised inside a node by `interrupt()`; carries the open questions."""

    def __init__(self, interrupts: tuple[Any, ...] = ()) -> None:
        """Keep the interrupts that wait for an answer."""
        super().__init__(interrupts)
        self.interrupts = tuple(interrupts)


class NodeInterrupt(GraphInterrupt):
    """Raised by a node to ask a question without a key; `interrupt()` is the better way.

    The node asks again each time it runs, so it must read the state to know the answer.
    """

    def __init__(self, value: Any, id: str | None = None) -> None:  # noqa: A002 - LangGraph's name
        """Hold the question; it gets its id where it is caught, unless one is given."""
        super().__init__()
        self.value, self.id = value, id


class ParentCommand(GraphBubbleUp):
    """Raised by a node, or for its `Command(graph=Command.PARENT)`, to route the graph around."""

    def __init__(self, command: Any) -> None:
        """Hold the command for the graph around this one."""
        super().__init__(command)
        self.command = command


class GraphDrained(GraphBubbleUp):
    """A run that stopped between two supersteps because its `RunControl` was asked to.

    Attributes:
        reason: what was given to `request_drain`.
    """

    def __init__(self, reason: str = "shutdown") -> None:
        """Say why."""
        super().__init__(f"Graph drained: {reason}. Resume the thread to continue")
        self.reason = reason


class ErrorCode(enum.Enum):
    """LangGraph's codes of errors, for code that compares them."""

    GRAPH_RECURSION_LIMIT = "GRAPH_RECURSION_LIMIT"
    INVALID_CONCURRENT_GRAPH_UPDATE = "INVALID_CONCURRENT_GRAPH_UPDATE"
    INVALID_GRAPH_NODE_RETURN_VALUE = "INVALID_GRAPH_NODE_RETURN_VALUE"
    MULTIPLE_SUBGRAPHS = "MULTIPLE_SUBGRAPHS"
    INVALID_CHAT_HISTORY = "INVALID_CHAT_HISTORY"
