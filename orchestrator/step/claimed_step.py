"""A step that this process has claimed: its input decoded, its notes, its clock, its facts.

Knows what surrounds the step's code; runs none of it, and commits only what the code streams.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engine.advance import Frame
from orchestrator.engine.carryover import carried_in, timeout_of
from orchestrator.envelope.damage import check_damage
from orchestrator.graph.policy import TimeoutPolicy
from orchestrator.graph.scope import Scope, Scratchpad
from orchestrator.graph.spec import GraphSpec, NodeSpec
from orchestrator.ids import short_hash
from orchestrator.integrations.validation import fit
from orchestrator.model.checkpoint import Checkpoint, Head, Interrupt, PlannedStep
from orchestrator.model.commit import Claim, ReadyStep, StoredCheckpoint
from orchestrator.model.tails import Encoded, whole
from orchestrator.step.facts import Fact, Written
from orchestrator.step.services import StepServices
from orchestrator.step.timeout import Watch
from orchestrator.step.untracked import Overlaid

__all__ = ["ClaimedStep"]


@dataclass(slots=True)
class ClaimedStep:
    """A claimed step, decoded: what its code sees, and what it notes, emits and writes."""

    services: StepServices
    claim: Claim
    blobs: Mapping[str, Encoded]
    made: Checkpoint | None = None  # What planned the step, if this process has just made it.
    spec: GraphSpec = field(init=False)
    step: ReadyStep = field(init=False)
    node: NodeSpec = field(init=False)
    began_ms: float = field(init=False)  # By the monotonic clock of this process.
    head: Head = field(init=False)
    planned: PlannedStep = field(init=False)
    frame: Frame = field(init=False)
    notes: dict[str, bytes] = field(init=False)
    input: Any = field(init=False)  # What came for a subgraph that one of its nodes had paused.
    origin: str = field(init=False)  # The id under which the step was first planned.
    scope: Scope = field(init=False)
    policy: TimeoutPolicy | None = field(init=False)
    watch: Watch | None = field(init=False)
    scratchpad: Scratchpad = field(init=False)  # With what the node itself asked.
    _given: Mapping[str, Any] | None = field(init=False)

    def __post_init__(self) -> None:
        assert self.claim.step is not None
        assert self.claim.head is not None
        self.step, self.head = self.claim.step, self.claim.head
        head = self.head
        self.spec, records = self.services.spec, self.services.records
        self.node = self.spec.nodes[self.step.node]
        # Values that this node does not read are checked, too: soon they would be history.
        for blob in self.claim.blobs.values():
            check_damage(blob)
        check_damage(head.config)
        checkpoint = self.made or records.checkpoint(self.claim.header)
        values = records.values(checkpoint, self.blobs)
        seen: Mapping[str, Any] = values
        if self.services.spec.untracked:
            own = self.services.live.untracked.values(self.step.thread_id)
            seen = Overlaid(values, own) if own else values
        self.frame = Frame(checkpoint, seen, head.stop, changes=values.changes)
        self.planned = self.step.planned
        self._given = None
        answers: Mapping[str, Any] = {}
        if self.claim.answers:
            answers = {i: records.decode(data) for i, data in self.claim.answers.items()}
        carried = carried_in(checkpoint, self.planned, self.step.step_id)
        self.origin = carried.origin
        if self.services.live.answers is not None:
            answers = {**self.services.live.answers, **answers}
            place = (self.step.number, self.step.node, self.step.index)
            self.origin = short_hash(self.step.thread_id, *place)
        self.notes = {**carried.notes, **self.claim.notes}
        self.input = carried.given
        seed = short_hash(self.step.thread_id, self.origin)
        own_limit = timeout_of(checkpoint, self.planned) if self.step.index >= 0 else None
        self.policy = own_limit or self.node.options.timeout
        self.scratchpad = Scratchpad(seed, {**carried.answers, **answers}, fit=fit)
        self.begin(self.claim)

    def expected(self, claim: Claim) -> bool:
        """Return whether the attempt is what it would be under another claim on the same step."""
        mine, theirs = self.claim, claim
        assert mine.head is not None
        assert theirs.head is not None
        return (
            theirs.step == mine.step
            and theirs.header == mine.header
            and (theirs.head.config, theirs.head.stop) == (mine.head.config, mine.head.stop)
            and not (theirs.blobs or theirs.answers or theirs.notes)
        )

    def begin(self, claim: Claim) -> None:
        """Begin under a claim: from now on it takes time."""
        assert claim.head is not None
        self.claim, self.head = claim, claim.head
        self.began_ms = self.services.access.clock.monotonic_ms()
        self.watch = Watch(self.policy) if self.policy else None

    @property
    def given(self) -> Mapping[str, Any]:
        """Return what the run was started with; decoded at the first call.

        Callers that need an option which few runs have search `head.config` for its name first.
        """
        if self._given is None:
            self._given = self.services.records.decode(self.head.config)
        return self._given

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the caller's config, besides what is stored."""
        return self.services.live.config

    @property
    def streams_messages(self) -> bool:
        """Whether a caller reads the stream mode `messages`."""
        live = self.services.live
        if live.listener is not None:
            return live.messages
        asked = bool(self.step.queue) and b"messages" in self.head.config
        return asked and bool(self.given.get("messages"))

    @property
    def asked(self) -> list[Interrupt]:
        """Return what the step asked: its node, then the subgraphs and tasks that it ran."""
        own, records = list(self.scratchpad.asked), self.services.records
        if not self.claim.asks:
            return own
        known = {question.id for question in own}
        below = (data for i, data in self.claim.asks.items() if data and i not in known)
        return [*own, *map(records.interrupt, below)]

    @property
    def key(self) -> str:
        """Return the key that all attempts at the step share, unique among all threads."""
        return short_hash(self.step.thread_id, self.origin)

    @property
    def accepted_input(self) -> StoredCheckpoint:
        """Return the checkpoint of the input, for the step that reads it; without its plan."""
        step, claim = self.step, self.claim
        id_, refs = step.checkpoint_id, claim.refs
        return StoredCheckpoint(id=id_, ns=step.ns, header=claim.header, plan=b"", refs=refs)

    # ---- facts --------------------------------------------------------------------------------

    def emit(self, kind: type[Fact], **fields: Any) -> None:
        """Emit a fact to the local listener; it counts as progress, too."""
        if self.watch:
            self.watch.progress()
        self.services.emit(kind, self.step.thread_id, **fields)

    def write(self, data: Any, mode: str = "custom") -> None:
        """Emit a stream chunk to the local listener, or to the thread's event log."""
        if self.watch:
            self.watch.progress()
        if self.services.live.listener is not None:
            self.services.emit(Written, self.step.thread_id, mode=mode, data=data)
        elif self.step.queue or self.services.live.logs:
            self.services.log(self.step, mode, data)

    def argument(self) -> Any:
        """Return what the step was sent."""
        arg = self.services.records.decode(whole(self.blobs[self.step.arg]))
        if not self.services.spec.untracked:
            return arg
        return self.services.live.untracked.argument(self.step.thread_id, self.step.step_id, arg)

    # ---- time ---------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Return the store's time, reckoned from the claim."""
        passed_ms = self.services.access.clock.monotonic_ms() - self.began_ms
        return self.claim.now_ms + int(passed_ms)

    @property
    def began_s(self) -> float:
        """Return when the first attempt began, in seconds since the epoch, by the store's clock."""
        first = self.notes.get(self.began_note) if self.claim.failures else None
        if first is not None:
            return float(first)
        return self.claim.now_ms / 1000 if self.claim.now_ms else time.time()

    @property
    def began_note(self) -> str:
        """Return the note under which the time of the first attempt is kept for retries."""
        return f"began:{self.head.resumes}"  # A resumed run counts attempts anew.
