"""What a thread waits for, in sentences. Pure: the facts are gathered elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from orchestrator.engine.records import Records
from orchestrator.engine.settle import ASLEEP, IN_SUBGRAPH, gives_way
from orchestrator.ids import root_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import SETTLED_WAITS, Event, LoadedStep, LoadedThread, Wait
from orchestrator.model.events import StepEntry, StepInterrupted, StepPaused, read_event


class ReasonCode(StrEnum):
    """Why a thread is where it is, for programs: a code never changes its meaning."""

    ENDED = "ENDED"
    FAILED = "FAILED"
    ANSWER = "ANSWER"
    PAUSED = "PAUSED"
    CLAIMED = "CLAIMED"
    LEASE_RAN_OUT = "LEASE_RAN_OUT"
    RETRY = "RETRY"
    DEFERRED = "DEFERRED"
    ASLEEP = "ASLEEP"
    SUBGRAPH = "SUBGRAPH"
    NO_WORKER = "NO_WORKER"
    NO_GRAPH = "NO_GRAPH"
    QUEUED = "QUEUED"
    LOCAL = "LOCAL"
    ABANDONED = "ABANDONED"
    SETTLED = "SETTLED"
    TURN = "TURN"
    IN_LINE = "IN_LINE"
    HALTED = "HALTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that a thread waits for.

    Attributes:
        code: what kind of thing.
        text: the sentence for people.
        node: the node whose step waits, if it is about one.
        step_id: that step.
        thread_id: the thread of a subgraph, if it is about one.
        since_ms: since when, if that is known.
        traceback: of the error, if the reason is a failed attempt.
    """

    code: ReasonCode
    text: str
    node: str = ""
    step_id: str = ""
    thread_id: str = ""
    since_ms: int = 0
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a thread is and what it waits for."""

    thread_id: str
    status: RunStatus
    run_id: str
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        """Return the sentences, a line each."""
        return "\n".join(reason.text for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Claimed:
    """When a step was claimed, and until when its lease lasts."""

    since_ms: int  # 0: not known.
    lease_ends_ms: int  # 0: there is no lease.


@dataclass(frozen=True, slots=True)
class Station:
    """A worker that is alive: what it takes, and what it knows."""

    queues: Sequence[str]
    graphs: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a thread at one time."""

    thread_id: str
    loaded: LoadedThread
    records: Records
    lease_ms: int = 5000  # How long a lease lasts when it is renewed.
    claims: Mapping[str, Claimed] = field(default_factory=dict)  # By step id.
    workers: Sequence[Station] = ()
    halted: str = ""  # Why nothing of the thread's partition runs, if that is so.
    events: Sequence[Event] = ()  # The newest of the log, newest first.
    attempts_max: Mapping[str, int] = field(default_factory=dict)  # Node → by its retry policy.
    children: Mapping[str, Explanation] = field(default_factory=dict)  # Step id → of its subgraph.


def explain(facts: Facts, run_id: str = "") -> Explanation:
    """Return why a thread waits, or the place of a queued run of it."""
    head, line = facts.loaded.head, list(facts.loaded.line)
    if run_id in line:
        text = f"run {line.index(run_id) + 1} of {len(line)} in line, behind {head.run_id}"
        reasons = [Reason(code=ReasonCode.IN_LINE, text=text)]
        return Explanation(
            thread_id=facts.thread_id,
            status=RunStatus.QUEUED,
            run_id=run_id,
            reasons=tuple(reasons),
        )
    reasons = list(_Explainer(facts).reasons())
    if facts.halted and not head.status.final:
        text = f"nothing runs until an operator decides: {facts.halted}; see graphstalk doctor"
        reasons.insert(0, Reason(code=ReasonCode.HALTED, text=text))
    if line:
        begins = "the next begins at once" if head.status.final else "they begin when it has ended"
        text = f"{len(line)} runs wait in line ({', '.join(line)}): {begins}"
        reasons.append(Reason(code=ReasonCode.IN_LINE, text=text))
    return Explanation(
        thread_id=facts.thread_id, status=head.status, run_id=head.run_id, reasons=tuple(reasons)
    )


@dataclass(frozen=True, slots=True)
class _Explainer:
    facts: Facts

    def reasons(self) -> Iterator[Reason]:
        """Yield what the run waits for, or how it ended."""
        head, steps = self.facts.loaded.head, list(self._open())
        if head.status is RunStatus.FAILED:
            yield self._failed()
        elif head.status.final:
            yield Reason(
                code=ReasonCode.ENDED, text=f"the run {head.run_id} has {_past(head.status)}"
            )
        elif head.status is RunStatus.PAUSED:
            waiting = [self._waiting(step) for step in steps if step.wait in SETTLED_WAITS]
            yield from waiting or [self._at_break(steps)]
        elif head.local:
            yield self._local()
        elif all(step.wait in SETTLED_WAITS for step in steps):
            text = "all of its steps are settled; it is to be advanced, which any worker does"
            yield Reason(code=ReasonCode.SETTLED, text=text)
        else:
            for step in steps:
                yield self._step(step)

    def _open(self) -> Iterator[LoadedStep]:
        return (step for step in self.facts.loaded.steps.values() if not step.completed)

    def _of(self, step: LoadedStep, code: ReasonCode, text: str, **more: Any) -> Reason:
        return Reason(code=code, text=text, node=step.step.node, step_id=step.step.step_id, **more)

    # ---- paused or ended ----------------------------------------------------------------------

    def _failed(self) -> Reason:
        head, root = self.facts.loaded.head, root_thread(self.facts.thread_id)[0]
        error = self.facts.records.error(head.error)
        again = f"resume with: graphstalk resume {root}"
        if error is None:
            return Reason(code=ReasonCode.FAILED, text=f"failed; {again}")
        where = f" in node {error.node}" if error.node else ""
        return Reason(
            code=ReasonCode.FAILED,
            text=f"failed{where}: {error.type}: {error.message}; {again}",
            node=error.node,
            step_id=error.step,
            traceback=error.traceback,
        )

    def _waiting(self, step: LoadedStep) -> Reason:
        """Return why a step waits that keeps its superstep open no longer."""
        node, root = step.step.node, root_thread(self.facts.thread_id)[0]
        if step.wait is Wait.ANSWER:
            asked = [self.facts.records.interrupt(step.asks[id_]) for id_ in step.questions]
            names = ", ".join(one.key or one.id for one in asked) or "its question"
            since = self._since(step, StepInterrupted)
            shown = "; ".join(f"{one.value!r:.100}" for one in asked)
            text = f"waiting for the answer to {names} of node {node}{_at(since)}: {shown}"
            return self._of(step, ReasonCode.ANSWER, text, since_ms=since)
        if gives_way(step):
            return self._of(step, ReasonCode.TURN, f"node {node} waits for its turn: {step.reason}")
        if step.error:
            error = self.facts.records.error(step.error)
            said = f"{error.type}: {error.message}" if error else step.reason
            text = f"node {node} failed: {said}; the run fails when the other steps are settled"
            trace = error.traceback if error else ""
            return self._of(step, ReasonCode.FAILED, text, traceback=trace)
        since = self._since(step, StepPaused)
        text = f"paused at {node}{_at(since)}: {step.reason}; resume with: graphstalk resume {root}"
        return self._of(step, ReasonCode.PAUSED, text, since_ms=since)

    def _at_break(self, steps: Sequence[LoadedStep]) -> Reason:
        nodes = ", ".join(dict.fromkeys(step.step.node for step in steps)) or "its end"
        root = root_thread(self.facts.thread_id)[0]
        since = self.facts.loaded.head.updated_ms
        text = f"paused before {nodes}{_at(since)}; resume with: graphstalk resume {root}"
        return Reason(code=ReasonCode.PAUSED, text=text, since_ms=since)

    def _local(self) -> Reason:
        head = self.facts.loaded.head
        if self.facts.loaded.owner_alive or any(step.owner for step in self._open()):
            text = f"runs in the process that called it ({_process(head.owner) or 'not known'})"
            return Reason(code=ReasonCode.LOCAL, text=text)
        text = "the process that called it is gone: call the graph again with None to resume"
        return Reason(code=ReasonCode.ABANDONED, text=text)

    # ---- active -------------------------------------------------------------------------------

    def _step(self, step: LoadedStep) -> Reason:
        if step.owner:
            return self._claimed(step)
        if step.wait is Wait.TIMER:
            return self._timed(step)
        return self._waiting(step) if step.wait in SETTLED_WAITS else self._ready(step)

    def _claimed(self, step: LoadedStep) -> Reason:
        now, node = self.facts.loaded.now_ms, step.step.node
        claim = self.facts.claims.get(step.step.step_id, Claimed(0, 0))
        held = f" for {_span(now - claim.since_ms)}" if claim.since_ms else ""
        who = f"node {node}: lease held by {_process(step.owner)}{held} (attempt {step.attempt})"
        if claim.lease_ends_ms < now:
            ago = _span(now - claim.lease_ends_ms) + " ago" if claim.lease_ends_ms else "already"
            text = f"{who}; it ran out {ago}, so another worker is about to claim the step"
            return self._of(step, ReasonCode.LEASE_RAN_OUT, text, since_ms=claim.since_ms)
        renewed = max(0, now - (claim.lease_ends_ms - self.facts.lease_ms))
        text = f"{who}, renewed {_span(renewed)} ago"
        return self._of(step, ReasonCode.CLAIMED, text, since_ms=claim.since_ms)

    def _timed(self, step: LoadedStep) -> Reason:
        node, left = step.step.node, _span(max(0, step.due_ms - self.facts.loaded.now_ms))
        if step.reason == IN_SUBGRAPH:
            child = self.facts.children.get(step.step.step_id)
            below = "; ".join(reason.text for reason in child.reasons) if child else "it begins"
            text = f"node {node} waits for its subgraph: {below}"
            inner = child.thread_id if child else ""
            return self._of(step, ReasonCode.SUBGRAPH, text, thread_id=inner)
        if step.reason == ASLEEP:
            return self._of(step, ReasonCode.ASLEEP, f"node {node} sleeps for {left} more")
        if step.failures and step.error:
            limit = self.facts.attempts_max.get(node)
            of = f" of {limit}" if limit else ""
            # The first attempt is none: after one failure comes the second.
            text = f"node {node}: retry {step.failures + 1}{of} in {left}: {step.reason}"
            error = self.facts.records.error(step.error)
            trace = error.traceback if error else ""
            return self._of(step, ReasonCode.RETRY, text, traceback=trace)
        text = f"the step of {node} waits: {step.reason}; it is retried in {left}"
        return self._of(step, ReasonCode.DEFERRED, text)

    def _ready(self, step: LoadedStep) -> Reason:
        node, queue = step.step.node, step.step.queue
        takers = [worker for worker in self.facts.workers if queue in worker.queues]
        waits = f"node {node}: waiting for a worker on queue {queue}"
        if not takers:
            return self._of(step, ReasonCode.NO_WORKER, f"{waits}: none is alive")
        graph = step.step.graph.partition("|")[0]
        if not any(graph in worker.graphs for worker in takers):
            text = f"{waits}: none of the {len(takers)} alive knows the graph {graph}"
            return self._of(step, ReasonCode.NO_GRAPH, text)
        return self._of(step, ReasonCode.QUEUED, f"{waits}: {len(takers)} alive")

    def _since(self, step: LoadedStep, entry: type[StepEntry]) -> int:
        """Return when the log last has this event of a step, in ms; 0: never."""
        for event in self.facts.events:
            if event.type == entry.type:
                found = read_event(event)
                if isinstance(found, entry) and found.step == step.step.step_id:
                    return event.ts_ms
        return 0


def _past(status: RunStatus) -> str:
    return "been cancelled" if status is RunStatus.CANCELLED else status.value


def _process(owner: str) -> str:
    """Return host and pid of an owner's name, which also holds a nonce."""
    host, _, rest = owner.partition(":")
    return f"{host}:{rest.partition(':')[0]}" if rest else owner


def _span(ms: int) -> str:
    """Return a time span as people say it."""
    seconds = ms / 1000
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _at(ms: int) -> str:
    """Return since when, for people anywhere."""
    if not ms:
        return ""
    return f" since {datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
