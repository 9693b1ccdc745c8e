"""The records of a thread, decoded; independent of stores and of nodes.

Rule 1: every record is frozen; a change is a new record inside a `Commit`.
Rule 2: a channel's version is the id of the checkpoint that changed it. Checkpoint ids grow along
        and across the branches of a thread, so (channel, version) names one value for ever, and
        branches share what they did not change.
Rule 3: a checkpoint holds control channels (what triggers nodes) itself and refers to the state's
        values by version, so its size follows the graph's width, not the state's size. (INV-11)
Rule 4: a version of a list may be stored as a tail: the items that it adds to an earlier version.
        Any number of branches may continue the same version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from orchestrator.frozen import frozen, replace
from orchestrator.ids import step_id


class RunStatus(StrEnum):
    """The status of a run. A paused run waits for a caller; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether steps of the run may be claimed."""
        return self in {RunStatus.QUEUED, RunStatus.RUNNING}

    @property
    def final(self) -> bool:
        """Whether the run has ended."""
        return not self.active and self is not RunStatus.PAUSED


def blob_key(ns: str, channel: str, version: int) -> str:
    """Return the name of the blob with one value of a channel."""
    return f"{ns}\x1f{channel}\x1f{version:x}"


def send_key(ns: str, version: int, index: int) -> str:
    """Return the name of the blob with the argument of one `Send`."""
    return f"{ns}\x1f\x1f{version:x}.{index}"


@frozen(kw_only=False)
class PlannedStep:
    """One node to run in a superstep; its place in the plan decides the order of its writes."""

    node: str
    index: int = -1  # Of its `Send`, or -1: triggered by channels.
    triggers: tuple[str, ...] = ()  # The channels whose new values triggered it.
    stored: str = ""  # Its node's name when it was planned, if the node was renamed.

    def id_in(self, checkpoint: Checkpoint) -> str:
        """Return the step's id as planned by `checkpoint`."""
        return step_id(checkpoint.id, checkpoint.ns, self.stored or self.node, self.index)

    @property
    def order(self) -> tuple[int, str, int]:
        """Return the sort key of its writes: triggered by name, then `Send`s by index. (INV-6)"""
        return (0, self.node, 0) if self.index < 0 else (1, "", self.index)


@frozen
class Checkpoint:
    """The state after a superstep, and the plan of the next one."""

    id: int
    ns: str = ""
    parent: int | None = None
    step: int = -1  # -1: the input; then 0, 1, …
    source: str = "input"  # input | loop | update | fork
    created_ms: int = 0
    versions: Mapping[str, int] = field(default_factory=dict)  # Of channels that hold a value.
    control: Mapping[str, Any] = field(default_factory=dict)  # Values of control channels.
    seen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # Node → trigger → version.
    writers: tuple[str, ...] = ()  # The nodes whose steps made this checkpoint.
    sends: int = 0  # The number of `Send`s in the plan.
    sends_version: int = 0  # The id of the checkpoint that names their arguments.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    plan: tuple[PlannedStep, ...] = ()  # The next steps; empty when it was not loaded.
    state_version: int | None = None  # Of the graph that made the state; `None`: not known.
    tails: Mapping[str, int] = field(default_factory=dict)  # Key → the number of its list's tails.

    def names(self) -> dict[str, str]:
        """Return the names of the blobs with the state's values, by key; see `blob_key`."""
        prefix, control = f"{self.ns}\x1f", self.control
        return {
            key: f"{prefix}{key}\x1f{version:x}"
            for key, version in self.versions.items()
            if key not in control
        }

    def again(self, **changes: Any) -> Checkpoint:
        """Return the same state and plan as another checkpoint."""
        plan = tuple(replace(step, stored="") for step in self.plan)
        return replace(self, plan=plan, **changes)


@frozen
class Head:
    """The thread's small mutable record."""

    graph: str
    fingerprint: str
    run_id: str
    status: RunStatus
    checkpoint_id: int
    config: bytes = b""  # The arguments of the run besides its input, encoded.
    stop: int = 0  # The number of the last superstep that the run may begin.
    breaks_seen: int = 0  # Only channels newer than this stop at interrupt_before and _after.
    open: int = 0  # Steps of the current superstep that are neither completed nor settled.
    resumes: int = 0
    local: bool = False  # Run by the caller's process, not by workers.
    owner: str = ""  # That process, by the name of its leases.
    created_ms: int = 0
    updated_ms: int = 0
    error: bytes = b""  # The record of the failure that ended the run, encoded.
    # The store's checksum of the fields that callers set; empty: the store has none.
    seal: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class StepError(str):  # noqa: SLOT000 - it has fields, as dataclasses have them
    """The record of a failed step, for people and for callers.

    As a text it is LangGraph's form: the `repr` of the exception.
    """

    type: str
    module: str
    message: str
    traceback: str = ""
    node: str = ""
    step: str = ""
    attempt: int = 0
    worker: str = ""

    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        # `str` has its own comparison.
        return not self == other

    def __new__(cls, **fields: Any) -> Self:
        """Make the text."""
        return super().__new__(cls, f"{fields['type']}({fields['message']!r})")

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:
        return (), dict(vars(self))


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question of a step that waits for its answer.

    Attributes:
        value: the question, shown to the caller who answers.
        id: the id of the question, unique in all threads.
        key: the node's name for it, which keeps the id when the code around it changes.
        response_schema: the JSON schema of an answer; `None`: every value is one.
    """

    value: Any
    id: str = ""
    key: str | None = None
    response_schema: Any = None


@frozen
class Outcome:
    """The outcome of a completed step; stored with the checkpoint that planned it."""

    writes: tuple[tuple[str, Any], ...] = ()  # (channel, value) in the order the step made them.
    attempt: int = 1
    fence: int = 0
    worker: str = ""
    claimed_ms: int = 0
    interrupts: tuple[Interrupt, ...] = ()  # Its questions.
    error: bytes = b""  # The record of its failure before it was resumed.
