"""The end of a superstep: the process that finds all of its steps settled plans the next.

Rule 1: any process may advance a thread, and the first commit wins: it expects the head that it
        loaded. The result is the same. (INV-6)
Rule 2: facts are emitted after their commit, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.checkpointer.overlay import Overlay
from orchestrator.engine.advance import Frame, Next, advance
from orchestrator.engine.apply import HANDLED
from orchestrator.engine.branches import remarked
from orchestrator.engine.compat import control_written, mismatch
from orchestrator.engine.settle import Stepping, begin_turns, ended, turns
from orchestrator.errors import GraphstalkError, InvalidUpdateError, StateCorruptedError
from orchestrator.frozen import replace
from orchestrator.graph.spec import DispatchMode, handler_name
from orchestrator.ids import mint_checkpoint_id, root_thread
from orchestrator.model.checkpoint import Head, PlannedStep, RunStatus
from orchestrator.model.commit import (
    Claim,
    Commit,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    Wait,
)
from orchestrator.model.lifecycle import ACTIVE
from orchestrator.step.facts import Advanced, Stopped
from orchestrator.step.failure import error_record
from orchestrator.step.next_run import begin_next
from orchestrator.step.prefetch import Prefetch
from orchestrator.step.recovery import roll_back
from orchestrator.step.report import Report
from orchestrator.step.services import StepServices
from orchestrator.step.store_access import values_after
from orchestrator.step.untracked import Overlaid

__all__ = ["Supersteps", "failed_step"]


def _never(_step: ReadyStep) -> bool:
    return False


def failed_step(loaded: LoadedThread) -> LoadedStep | None:
    """Return the first step, by plan order, that failed for good."""
    failed = [
        step
        for step in loaded.steps.values()
        if not step.completed and step.wait is Wait.PERSON and step.error
    ]
    return min(failed, key=lambda step: step.step.planned.order, default=None)


@dataclass(slots=True)
class Supersteps(StepServices):
    """Plans the superstep after one, and commits it; the state of a step runner.

    Attributes:
        dispatch: how steps run whose node and graph name no mode.
        in_place: whether this process may do a step next, too.
        breaks_after: after which nodes a run stops, if not where the graph says.
        breaks_before: before which nodes.
        stepping: the decisions for the graph's steps.
    """

    dispatch: DispatchMode = "queue"
    in_place: Callable[[ReadyStep], bool] = _never
    breaks_after: frozenset[str] | None = None
    breaks_before: frozenset[str] | None = None
    stepping: Stepping = field(init=False)

    def __post_init__(self) -> None:
        self.stepping = Stepping(
            self.spec, self.records, self.default_queue, self.breaks_after, self.breaks_before
        )

    def advance(self, thread_id: str) -> Report:
        """Plan what follows a superstep whose steps are settled, or end the run there."""
        loaded = self.access.load(thread_id)
        if loaded is None or loaded.head.open or not loaded.head.status.active:
            return Report()
        if self._is_anothers(loaded):
            return Report()  # Another process has the graph as it was.
        unfinished = [step for step in loaded.steps.values() if not step.completed]
        if not unfinished:
            try:
                return self._advance_loaded(thread_id, loaded)
            except StateCorruptedError as damage:
                set_back = self.rolled_back(thread_id, damage)
                return set_back or self._fail(thread_id, loaded, damage)
        failed = failed_step(loaded)
        if failed is None and (ready := turns(loaded)):
            return self._take_turns(loaded, ready)
        status = RunStatus.FAILED if failed else RunStatus.PAUSED
        error = failed.error if failed else b""
        return self._end(ended(thread_id, loaded.checkpoint.id, status, error))

    def _take_turns(self, loaded: LoadedThread, ready: tuple[ReadyStep, ...]) -> Report:
        """Make the steps ready whose turn has come."""
        refused = self.access.commit(begin_turns(loaded, ready)).refused
        return Report(refused=refused, ready=() if refused else ready)

    def _is_anothers(self, loaded: LoadedThread) -> bool:
        """Return whether only a graph of another structure can say what follows the superstep."""
        spec, records = self.spec, self.records
        if loaded.head.fingerprint in {"", spec.fingerprint}:
            return False
        try:
            checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
            written = (records.outcome(data).writes for data in loaded.outcomes.values())
            unknown = any(key not in spec.channels for key in control_written(written))
        except StateCorruptedError:
            return True
        nodes = [step.node for step in checkpoint.plan]
        return unknown or bool(mismatch(spec, loaded.head, checkpoint, nodes))

    def _advance_loaded(self, thread_id: str, loaded: LoadedThread) -> Report:
        records = self.records
        checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
        untracked = self.live.untracked
        results = [
            (
                step,
                untracked.whole(
                    thread_id,
                    step.id_in(checkpoint),
                    records.outcome(loaded.outcome(step.id_in(checkpoint))).writes,
                ),
            )
            for step in checkpoint.plan
        ]
        stored = records.values(checkpoint, loaded.blobs)
        values = Overlaid(stored, untracked.values(thread_id))
        frame = Frame(checkpoint, values, loaded.head.stop, changes=stored.changes)
        try:
            head = loaded.head
            marks = records.decode(head.config).get("marks") if head.resumes else None
            following = self.advance_frame(thread_id, frame, results, loaded.now_ms, marks)
            commit = self.stepping.next(thread_id, loaded.head, following)
        except StateCorruptedError:
            raise
        except GraphstalkError as error:
            return self._fail(thread_id, loaded, error)
        known = values_after(commit, loaded.blobs)
        queue = next(iter(loaded.steps.values())).step.queue
        commit = self.taking(replace(commit, expect_status=ACTIVE), loaded.head, queue, known)
        result = self.access.commit(commit, known)
        if result.refused is not None:
            return Report(refused=result.refused, claim=self.access.taken(commit, known))
        stop, claim = loaded.head.stop, result.claim
        return self.advanced(commit, following, stop, result.waiting, claim)

    def _fail(self, thread_id: str, loaded: LoadedThread, error: GraphstalkError) -> Report:
        """End the run because its superstep cannot be advanced."""
        step = next(iter(loaded.steps.values())).step
        record = error_record(
            error, Claim(step=replace(step, node="", step_id="")), self.access.owner
        )
        stored = self.records.store_error(record)
        report = self._end(ended(thread_id, loaded.checkpoint.id, RunStatus.FAILED, stored))
        raised = error.as_raised if isinstance(error, InvalidUpdateError) else error
        return replace(report, error=None if report.refused else raised)

    def _end(self, commit: Commit) -> Report:
        result = self.access.commit(commit)
        if result.refused is not None:
            return Report(refused=result.refused)
        return Report(ready=self.follow_up(commit.thread_id, waiting=result.waiting))

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

    def taking(self, commit: Commit, head: Head, queue: str, known: Iterable[str]) -> Commit:
        """Let a commit claim the one step that it makes ready, if this process may do it in place.

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

    def send(self, commit: Commit) -> Report:
        """Commit what settles a step; if it was the last of a superstep, advance it."""
        result = self.access.commit(commit)
        if result.refused is not None:
            return Report(refused=result.refused)
        if commit.status is not None:
            return Report(ready=self.follow_up(commit.thread_id, waiting=result.waiting))
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
        prefetch: Prefetch | None = None,
    ) -> Report:
        """Report a new checkpoint; return the steps that are ready, and the claim on one.

        Args:
            commit: what brought the checkpoint.
            following: the checkpoint.
            stop: the number of the last superstep that the run may begin.
            waiting: whether the run has ended and others are in line.
            claim: on the one step that is ready, if it was claimed.
            prefetch: what was prepared of the attempt under that claim.
        """
        own, thread_id, live = self.spec.untracked, commit.thread_id, commit.status is None
        if own:
            news = {k: v for k, v in following.changed.items() if k in own}
            self.live.untracked.set(thread_id, news)
            checkpoint = following.checkpoint
            self.live.untracked.send(thread_id, checkpoint, following.sends, self.spec)
        if self.live.listener is not None:
            args = {i: send.arg for i, send in enumerate(following.sends)}
            self.emit(
                Advanced,
                thread_id,
                frame=Frame(following.checkpoint, following.values, stop, args),
                changed=following.news,
                begins=following.checkpoint.plan if live else (),
            )
        if live:
            return Report(ready=commit.ready, claim=claim, prefetch=prefetch if claim else None)
        if following.checkpoint.plan and commit.status is RunStatus.PAUSED:
            self.emit(Stopped, thread_id)
        return Report(ready=self.follow_up(thread_id, waiting=waiting), claim=claim)

    def follow_up(self, thread_id: str, *, waiting: bool = False) -> tuple[ReadyStep, ...]:
        """After a run ended, return the steps to dispatch.

        They are those of the next queued run, or the step that waits for this subgraph.
        """
        if self.default_queue and waiting:
            return begin_next(self.access.checkpointer, thread_id)
        if not self.default_queue or not root_thread(thread_id)[1] or self.live.children is None:
            return ()
        return self.live.children.ended(self, thread_id)

    def rolled_back(self, thread_id: str, error: Exception) -> Report | None:
        """Roll a thread back if stored bytes caused an error; return how it continues."""
        if not isinstance(error, StateCorruptedError):
            return None
        store, queue = self.access.checkpointer, self.default_queue
        try:
            commit = self.access.patiently(
                lambda: roll_back(store, self.records, thread_id, queue, spec=self.spec)
            )
        except StateCorruptedError:
            return None  # Nothing is whole: the run fails, and its record says what is damaged.
        if commit is None:
            return None
        return Report(ready=self.follow_up(thread_id) if commit.status else commit.ready)
