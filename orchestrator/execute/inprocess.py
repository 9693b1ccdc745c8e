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

from orchestrator.checkpoint.commit import LoadedThread, ReadyStep, Wait
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.clock import Clock, SystemClock
from orchestrator.step.lease import keeping
from orchestrator.step.protocol import Report, StepProtocol

__all__ = ["InProcess"]


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

    def proceed(
        self, protocol: StepProtocol, thread_id: str, ready: Sequence[ReadyStep]
    ) -> BaseException | None:
        """See `Executor.proceed`."""
        access = protocol.access
        with keeping(access.checkpointer, access.owner):
            return self._proceed(protocol, thread_id, ready)

    def _proceed(
        self, protocol: StepProtocol, thread_id: str, ready: Sequence[ReadyStep]
    ) -> BaseException | None:
        errors: list[tuple[tuple[int, int, str, int], BaseException]] = []
        later: list[tuple[int, str, ReadyStep]] = []  # Retries: when, and an order for equal times.
        todo: Sequence[ReadyStep] = ready
        while True:
            following: list[ReadyStep] = []
            for step, report in zip(todo, self._round(protocol, todo), strict=True):
                if report.error is not None:
                    errors.append(((step.number, step.index, step.node, 0), report.error))
                if report.retry_ms is not None:
                    due = self.clock.now_ms() + report.retry_ms
                    heapq.heappush(later, (due, step.step_id, step))
                following += report.ready
            if not following and later:
                due, _, step = heapq.heappop(later)
                self.clock.sleep(max(0, due - self.clock.now_ms()) / 1000)
                following.append(step)
            todo = following
            if not todo:
                left = self._left(protocol, thread_id)
                todo = left.ready
                if left.error is not None:
                    errors.append(((0, 0, "", 0), left.error))
            if not todo:
                return min(errors, key=lambda error: error[0])[1] if errors else None

    def _round(self, protocol: StepProtocol, steps: Sequence[ReadyStep]) -> Iterable[Report]:
        """Do steps side by side; return their reports in the same order."""
        if len(steps) <= 1:
            return [protocol.run(step.thread_id, step.step_id) for step in steps]
        with ThreadPoolExecutor(min(len(steps), self.concurrency_max), "graphstalk-step") as pool:
            futures = [
                pool.submit(copy_context().run, protocol.run, step.thread_id, step.step_id)
                for step in steps
            ]
            return [future.result() for future in futures]

    def _left(self, protocol: StepProtocol, thread_id: str) -> Report:
        """Return what is ready although no report said so: an answer of the store was lost."""
        loaded = protocol.access.checkpointer.load(thread_id, values=False)
        if loaded is None or not loaded.head.status.active:
            return Report()
        if not loaded.head.open:
            return protocol.advance(thread_id)
        return Report(ready=tuple(_claimable(loaded)))


def _claimable(loaded: LoadedThread) -> list[ReadyStep]:
    return [
        s.step
        for s in loaded.steps.values()
        if not (s.completed or s.owner or s.wait is not Wait.NOTHING)
    ]
