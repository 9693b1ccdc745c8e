"""The records that cross the checkpointer's interface: commits, claims, and their results.

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

# The reason of a step that lost its claim, until the next attempt ends.
CRASHED = "crash"
HANDED_BACK = "deploy"  # By a worker that stops.

RESUMED = "resume"  # The reason of a retry after a step failed for good.
WITHDRAWN = b""  # Replaces a question that its step does not ask any more.


class Refusal(StrEnum):
    """The reason why a claim or a commit was refused; it changed nothing."""

    UNKNOWN_THREAD = "unknown_thread"
    THREAD_EXISTS = "thread_exists"
    HEAD_MOVED = "head_moved"
    WRONG_RUN = "wrong_run"
    WRONG_STATUS = "wrong_status"
    UNSETTLED = "unsettled"  # A step of the superstep is open (again).
    CLAIMED = "claimed"  # Another process runs the step, or a step of the thread.
    COMPLETED = "completed"  # The step has its one committed result. (INV-2)
    STALE_FENCE = "stale_fence"  # A newer claim exists, or the claim was revoked. (INV-3)
    UNKNOWN_STEP = "unknown_step"  # Not in the current plan: abandoned, or never planned.
    WAITING = "waiting"  # For a timer, an answer or a person.
    NO_INTERRUPT = "no_interrupt"  # Not open, or already answered. (INV-8)
    KEY_USED = "key_used"  # The idempotency key names an earlier run.
    NOT_WAITING = "not_waiting"  # The run is not in the thread's queue.
    HELD = "held"  # By another call, which stores the thread when it ends.


class Wait(StrEnum):
    """The event for which a step waits that is neither completed nor claimed."""

    NOTHING = ""  # It is ready.
    TIMER = "timer"
    ANSWER = "answer"
    PERSON = "person"  # It failed for good.


# A step that waits for one of these does not keep its superstep open.
SETTLED_WAITS = frozenset((Wait.ANSWER, Wait.PERSON))


@frozen
class ReadyStep:
    """A step that is due: the fields that its message needs."""

    thread_id: str
    step_id: str
    checkpoint_id: int
    graph: str
    node: str
    ns: str = ""
    index: int = -1
    number: int = 0  # The superstep it belongs to, for people.
    queue: str = ""  # Empty: run by the caller's process, never sent.
    solo: bool = False  # Whether it is the only step of its superstep.
    triggers: tuple[str, ...] = ()
    arg: str = ""  # The blob that holds the argument of its `Send`.
    stored: str = ""  # The stored name of its node, if the node was renamed.

    @property
    def planned(self) -> PlannedStep:
        """Return the step as a part of its plan."""
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
    """The condition of a change of a step: it must still be claimed with this fence. (INV-3)"""

    step_id: str
    fence: int


@frozen
class StepUpdate:
    """The new state of a step that is not completed."""

    step: ReadyStep
    wait: Wait = Wait.NOTHING
    delay_ms: int = 0  # With `Wait.TIMER`: the time from the commit until it is due.
    asks: Mapping[str, bytes] = field(default_factory=dict)  # New questions by interrupt id.
    error: bytes | None = None
    failed: bool = False  # Counts a failed attempt.
    reset: bool = False  # Sets the counts of failed attempts and worker deaths to 0.
    reason: str = ""  # For people: the reason of the wait.


@frozen(kw_only=False)
class Answer:
    """The answer to an open interrupt of a step. (INV-8)"""

    step_id: str
    interrupt_id: str
    value: bytes


@frozen(kw_only=False)
class Take:
    """A request to claim, with a commit, the one step that the commit makes ready.

    The fields are those of `Checkpointer.claim`, and the head that the owner has.
    """

    owner: str
    token: str
    known: tuple[str, ...] = ()
    head: Head | None = None  # Its fields about the run are not sent if they are unchanged.


def as_bytes(value: str | int | bytes) -> bytes:
    """Return a field as stored bytes; text may hold lone surrogates, as names of files do."""
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
    """One atomic change of a thread: a store applies all of it, or nothing.

    Preconditions come first; one that has its default is not checked. A commit with a checkpoint
    makes it the head and drops the steps of the old plan.

    A commit with a guard ends the claim, unless it has only notes for the step. A step keeps its
    notes over all its attempts, until it is completed; a note that exists is not replaced.
    Without a guard, notes are ignored.

    A call that stores a thread when it ends may hold the thread, also before the thread exists.
    Until the hold ends or expires, commits of other calls without a guard are refused.
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
    # Blob → the earlier one whose list it continues.
    tails: Mapping[str, str] = field(default_factory=dict)
    ready: tuple[ReadyStep, ...] = ()  # The steps of the new plan.
    completed: bytes | None = None  # The outcome of the guarded step: it is completed. (INV-2)
    # The step's checkpoint, if that holds an input whose values this commit stores: a store may
    # replace it by one that refers to them. Only its header counts.
    input: StoredCheckpoint | None = None
    updates: tuple[StepUpdate, ...] = ()
    # (Checkpoint, step) → the result that history shows for a step that did not complete, because
    # an edit replaces it or it was abandoned. Only with a new checkpoint.
    results: Mapping[tuple[int, str], bytes] = field(default_factory=dict)
    revoke: bool = False  # Ends the claims on all steps of the thread.
    answers: tuple[Answer, ...] = ()
    notes: Mapping[str, bytes] = field(default_factory=dict)  # Kept with the guarded step.
    status: RunStatus | None = None
    head: Mapping[str, str | int | bytes] = field(default_factory=dict)  # Other fields of `Head`.
    key: tuple[str, str] | None = None  # (idempotency key, run id); refused if the key is known.
    events: tuple[EventDraft, ...] = ()
    enqueue: tuple[str, bytes] | None = None  # (run id, its input): last in the thread's queue.
    dequeue: str | None = None  # The run that leaves the queue; refused if it is not in it.
    log: str = ""  # The thread whose log gets the events, of the same partition; "": its own.
    take: Take | None = None  # A store that cannot do it ignores it.
    holder: str = ""  # The call that commits; refused if another call holds the thread.
    hold_ms: int | None = None  # The time for which the holder holds the thread; 0: it ends.

    @property
    def only_holds(self) -> bool:
        """Whether this begins, extends or ends a hold without a change of the thread."""
        changes = self.checkpoint or self.updates or self.answers or self.status or self.head
        return self.hold_ms is not None and not changes

    @property
    def takes(self) -> ReadyStep | None:
        """The step that this commit also claims: the only one that it makes ready."""
        return self.ready[0] if self.take is not None and len(self.ready) == 1 else None

    @property
    def moves_line(self) -> bool:
        """Whether the next queued run may be able to begin after this commit."""
        return self.status is not None or self.enqueue is not None or self.dequeue is not None

    @property
    def keeps_claim(self) -> bool:
        """Whether the guarded step stays claimed: the commit has only notes for it."""
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
    """The result of a commit. A refused one changed nothing; a stale one is counted."""

    refused: Refusal | None = None
    detail: str = ""
    now_ms: int = 0  # The store's own time.
    open: int = 0  # Steps that keep the superstep open; 0: the caller must advance it.
    claim: Claim | None = None  # The claim on the one step that is ready now, if it was claimed.
    due: tuple[ReadyStep, ...] = ()  # Of a wide superstep, the steps that are sent next.
    waiting: bool = False  # The run has ended and others are queued: the caller begins the next.


@frozen
class Claim:
    """The right to run a step, with all records that it needs; or a refusal."""

    refused: Refusal | None = None
    detail: str = ""
    now_ms: int = 0
    step: ReadyStep | None = None
    fence: int = 0
    attempt: int = 1  # The number of claims on the step, this one included.
    failures: int = 0  # The number of failed attempts.
    deaths: int = 0  # The number of attempts whose worker died.
    reason: str = ""  # The reason why the attempt before did not complete it.
    head: Head | None = None
    header: bytes = b""
    refs: tuple[str, ...] = ()
    blobs: Mapping[str, bytes] = field(default_factory=dict)  # Without those that the caller has.
    # Of these: those that continue a known one.
    tails: Mapping[str, str] = field(default_factory=dict)
    asks: Mapping[str, bytes] = field(default_factory=dict)
    answers: Mapping[str, bytes] = field(default_factory=dict)
    notes: Mapping[str, bytes] = field(default_factory=dict)  # Of this and earlier attempts.


@frozen
class LoadedStep:
    """A step of the current plan with its state."""

    step: ReadyStep
    wait: Wait = Wait.NOTHING
    owner: str = ""  # The process that has claimed it.
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
    line: Mapping[str, bytes] = field(default_factory=dict)  # Run id → its input, in order.
    owner_alive: bool = False  # Whether the head's owner has a lease that has not expired.
    seq: int = 0  # The number of the last event in the thread's own log; 0: the log is empty.
    now_ms: int = 0

    def outcome(self, step_id: str) -> bytes:
        """Return the outcome of a completed step of the checkpoint.

        Raises:
            StateCorruptedError: if it is missing.
        """
        if step_id not in self.outcomes:
            raise StateCorruptedError(f"the result of the completed step {step_id} is missing")
        return self.outcomes[step_id]


@frozen
class Swept:
    """The work that one sweep of a partition found."""

    leading: bool = False  # Whether the caller leads; if not, it swept nothing.
    due: tuple[ReadyStep, ...] = ()  # To be sent (again).
    stuck: tuple[ReadyStep, ...] = ()  # A step of each superstep that is settled and not advanced.
    waiting: tuple[str, ...] = ()  # Threads whose run has ended, with others queued.
    released: int = 0  # Claims of owners that did not renew their lease.
