"""The commits of steps: completed, retried, asking, failed, handed back; and where a run ends.

Pure: each function takes what was loaded and what the node did, and returns a `Commit`. The step
runner sends it and acts on the answer.

Rule 1: a step alone in its superstep commits its result, the next checkpoint and the next steps at
        once. Of several, each commits its result; the process that completes the last one advances.
Rule 2: everything is encoded here, before anything is committed: a value that cannot be stored
        fails its step and nothing else.
Rule 3: a subgraph whose state outlives its runs has one thread, and a thread has one writer
        (INV-9): steps of a superstep that use it take turns, in the order of the plan. They are
        steps of one node, since another node has another thread for it. A step that waits for its
        turn holds no claim; the advance of its superstep makes it ready. (INV-6)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from operator import attrgetter
from typing import Any

from orchestrator.engine.advance import Next, breaks_at
from orchestrator.engine.apply import SENDS
from orchestrator.engine.deltas import kept_values
from orchestrator.engine.records import Records
from orchestrator.frozen import frozen, replace
from orchestrator.graph.routing import START, Send
from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import (
    Checkpoint,
    Head,
    Interrupt,
    Outcome,
    RunStatus,
    StepError,
    send_key,
)
from orchestrator.model.commit import (
    WITHDRAWN,
    Claim,
    Commit,
    EventDraft,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StepGuard,
    StepUpdate,
    Wait,
)
from orchestrator.model.events import (
    StepCommitted,
    StepDeferred,
    StepFailed,
    StepHandedBack,
    StepInterrupted,
    StepPaused,
    StepRetried,
    Superstep,
    of_step,
    run_ended,
)
from orchestrator.model.lifecycle import ACTIVE

_STEP_ID, _NODE = attrgetter("step_id"), attrgetter("node")
ASLEEP = "it sleeps"  # Why a step waits whose node does.
IN_SUBGRAPH = "its subgraph runs"  # Why a step waits whose node is a graph.
# Why a step waits for its turn. (Rule 3)
TURN = "steps before it use the same subgraph"
TURN_ABOVE = "steps before one around it use the same subgraph"


@frozen(kw_only=False)
class Placement:
    """Where the steps of a thread run."""

    thread_id: str
    graph: str
    default_queue: str = ""  # Empty: in the process that called.
    run_queue: str = ""  # Of this run; empty: as the graph says, or the default one.

    def queue(self, spec: GraphSpec | None, node: str) -> str:
        """Return the queue for steps of `node`; a client without the graph knows of no others."""
        if not self.default_queue or spec is None or node not in spec.nodes:
            return self.default_queue and (self.run_queue or self.default_queue)
        return spec.queue_of(node, self.run_queue, self.default_queue)


def run_queue(records: Records, config: bytes) -> str:
    """Return the queue of a run, by what it was started with; empty: it has none of its own."""
    if b"queue" not in config:  # Each superstep asks, and few runs have one.
        return ""
    return str(records.decode(config).get("queue") or "")


@frozen(kw_only=False)
class Decider:
    """What each decision on a thread needs: how records are stored, and where its steps run."""

    records: Records
    where: Placement

    @classmethod
    def of(cls, records: Records, thread_id: str, loaded: LoadedThread, queue: str) -> Decider:
        """Return the one for the run that a thread has; `queue` as `Placement.default_queue`."""
        own = run_queue(records, loaded.head.config)
        return cls(records, Placement(thread_id, loaded.head.graph, queue, own))


def steps_of(
    checkpoint: Checkpoint, where: Placement, spec: GraphSpec | None
) -> tuple[ReadyStep, ...]:
    """Return the steps that a checkpoint's plan makes ready."""
    return tuple(
        [
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
        ]
    )


def recursion_error(checkpoint: Checkpoint) -> StepError:
    """Return the record of a run that used up its supersteps."""
    names = ", ".join(dict.fromkeys(step.node for step in checkpoint.plan))
    return StepError(
        type="GraphRecursionError",
        module="orchestrator.errors",
        message=(
            f"the recursion limit is reached before superstep {checkpoint.step + 1} ({names}). "
            f"Raise recursion_limit in the config, or resume the thread"
        ),
    )


@frozen(kw_only=False)
class Stepping:
    """The decisions for one graph's steps."""

    spec: GraphSpec
    records: Records
    default_queue: str = ""  # Empty: steps run in the process that called.
    breaks_after: frozenset[str] | None = (
        None  # Where this call stops, if not where the graph does.
    )
    breaks_before: frozenset[str] | None = None

    @cached_property
    def breaks(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the nodes after and before which the run stops."""
        after, before = self.breaks_after, self.breaks_before
        return (
            self.spec.interrupt_after if after is None else after,
            self.spec.interrupt_before if before is None else before,
        )

    def next(
        self,
        thread_id: str,
        head: Head,
        following: Next,
        *,
        guard: StepGuard | None = None,
        completed: bytes | None = None,
        events: tuple[EventDraft, ...] = (),
    ) -> Commit:
        """Return the commit that makes `following` the head, where its parent still is.

        Args:
            thread_id: the thread.
            head: of the thread.
            following: the next checkpoint.
            guard: of the step that the commit completes, if it completes one.
            completed: the outcome of that step.
            events: what happened before.
        """
        own = ""
        if self.default_queue and b"queue" in head.config:  # Few runs have one of their own.
            own = run_queue(self.records, head.config)
        where = Placement(thread_id, head.graph, self.default_queue, own)
        checkpoint, untracked = following.checkpoint, self.spec.untracked
        kept = kept_values(self.records, following, untracked)
        for index, each in enumerate(following.sends):
            send = tracked_send(each, untracked)
            kept.blobs[send_key(checkpoint.ns, checkpoint.id, index)] = self.records.check(
                f"what is sent to {send.node!r}", send.arg
            )
        ready, stored = steps_of(checkpoint, where, self.spec), checkpoint
        if untracked or kept.tails != checkpoint.tails:
            stored = _tracked(checkpoint, untracked, kept.tails)
        status, error = self._status_at(following, head)
        fields: dict[str, str | int | bytes] = {}
        if head.fingerprint not in {"", self.spec.fingerprint}:  # Another graph continues it.
            fields["fingerprint"] = self.spec.fingerprint
        if error is not None:
            fields["error"] = self.records.store_error(error)
        if following.keeps_steps:
            fields["breaks_seen"] = checkpoint.id
        if self.spec.on_resume is not None and START in checkpoint.writers and head.config:
            # The client that resumes it may not have the graph, and must know that it has a hook.
            given = self.records.decode(head.config)
            fields["config"] = self.records.encode({**given, "on_resume": True})
        return Commit(
            thread_id=where.thread_id,
            expect_head=following.follows or checkpoint.parent,
            checkpoint=self.records.store_checkpoint(stored),
            blobs=kept.blobs,
            tails=kept.continued,
            ready=ready,
            status=status,
            head=fields,
            guard=guard,
            completed=completed,
            events=(
                *events,
                _superstep(checkpoint, ready, live=status is None),
                *((run_ended(status, at_break=bool(checkpoint.plan)),) if status else ()),
            ),
        )

    def _status_at(self, following: Next, head: Head) -> tuple[RunStatus | None, StepError | None]:
        """Return the run's status if it does not simply continue from a checkpoint."""
        checkpoint = following.checkpoint
        if not checkpoint.plan:
            return RunStatus.SUCCEEDED, None
        if checkpoint.step + 1 > head.stop:
            return RunStatus.FAILED, recursion_error(checkpoint)
        after, before = self.breaks
        if following.keeps_steps or not (after or before):
            return None, None
        nodes = [step.node for step in checkpoint.plan]
        ran = (*checkpoint.writers, *following.handled) if following.handled else checkpoint.writers
        if breaks_at(checkpoint, ran, after, head.breaks_seen) or breaks_at(
            checkpoint, nodes, before, head.breaks_seen
        ):
            return RunStatus.PAUSED, None
        return None, None

    def complete(
        self, step: ReadyStep, outcome: Outcome, head: Head, following: Next | None
    ) -> Commit:
        """Complete a step; with `following`, it was alone and advances its superstep. (Rule 1)"""
        guard, completed = StepGuard(step.step_id, outcome.fence), self.stored(outcome)
        event = StepCommitted(
            **of_step(step),
            attempt=outcome.attempt,
            fence=outcome.fence,
            worker=outcome.worker,
            claimed_ms=outcome.claimed_ms,
        ).draft()
        if following is None:
            return Commit(
                thread_id=step.thread_id, guard=guard, completed=completed, events=(event,)
            )
        return self.next(
            step.thread_id, head, following, guard=guard, completed=completed, events=(event,)
        )

    def stored(self, outcome: Outcome) -> bytes:
        """Return what is stored of an outcome: not the keys whose values never are."""
        if self.spec.untracked:
            writes = tracked_writes(outcome.writes, self.spec.untracked)
            outcome = replace(outcome, writes=writes)
        return self.records.store_outcome(outcome)

    def ask(self, claim: Claim, questions: tuple[Interrupt, ...]) -> Commit:
        """Let a claimed step wait for answers; what it asked before and asks no more is closed."""
        assert claim.step is not None
        step, fence = claim.step, claim.fence
        asks = {i: WITHDRAWN for i in claim.asks if i not in claim.answers}
        own = {q.id: self.records.store_interrupt(q) for q in questions}
        asked = [
            StepInterrupted(**of_step(step), interrupt=q.id, value=own[q.id]).draft()
            for q in questions
        ] or [StepInterrupted(**of_step(step)).draft()]
        update = StepUpdate(step=step, wait=Wait.ANSWER, asks={**asks, **own})
        return self._settle(step, fence, update, RunStatus.PAUSED, asked)

    def pause(self, step: ReadyStep, fence: int, reason: str, notes: Mapping[str, bytes]) -> Commit:
        """Let a step wait for a person, because its node said so; it has not failed."""
        update = StepUpdate(step=step, wait=Wait.PERSON, error=b"", reason=reason)
        event = StepPaused(**of_step(step), reason=reason).draft()
        commit = self._settle(step, fence, update, RunStatus.PAUSED, [event])
        return replace(commit, notes=notes)

    def give_way(self, step: ReadyStep, fence: int, reason: str) -> Commit:
        """Let a step wait until those before it in the plan have completed; see `turns`."""
        update = StepUpdate(step=step, wait=Wait.PERSON, error=b"", reason=reason)
        return self._settle(step, fence, update, RunStatus.PAUSED, [])

    def wait(
        self, step: ReadyStep, fence: int, delay_ms: int, reason: str, notes: Mapping[str, bytes]
    ) -> Commit:
        """Let a step wait; after `delay_ms` it checks again itself. (INV-7)"""
        update = StepUpdate(step=step, wait=Wait.TIMER, delay_ms=delay_ms, reason=reason)
        return replace(_updated(step, fence, update), notes=notes)

    def fail(self, step: ReadyStep, fence: int, error: StepError) -> Commit:
        """Park a step that failed for good; a person may try it again."""
        stored = self.records.store_error(error)
        update = StepUpdate(
            step=step, wait=Wait.PERSON, error=stored, failed=True, reason=error.message
        )
        event = StepFailed(**of_step(step), error=stored).draft()
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
        event = StepRetried(**of_step(step), error=stored, delay_ms=delay_ms).draft()
        return _updated(step, fence, update, event)

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
            events=(*commit.events, run_ended(status)),
        )


def tracked_writes(
    writes: tuple[tuple[str, Any], ...], untracked: frozenset[str]
) -> tuple[tuple[str, Any], ...]:
    """Return what is stored of a step's writes: not the keys whose values never are."""
    if not untracked:
        return writes
    return tuple(
        (key, tracked_send(value, untracked) if key == SENDS else value)
        for key, value in writes
        if key not in untracked
    )


def tracked_send(send: Send, untracked: frozenset[str]) -> Send:
    """Return a `Send` as it is stored: its argument without the keys that never are."""
    arg = send.arg
    if not untracked or not isinstance(arg, dict) or untracked.isdisjoint(arg):
        return send
    stored = {key: value for key, value in arg.items() if key not in untracked}
    return Send(send.node, stored, timeout=send.timeout)


def _tracked(
    checkpoint: Checkpoint, untracked: frozenset[str], tails: Mapping[str, int]
) -> Checkpoint:
    """Return a checkpoint as it is stored: without what never is, and with its tails counted."""
    versions = {k: v for k, v in checkpoint.versions.items() if k not in untracked}
    return replace(checkpoint, versions=versions, tails=tails)


def defer(step: ReadyStep, fence: int, reason: str, delay_ms: int) -> Commit:
    """Hand a step back that this process cannot run; another may be able to."""
    update = StepUpdate(step=step, wait=Wait.TIMER, delay_ms=delay_ms, reason=reason)
    event = StepDeferred(**of_step(step), reason=reason).draft()
    return _updated(step, fence, update, event)


def hand_back(step: ReadyStep, fence: int, reason: str) -> Commit:
    """Make a claimed step ready again: the process that ran it has to stop."""
    event = StepHandedBack(**of_step(step), reason=reason).draft()
    return _updated(step, fence, StepUpdate(step=step, reason=reason), event)


def ended(thread_id: str, checkpoint_id: int, status: RunStatus, error: bytes = b"") -> Commit:
    """End or pause the run of a superstep in which every step is settled."""
    return Commit(
        thread_id=thread_id,
        expect_head=checkpoint_id,
        expect_status=ACTIVE,
        expect_settled=True,  # It may run by now: answered, or resumed by a person.
        status=status,
        head={"error": error} if error else {},
        events=(run_ended(status),),
    )


def stopped(thread_id: str, run_id: str, status: RunStatus, error: bytes = b"") -> Commit:
    """End or pause a run wherever it is: what its steps still do is not committed. (INV-3)"""
    return Commit(
        thread_id=thread_id,
        expect_run=run_id or None,
        expect_status=ACTIVE,
        revoke=True,
        status=status,
        head={"error": error} if error else {},
        events=(run_ended(status),),
    )


def orphan(thread_id: str, run_id: str) -> Commit:
    """Give up a run that this process owns, so that others may resume it; `run_id` may be empty."""
    return Commit(thread_id=thread_id, expect_run=run_id or None, head={"owner": ""})


def wake(step: ReadyStep, reason: str = "") -> Commit:
    """Make a waiting step ready, if its run still needs it."""
    return Commit(
        thread_id=step.thread_id,
        expect_head=step.checkpoint_id,
        expect_status=ACTIVE,
        updates=(StepUpdate(step=step, reason=reason),),
    )


def note(
    step: ReadyStep, fence: int, notes: Mapping[str, bytes], event: EventDraft | None = None
) -> Commit:
    """Keep notes with a claimed step, whose attempt continues."""
    return Commit(
        thread_id=step.thread_id,
        guard=StepGuard(step.step_id, fence),
        notes=notes,
        events=(event,) if event else (),
    )


def append_event(thread_id: str, event: EventDraft) -> Commit:
    """Append an event to a thread's log, and change nothing else."""
    return Commit(thread_id=thread_id, events=(event,))


# ---- turns (Rule 3) ---------------------------------------------------------------------------


def is_before(loaded: LoadedThread, step_id: str) -> bool:
    """Return whether a step of the same node comes before this one, and has not completed."""
    own = loaded.steps.get(step_id)
    return own is not None and any(_comes_first(other, own) for other in loaded.steps.values())


def _comes_first(other: LoadedStep, own: LoadedStep) -> bool:
    mine, theirs = own.step.planned, other.step.planned
    return theirs.node == mine.node and theirs.order < mine.order and not other.completed


def gives_way(step: LoadedStep) -> bool:
    """Return whether a step waits for its turn, or for that of a step around it."""
    return not step.completed and step.reason in {TURN, TURN_ABOVE} and not step.error


def turns(loaded: LoadedThread) -> tuple[ReadyStep, ...]:
    """Return the steps whose turn has come."""
    return tuple(
        step.step
        for step in loaded.steps.values()
        if gives_way(step) and step.reason == TURN and not is_before(loaded, step.step.step_id)
    )


def begin_turns(loaded: LoadedThread, ready: tuple[ReadyStep, ...]) -> Commit:
    """Make the steps ready whose turn has come."""
    return Commit(
        thread_id=ready[0].thread_id,
        expect_head=loaded.checkpoint.id,
        expect_status=ACTIVE,
        expect_settled=True,
        updates=tuple(StepUpdate(step=step) for step in ready),
    )


def _updated(step: ReadyStep, fence: int, update: StepUpdate, *events: EventDraft) -> Commit:
    return Commit(
        thread_id=step.thread_id,
        guard=StepGuard(step.step_id, fence),
        updates=(update,),
        events=events,
    )


def _superstep(checkpoint: Checkpoint, ready: tuple[ReadyStep, ...], *, live: bool) -> EventDraft:
    return Superstep(
        checkpoint=checkpoint.id,
        number=checkpoint.step + 1,
        steps=tuple(map(_STEP_ID, ready)),
        nodes=tuple(map(_NODE, ready)),
        live=live,
    ).draft()
