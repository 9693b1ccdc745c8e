"""What crosses the checkpointer's seam: commits, claims, and what they answer.

Everything here is ids, numbers and bytes: a checkpointer never sees a user's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.errors import StateCorruptedError
from orchestrator.frozen import frozen, replace
from orchestrator.ids import root_thread
from orchestrator.model.checkpoint import Head, PlannedStep, RunStatus

# Why a step has no claim any more that had one: its reason until it is claimed and ends otherwise.
CRASHED = "crash"
HANDED_BACK = "deploy"  # By a worker that had to stop.

RESUMED = "resume"  # Why a step is tried again that had failed for good.
WITHDRAWN = b""  # Instead of a question that its step asked once, and asks no more.


class Refusal(StrEnum):
    """Why a claim or a commit was refused. Nothing was changed."""

    UNKNOWN_THREAD = "unknown_thread"
    THREAD_EXISTS = "thread_exists"
    HEAD_MOVED = "head_moved"
    WRONG_RUN = "wrong_run"
    WRONG_STATUS = "wrong_status"
    UNSETTLED = "unsettled"  # A step of the superstep is open (again).
    CLAIMED = "claimed"  # Another process runs the step, or a step of the thread.
    COMPLETED = "completed"  # The step has its one committed result. (INV-2)
    STALE_FENCE = "stale_fence"  # A newer claim exists, or the claim was taken away. (INV-3)
    UNKNOWN_STEP = "unknown_step"  # Not in the current plan: abandoned, or never planned.
    WAITING = "waiting"  # For a timer, an answer or a person.
    NO_INTERRUPT = "no_interrupt"  # Not open, or already answered. (INV-8)
    KEY_USED = "key_used"  # The idempotency key names an earlier run.
    NOT_WAITING = "not_waiting"  # The run is not in the thread's line.
    HELD = "held"  # By another call, which stores the thread when it ends.


class Wait(StrEnum):
    """What a step that is neither completed nor claimed waits for."""

    NOTHING = ""  # It is ready.
    TIMER = "timer"
    ANSWER = "answer"
    PERSON = "person"  # It failed for good.


@frozen
class ReadyStep:
    """A step that is due and must reach a queue: enough to send its message, nothing more."""

    thread_id: str
    step_id: str
    checkpoint_id: int
    graph: str
    node: str
    ns: str = ""
    index: int = -1
    number: int = 0  # The superstep it belongs to, for people.
    queue: str = ""  # Empty: run by the process that called, never sent.
    solo: bool = False  # Whether it is the only step of its superstep.
    triggers: tuple[str, ...] = ()
    arg: str = ""  # The blob that holds the argument of its `Send`.
    stored: str = ""  # Its node's name as it is stored, if that has another name now.

    @property
    def planned(self) -> PlannedStep:
        """Return the step as its plan holds it."""
        return PlannedStep(self.node, self.index, self.triggers, self.stored)

    @property
    def task_id(self) -> str:
        """Return the id of the Celery task that runs the step."""
        base = f"{self.thread_id}:{self.number}:{self.node}"
        return base if self.index < 0 else f"{base}:{self.index}"

    @property
    def shadow(self) -> str:
        """Return the name under which Flower shows it."""
        return f"{self.graph}.{self.node}"


@frozen
class StoredCheckpoint:
    """A checkpoint as it is stored."""

    id: int
    ns: str = ""
    header: bytes  # All but the plan.
    plan: bytes
    refs: tuple[str, ...] = ()  # The blobs that hold the state's values.


@frozen(kw_only=False)
class StepGuard:
    """The right under which a step is changed: it must still be claimed with this fence. (INV-3)"""

    step_id: str
    fence: int


@frozen
class StepUpdate:
    """The new state of a step that is not completed."""

    step: ReadyStep
    wait: Wait = Wait.NOTHING
    delay_ms: int = 0  # With `Wait.TIMER`: due so long after the commit.
    asks: Mapping[str, bytes] = field(default_factory=dict)  # New questions by interrupt id.
    error: bytes | None = None
    failed: bool = False  # Counts a failed attempt.
    reset: bool = False  # Starts counting failed attempts and worker deaths anew.
    reason: str = ""  # For people: why it waits.


@frozen(kw_only=False)
class Answer:
    """The answer to an open interrupt of a step. (INV-8)"""

    step_id: str
    interrupt_id: str
    value: bytes


@frozen(kw_only=False)
class Take:
    """The wish to continue in place: to claim the one step that a commit makes ready, at once.

    The fields are those of `Checkpointer.claim`, and the head as the owner knows it.
    """

    owner: str
    token: str
    known: tuple[str, ...] = ()
    head: Head | None = None  # What it says of the run need not be brought, if it is still so.


def as_bytes(value: str | int | bytes) -> bytes:
    """Return a field as it is stored; text may hold lone surrogates, as names of files do."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@frozen(kw_only=False)
class EventDraft:
    """An event before it has its number."""

    type: str
    fields: Mapping[str, str | int | bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """One immutable fact of a thread; `seq` orders them without gaps, `ts_ms` is server time."""

    seq: int
    ts_ms: int
    type: str
    fields: Mapping[str, bytes]


@frozen
class Commit:
    """One atomic change of a thread: all of it, or nothing.

    Preconditions come first; one left at its default is not checked. A commit that brings a
    checkpoint makes it the head and drops the steps of the old plan.

    A commit with a guard ends the claim, unless it brings nothing for the step but notes. Notes
    stay with the step through later claims until it is completed; one that is there already stays
    as it is. Without a guard there is no step to keep them.

    A thread may be held by a call that stores it when it ends, also before the thread exists.
    Until the hold ends or runs out, commits of others without a guard are refused.
    """

    thread_id: str
    expect_new: bool = False  # The thread must not exist.
    expect_head: int | None = None  # The head checkpoint must have this id.
    expect_status: tuple[RunStatus, ...] = ()  # The run must be in one of these.
    expect_run: str | None = None
    expect_settled: bool = False  # No step of the superstep may be open.
    guard: StepGuard | None = None
    # (thread, step) of the same partition: that step must be in the current plan of that thread.
    parent: tuple[str, str] | None = None

    checkpoint: StoredCheckpoint | None = None
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    tails: Mapping[str, str] = field(default_factory=dict)  # Blob → the one that it continues.
    ready: tuple[ReadyStep, ...] = ()  # The steps of the new plan.
    completed: bytes | None = None  # The outcome of the guarded step: it is completed. (INV-2)
    # The step's checkpoint, if that holds an input of which this commit brings the values: a store
    # may keep it again, with their names instead of them. Only its header counts.
    input: StoredCheckpoint | None = None
    updates: tuple[StepUpdate, ...] = ()
    # (Checkpoint, step) → what history shows of a step that did not complete: an edit
    # replaces it, or it was left. It comes with a new checkpoint, and completes nothing.
    results: Mapping[tuple[int, str], bytes] = field(default_factory=dict)
    revoke: bool = False  # Takes away the claims on all steps of the thread.
    answers: tuple[Answer, ...] = ()
    notes: Mapping[str, bytes] = field(default_factory=dict)  # Kept with the guarded step.
    status: RunStatus | None = None
    head: Mapping[str, str | int | bytes] = field(default_factory=dict)  # Other fields of `Head`.
    key: tuple[str, str] | None = None  # (idempotency key, run id); refused if the key is known.
    events: tuple[EventDraft, ...] = ()
    enqueue: tuple[str, bytes] | None = None  # (run id, how it begins): last in the thread's line.
    dequeue: str | None = None  # The run that leaves the line; refused if it is not in it.
    log: str = ""  # The thread whose log takes the events, of the same partition; "": its own.
    take: Take | None = None  # A store that cannot do it ignores it.
    holder: str = ""  # The call in whose name this is committed; refused if another holds.
    hold_ms: int | None = None  # How long the holder holds the thread from now on; 0: no longer.

    @property
    def only_holds(self) -> bool:
        """Whether this begins, prolongs or ends a hold and changes nothing of the thread."""
        changes = self.checkpoint or self.updates or self.answers or self.status or self.head
        return self.hold_ms is not None and not changes

    @property
    def takes(self) -> ReadyStep | None:
        """The step that is to be claimed at once: the only one that this makes ready."""
        return self.ready[0] if self.take is not None and len(self.ready) == 1 else None

    @property
    def moves_line(self) -> bool:
        """Whether the next run in line may be able to begin after this."""
        return self.status is not None or self.enqueue is not None or self.dequeue is not None

    @property
    def keeps_claim(self) -> bool:
        """Whether the guarded step runs on after this: the commit only notes something."""
        settles = self.completed is not None or self.updates or self.checkpoint is not None
        return bool(self.notes) and not settles


def in_one_log(commit: Commit) -> Commit:
    """Return a commit whose events go to the log of the thread that a caller named.

    So one log holds what happens in a run and in all its subgraphs, in one order.
    """
    root, ns = root_thread(commit.thread_id)
    if not ns:
        return commit
    events = tuple(EventDraft(e.type, {**e.fields, "ns": ns}) for e in commit.events)
    return replace(commit, log=root, events=events)


@frozen
class CommitResult:
    """What a commit did. A refused one changed nothing; a stale one is counted."""

    refused: Refusal | None = None
    detail: str = ""
    now_ms: int = 0  # The store's own time.
    open: int = 0  # Steps that still keep the superstep open; 0: the caller advances it.
    claim: Claim | None = None  # The claim on the one step that is ready now, if it was taken.
    due: tuple[ReadyStep, ...] = ()  # Of a wide superstep, those whose turn to be sent has come.
    waiting: bool = False  # The run has ended and others are queued: the caller begins one.


@frozen
class Claim:
    """The right to run a step, with all that running it needs; or why not."""

    refused: Refusal | None = None
    detail: str = ""
    now_ms: int = 0
    step: ReadyStep | None = None
    fence: int = 0
    attempt: int = 1  # How often the step was claimed, this time included.
    failures: int = 0  # How many attempts failed.
    deaths: int = 0  # How many times its worker died.
    reason: str = ""  # Why the attempt before did not complete it.
    head: Head | None = None
    header: bytes = b""
    refs: tuple[str, ...] = ()
    blobs: Mapping[str, bytes] = field(default_factory=dict)  # Those the caller did not know.
    tails: Mapping[str, str] = field(default_factory=dict)  # Of these: what continues a known one.
    asks: Mapping[str, bytes] = field(default_factory=dict)
    answers: Mapping[str, bytes] = field(default_factory=dict)
    notes: Mapping[str, bytes] = field(default_factory=dict)  # Of this and earlier attempts.


@frozen
class LoadedStep:
    """A step of the current plan as it is stored."""

    step: ReadyStep
    wait: Wait = Wait.NOTHING
    owner: str = ""  # Who has claimed it.
    completed: bool = False
    attempt: int = 0
    failures: int = 0
    deaths: int = 0
    reason: str = ""
    due_ms: int = 0
    error: bytes = b""
    asks: Mapping[str, bytes] = field(default_factory=dict)
    answers: Mapping[str, bytes] = field(default_factory=dict)
    notes: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def questions(self) -> tuple[str, ...]:
        """Return the ids of the questions that are open."""
        return tuple(key for key, asked in self.asks.items() if asked and key not in self.answers)


@frozen
class LoadedThread:
    """One checkpoint of a thread with its values, and the thread's head."""

    head: Head
    checkpoint: StoredCheckpoint
    blobs: Mapping[str, bytes]
    steps: Mapping[str, LoadedStep] = field(default_factory=dict)  # Of the head checkpoint only.
    outcomes: Mapping[str, bytes] = field(default_factory=dict)  # Of the checkpoint's steps.
    line: Mapping[str, bytes] = field(default_factory=dict)  # Run id → how it begins, first first.
    owner_alive: bool = False  # Whether the head's owner has a lease that has not run out.
    seq: int = 0  # The number of the last event in the thread's own log; 0: there is none.
    now_ms: int = 0

    def outcome(self, step_id: str) -> bytes:
        """Return what a completed step of the checkpoint did.

        Raises:
            StateCorruptedError: if that is not there.
        """
        if step_id not in self.outcomes:
            raise StateCorruptedError(f"the result of the completed step {step_id} is missing")
        return self.outcomes[step_id]


@frozen
class Swept:
    """What one scan of a partition found to do."""

    leading: bool = False  # Whether the caller leads; if not, it did nothing.
    due: tuple[ReadyStep, ...] = ()  # To be sent (again).
    stuck: tuple[ReadyStep, ...] = ()  # A step of each superstep that is settled, not advanced.
    waiting: tuple[str, ...] = ()  # Threads whose run has ended, with others in line.
    released: int = 0  # Claims taken from owners that did not renew.
