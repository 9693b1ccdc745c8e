"""Steps run by the process that called: for tests, notebooks and small jobs.

The same protocol as on a fleet, with a list instead of a queue. Steps of one superstep run side by
side on OS threads; a step alone runs in the calling thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

from orchestrator.checkpoint.commit import Commit, LoadedThread, ReadyStep, Wait
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.clock import Clock, SystemClock
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.step.lease import keeping
from orchestrator.step.protocol import StepProtocol
from orchestrator.step.report import Report

__all__ = ["InProcess", "LocalRun"]


@dataclass(slots=True)
class InProcess:
    """Run steps here.

    Attributes:
        concurrency_max: how many steps of a superstep run at the same time.
        clock: how retries wait.
    """

    concurrency_max: int = 32
    clock: Clock = field(default_factory=SystemClock)
    default_queue: str = ""

    def checkpointer(self) -> Checkpointer | None:
        """Bring no checkpointer along."""
        return None

    def send(self, ready: Sequence[ReadyStep]) -> None:
        """Send nothing: this process runs them."""

    def proceed(
        self,
        protocol: StepProtocol,
        thread_id: str,
        ready: Sequence[ReadyStep],
        run_id: str = "",
    ) -> BaseException | None:
        """See `Executor.proceed`."""
        run = self.begin(protocol, thread_id, ready, run_id)
        with run.alive():
            while run.todo:
                run.round()
        return run.error

    def begin(
        self,
        protocol: StepProtocol,
        thread_id: str,
        ready: Sequence[ReadyStep],
        run_id: str = "",
    ) -> LocalRun:
        """Return the run, to be taken on one round at a time."""
        protocol.in_place = _always
        run = LocalRun(self, protocol, thread_id, list(ready), run_id)
        if not run.todo:
            run.look()
        return run


@dataclass(slots=True)
class LocalRun:
    """A run of a thread in this process.

    Attributes:
        todo: the steps of the next round; none: the run rests, or was told to stop.
        drained: why it was told to stop, if it was.
    """

    executor: InProcess
    protocol: StepProtocol
    thread_id: str
    todo: list[ReadyStep]
    run_id: str = ""  # Empty: whichever is there.
    drained: str | None = None
    _taken: Report | None = None  # What took the one step to do, if it is claimed already.
    _errors: list[tuple[tuple[int, int, str, int], BaseException]] = field(default_factory=list)
    _later: list[tuple[int, str, ReadyStep]] = field(default_factory=list)  # Retries, by due time.

    @property
    def error(self) -> BaseException | None:
        """What the first failed step raised, by plan order."""
        return min(self._errors, key=lambda error: error[0])[1] if self._errors else None

    def alive(self) -> _Alive:
        """Return a context in which the run counts as this process's; left early, as nobody's."""
        return _Alive(self)

    def round(self) -> None:
        """Do the steps that are ready; find out which are next."""
        following: list[ReadyStep] = []
        taken: Report | None = None
        for step, report in zip(self.todo, self._reports(), strict=True):
            if report.error is not None:
                self._errors.append(((step.number, step.index, step.node, 0), report.error))
            if report.retry_ms is not None:
                due = self.executor.clock.now_ms() + report.retry_ms
                heapq.heappush(self._later, (due, step.step_id, step))
            following += report.ready
            taken = taken or (report if report.claim else None)
        self._taken = taken
        if not following and self._later:
            due, _, step = heapq.heappop(self._later)
            self.executor.clock.sleep(max(0, due - self.executor.clock.now_ms()) / 1000)
            following.append(step)
        self.todo = following
        if not self.todo:
            self.look()
        control = self.protocol.live.control
        if self.todo and control is not None and control.drain_requested:
            self.todo, self.drained = [], control.drain_reason or "shutdown"

    def look(self) -> None:
        """Find out what is ready although no report said so."""
        left = self._left()
        self.todo, self._taken = list(left.ready), left if left.claim else None
        if left.error is not None:
            self._errors.append(((0, 0, "", 0), left.error))

    def give_back(self) -> None:
        """Let go of a step that was claimed and will not be done."""
        if self._taken is not None:
            self.protocol.give_back(self._taken)

    def _reports(self) -> Iterable[Report]:
        """Do steps side by side; return their reports in the same order."""
        steps, run = self.todo, self.protocol.run
        taken, self._taken = self._taken, None
        if taken is not None:
            return [self.protocol.go_on(taken)]
        if len(steps) <= 1:
            return [run(step.thread_id, step.step_id) for step in steps]
        size = min(len(steps), self.executor.concurrency_max)
        with ThreadPoolExecutor(size, "graphstalk-step") as pool:
            futures = [
                pool.submit(copy_context().run, run, step.thread_id, step.step_id) for step in steps
            ]
            return [future.result() for future in futures]

    def _left(self) -> Report:
        """Return what is ready although no report said so: an answer of the store was lost."""
        access = self.protocol.access
        loaded = access.patiently(lambda: access.checkpointer.load(self.thread_id, values=False))
        if loaded is None or not loaded.head.status.active:
            return Report()
        if self.run_id not in {"", loaded.head.run_id}:
            return Report()  # It was stopped, and another run has the thread.
        if not loaded.head.open:
            return self.protocol.advance(self.thread_id)
        return Report(ready=tuple(_claimable(loaded)))


class _Alive:
    """Keeps the lease of a local run; says that nobody runs it, if it is left before it rests."""

    def __init__(self, run: LocalRun) -> None:
        self._run = run
        access = run.protocol.access
        self._keeping = keeping(access.checkpointer, access.owner)

    def __enter__(self) -> None:
        self._keeping.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._keeping.__exit__(None, None, None)
        if exception[0] is None and not self._run.todo and self._run.drained is None:
            return
        thread_id, run_id = self._run.thread_id, self._run.run_id
        commit = Commit(thread_id=thread_id, expect_run=run_id or None, head={"owner": ""})
        try:
            self._run.give_back()
            self._run.protocol.access.checkpointer.commit(commit)
        except CheckpointerUnavailableError:
            return  # Its lease will run out.


def _always(_step: ReadyStep) -> bool:
    return True


def _claimable(loaded: LoadedThread) -> list[ReadyStep]:
    return [
        s.step
        for s in loaded.steps.values()
        if not (s.completed or s.owner or s.wait is not Wait.NOTHING)
    ]
