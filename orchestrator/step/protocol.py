"""The life of a step: claim, run, commit. The same in a Celery worker and in the caller's process.

Knows how one step is done; knows nothing of queues, pools or how the next step gets to run.

Rule 1: nothing runs before its claim, and nothing is kept but by a commit under that claim's fence.
        Whatever happens between, the step is either committed once or still to be done. (INV-2)
Rule 2: a refused commit ends the attempt: somebody else has the step now. It is never retried.
Rule 3: a superstep is advanced by whoever completes its last step; if that one dies in between, a
        message for any of its steps makes its receiver advance. The result is the same. (INV-6)
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator import limits
from orchestrator.checkpoint.commit import (
    Claim,
    Commit,
    LoadedThread,
    ReadyStep,
    Refusal,
    Wait,
)
from orchestrator.checkpoint.model import Outcome, PlannedStep, RunStatus
from orchestrator.core.advance import Frame, Next, advance
from orchestrator.core.records import Records
from orchestrator.core.stepping import Stepping, defer, ended, hand_back
from orchestrator.errors import (
    GraphInterrupt,
    GraphstalkError,
    WorkerLostError,
)
from orchestrator.graph.interrupt import Scratchpad, current_step
from orchestrator.graph.policy import delay_after
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import mint_checkpoint_id, short_hash
from orchestrator.step.access import Access
from orchestrator.step.call import Call
from orchestrator.step.context import StepContext
from orchestrator.step.failure import error_record

__all__ = ["Report", "StepProtocol", "defer_step"]

_DEFER_MS = 5_000  # How long a step waits that a worker could not run, before another tries.


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one attempt at a step."""

    refused: Refusal | None = None  # Of the claim or of the commit.
    ready: tuple[ReadyStep, ...] = ()  # Steps that are ready now and not yet sent anywhere.
    retry_ms: int | None = None  # The step is due again after so long.
    error: BaseException | None = None  # What the node raised, if it failed for good.


@dataclass(slots=True)
class StepProtocol:
    """Does the steps of one graph for one process."""

    spec: GraphSpec
    records: Records
    access: Access
    default_queue: str = ""  # Empty: next steps run in this process.

    # ---- one step -----------------------------------------------------------------------

    def run(self, thread_id: str, step_id: str, *, sent_ms: int = 0) -> Report:
        """Do a step if it is ready: claim it, run its node, commit what came of it."""
        claim, known = self.access.claim(thread_id, step_id, sent_ms)
        if claim.refused is Refusal.COMPLETED:
            return replace(self.advance(thread_id), refused=claim.refused)
        if claim.refused is not None:
            return Report(refused=claim.refused)
        return self.run_claimed(claim, known)

    def run_claimed(self, claim: Claim, known: Mapping[str, bytes]) -> Report:
        """Run a claimed step's node and commit."""
        assert claim.step is not None
        assert claim.head is not None
        step = claim.step
        if claim.head.fingerprint not in {"", self.spec.fingerprint}:
            reason = (
                f"this worker's graph {step.graph!r} has another structure than the thread's "
                f"({self.spec.fingerprint[:8]}, not {claim.head.fingerprint[:8]})"
            )
            return defer_step(self.access, claim, reason)
        try:
            commit, ready = self._attempt(claim, {**known, **claim.blobs})
        except Exception as error:  # noqa: BLE001 - whatever user code raises is the step's failure
            return self._failed(claim, error)
        except BaseException as error:  # The process is told to stop; the step is not to blame.
            self.access.commit(hand_back(step, claim.fence, type(error).__name__))
            raise
        return self._send(commit, ready)

    @property
    def _stepping(self) -> Stepping:
        return Stepping(self.spec, self.records, self.default_queue)

    def _attempt(
        self, claim: Claim, blobs: Mapping[str, bytes]
    ) -> tuple[Commit, tuple[ReadyStep, ...]]:
        """Run the node; return what completes the step, or lets it wait for an answer."""
        step, head = claim.step, claim.head
        assert step is not None
        assert head is not None
        if claim.deaths >= limits.DEATHS_MAX:
            msg = (
                f"the step {step.task_id} lost its worker {claim.deaths} times and "
                f"is not tried again by itself. Look at its memory and native code, then resume"
            )
            raise WorkerLostError(msg)
        checkpoint = self.records.checkpoint(claim.header)
        frame = Frame(checkpoint, self.records.values(checkpoint, blobs))
        scratchpad = Scratchpad(
            short_hash(step.thread_id, step.step_id),
            {i: self.records.decode(data) for i, data in claim.answers.items()},
        )
        try:
            writes = self._call(claim, frame, blobs, scratchpad)
        except GraphInterrupt as asked:
            return self._stepping.ask(step, claim.fence, asked.interrupts), ()
        outcome = Outcome(
            writes=writes,
            attempt=claim.attempt,
            fence=claim.fence,
            worker=self.access.owner,
            claimed_ms=claim.now_ms,
            interrupts=tuple(scratchpad.asked),
        )
        following: Next | None = None
        if step.solo:
            following = self._advance(frame, [(_planned(step), writes)], claim.now_ms)
        commit = self._stepping.complete(step, outcome, head, following)
        if following is not None:
            self._remember(step.thread_id, commit, blobs)
        return commit, commit.ready if commit.status is None else ()

    def _call(
        self, claim: Claim, frame: Frame, blobs: Mapping[str, bytes], scratchpad: Scratchpad
    ) -> tuple[tuple[str, Any], ...]:
        step, head = claim.step, claim.head
        assert step is not None
        assert head is not None
        arg = self.records.decode(blobs[step.arg]) if step.arg else None
        call = Call(self.spec, frame, _planned(step), arg, self._extras(claim))
        token = current_step.set(scratchpad)
        try:
            return call.run()
        finally:
            current_step.reset(token)

    def _extras(self, claim: Claim) -> Mapping[str, Any]:
        """Return what nodes and routers may ask for by parameter name."""
        step, head = claim.step, claim.head
        assert step is not None
        assert head is not None
        config = self.records.decode(head.config)
        context = StepContext(
            thread_id=step.thread_id,
            run_id=head.run_id,
            node=step.node,
            step_id=step.step_id,
            number=step.number,
            attempt=claim.attempt,
            worker=self.access.owner,
            config=config,
        )
        return {"config": config, "ctx": context}

    def _advance(self, frame: Frame, results: list[tuple[PlannedStep, Any]], now_ms: int) -> Next:
        new_id = mint_checkpoint_id(frame.checkpoint.id, now_ms)
        return advance(self.spec, frame, results, new_id=new_id, now_ms=now_ms)

    def _remember(self, thread_id: str, commit: Commit, blobs: Mapping[str, bytes]) -> None:
        assert commit.checkpoint is not None
        known = {**blobs, **commit.blobs}
        self.access.cache.put(thread_id, {key: known[key] for key in commit.checkpoint.refs})

    def _failed(self, claim: Claim, error: Exception) -> Report:
        """Commit a failure: a timer for the next attempt, or the end of attempts."""
        step = claim.step
        assert step is not None
        record = error_record(error, claim, self.access.owner)
        policies = self.spec.nodes[step.node].options.retry if step.node in self.spec.nodes else ()
        delay_s = delay_after(policies, error, claim.failures + 1, random.random())  # noqa: S311
        if delay_s is not None:
            delay_ms = int(delay_s * 1000)
            result = self.access.commit(self._stepping.retry(step, claim.fence, record, delay_ms))
            return Report(refused=result.refused, retry_ms=None if result.refused else delay_ms)
        report = self._send(self._stepping.fail(step, claim.fence, record), ())
        return replace(report, error=None if report.refused else error)

    # ---- committing -----------------------------------------------------------------------

    def _send(self, commit: Commit, ready: tuple[ReadyStep, ...]) -> Report:
        """Commit; if that settled the last step of a superstep, advance it."""
        result = self.access.commit(commit)
        if result.refused is not None:
            return Report(refused=result.refused)
        if commit.checkpoint is None and commit.status is None and result.open == 0:
            return self.advance(commit.thread_id)
        return Report(ready=ready)

    # ---- the end of a superstep -------------------------------------------------------------

    def advance(self, thread_id: str) -> Report:
        """Plan what follows a superstep whose steps are settled; anyone may, one does. (INV-6)"""
        loaded = self.access.load(thread_id)
        if loaded is None or loaded.head.open or not loaded.head.status.active:
            return Report()
        unfinished = [step for step in loaded.steps.values() if not step.completed]
        if unfinished:
            failed = next((s for s in self._in_order(loaded) if s.wait is Wait.PERSON), None)
            status = RunStatus.FAILED if failed else RunStatus.PAUSED
            error = failed.error if failed else b""
            result = self.access.commit(ended(thread_id, loaded.checkpoint.id, status, error))
            return Report(refused=result.refused)
        return self._advance_loaded(thread_id, loaded)

    def _in_order(self, loaded: LoadedThread) -> list[Any]:
        return sorted(loaded.steps.values(), key=lambda s: _planned(s.step).order)

    def _advance_loaded(self, thread_id: str, loaded: LoadedThread) -> Report:
        checkpoint = self.records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
        results = [
            (step, self.records.outcome(loaded.outcomes[step.id_in(checkpoint)]).writes)
            for step in checkpoint.plan
        ]
        frame = Frame(checkpoint, self.records.values(checkpoint, loaded.blobs))
        try:
            following = self._advance(frame, results, loaded.now_ms)
            commit = self._stepping.next(thread_id, loaded.head, following)
        except GraphstalkError as error:
            step = next(iter(loaded.steps.values())).step
            record = error_record(
                error, Claim(step=replace(step, node="", step_id="")), self.access.owner
            )
            stored = self.records.store_error(record)
            result = self.access.commit(ended(thread_id, checkpoint.id, RunStatus.FAILED, stored))
            return Report(refused=result.refused, error=None if result.refused else error)
        commit = replace(commit, expect_status=(RunStatus.QUEUED, RunStatus.RUNNING))
        result = self.access.commit(commit)
        if result.refused is None:
            self._remember(thread_id, commit, loaded.blobs)
        live = result.refused is None and commit.status is None
        return Report(refused=result.refused, ready=commit.ready if live else ())


def defer_step(access: Access, claim: Claim, reason: str) -> Report:
    """Hand back a claimed step that this process cannot run, and say why."""
    assert claim.step is not None
    result = access.commit(defer(claim.step, claim.fence, reason, _DEFER_MS))
    return Report(refused=result.refused, retry_ms=_DEFER_MS)


def _planned(step: ReadyStep) -> PlannedStep:
    return PlannedStep(step.node, step.index, step.triggers)
