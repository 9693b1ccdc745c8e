"""What to commit when a step ends: completed, tried again, asking, or failed.

Pure: each function takes what was loaded and what the node did, and returns a `Commit`. The step
protocol sends it and acts on the answer.

Rule 1: a step alone in its superstep commits its result, the next checkpoint and the next steps at
        once. Of several, each commits its result; whoever completes the last one advances.
Rule 2: everything is encoded here, before anything is committed: a value that cannot be stored
        fails its step and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.checkpoint.commit import (
    Commit,
    EventDraft,
    ReadyStep,
    StepGuard,
    StepUpdate,
    Wait,
)
from orchestrator.checkpoint.model import (
    Checkpoint,
    Head,
    Interrupt,
    Outcome,
    RunStatus,
    StepError,
    blob_key,
    send_key,
)
from orchestrator.core.advance import Next, breaks_at
from orchestrator.core.records import Records
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import checkpoint_text

__all__ = [
    "ACTIVE",
    "Placement",
    "Stepping",
    "defer",
    "ended",
    "hand_back",
    "recursion_error",
    "steps_of",
]

ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the steps of a thread run."""

    thread_id: str
    graph: str
    default_queue: str = ""  # Empty: in the process that called.

    def queue(self, spec: GraphSpec | None, node: str) -> str:
        """Return the queue for steps of `node`; a client without the graph uses the default."""
        if not self.default_queue or spec is None or node not in spec.nodes:
            return self.default_queue
        return spec.queue_of(node, self.default_queue)


def steps_of(
    checkpoint: Checkpoint, where: Placement, spec: GraphSpec | None
) -> tuple[ReadyStep, ...]:
    """Return the steps that a checkpoint's plan makes ready."""
    return tuple(
        ReadyStep(
            thread_id=where.thread_id,
            step_id=step.id_in(checkpoint),
            checkpoint_id=checkpoint.id,
            graph=where.graph,
            node=step.node,
            ns=checkpoint.ns,
            index=step.index,
            number=checkpoint.step + 1,
            queue=where.queue(spec, step.node),
            solo=len(checkpoint.plan) == 1,
            triggers=step.triggers,
            arg=(
                send_key(checkpoint.ns, checkpoint.sends_version, step.index)
                if step.index >= 0
                else ""
            ),
        )
        for step in checkpoint.plan
    )


def recursion_error(checkpoint: Checkpoint) -> StepError:
    """Return the record of a run that used up its supersteps."""
    names = ", ".join(dict.fromkeys(step.node for step in checkpoint.plan))
    return StepError(
        type="GraphRecursionError",
        module="orchestrator.errors",
        message=(
            f"the recursion limit is reached before superstep {checkpoint.step + 1} ({names}). "
            f"Raise recursion_limit in the config, or resume the thread to go on"
        ),
    )


@dataclass(frozen=True, slots=True)
class Stepping:
    """The decisions for one graph's steps."""

    spec: GraphSpec
    records: Records
    default_queue: str = ""  # Empty: steps run in the process that called.

    def next(self, thread_id: str, head: Head, following: Next) -> Commit:
        """Return the commit that makes `following` the head, where its parent still is."""
        where = Placement(thread_id, head.graph, self.default_queue)
        checkpoint, check = following.checkpoint, self.records.check
        ns = checkpoint.ns
        blobs = {
            blob_key(ns, key, checkpoint.id): check(f"the value of {key!r}", value)
            for key, value in following.changed.items()
        }
        for index, send in enumerate(following.sends):
            blobs[send_key(ns, checkpoint.id, index)] = check(
                f"what is sent to {send.node!r}", send.arg
            )
        ready = steps_of(checkpoint, where, self.spec)
        status, error = self._status_at(checkpoint, head)
        return Commit(
            thread_id=where.thread_id,
            expect_head=checkpoint.parent,
            checkpoint=self.records.store_checkpoint(checkpoint),
            blobs=blobs,
            ready=ready,
            status=status,
            head={"error": self.records.store_error(error)} if error else {},
            events=(
                _superstep(checkpoint, ready),
                *((_ended(status),) if status else ()),
            ),
        )

    def _status_at(
        self, checkpoint: Checkpoint, head: Head
    ) -> tuple[RunStatus | None, StepError | None]:
        """Return the run's status if it does not simply go on from a checkpoint."""
        nodes = [step.node for step in checkpoint.plan]
        if not nodes:
            return RunStatus.SUCCEEDED, None
        if checkpoint.step + 1 > head.stop:
            return RunStatus.FAILED, recursion_error(checkpoint)
        after, before = self.spec.interrupt_after, self.spec.interrupt_before
        if breaks_at(checkpoint, checkpoint.writers, after, head.breaks_seen) or breaks_at(
            checkpoint, nodes, before, head.breaks_seen
        ):
            return RunStatus.PAUSED, None
        return None, None

    def complete(
        self, step: ReadyStep, outcome: Outcome, head: Head, following: Next | None
    ) -> Commit:
        """Complete a step; with `following`, it was alone and advances its superstep. (Rule 1)"""
        done = Commit(
            thread_id=step.thread_id,
            guard=StepGuard(step.step_id, outcome.fence),
            completed=self.records.store_outcome(outcome),
            events=(_committed(step, outcome),),
        )
        if following is None:
            return done
        rest = self.next(step.thread_id, head, following)
        return replace(
            rest, guard=done.guard, completed=done.completed, events=done.events + rest.events
        )

    def ask(self, step: ReadyStep, fence: int, questions: tuple[Interrupt, ...]) -> Commit:
        """Let a step wait for answers."""
        asks = {q.id: self.records.store_interrupt(q) for q in questions}
        asked = [
            EventDraft("step_interrupted", {**_where(step), "interrupt": q.id, "value": asks[q.id]})
            for q in questions
        ]
        update = StepUpdate(step=step, wait=Wait.ANSWER, asks=asks)
        return self._settle(step, fence, update, RunStatus.PAUSED, asked)

    def fail(self, step: ReadyStep, fence: int, error: StepError) -> Commit:
        """Park a step that failed for good; a person may try it again."""
        stored = self.records.store_error(error)
        update = StepUpdate(
            step=step, wait=Wait.PERSON, error=stored, failed=True, reason=error.message
        )
        event = EventDraft("step_failed", {**_where(step), "error": stored})
        return self._settle(step, fence, update, RunStatus.FAILED, [event])

    def retry(self, step: ReadyStep, fence: int, error: StepError, delay_ms: int) -> Commit:
        """Let a failed step be tried again after a delay."""
        stored = self.records.store_error(error)
        update = StepUpdate(
            step=step,
            wait=Wait.TIMER,
            delay_ms=delay_ms,
            error=stored,
            failed=True,
            reason=f"{error.type}: {error.message}",
        )
        fields: dict[str, str | int | bytes] = {
            **_where(step),
            "error": stored,
            "delay_ms": delay_ms,
        }
        return _updated(step, fence, update, EventDraft("step_retry", fields))

    def _settle(
        self,
        step: ReadyStep,
        fence: int,
        update: StepUpdate,
        status: RunStatus,
        events: list[EventDraft],
    ) -> Commit:
        commit = _updated(step, fence, update, *events)
        if not step.solo:
            return commit
        head = {"error": update.error} if status is RunStatus.FAILED and update.error else {}
        return replace(
            commit,
            expect_head=step.checkpoint_id,
            status=status,
            head=head,
            events=(*commit.events, _ended(status)),
        )


def defer(step: ReadyStep, fence: int, reason: str, delay_ms: int) -> Commit:
    """Hand a step back that this process cannot run; another may be able to."""
    update = StepUpdate(step=step, wait=Wait.TIMER, delay_ms=delay_ms, reason=reason)
    event = EventDraft("step_deferred", {**_where(step), "reason": reason})
    return _updated(step, fence, update, event)


def hand_back(step: ReadyStep, fence: int, reason: str) -> Commit:
    """Make a claimed step ready again: whoever ran it was told to stop."""
    event = EventDraft("step_handed_back", {**_where(step), "reason": reason})
    return _updated(step, fence, StepUpdate(step=step, reason=reason), event)


def ended(thread_id: str, checkpoint_id: int, status: RunStatus, error: bytes = b"") -> Commit:
    """End or pause the run of a superstep in which every step is settled."""
    return Commit(
        thread_id=thread_id,
        expect_head=checkpoint_id,
        expect_status=ACTIVE,
        status=status,
        head={"error": error} if error else {},
        events=(_ended(status),),
    )


def _updated(step: ReadyStep, fence: int, update: StepUpdate, *events: EventDraft) -> Commit:
    return Commit(
        thread_id=step.thread_id,
        guard=StepGuard(step.step_id, fence),
        updates=(update,),
        events=events,
    )


def _where(step: ReadyStep) -> Mapping[str, str | int | bytes]:
    return {"step": step.step_id, "node": step.node, "number": step.number}


def _committed(step: ReadyStep, outcome: Outcome) -> EventDraft:
    fields: dict[str, str | int | bytes] = {
        **_where(step),
        "attempt": outcome.attempt,
        "fence": outcome.fence,
        "worker": outcome.worker,
        "claimed_ms": outcome.claimed_ms,
    }
    return EventDraft("step_committed", fields)


def _superstep(checkpoint: Checkpoint, ready: tuple[ReadyStep, ...]) -> EventDraft:
    fields: dict[str, str | int | bytes] = {
        "checkpoint": checkpoint_text(checkpoint.id),
        "number": checkpoint.step + 1,
        "steps": " ".join(step.step_id for step in ready),
        "nodes": "\n".join(step.node for step in ready),
    }
    return EventDraft("superstep", fields)


def _ended(status: RunStatus) -> EventDraft:
    return EventDraft("run_" + status, {})
