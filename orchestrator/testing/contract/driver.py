"""Drives one thread of a checkpointer, so that a test reads as the thread's history."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.config import Settings
from orchestrator.ids import partition_of
from orchestrator.model.commit import (
    Claim,
    Commit,
    CommitResult,
    Event,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StepGuard,
    StepUpdate,
    Swept,
)
from orchestrator.testing.concurrency import Tick, wait_until
from orchestrator.testing.contract import drafts

_T = TypeVar("_T")
_attempts = itertools.count()


@dataclass(frozen=True, slots=True)
class Driver:
    """A thread, the store that keeps it, and the store's time."""

    store: Checkpointer
    tick: Tick
    settings: Settings
    thread_id: str = "thread"

    def on(self, thread_id: str) -> Driver:
        """Return a driver of another thread in the same store."""
        return replace(self, thread_id=thread_id)

    # ---- time ---------------------------------------------------------------------------

    @property
    def lease_ms(self) -> int:
        """How long a lease lasts."""
        return int(self.settings.lease_ttl_s * 1000)

    @property
    def grace_ms(self) -> int:
        """How late a message may be before it counts as lost."""
        return int(self.settings.hint_grace_s * 1000)

    def now_ms(self) -> int:
        """Return the store's own time, which every refusal holds."""
        return self.store.commit(Commit(thread_id="no-such-thread")).now_ms

    def until(self, happened: Callable[[], _T | None]) -> _T:
        """Let time pass until something happens."""
        return wait_until(happened, tick=self.tick)

    # ---- commits ------------------------------------------------------------------------

    def commit(self, **fields: Any) -> CommitResult:
        """Commit these fields to the thread, refused or not."""
        return self.store.commit(Commit(thread_id=self.thread_id, **fields))

    def change(self, **fields: Any) -> CommitResult:
        """Commit these fields; they must be accepted."""
        return _accepted(self.commit(**fields))

    def start(self, *nodes: str, **fields: Any) -> CommitResult:
        """Start the thread with one step for each node."""
        return _accepted(self.store.commit(drafts.starting(self.thread_id, *nodes, **fields)))

    def advance(self, *nodes: str, queue: str = drafts.QUEUE, **fields: Any) -> CommitResult:
        """Commit the next checkpoint with one step for each node."""
        id_ = self.head_id() + 1
        steps = drafts.plan(self.thread_id, id_, *nodes, queue=queue)
        given = {"checkpoint": drafts.checkpoint(id_), "ready": steps, **fields}
        return self.change(**given)

    def complete(self, claim: Claim, **fields: Any) -> CommitResult:
        """Complete a claimed step."""
        given = {"completed": b"outcome of " + self.node_of(claim).encode(), **fields}
        return self.change(guard=guard(claim), **given)

    def finish(self, *nodes: str) -> CommitResult:
        """Claim and complete the steps of these nodes; return what the last commit said."""
        return [self.complete(self.claimed(node)) for node in nodes][-1]

    def update(
        self, claim: Claim, *, notes: Mapping[str, bytes] | None = None, **update: Any
    ) -> CommitResult:
        """Change a claimed step: it waits, asks, failed …"""
        assert claim.step is not None
        updates = (StepUpdate(step=claim.step, **update),)
        return self.change(guard=guard(claim), updates=updates, notes=notes or {})

    def revive(self, *nodes: str, **fields: Any) -> CommitResult:
        """Make steps ready again, whatever they wait for."""
        updates = tuple(StepUpdate(step=self.step(node).step, reset=True) for node in nodes)
        return self.change(updates=updates, **fields)

    # ---- claims -------------------------------------------------------------------------

    def claim(self, step: str | ReadyStep, *, owner: str = "worker", **fields: Any) -> Claim:
        """Try to claim a step, by itself or by its node in the current plan."""
        step_id = self.step(step).step.step_id if isinstance(step, str) else step.step_id
        given = {"token": fields.pop("attempt", f"attempt-{next(_attempts)}"), **fields}
        return self.store.claim(self.thread_id, step_id, owner=owner, **given)

    def claimed(self, step: str | ReadyStep, *, owner: str = "worker", **fields: Any) -> Claim:
        """Claim a step; it must be possible."""
        claim = self.claim(step, owner=owner, **fields)
        assert claim.refused is None, f"claim refused: {claim.refused} {claim.detail}"
        return claim

    def node_of(self, claim: Claim) -> str:
        """Return the node of a claimed step."""
        assert claim.step is not None
        return claim.step.node

    # ---- sweeping -----------------------------------------------------------------------

    @property
    def partition(self) -> int:
        """The partition of the thread."""
        return partition_of(self.thread_id, self.store.partitions)

    def sweep(self, leader: str = "leader") -> Swept:
        """Sweep the thread's partition once."""
        return self.store.sweep(self.partition, leader=leader)

    def due(self, leader: str = "leader") -> list[str]:
        """Sweep, and return the nodes of this thread's steps that were handed out."""
        due = self.sweep(leader).due
        return sorted(step.node for step in due if step.thread_id == self.thread_id)

    def stuck(self) -> bool:
        """Sweep, and return whether the thread's superstep was reported as not advanced."""
        return self.thread_id in {step.thread_id for step in self.sweep().stuck}

    # ---- reading ------------------------------------------------------------------------

    def load(self, checkpoint_id: int | None = None) -> LoadedThread:
        """Return the thread, which must exist."""
        loaded = self.store.load(self.thread_id, checkpoint_id=checkpoint_id)
        assert loaded is not None
        return loaded

    def head_id(self) -> int:
        """Return the id of the head checkpoint."""
        return self.load().head.checkpoint_id

    def step(self, node: str) -> LoadedStep:
        """Return the step of `node` in the current plan."""
        return next(step for step in self.load().steps.values() if step.step.node == node)

    def events(self, type_: str | None = None) -> list[Event]:
        """Return the thread's events, all or of one type."""
        found = self.store.events(self.thread_id, limit=100_000)
        return [event for event in found if type_ is None or event.type == type_]


def guard(claim: Claim) -> StepGuard:
    """Return the guard of a commit under a claim."""
    assert claim.step is not None
    return StepGuard(claim.step.step_id, claim.fence)


def _accepted(result: CommitResult) -> CommitResult:
    assert result.refused is None, f"commit refused: {result.refused} {result.detail}"
    return result
