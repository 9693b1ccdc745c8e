"""Steps run by the process that called: for tests, notebooks and small jobs.

The same protocol as on a fleet, with a list instead of a queue. Steps of one superstep run side by
side on OS threads; a step alone runs in the calling thread.

Rule 1: when a step has failed for good, its siblings' coroutines are cancelled and the run fails at
        once; synchronous siblings run to their end. What has completed is kept. (INV-4)
Rule 2: a call that is cancelled revokes the claims of its run before the caller's next call.
"""

from __future__ import annotations

import heapq
import inspect
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

from orchestrator import limits
from orchestrator.checkpointer.base import Checkpointer, commit_to
from orchestrator.clock import Clock, SystemClock
from orchestrator.engine.settle import orphan, stopped, wake
from orchestrator.errors import CheckpointerUnavailableError, GraphDrained
from orchestrator.graph.spec import NodeSpec
from orchestrator.model.checkpoint import RunStatus, StepError
from orchestrator.model.commit import LoadedThread, ReadyStep, Wait
from orchestrator.step.async_loop import (
    Begin,
    Cancelled,
    CancelScope,
    WaitingThread,
    callers_loop,
    cancel_scope,
    check_cancelled,
)
from orchestrator.step.held_claims import keeping
from orchestrator.step.report import Report
from orchestrator.step.runner import StepRunner, run_step
from orchestrator.step.superstep import failed_step

__all__ = ["InProcess", "LocalRun"]


@dataclass(slots=True)
class InProcess:
    """Run steps here.

    Attributes:
        concurrency_max: how many steps of a superstep run at the same time. `None`: as many
            synchronous ones as `limits.SYNC_STEPS_MAX`; one that awaits makes room for another.
        clock: how retries wait.
        step_timeout_s: how long a superstep may take.
    """

    concurrency_max: int | None = None
    clock: Clock = field(default_factory=SystemClock)
    default_queue: str = ""
    step_timeout_s: float | None = None

    def checkpointer(self) -> Checkpointer | None:
        """Bring no checkpointer along."""
        return None

    def send(self, ready: Sequence[ReadyStep]) -> None:
        """Send nothing: this process runs them."""

    def proceed(
        self,
        runner: StepRunner,
        thread_id: str,
        ready: Sequence[ReadyStep],
        run_id: str = "",
    ) -> BaseException | None:
        """See `Executor.proceed`.

        Raises:
            GraphDrained: if the run was drained.
        """
        run = self.begin(runner, thread_id, ready, run_id)
        with run.alive():
            while run.todo:
                run.round()
        run.check_drained()
        return run.error

    def begin(
        self,
        runner: StepRunner,
        thread_id: str,
        ready: Sequence[ReadyStep],
        run_id: str = "",
    ) -> LocalRun:
        """Return the run, to be continued one round at a time."""
        runner.in_place = _always
        run = LocalRun(self, runner, thread_id, list(ready), run_id)
        if not run.todo:
            run.refresh()
        return run


@dataclass(slots=True)
class LocalRun:
    """A run of a thread in this process.

    Attributes:
        todo: the steps of the next round; none: the run has ended, pauses, or was stopped.
        drained: why it was drained, if it was.
    """

    executor: InProcess
    runner: StepRunner
    thread_id: str
    todo: list[ReadyStep]
    run_id: str = ""  # Empty: whichever is there.
    drained: str | None = None
    scope: CancelScope | None = field(default_factory=cancel_scope.get)
    _taken: Report | None = None  # What took the one step to do, if it is claimed already.
    _errors: list[tuple[tuple[int, int, str, int], BaseException]] = field(default_factory=list)
    # Retries and sleeps: when they are due, the step, and whether it failed rather than sleeps.
    _later: list[tuple[int, str, ReadyStep, bool]] = field(default_factory=list)
    _superstep: tuple[int, float | None] = (-2, None)  # Its number, and when its time is over.
    _stopping: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    @property
    def error(self) -> BaseException | None:
        """What the first failed step raised, by plan order."""
        return min(self._errors, key=lambda error: error[0])[1] if self._errors else None

    @property
    def is_cancelled(self) -> bool:
        """Whether the call that the run is part of was cancelled."""
        return self.scope is not None and self.scope.ends_runs

    def alive(self) -> _Alive:
        """Return a context in which the run counts as this process's; left early, as orphaned."""
        return _Alive(self)

    def round(self) -> None:
        """Do the steps that are ready; find out which are next.

        Raises:
            Cancelled: if the call that the run is part of was cancelled.
        """
        if self.is_cancelled:
            raise Cancelled
        following: list[ReadyStep] = []
        taken: Report | None = None
        now_ms = 0
        for step, report in zip(self.todo, self._reports(), strict=True):
            if report.error is not None:
                self._errors.append(((step.number, step.index, step.node, 0), report.error))
            if report.retry_ms is not None:
                now_ms = now_ms or self.executor.clock.now_ms()
                due_ms = now_ms + report.retry_ms
                heapq.heappush(self._later, (due_ms, step.step_id, step, report.raised is not None))
            following += report.ready
            taken = taken or (report if report.claim else None)
        self._taken = taken
        if self._stopped:  # It was cancelled, or its time was over.
            following = []
        elif self._errors and self._later and callers_loop.get() is not None:
            self._fail()  # As in LangGraph, nothing is tried again beside a failure.
        elif not following and self._later:
            following = self._wait(now_ms)
        self.todo = following
        if not self.todo and not self._stopped:
            self.refresh()
        control = self.runner.live.control
        if self.todo and control is not None and control.drain_requested:
            self.todo, self.drained = [], control.drain_reason or "shutdown"

    def _wait(self, now_ms: int) -> list[ReadyStep]:
        """Wait until the next step is due; return it."""
        due_ms, _, step, failed = heapq.heappop(self._later)
        clock = self.executor.clock
        seconds = max(0, due_ms - (now_ms or clock.now_ms())) / 1000
        end = self._superstep[1]
        late = end is not None and time.monotonic() + seconds > end
        if end is not None and late:
            seconds = max(0.0, end - time.monotonic())
        if self.scope is not None and isinstance(clock, SystemClock):
            self.scope.pause(seconds)  # The caller's event loop may cancel it.
        else:
            clock.sleep(seconds)
        if late:
            self._time_out()
            return []
        left_ms = due_ms - clock.now_ms()
        if left_ms > 0 and not self.is_cancelled:  # As where a test has replaced `time.sleep`.
            if failed:
                self._make_due(step)
            else:
                threading.Event().wait(left_ms / 1000)
        return [step]

    def _make_due(self, step: ReadyStep) -> None:
        """Let a step be retried at once."""
        self.runner.access.commit(wake(step))

    def refresh(self) -> None:
        """Find out what is ready although no report said so."""
        left = self._left()
        self.todo, self._taken = list(left.ready), left if left.claim else None
        if left.error is not None:
            self._errors.append(((0, 0, "", 0), left.error))

    def give_back(self) -> None:
        """Let go of a step that was claimed and will not be done."""
        if self._taken is not None:
            self.runner.give_back(self._taken)

    # ---- a superstep ----------------------------------------------------------------------

    def _reports(self) -> Sequence[Report]:
        """Do steps side by side; return their reports in the same order."""
        steps, taken = self.todo, self._taken
        limit = self.executor.step_timeout_s
        end = self._end_of(steps, limit) if limit is not None else None
        self._taken = None
        if end is None and (len(steps) <= 1 or taken is not None):
            run = partial(run_step, self.runner, ready=taken)
            return [run(step.thread_id, step.step_id) for step in steps]
        side = _SideBySide(self.runner, self.scope, self.executor.concurrency_max)
        reports = side.run(steps, taken, end)
        if self.is_cancelled:
            raise Cancelled
        if side.late:
            self._time_out()
        elif side.left_out:
            self._fail()
        return reports

    def _end_of(self, steps: Sequence[ReadyStep], limit: float) -> float:
        """Return when the time of the steps' superstep is over, by the monotonic clock."""
        number, end = self._superstep
        if end is None or steps[0].number != number:
            end = time.monotonic() + limit
            self._superstep = (steps[0].number, end)
        return end

    def _left(self) -> Report:
        """Return what is ready although no report said so: an answer of the store was lost."""
        access = self.runner.access
        loaded = access.patiently(lambda: access.checkpointer.load(self.thread_id, values=False))
        if loaded is None or not loaded.head.status.active:
            return Report()
        if self.run_id not in {"", loaded.head.run_id}:
            return Report()  # It was stopped, and another run has the thread.
        if not loaded.head.open:
            return self.runner.advance(self.thread_id)
        return Report(ready=tuple(_claimable(loaded)))

    # ---- stopping -------------------------------------------------------------------------

    def stop(self) -> None:
        """Store that the run pauses because its call was cancelled; any OS thread may, once.

        What its steps do from now on is not committed. (INV-3)
        """
        self._stop(RunStatus.PAUSED)

    def _stop(self, status: RunStatus, error: bytes = b"") -> None:
        with self._stopping:
            if self._stopped:
                return
            self.runner.access.commit(stopped(self.thread_id, self.run_id, status, error))
            self._stopped = True

    def _fail(self) -> None:
        """Store that the run failed although steps of its superstep are left to do."""
        access = self.runner.access
        loaded = access.patiently(lambda: access.checkpointer.load(self.thread_id, values=False))
        failed = failed_step(loaded) if loaded is not None else None
        self._stop(RunStatus.FAILED, failed.error if failed is not None else b"")

    def _time_out(self) -> None:
        """Store that the run failed because a superstep took too long."""
        error = TimeoutError("Timed out")
        self._errors = [((-1, 0, "", 0), error)]  # Before what any step raised.
        record = StepError(type="TimeoutError", module="builtins", message=str(error))
        self._stop(RunStatus.FAILED, self.runner.records.store_error(record))

    def check_drained(self) -> None:
        """Let a run that was drained pause.

        Raises:
            GraphDrained: if it was.
        """
        if self.drained is None:
            return
        self._stop(RunStatus.PAUSED)
        raise GraphDrained(self.drained)


class _SideBySide:
    """The steps of one superstep, each in an OS thread.

    Attributes:
        late: whether their time was over before all had ended.
        left_out: whether one was cancelled, or not begun, because another failed.
    """

    def __init__(
        self, runner: StepRunner, outer: CancelScope | None, concurrency_max: int | None
    ) -> None:
        """Prepare; without `concurrency_max`, a step that awaits makes room for another."""
        self.late = self.left_out = False
        self._runner, self._scope = runner, CancelScope(outer)
        self._concurrency_max = concurrency_max
        self._awaiting: list[Future[Report]] = []  # Of the steps that may await.

    def run(
        self, steps: Sequence[ReadyStep], taken: Report | None, end: float | None
    ) -> list[Report]:
        """Do the steps; return their reports in the same order, an empty one for each left out.

        Args:
            steps: the steps.
            taken: the report that has claimed the only step, if one has.
            end: when their time is over, by the monotonic clock.
        """
        pools: list[ThreadPoolExecutor] = []
        with self._scope.entered():
            try:
                begun = self._begun(pools, steps, taken, end)
                if end is not None:
                    self.late |= bool(wait(begun.values(), _left_s(end)).not_done)
                if self.late:
                    self._scope.cancel()
                    wait(self._scope.coroutines())
                    self._scope.stop_runs()
            finally:
                for pool in pools:
                    pool.shutdown(wait=not self.late)
                if not self.late:
                    wait(self._awaiting)
        done = {i: future for i, future in begun.items() if future.done()}
        return [done[s.step_id].result() if s.step_id in done else Report() for s in steps]

    def _begun(
        self,
        pools: list[ThreadPoolExecutor],
        steps: Sequence[ReadyStep],
        taken: Report | None,
        end: float | None,
    ) -> dict[str, Future[Report]]:
        """Begin steps, async nodes first; return the future of each, by id."""
        begun: dict[str, Future[Report]] = {}
        coroutines = self._of(steps, _is_coroutine)
        graphs = self._of(steps, _is_graph)
        if coroutines or graphs:
            size = min(len(coroutines) + len(graphs), limits.AWAITING_STEPS_MAX)
            free, room = threading.Semaphore(size), _room()
            start = _Start(min(len(coroutines), size))
            for step in (*coroutines, *graphs):
                try:
                    room.get(timeout=_left_s(end))
                except Empty:
                    self.late = True
                    return begun
                if not free.acquire(timeout=_left_s(end)):
                    self.late = True
                    return begun
                place = _Place(room, start if len(begun) < len(coroutines) else None)
                call = partial(copy_context().run, self._placed, step, place, taken)
                begun[step.step_id] = future = WaitingThread.submit(call)
                future.add_done_callback(lambda _: free.release())
                self._awaiting.append(future)
        rest = [step for step in steps if step.step_id not in begun]
        if rest:
            size = self._concurrency_max or limits.SYNC_STEPS_MAX
            pool = self._pool(pools, min(len(rest), size))
            for step in rest:
                run = copy_context().run
                begun[step.step_id] = pool.submit(run, self._one, step, taken)
        return begun

    @staticmethod
    def _pool(pools: list[ThreadPoolExecutor], size: int) -> ThreadPoolExecutor:
        pools.append(ThreadPoolExecutor(size, "graphstalk-step"))
        return pools[-1]

    def _of(self, steps: Sequence[ReadyStep], kind: Callable[[NodeSpec], bool]) -> list[ReadyStep]:
        """Return the steps whose nodes are of a kind that needs no place of a pool to await."""
        if self._concurrency_max is not None:
            return []
        nodes = self._runner.spec.nodes
        found = {name for name in {s.node for s in steps} if name in nodes and kind(nodes[name])}
        return [step for step in steps if step.node in found] if found else []

    def _placed(self, step: ReadyStep, place: _Place, taken: Report | None) -> Report:
        """Do a step that makes room for another while it awaits."""
        try:
            with CancelScope(self._scope, begins=place.begins).entered():
                return self._one(step, taken)
        finally:
            place.leave()

    def _one(self, step: ReadyStep, taken: Report | None) -> Report:
        try:
            check_cancelled()
            report = run_step(self._runner, step.thread_id, step.step_id, ready=taken)
        except Cancelled:
            if not self._scope.cancelled:
                raise
            self.left_out = True
            return Report()
        if report.error is not None:
            self._scope.cancel(ends_runs=callers_loop.get() is not None)
        return report


def _left_s(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def _is_coroutine(node: NodeSpec) -> bool:
    action = node.action
    called = getattr(action, "__call__", None)  # noqa: B004 - of an object that is callable
    return inspect.iscoroutinefunction(action) or inspect.iscoroutinefunction(called)


def _is_graph(node: NodeSpec) -> bool:
    return node.subgraph is not None


def _room() -> SimpleQueue[None]:
    """Return places for as many steps as may run at a time."""
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(limits.SYNC_STEPS_MAX):
        room.put(None)
    return room


class _Start:
    """Lets the coroutines of a superstep begin together, as asyncio's tasks do."""

    def __init__(self, expected: int) -> None:
        """Wait for a number of steps to reach their coroutine, or their end."""
        self._lock, self._expected = threading.Lock(), expected
        self._held: list[Begin] = []

    def hold(self, begin: Begin) -> None:
        """Let a coroutine begin once all are expected no longer."""
        with self._lock:
            held = self._expected > 0
            if held:
                self._held.append(begin)
        if not held:
            Begin.together([begin])

    def arrive(self) -> None:
        """Expect one step less."""
        with self._lock:
            self._expected -= 1
            held = self._held if self._expected <= 0 else []
            if held:
                self._held = []
        Begin.together(held)


class _Place:
    """The place of a step among those that run at the same time."""

    __slots__ = ("_is_left", "_room", "_start")

    def __init__(self, room: SimpleQueue[None], start: _Start | None) -> None:
        self._room, self._start, self._is_left = room, start, False

    def begins(self, begin: Begin) -> None:
        """Let a coroutine begin; make room for another step meanwhile."""
        if self._start is None or self._is_left:
            Begin.together([begin])
        else:
            self._start.hold(begin)
        self.leave()

    def leave(self) -> None:
        """Make room for another step."""
        if self._is_left:
            return
        self._is_left = True
        self._room.put(None)
        if self._start is not None:
            self._start.arrive()


class _Alive:
    """Keeps the lease of a local run; reports it as orphaned, if it is left before it ends."""

    def __init__(self, run: LocalRun) -> None:
        self._run = run
        access = run.runner.access
        self._keeping = keeping(access.checkpointer, access.owner)
        scope = run.scope
        self._held = scope.holding(run.stop) if scope is not None else nullcontext()

    def __enter__(self) -> None:
        self._keeping.__enter__()
        self._held.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._keeping.__exit__(None, None, None)
        run = self._run
        try:
            if run.scope is not None and run.scope.is_lost:
                self._orphan()  # The step that runs it belongs to another process now.
            elif run.is_cancelled or isinstance(exception[1], Cancelled):
                run.stop()
            elif exception[0] is not None or run.todo or run.drained is not None:
                self._orphan()
        except CheckpointerUnavailableError:
            return  # Its lease will run out.
        finally:
            self._held.__exit__(None, None, None)

    def _orphan(self) -> None:
        run = self._run
        run.give_back()
        commit_to(run.runner.access.checkpointer, orphan(run.thread_id, run.run_id))


def _always(_step: ReadyStep) -> bool:
    return True


def _claimable(loaded: LoadedThread) -> list[ReadyStep]:
    return [
        s.step
        for s in loaded.steps.values()
        if not (s.completed or s.owner or s.wait is not Wait.NOTHING)
    ]
