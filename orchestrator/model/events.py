"""The catalogue of events: one record for each, with its name and its fields.

A thread's log is an ordered list of events. Streams, handles, `explain`, the audit and the chaos
verdict are projections of it. Writers create a record and commit its `draft`; readers pass a
stored event to `read_event` and match on the class. No other module spells an event's name.

Rule 1: names, fields and their text forms are stored. A new field is optional; none is renamed.
Rule 2: a reader accepts every event, also of a newer version or damaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from orchestrator.frozen import frozen
from orchestrator.ids import checkpoint_text, parse_checkpoint_id
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Event, EventDraft, ReadyStep

# The annotations of fields: each has a form in the log.
Words = tuple[str, ...]  # Separated by spaces.
Lines = tuple[str, ...]  # Separated by line ends.
CheckpointId = int  # As 16 hexadecimal digits.
Flag = bool  # 1 or 0.


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


class _Form(NamedTuple):
    """How a field is written to the log and read from it; `write` is `None`: as it is."""

    write: Callable[[Any], str | int | bytes] | None
    read: Callable[[bytes], Any]


_FORMS = {
    "str": _Form(None, _text),
    "int": _Form(None, int),
    "bytes": _Form(None, bytes),
    "Flag": _Form(int, lambda data: data == b"1"),
    "Words": _Form(" ".join, lambda data: tuple(_text(data).split())),
    "Lines": _Form("\n".join, lambda data: tuple(_text(data).split("\n")) if data else ()),
    "CheckpointId": _Form(checkpoint_text, lambda data: parse_checkpoint_id(_text(data))),
}


def _layout(cls: type[Entry]) -> tuple[tuple[str, str, _Form], ...]:
    """Return the attribute of each field, its name in the log, and its form."""
    return tuple(
        (
            each.name,
            each.name.rstrip("_"),  # `from_` and `break_` are words of Python.
            _FORMS[str(each.type).removesuffix(" | None")],
        )
        for each in dataclasses.fields(cls)
        if each.name != "ns"
    )


@frozen
class Entry:
    """One event of the catalogue.

    Attributes:
        ns: the namespace of the subgraph in which it happened; empty: in the thread itself.
    """

    type: ClassVar[str] = ""
    ns: str = ""

    def draft(self) -> EventDraft:
        """Return the event for a commit; a field that is `None` is omitted."""
        own = self.__dict__
        fields: dict[str, str | int | bytes] = {}
        for attribute, name, form in _LAYOUTS[type(self)]:
            value = own[attribute]
            if value is not None:
                fields[name] = value if form.write is None else form.write(value)
        return EventDraft(self.type, fields)

    @classmethod
    def from_fields(cls, stored: Mapping[str, bytes]) -> Entry:
        """Return the record of a stored event's fields.

        Raises:
            ValueError: if a field is not in its form.
            TypeError: if a field is missing.
        """
        read = {
            attribute: form.read(stored[name])
            for attribute, name, form in _LAYOUTS[cls]
            if name in stored
        }
        return cls(ns=_text(stored.get("ns", b"")), **read)


@frozen
class Unknown(Entry):
    """An event that has no record here, as one of a newer version."""

    name: str


@frozen
class Unreadable(Entry):
    """An event that cannot be read. Readers make it; it is never stored."""

    type = "damaged"


# ---- Runs -----------------------------------------------------------------------------------


@frozen
class RunAccepted(Entry):
    """A run was accepted; the fields `before…` describe the run that it succeeds, if any."""

    type = "run_accepted"
    run: str
    graph: str
    checkpoint: CheckpointId
    steps: Words
    abandoned: str = ""  # The nodes of steps that did not complete and are dropped.
    before: str | None = None
    before_status: str | None = None
    before_checkpoint: CheckpointId | None = None
    before_error: bytes | None = None


@frozen
class RunEnqueued(Entry):
    """A run was put into its thread's queue, at `place` (1 is next)."""

    type = "run_enqueued"
    run: str
    graph: str
    place: int


@frozen
class RunWithdrawn(Entry):
    """A queued run was removed before it began."""

    type = "run_withdrawn"
    run: str
    reason: str


@frozen
class RunResumed(Entry):
    """A run that had ended or paused continues at a checkpoint; `done` lists completed steps."""

    type = "run_resumed"
    from_: str
    reason: str
    checkpoint: CheckpointId
    steps: Words | None = None  # New steps: the one that calls the graph's hook.
    done: Words


@frozen
class InterruptAnswered(Entry):
    """A question was answered; with `checkpoint`, the run continues there."""

    type = "interrupt_answered"
    interrupt: str
    checkpoint: CheckpointId | None = None
    done: Words | None = None


@frozen
class RunPaused(Entry):
    """A run paused; `break_`: before or after a node, as the graph or the call demands."""

    type = "run_paused"
    break_: Flag | None = None


@frozen
class RunSucceeded(Entry):
    """A run ended with its result."""

    type = "run_succeeded"


@frozen
class RunFailed(Entry):
    """A run ended with an error."""

    type = "run_failed"


@frozen
class RunCancelled(Entry):
    """A run was cancelled."""

    type = "run_cancelled"


RunEnded = RunSucceeded | RunFailed | RunCancelled | RunPaused
RunEvent = RunAccepted | RunEnqueued | RunWithdrawn | RunResumed | RunEnded
_ENDS: Mapping[RunStatus, type[RunEnded]] = {
    RunStatus.SUCCEEDED: RunSucceeded,
    RunStatus.FAILED: RunFailed,
    RunStatus.CANCELLED: RunCancelled,
    RunStatus.PAUSED: RunPaused,
}


def run_ended(status: RunStatus, *, at_break: bool = False) -> EventDraft:
    """Return the event of a run that ended or paused with `status`."""
    if at_break and status is RunStatus.PAUSED:
        return RunPaused(break_=True).draft()
    return _ENDS[status]().draft()


# ---- Supersteps and steps -------------------------------------------------------------------


@frozen
class Superstep(Entry):
    """A checkpoint became the head and planned steps; `live`: the run continues with them."""

    type = "superstep"
    checkpoint: CheckpointId
    number: int
    steps: Words
    nodes: Lines
    live: Flag = True


@frozen
class StepEntry(Entry):
    """An event of one planned step."""

    step: str
    node: str
    number: int
    checkpoint: CheckpointId


def of_step(step: ReadyStep) -> dict[str, Any]:
    """Return the fields that name a step in a `StepEntry`."""
    return {
        "step": step.step_id,
        "node": step.node,
        "number": step.number,
        "checkpoint": step.checkpoint_id,
    }


@frozen
class StepCommitted(StepEntry):
    """A step completed; its result is stored with its checkpoint."""

    type = "step_committed"
    attempt: int
    fence: int
    worker: str
    claimed_ms: int


@frozen
class StepInterrupted(StepEntry):
    """A step asks a question; without one, its subgraph paused."""

    type = "step_interrupted"
    interrupt: str = ""
    value: bytes = b""


@frozen
class StepPaused(StepEntry):
    """A node paused its step."""

    type = "step_paused"
    reason: str


@frozen
class StepFailed(StepEntry):
    """A step failed and is not retried."""

    type = "step_failed"
    error: bytes


@frozen
class StepRetried(StepEntry):
    """An attempt failed; the step is due again after `delay_ms`."""

    type = "step_retry"
    error: bytes
    delay_ms: int


@frozen
class StepDeferred(StepEntry):
    """A process returned a step that it cannot run."""

    type = "step_deferred"
    reason: str


@frozen
class StepHandedBack(StepEntry):
    """A process that stops returned a claimed step."""

    type = "step_handed_back"
    reason: str


@frozen
class StepReleased(Entry):
    """A store ended the claim of an owner that did not renew its lease."""

    type = "step_released"
    step: str
    owner: str
    fence: int


@frozen
class CommitRefused(Entry):
    """A store refused a commit under an old fence. (INV-3)"""

    type = "commit_refused"
    step: str
    reason: str
    fence: int


@frozen
class TaskCompleted(Entry):
    """A task that a step called has a result."""

    type = "task_done"
    step: str
    number: int
    name: str
    id: str
    data: bytes


@frozen
class StreamCustom(Entry):
    """A node wrote a chunk to its stream."""

    type = "stream_custom"
    step: str
    data: bytes


@frozen
class StreamMessages(Entry):
    """A node streamed a token or a message."""

    type = "stream_messages"
    step: str
    data: bytes


STREAMS: Mapping[str, type[StreamCustom | StreamMessages]] = {
    "custom": StreamCustom,
    "messages": StreamMessages,
}


# ---- Recovery, edits, audit -----------------------------------------------------------------


@frozen
class CheckpointResumed(Entry):
    """A run was loaded and continues: how long that took, and how much is skipped."""

    type = "checkpoint_resume"
    run_id: str
    checkpoint_id: CheckpointId
    step: int  # The superstep.
    phase: str  # The nodes that are left.
    age_ms: int
    load_ms: str
    reconstruct_ms: str
    skipped_steps: int
    reason: str


@frozen
class CheckpointSetAside(Entry):
    """A damaged checkpoint was replaced as the head by a copy of `back_to`."""

    type = "checkpoint_set_aside"
    checkpoint: CheckpointId
    back_to: CheckpointId
    reason: str


@frozen
class StateEdited(Entry):
    """A caller edited the state, as `node`."""

    type = "state_edited"
    checkpoint: CheckpointId
    node: str


@frozen
class ThreadForked(Entry):
    """The thread was created from a checkpoint of the thread `of`."""

    type = "thread_forked"
    of: str
    checkpoint: CheckpointId


@frozen
class ThreadCopied(Entry):
    """The thread is a copy of the thread `of`, with its history."""

    type = "thread_copied"
    of: str


@frozen
class ThreadDamaged(Entry):
    """The audit found damage that it cannot repair."""

    type = "thread_damaged"
    codes: str
    why: str
    remedy: str = ""


@frozen
class ThreadRepaired(Entry):
    """The audit repaired records of the thread."""

    type = "thread_repaired"
    codes: str
    why: str


def _records(cls: type[Entry]) -> dict[str, type[Entry]]:
    found = {cls.type: cls} if cls.type else {}
    for each in cls.__subclasses__():
        found.update(_records(each))
    return found


CATALOGUE: Mapping[str, type[Entry]] = _records(Entry)
_LAYOUTS = {cls: _layout(cls) for cls in CATALOGUE.values()}


def read_event(event: Event) -> Entry:
    """Return the record of a stored event.

    It is `Unknown` if its name is not in the catalogue, and `Unreadable` if its fields are not
    those of its name.
    """
    cls = CATALOGUE.get(event.type)
    if cls is None:
        return Unknown(ns=_text(event.fields.get("ns", b"")), name=event.type)
    try:
        return cls.from_fields(event.fields)
    except (TypeError, ValueError):
        return Unreadable()
