"""The life of a step: claim, run, commit. The same in a Celery worker and in the caller's process.

Knows how one step is done; knows nothing of queues, pools or how the next step gets to run.

Rule 1: nothing runs before its claim, and nothing is kept but by a commit under that claim's fence.
        Whatever happens between, the step is either committed once or still to be done. (INV-2)
Rule 2: a refused commit ends the attempt: another process has the step now. It is never retried.
Rule 3: the process that completes the last step of a superstep advances it; if that one dies in
        between, a message for any of its steps makes its receiver advance. The result is the same.
        (INV-6)
Rule 4: facts are emitted after they were committed, never before.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator import limits
from orchestrator.engine.advance import Next
from orchestrator.engine.carryover import done_in
from orchestrator.engine.compat import mismatch
from orchestrator.engine.settle import defer, hand_back
from orchestrator.errors import (
    GraphBubbleUp,
    GraphDrained,
    GraphInterrupt,
    GraphMismatchError,
    InvalidUpdateError,
    StateCorruptedError,
    ValueTooLargeError,
    WorkerLostError,
)
from orchestrator.frozen import frozen, replace
from orchestrator.graph.policy import delay_after
from orchestrator.graph.routing import START
from orchestrator.graph.spec import handler_name
from orchestrator.ids import root_thread
from orchestrator.integrations.validation import json_schema_of
from orchestrator.model.checkpoint import Interrupt, Outcome, PlannedStep
from orchestrator.model.commit import RESUMED, Claim, Commit, ReadyStep, Refusal
from orchestrator.model.tails import Encoded
from orchestrator.step.async_loop import CancelScope
from orchestrator.step.attempt import FAILED, Attempt, Result
from orchestrator.step.facts import Asked, Done, Fact, Failed
from orchestrator.step.failure import error_record, log_failure
from orchestrator.step.held_claims import Held
from orchestrator.step.prefetch import Prefetch
from orchestrator.step.report import Report
from orchestrator.step.store_access import Access, values_after
from orchestrator.step.superstep import Supersteps
from orchestrator.step.suspend import ChildPaused, ChildRuns, ClaimLost, GivesWay, StepWaits

__all__ = ["StepProcess", "StepRunner", "run_step"]

# A claim refused for these may find a finished superstep that no process has advanced. (Rule 3)
_MAY_ADVANCE = frozenset({Refusal.COMPLETED, Refusal.WAITING})
_DEFER_MS = 5_000  # After how long a step is due again that this process cannot run.


class StepProcess(Protocol):
    """A process that does steps, of one graph or of several."""

    access: Access

    def runner_for(self, claim: Claim) -> tuple[StepRunner | None, str]:
        """Return the runner of a claimed step's graph; the reason if it cannot run the step."""
        ...

    def settled(self, thread_id: str, refusal: Refusal) -> Report:
        """Advance a thread whose superstep may be complete."""
        ...


def run_step(
    process: StepProcess,
    thread_id: str,
    step_id: str,
    sent_ms: int = 0,
    ready: Report | None = None,
) -> Report:
    """Do one step, from its claim to its commit; `ready` has claimed it already, if given."""
    claim, known, prefetch = _claimed(process.access, thread_id, step_id, sent_ms, ready)
    if claim.refused is not None:
        return _refused(process, thread_id, claim.refused)
    runner, reason = process.runner_for(claim)
    if runner is None or reason:
        return _decline(process.access, runner, claim, reason)
    with Held(runner.access, claim) as scope:
        ending = runner.attempt(claim, known, scope, prefetch)
    return runner.commit(ending)


def _claimed(
    access: Access, thread_id: str, step_id: str, sent_ms: int, ready: Report | None
) -> tuple[Claim, Mapping[str, Encoded], Prefetch | None]:
    """Return a claim on a step, the values that this process knows, and the prefetch."""
    if ready is None:
        return *access.claim(thread_id, step_id, sent_ms), None
    assert ready.claim is not None
    prefetch = ready.prefetch
    return ready.claim, prefetch.known if prefetch else access.known(thread_id), prefetch


def _refused(process: StepProcess, thread_id: str, refusal: Refusal) -> Report:
    """Return the report of a claim that was refused; its superstep may be complete. (Rule 3)"""
    return (
        process.settled(thread_id, refusal) if refusal in _MAY_ADVANCE else Report(refused=refusal)
    )


def _decline(access: Access, runner: StepRunner | None, claim: Claim, reason: str) -> Report:
    """Hand back a claimed step that this process cannot run; fail it where no other can."""
    step = claim.step
    assert step is not None
    if runner is not None and not step.queue:
        return runner.refuse(claim, reason)
    result = access.commit(defer(step, claim.fence, reason, _DEFER_MS))
    return Report(refused=result.refused, retry_ms=_DEFER_MS, due=result.due)


@frozen
class Ending:
    """How an attempt ends, before that is committed.

    Attributes:
        attempt: the attempt.
        commit: what is to be committed.
        result: what the step wrote, if it completes.
        following: the next checkpoint, if completing the step brings it.
        known: the values of that checkpoint.
        prefetch: what is prepared of the next step, if the commit claims it.
        questions: what the step asks, if it waits for answers.
        waits: the exception by which the step waits without a worker.
    """

    attempt: Attempt
    commit: Commit
    result: Result | None = None
    following: Next | None = None
    known: Mapping[str, Encoded] | None = None
    prefetch: Prefetch | None = None
    questions: tuple[Interrupt, ...] | None = None
    waits: StepWaits | None = None


def _questions(interrupts: Iterable[Interrupt]) -> tuple[Interrupt, ...]:
    """Return questions as they are stored: with the schemas of their answers as plain data."""
    return tuple(replace(i, response_schema=json_schema_of(i.response_schema)) for i in interrupts)


@dataclass(slots=True)
class StepRunner(Supersteps):
    """Does the steps of one graph for one process."""

    # ---- one step -----------------------------------------------------------------------

    def runner_for(self, claim: Claim) -> tuple[StepRunner, str]:
        """Return itself, and the reason if its graph may not run a claimed step."""
        if self.spec.lineage.renames:
            claim = self._renamed(claim)
        step, head = claim.step, claim.head
        assert step is not None
        assert head is not None
        if head.fingerprint in {"", self.spec.fingerprint} and step.node in self.spec.nodes:
            return self, ""
        try:
            made = self.records.checkpoint(claim.header)
            return self, mismatch(self.spec, head, made, [step.node])
        except StateCorruptedError:
            return self, ""  # The attempt finds the damage, and rolls the thread back.

    def settled(self, thread_id: str, refusal: Refusal) -> Report:
        """Advance a thread whose superstep may be complete; the step itself was refused."""
        return replace(self.advance(thread_id), refused=refusal)

    def give_back(self, ready: Report) -> None:
        """Let other processes do a step that this one has claimed and will not do."""
        claim = ready.claim
        assert claim is not None
        assert claim.step is not None
        self.access.commit(hand_back(claim.step, claim.fence, "the run was asked to stop"))

    def _renamed(self, claim: Claim) -> Claim:
        """Return a claim whose step has the present name of its node."""
        assert claim.step is not None
        return replace(claim, step=self.records.step(claim.step))

    def attempt(
        self,
        claim: Claim,
        known: Mapping[str, Encoded],
        scope: CancelScope,
        prefetch: Prefetch | None = None,
    ) -> Report | Ending:
        """Run a claimed step's node; return what to commit, or the report if that is done."""
        if self.spec.lineage.renames:
            claim = self._renamed(claim)
        try:
            return self._ended(claim, known, prefetch, scope)
        except BaseException:
            if scope.is_lost:
                return Report(refused=Refusal.STALE_FENCE)
            raise

    def commit(self, ending: Report | Ending) -> Report:
        """Commit how an attempt ended; return which steps are next."""
        if isinstance(ending, Report):
            return ending
        try:
            return self._commit(ending)
        except ValueTooLargeError as error:  # Other errors of the store are not the step's.
            return self._failed(ending.attempt.claim, None, error)

    def _ended(
        self,
        claim: Claim,
        known: Mapping[str, Encoded],
        prefetch: Prefetch | None,
        scope: CancelScope,
    ) -> Report | Ending:
        step, attempt = claim.step, None
        assert step is not None
        try:
            attempt = prefetch.attempt(claim) if prefetch else None
            if attempt is None:
                blobs = {**known, **claim.blobs} if claim.blobs else known
                made = prefetch.checkpoint(claim) if prefetch else None
                attempt = Attempt(self, claim, blobs, made)
            return self._attempted(attempt)
        except ClaimLost:
            return Report(refused=Refusal.STALE_FENCE)
        except Exception as error:  # noqa: BLE001 - any error of user code is the step's failure
            if scope.is_lost:
                return Report(refused=Refusal.STALE_FENCE)
            if isinstance(error, GraphDrained) and self._is_drained:  # A subgraph of the step was.
                handed = hand_back(step, claim.fence, f"drained: {error.reason}")
                return Report(refused=self.access.commit(handed).refused)
            rolled_back = self.rolled_back(step.thread_id, error)
            return rolled_back or self._failed(claim, attempt, error)
        except BaseException as error:  # The process or the call ends; the step is not to blame.
            self.access.commit(hand_back(step, claim.fence, type(error).__name__))
            raise

    @property
    def _is_drained(self) -> bool:
        """Whether the caller's control asked the run to stop."""
        control = self.live.control
        return control is not None and control.drain_requested

    def refuse(self, claim: Claim, reason: str) -> Report:
        """Fail a step that this process cannot run, and that no other process receives."""
        if self.spec.lineage.renames:
            claim = self._renamed(claim)
        assert claim.step is not None
        error = GraphMismatchError(
            f"the thread {root_thread(claim.step.thread_id)[0]!r} cannot continue in "
            f"{claim.step.node!r}: {reason}, then resume it"
        )
        failure = error_record(error, claim, self.access.owner)
        report = self.send(self.stepping.fail(claim.step, claim.fence, failure))
        return replace(report, error=None if report.refused else error)

    def _attempted(self, attempt: Attempt) -> Ending:
        """Run the node; return what completes the step, or lets it wait for what it waits for."""
        step, claim = attempt.step, attempt.claim
        if claim.deaths >= limits.DEATHS_MAX:
            msg = (
                f"the step {step.task_id} lost its worker {claim.deaths} times and "
                f"is not retried. Check its memory use and native code, then resume the thread"
            )
            raise WorkerLostError(msg)
        try:
            result = attempt.run()
        except GraphInterrupt as asked:
            return self._ask(attempt, asked.interrupts)
        except StepWaits as waiting:
            return self._wait(attempt, waiting)
        except InterruptedError as pause:
            notes = pause.notes if isinstance(pause, ChildPaused) else {}
            commit = self.stepping.pause(step, claim.fence, str(pause), notes)
            return Ending(attempt=attempt, commit=commit)
        return self._complete(attempt, result)

    def _wait(self, attempt: Attempt, waits: StepWaits) -> Ending:
        step, fence = attempt.step, attempt.claim.fence
        if isinstance(waits, GivesWay):
            commit = self.stepping.give_way(step, fence, waits.reason)
        else:
            commit = self.stepping.wait(step, fence, waits.recheck_ms, waits.reason, waits.notes)
        return Ending(attempt=attempt, commit=commit, waits=waits)

    def _ask(self, attempt: Attempt, interrupts: tuple[Interrupt, ...]) -> Ending:
        questions = _questions(interrupts)
        commit = self.stepping.ask(attempt.claim, questions)
        return Ending(attempt=attempt, commit=commit, questions=questions)

    def _complete(self, attempt: Attempt, result: Result) -> Ending:
        step, claim = attempt.step, attempt.claim
        outcome = Outcome(
            writes=result.writes,
            attempt=claim.attempt,
            fence=claim.fence,
            worker=self.access.owner,
            claimed_ms=claim.now_ms,
            error=self._failed_before(claim) if claim.reason == RESUMED else b"",
            interrupts=_questions(attempt.asked) if attempt.scratchpad.asked or claim.asks else (),
        )
        following: Next | None = None
        if step.solo:
            results: list[tuple[PlannedStep, Any]] = [(attempt.planned, result.writes)]
            if done := done_in(attempt.frame.checkpoint):
                results[:0] = [(each, self.records.outcome(data).writes) for each, data in done]
            marks = attempt.given.get("marks") if b"marks" in attempt.head.config else None
            following = self.advance_frame(
                step.thread_id, attempt.frame, results, claim.now_ms, marks
            )
        else:
            self.live.untracked.keep(step.thread_id, step.step_id, self.spec, result.writes)
        commit = self.stepping.complete(step, outcome, attempt.head, following)
        known: Mapping[str, Encoded] | None = None
        prefetch: Prefetch | None = None
        if following is not None:
            if step.node == START:
                commit = replace(commit, input=attempt.accepted_input)
            known = values_after(commit, attempt.blobs)
            commit = self.taking(commit, attempt.head, step.queue, known)
            if commit.take is not None:
                prefetch = Prefetch(self, commit, attempt.head, known, following.checkpoint)
        return Ending(
            attempt=attempt,
            commit=commit,
            result=result,
            following=following,
            known=known,
            prefetch=prefetch,
        )

    def _failed_before(self, claim: Claim) -> bytes:
        """Return the record of how a step failed before a person resumed it."""
        step = claim.step
        assert step is not None
        store = self.access.checkpointer
        loaded = self.access.patiently(lambda: store.load(step.thread_id, values=False))
        found = loaded.steps.get(step.step_id) if loaded else None
        return found.error if found else b""

    def _failed(self, claim: Claim, attempt: Attempt | None, error: Exception) -> Report:
        """Commit a failure: a timer for the next attempt, the handler's result, or the end."""
        step = claim.step
        assert step is not None
        failure = error_record(error, claim, self.access.owner)
        bubbles = isinstance(error, GraphBubbleUp)  # For the caller of the run: it is no failure.
        policies = () if bubbles else self.spec.nodes[step.node].options.retry
        delay_s = delay_after(policies, error, claim.failures + 1, random.uniform(0, 1))  # noqa: S311
        if delay_s is not None:
            delay_ms = int(delay_s * 1000)
            retry = self.stepping.retry(step, claim.fence, failure, delay_ms)
            if attempt is not None:
                began = {attempt.began_note: str(attempt.began_s).encode()}
                retry = replace(retry, notes=began)
            result = self.access.commit(retry)
            if result.refused is not None:
                return Report(refused=result.refused)
            log_failure(claim, error, failure, f"retried in {delay_s:.1f} s")
            return Report(retry_ms=delay_ms, due=result.due, raised=error)
        handler = attempt.handler if attempt else None
        if attempt and handler and handler_name(step.node) in self.stepping.breaks[1]:
            failed = {FAILED: self.records.store_error(failure)}
            paused = replace(self.stepping.ask(claim, ()), notes=failed)
            self._emit_of(Failed, step, error=failure)
            return self._commit(Ending(attempt=attempt, commit=paused, questions=()))
        try:
            handled = attempt.handle(error, failure) if attempt and not bubbles else None
            ending = self._complete(attempt, handled) if attempt and handled else None
        except ClaimLost:
            return Report(refused=Refusal.STALE_FENCE)
        except GraphInterrupt as asked:
            assert attempt is not None
            ending = self._ask(attempt, asked.interrupts)
        except StepWaits as waiting:
            assert attempt is not None
            return self._commit(self._wait(attempt, waiting))
        except Exception as failed:  # noqa: BLE001 - the handler's failure is the step's
            error, failure = failed, error_record(failed, claim, self.access.owner)
            ending = None
        if ending is not None:
            self._emit_of(Failed, step, error=failure)
            log_failure(claim, error, failure, "its error handler continues")
            return self._commit(ending)
        notes = getattr(error, "notes_for_step", {})
        commit = replace(self.stepping.fail(step, claim.fence, failure), notes=notes)
        report = self.send(commit)
        if report.refused is None:
            self._emit_of(Failed, step, error=failure)
            if self.default_queue:  # A call in this process raises it.
                log_failure(claim, error, failure, "the step failed", final=True)
        final = None if report.refused else error
        if isinstance(final, InvalidUpdateError):
            final = final.as_raised
        return replace(report, error=final, raised=final)

    # ---- committing -----------------------------------------------------------------------

    def _commit(self, ending: Ending) -> Report:
        if ending.result is not None:
            return self._commit_completed(ending, ending.result)
        report = self.send(ending.commit)
        if report.refused is not None:
            return report
        if ending.waits is not None:
            if isinstance(ending.waits, ChildRuns):
                return replace(report, ready=ending.waits.start())
            return replace(report, retry_ms=ending.waits.recheck_ms or None)
        if ending.questions is not None:
            step, values = ending.attempt.step, ending.attempt.frame.values
            self._emit_of(Asked, step, interrupts=ending.questions, values=values)
        return report

    def _commit_completed(self, ending: Ending, result: Result) -> Report:
        commit, prefetch, attempt = ending.commit, ending.prefetch, ending.attempt
        sent = self.access.commit(commit, ending.known, prefetch.prepare if prefetch else None)
        claim = sent.claim
        if sent.refused is not None:
            claim = self.access.taken(commit, ending.known or {})
            if claim is None:
                return Report(refused=sent.refused)
        if self.live.listener is not None:
            self._emit_of(Done, attempt.step, writes=result.writes, cached=result.cached)
        if ending.following is not None:
            stop = attempt.head.stop
            return self.advanced(commit, ending.following, stop, sent.waiting, claim, prefetch)
        return self.advance(commit.thread_id) if sent.open == 0 else Report(due=sent.due)

    # ---- facts ------------------------------------------------------------------------------

    def _emit_of(self, kind: type[Fact], step: ReadyStep, **fields: Any) -> None:
        if self.live.listener is not None:
            own = {"number": step.number, "step_id": step.step_id, "node": step.node}
            self.emit(kind, step.thread_id, **own, **fields)
