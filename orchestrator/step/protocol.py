"""The life of a step: claim, run, commit. The same in a Celery worker and in the caller's process.

Knows how one step is done; knows nothing of queues, pools or how the next step gets to run.

Rule 1: nothing runs before its claim, and nothing is kept but by a commit under that claim's fence.
        Whatever happens between, the step is either committed once or still to be done. (INV-2)
Rule 2: a refused commit ends the attempt: another process has the step now. It is never retried.
Rule 3: the process that completes the last step of a superstep advances it; if that one dies in
        between, a message for any of its steps makes its receiver advance. The result is the same.
        (INV-6)
Rule 4: facts are reported after they were committed, never before.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator import limits
from orchestrator.checkpointer.overlay import Overlay
from orchestrator.engine.advance import Frame, Next, advance
from orchestrator.engine.apply import HANDLED
from orchestrator.engine.branches import remarked
from orchestrator.engine.carryover import done_in
from orchestrator.engine.compat import mismatch
from orchestrator.engine.records import Records
from orchestrator.engine.settle import Stepping, hand_back, tracked_writes
from orchestrator.errors import (
    GraphBubbleUp,
    GraphDrained,
    GraphInterrupt,
    GraphMismatchError,
    InvalidUpdateError,
    ParentCommand,
    StateCorruptedError,
    ValueTooLargeError,
    WorkerLostError,
)
from orchestrator.frozen import frozen, replace
from orchestrator.graph.policy import delay_after
from orchestrator.graph.routing import START
from orchestrator.graph.spec import DispatchMode, GraphSpec, handler_name
from orchestrator.ids import mint_checkpoint_id, root_thread
from orchestrator.model.checkpoint import Head, Interrupt, Outcome, PlannedStep, RunStatus
from orchestrator.model.commit import RESUMED, Claim, Commit, ReadyStep, Refusal
from orchestrator.model.events import STREAMS
from orchestrator.model.tails import Encoded
from orchestrator.step.access import Access, values_after
from orchestrator.step.advancing import advance_thread
from orchestrator.step.ahead import Ahead
from orchestrator.step.answers import json_schema_of
from orchestrator.step.attempt import FAILED, Attempt, Result
from orchestrator.step.cancelscope import CancelScope
from orchestrator.step.claimwatch import Held
from orchestrator.step.facts import Advanced, Asked, Done, Fact, Failed, Stopped
from orchestrator.step.failure import error_record, log_failure
from orchestrator.step.host import ClaimLost
from orchestrator.step.line import begin_next
from orchestrator.step.live import Live
from orchestrator.step.report import Report
from orchestrator.step.salvage import salvage
from orchestrator.step.steering import parent_result
from orchestrator.step.waiting import ChildPaused, GivesWay, StepWaits

__all__ = ["SETTLED", "Report", "StepProtocol"]

# What a claim may be refused for when the superstep is over, and nobody has seen to it. (Rule 3)
SETTLED = frozenset({Refusal.COMPLETED, Refusal.WAITING})


@frozen
class Ending:
    """How an attempt ends, before that is committed.

    Attributes:
        attempt: the attempt.
        commit: what is to be committed.
        result: what the step wrote, if it completes.
        following: the next checkpoint, if completing the step brings it.
        known: the values of that checkpoint.
        ahead: what is prepared of the next step, if the commit claims that.
        questions: what the step asks, if it waits for answers.
        waits: what the step raised to wait without holding a worker.
    """

    attempt: Attempt
    commit: Commit
    result: Result | None = None
    following: Next | None = None
    known: Mapping[str, Encoded] | None = None
    ahead: Ahead | None = None
    questions: tuple[Interrupt, ...] | None = None
    waits: StepWaits | None = None


def _never(_step: ReadyStep) -> bool:
    return False


def _questions(interrupts: Iterable[Interrupt]) -> tuple[Interrupt, ...]:
    """Return questions as they are stored: with the schemas of their answers as plain data."""
    return tuple(replace(i, response_schema=json_schema_of(i.response_schema)) for i in interrupts)


@dataclass(slots=True)
class StepProtocol:
    """Does the steps of one graph for one process."""

    spec: GraphSpec
    records: Records
    access: Access
    default_queue: str = ""  # Empty: next steps run in this process.
    live: Live = field(default_factory=Live)
    dispatch: DispatchMode = "queue"  # Where neither the node nor the graph says.
    in_place: Callable[[ReadyStep], bool] = _never  # Whether this process may do a step next, too.
    breaks_after: frozenset[str] | None = None  # Where it stops, if not where the graph does.
    breaks_before: frozenset[str] | None = None
    stepping: Stepping = field(init=False)  # The decisions for the graph's steps.

    def __post_init__(self) -> None:
        """Make once what each step uses."""
        self.stepping = Stepping(
            self.spec, self.records, self.default_queue, self.breaks_after, self.breaks_before
        )

    # ---- one step -----------------------------------------------------------------------

    def run(self, thread_id: str, step_id: str, *, sent_ms: int = 0) -> Report:
        """Do a step if it is ready: claim it, run its node, commit what came of it."""
        claim, known = self.access.claim(thread_id, step_id, sent_ms)
        if claim.refused in SETTLED:
            return replace(self.advance(thread_id), refused=claim.refused)
        if claim.refused is not None:
            return Report(refused=claim.refused)
        return self.run_claimed(claim, known)

    def go_on(self, taken: Report) -> Report:
        """Do a step that was claimed by the commit that made it ready, as its report says."""
        claim = taken.claim
        assert claim is not None
        assert claim.step is not None
        if taken.ahead is not None:
            return self.run_claimed(claim, taken.ahead.known, taken.ahead)
        return self.run_claimed(claim, self.access.known(claim.step.thread_id))

    def give_back(self, taken: Report) -> None:
        """Let others do a step that this process has claimed and will not do."""
        claim = taken.claim
        assert claim is not None
        assert claim.step is not None
        self.access.commit(hand_back(claim.step, claim.fence, "the run was told to stop"))

    def run_claimed(
        self, claim: Claim, known: Mapping[str, Encoded], ahead: Ahead | None = None
    ) -> Report:
        """Run a claimed step's node and commit."""
        step, head = claim.step, claim.head
        assert step is not None
        assert head is not None
        if self.spec.lineage.renames and (named := self.records.step(step)) is not step:
            step, claim = named, replace(claim, step=named)
        reason = self._mismatch(head, claim.header, step.node)
        if reason:
            return self.access.defer(claim, reason) if step.queue else self._refused(claim, reason)
        with Held(self.access, claim) as scope:
            try:
                ending = self._ended(claim, known, ahead, scope)
            except BaseException:
                if scope.is_lost:
                    return Report(refused=Refusal.STALE_FENCE)
                raise
        if isinstance(ending, Report):
            return ending
        try:
            return self._commit(ending)
        except ValueTooLargeError as error:  # What else the store raises is not the step's failure.
            return self._failed(claim, None, error)

    def _ended(
        self, claim: Claim, known: Mapping[str, Encoded], ahead: Ahead | None, scope: CancelScope
    ) -> Report | Ending:
        """Run a claimed step's node; return what is to be committed, or what was done instead."""
        step, attempt = claim.step, None
        assert step is not None
        try:
            attempt = ahead.attempt(claim) if ahead else None
            if attempt is None:
                blobs = {**known, **claim.blobs} if claim.blobs else known
                made = ahead.checkpoint(claim) if ahead else None
                attempt = Attempt(self, claim, blobs, made)
            return self._attempted(attempt)
        except ClaimLost:
            return Report(refused=Refusal.STALE_FENCE)
        except Exception as error:  # noqa: BLE001 - whatever user code raises is the step's failure
            if scope.is_lost:
                return Report(refused=Refusal.STALE_FENCE)
            if isinstance(error, GraphDrained) and self._is_drained:  # A subgraph of the step was.
                handed = hand_back(step, claim.fence, f"drained: {error.reason}")
                return Report(refused=self.access.commit(handed).refused)
            set_back = self.salvaged(step.thread_id, error)
            return set_back or self._failed(claim, attempt, error)
        except BaseException as error:  # The process or the call ends; the step is not to blame.
            self.access.commit(hand_back(step, claim.fence, type(error).__name__))
            raise

    @property
    def _is_drained(self) -> bool:
        """Whether the caller's control asked the run to stop."""
        control = self.live.control
        return control is not None and control.drain_requested

    def _mismatch(self, head: Head, header: bytes, node: str) -> str:
        """Return why the graph may not run a node for a thread; empty: it may."""
        if head.fingerprint in {"", self.spec.fingerprint} and node in self.spec.nodes:
            return ""
        try:
            return mismatch(self.spec, head, self.records.checkpoint(header), [node])
        except StateCorruptedError:
            return ""  # Whoever does the step finds out, and what to do about it.

    def _refused(self, claim: Claim, reason: str) -> Report:
        """Fail a step that this process cannot run, where no other would ever take it."""
        assert claim.step is not None
        error = GraphMismatchError(
            f"the thread {root_thread(claim.step.thread_id)[0]!r} cannot continue in "
            f"{claim.step.node!r}: {reason}, then resume it"
        )
        failure = error_record(error, claim, self.access.owner)
        report = self._send(self.stepping.fail(claim.step, claim.fence, failure))
        return replace(report, error=None if report.refused else error)

    def salvaged(self, thread_id: str, error: Exception) -> Report | None:
        """Set a thread back if stored bytes are the reason of an error; return how it goes on."""
        if not isinstance(error, StateCorruptedError):
            return None
        store, queue = self.access.checkpointer, self.default_queue
        try:
            commit = self.access.patiently(
                lambda: salvage(store, self.records, thread_id, queue, spec=self.spec)
            )
        except StateCorruptedError:
            return None  # Nothing is whole: the run fails, and its record says what is damaged.
        if commit is None:
            return None
        return Report(ready=self.rested(thread_id) if commit.status else commit.ready)

    def _attempted(self, attempt: Attempt) -> Ending:
        """Run the node; return what completes the step, or lets it wait for what it waits for."""
        step, claim = attempt.step, attempt.claim
        if claim.deaths >= limits.DEATHS_MAX:
            msg = (
                f"the step {step.task_id} lost its worker {claim.deaths} times and "
                f"is not tried again by itself. Look at its memory and native code, then resume"
            )
            raise WorkerLostError(msg)
        try:
            result = attempt.run()
        except GraphInterrupt as asked:
            return self._ask(attempt, asked.interrupts)
        except ParentCommand as steering:
            result = parent_result(attempt, steering.command)
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
            commit = self.stepping.wait(step, fence, waits.look_again_ms, waits.reason, waits.notes)
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
            interrupts=_questions(attempt.asked) if attempt.posed or claim.asks else (),
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
        ahead: Ahead | None = None
        if following is not None:
            if step.node == START:
                commit = replace(commit, input=attempt.taken_in)
            known = values_after(commit, attempt.blobs)
            commit = self.taking(commit, attempt.head, step.queue, known)
            if commit.take is not None:
                ahead = Ahead(self, commit, attempt.head, known, following.checkpoint)
        return Ending(
            attempt=attempt,
            commit=commit,
            result=result,
            following=following,
            known=known,
            ahead=ahead,
        )

    def _failed_before(self, claim: Claim) -> bytes:
        """Return the record of how a step failed before a person resumed it."""
        step = claim.step
        assert step is not None
        store = self.access.checkpointer
        loaded = self.access.patiently(lambda: store.load(step.thread_id, values=False))
        found = loaded.steps.get(step.step_id) if loaded else None
        return found.error if found else b""

    def stored(self, writes: tuple[tuple[str, Any], ...]) -> bytes:
        """Return writes as a cache keeps them."""
        tracked = tracked_writes(writes, self.spec.untracked)
        return self.records.store_outcome(Outcome(writes=tracked))

    def _failed(self, claim: Claim, attempt: Attempt | None, error: Exception) -> Report:
        """Commit a failure: a timer for the next attempt, the handler's result, or the end."""
        step = claim.step
        assert step is not None
        failure = error_record(error, claim, self.access.owner)
        steers = isinstance(error, GraphBubbleUp)  # For the caller of the run: it is no failure.
        policies = () if steers else self.spec.nodes[step.node].options.retry
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
            self._tell_of(Failed, step, error=failure)
            return self._commit(Ending(attempt=attempt, commit=paused, questions=()))
        try:
            handled = attempt.handle(error, failure) if attempt and not steers else None
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
            self._tell_of(Failed, step, error=failure)
            log_failure(claim, error, failure, "its error handler continues")
            return self._commit(ending)
        notes = getattr(error, "notes_for_step", {})
        commit = replace(self.stepping.fail(step, claim.fence, failure), notes=notes)
        report = self._send(commit)
        if report.refused is None:
            self._tell_of(Failed, step, error=failure)
            if self.default_queue:  # A call in this process raises it.
                log_failure(claim, error, failure, "the step failed", final=True)
        final = None if report.refused else error
        if isinstance(final, InvalidUpdateError):
            final = final.as_raised
        return replace(report, error=final, raised=final)

    def taking(self, commit: Commit, head: Head, queue: str, known: Iterable[str]) -> Commit:
        """Let a commit claim the one step that it makes ready, if this process may go on in place.

        Args:
            commit: what brings the next checkpoint.
            head: of the thread, as it was before.
            queue: that of the step which was done.
            known: the names of the values of the checkpoint.
        """
        if commit.status is not None or len(commit.ready) != 1:
            return commit
        step = commit.ready[0]
        if step.queue != queue or (queue and not self.spec.is_inline(step.node, self.dispatch)):
            return commit
        return self.access.taking(commit, head, known) if self.in_place(step) else commit

    # ---- committing -----------------------------------------------------------------------

    def _commit(self, ending: Ending) -> Report:
        """Commit how an attempt ends; return what is to be done next."""
        if ending.result is not None:
            return self._commit_completed(ending, ending.result)
        report = self._send(ending.commit)
        if report.refused is not None:
            return report
        if ending.waits is not None:
            return ending.waits.begun(report)
        if ending.questions is not None:
            step, values = ending.attempt.step, ending.attempt.frame.values
            self._tell_of(Asked, step, interrupts=ending.questions, values=values)
        return report

    def _commit_completed(self, ending: Ending, result: Result) -> Report:
        commit, ahead, attempt = ending.commit, ending.ahead, ending.attempt
        sent = self.access.commit(commit, ending.known, ahead.prepare if ahead else None)
        claim = sent.claim
        if sent.refused is not None:
            claim = self.access.taken(commit, ending.known or {})
            if claim is None:
                return Report(refused=sent.refused)
        if self.live.listener is not None:
            self._tell_of(Done, attempt.step, writes=result.writes, cached=result.cached)
        if ending.following is not None:
            stop = attempt.head.stop
            return self.advanced(commit, ending.following, stop, sent.waiting, claim, ahead)
        return self.advance(commit.thread_id) if sent.open == 0 else Report(due=sent.due)

    def _send(self, commit: Commit) -> Report:
        """Commit what settles a step; if it was the last of a superstep, advance it."""
        result = self.access.commit(commit)
        if result.refused is not None:
            return Report(refused=result.refused)
        if commit.status is not None:
            return Report(ready=self.rested(commit.thread_id, waiting=result.waiting))
        if result.open == 0:
            return self.advance(commit.thread_id)
        return Report(due=result.due)

    def advanced(
        self,
        commit: Commit,
        following: Next,
        stop: int,
        waiting: bool,  # noqa: FBT001 - as the store said
        claim: Claim | None,
        ahead: Ahead | None = None,
    ) -> Report:
        """Report a new checkpoint; return the steps that are ready, and the claim on one.

        Args:
            commit: what brought the checkpoint.
            following: the checkpoint.
            stop: the number of the last superstep that the run may begin.
            waiting: whether the run has ended and others are in line.
            claim: on the one step that is ready, if it was claimed.
            ahead: what was prepared of the attempt under that claim.
        """
        own, thread_id, live = self.spec.untracked, commit.thread_id, commit.status is None
        if own:
            news = {k: v for k, v in following.changed.items() if k in own}
            self.live.untracked.set(thread_id, news)
            checkpoint = following.checkpoint
            self.live.untracked.send(thread_id, checkpoint, following.sends, self.spec)
        if self.live.listener is not None:
            args = {i: send.arg for i, send in enumerate(following.sends)}
            self.tell(
                Advanced,
                thread_id,
                frame=Frame(following.checkpoint, following.values, stop, args),
                changed=following.news,
                begins=following.checkpoint.plan if live else (),
            )
        if live:
            return Report(ready=commit.ready, claim=claim, ahead=ahead if claim else None)
        if following.checkpoint.plan and commit.status is RunStatus.PAUSED:
            self.tell(Stopped, thread_id)
        return Report(ready=self.rested(thread_id, waiting=waiting), claim=claim)

    def rested(self, thread_id: str, *, waiting: bool = False) -> tuple[ReadyStep, ...]:
        """Return what a fleet does next: the run in line, or the step whose subgraph this was."""
        if self.default_queue and waiting:
            return begin_next(self.access.checkpointer, thread_id)
        if not self.default_queue or not root_thread(thread_id)[1] or self.live.children is None:
            return ()
        return self.live.children.ended(self, thread_id)

    # ---- the end of a superstep -------------------------------------------------------------

    def advance(self, thread_id: str) -> Report:
        """Plan what follows a superstep whose steps are settled; anyone may, one does. (INV-6)"""
        return advance_thread(self, thread_id)

    def advance_frame(
        self,
        thread_id: str,
        frame: Frame,
        results: list[tuple[PlannedStep, Any]],
        now_ms: int,
        marks: Mapping[str, Any] | None = None,
    ) -> Next:
        """Return what follows a superstep of a thread, by the writes of its steps.

        Args:
            thread_id: the thread.
            frame: the checkpoint that planned the superstep.
            results: what its steps wrote.
            now_ms: the time.
            marks: the metadata of the new checkpoint, if not that of the one before.
        """
        new_id = mint_checkpoint_id(frame.checkpoint.id, now_ms)
        following = advance(self.spec, frame, results, new_id=new_id, now_ms=now_ms)
        if marks is not None:
            metadata = remarked(following.checkpoint.metadata, marks)
            made = replace(following.checkpoint, metadata=metadata)
            following = replace(following, checkpoint=made)
        if self.spec.interrupt_after if self.breaks_after is None else self.breaks_after:
            handled = [s.node for s, writes in results if any(key == HANDLED for key, _ in writes)]
            following = replace(following, handled=tuple(map(handler_name, handled)))
        store = self.access.checkpointer
        if isinstance(store, Overlay):
            parent = store.parent_of(thread_id, frame.checkpoint)
            made = replace(following.checkpoint, parent=parent)
            return replace(following, checkpoint=made, follows=frame.checkpoint.id)
        return following

    # ---- telling ----------------------------------------------------------------------------

    def tell(self, kind: type[Fact], thread_id: str, **fields: Any) -> None:
        """Tell a fact to whoever listens in this process."""
        if self.live.listener is not None:
            self.live.listener(kind(thread_id=thread_id, spec=self.spec, **fields))

    def _tell_of(self, kind: type[Fact], step: ReadyStep, **fields: Any) -> None:
        if self.live.listener is not None:
            own = {"number": step.number, "step_id": step.step_id, "node": step.node}
            self.tell(kind, step.thread_id, **own, **fields)

    def log(self, step: ReadyStep, mode: str, data: Any) -> None:
        """Write to the thread's log what a node streams. It shows that the step is alive, too."""
        encoded = self.records.check(f"what the node {step.node!r} streams", data)
        event = STREAMS[mode](step=step.step_id, data=encoded).draft()
        self.access.commit(Commit(thread_id=step.thread_id, events=(event,)))
