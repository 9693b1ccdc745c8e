"""The records a thread is made of, as the engine sees them.

Knows the shape of what is kept; knows nothing of how it is stored or of what nodes do.

Rule 1: every record is frozen; a change is a new record inside a `Commit`.
Rule 2: a channel's version is the id of the checkpoint that changed it. Checkpoint ids grow along
        and across the branches of a thread, so (channel, version) names one value for ever, and
        branches share what they did not change.
Rule 3: a checkpoint holds control channels (what triggers nodes) itself and refers to the state's
        values by version, so its size follows the graph's width, not the state's size. (INV-11)
Rule 4: a version of a list may be kept as a tail: what it adds to an earlier version. Any number of
        branches may continue the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from orchestrator.frozen import frozen, replace
from orchestrator.ids import step_id


class RunStatus(StrEnum):
    """What a run is doing. `paused` waits for a person; the last three are final."""

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
    """Return the name under which a thread keeps one value of a channel."""
    return f"{ns}\x1f{channel}\x1f{version:x}"


def send_key(ns: str, version: int, index: int) -> str:
    """Return the name under which a thread keeps the argument of one `Send`."""
    return f"{ns}\x1f\x1f{version:x}.{index}"


@frozen(kw_only=False)
class PlannedStep:
    """One node to run in a superstep; its place in the plan decides the order of its writes."""

    node: str
    index: int = -1  # Of the `Send` that asked for it, or -1: triggered through channels.
    triggers: tuple[str, ...] = ()  # The channels whose news triggered it.
    stored: str = ""  # Its node's name where it was planned, if that has another name now.

    def id_in(self, checkpoint: Checkpoint) -> str:
        """Return the step's id as planned by `checkpoint`."""
        return step_id(checkpoint.id, checkpoint.ns, self.stored or self.node, self.index)

    @property
    def order(self) -> tuple[int, str, int]:
        """Return the sort key of its writes: triggered by name, then `Send`s by index. (INV-6)"""
        return (0, self.node, 0) if self.index < 0 else (1, "", self.index)


@frozen
class Checkpoint:
    """The state after a superstep, and what comes next."""

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
    sends: int = 0  # How many `Send`s wait to be run by the plan.
    sends_version: int = 0  # The checkpoint under whose id their arguments are kept.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    plan: tuple[PlannedStep, ...] = ()  # What runs next; empty when it was not loaded.
    state_version: int | None = None  # Of the graph that made the state; `None`: there is none yet.
    tails: Mapping[str, int] = field(default_factory=dict)  # Key → tails that its list consists of.

    def names(self) -> dict[str, str]:
        """Return the names of the blobs that hold the state's values, by key; see `blob_key`."""
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
    config: bytes = b""  # What the run was started with besides its input, encoded.
    stop: int = 0  # The run may not start a superstep beyond this number.
    breaks_seen: int = 0  # Only channels newer than this stop at interrupt_before and _after.
    open: int = 0  # Steps of the current superstep that are neither completed nor settled.
    resumes: int = 0
    local: bool = False  # Run by the process that called, not by a fleet.
    owner: str = ""  # That process, by the name under which it has leases.
    created_ms: int = 0
    updated_ms: int = 0
    error: bytes = b""  # The record of the failure that ended the run, encoded.
    # The store's own, over what callers say of a run; empty: it has none.
    seal: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class StepError(str):  # noqa: SLOT000 - it has fields, as dataclasses have them
    """What a failed step left behind, for people and for callers.

    As a text it is what LangGraph shows: the exception as it would be written.
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
        """Compare as `==` does; a text has its own way."""
        return not self == other

    def __new__(cls, **fields: Any) -> Self:
        """Make the text."""
        return super().__new__(cls, f"{fields['type']}({fields['message']!r})")

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:
        """Return what a copy is made of."""
        return (), dict(vars(self))


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question of a step that waits for its answer.

    Attributes:
        value: what the node asked, shown to the person who answers.
        id: names this question; no other question of any thread has it.
        key: the name the node gave it, which keeps the id when code around it changes.
        response_schema: what an answer must fit, as a JSON schema; `None`: anything.
    """

    value: Any
    id: str = ""
    key: str | None = None
    response_schema: Any = None


@frozen
class Outcome:
    """What a completed step did; kept with the checkpoint that planned it."""

    writes: tuple[tuple[str, Any], ...] = ()  # (channel, value) in the order the step made them.
    attempt: int = 1
    fence: int = 0
    worker: str = ""
    claimed_ms: int = 0
    interrupts: tuple[Interrupt, ...] = ()  # What it asked before it completed.
    error: bytes = b""  # The record of how it had failed before it was resumed.
