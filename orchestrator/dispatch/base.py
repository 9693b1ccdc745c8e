"""The promises of an executor: it runs a run until it is idle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.model.commit import ReadyStep
from orchestrator.step.runner import StepRunner

__all__ = ["Executor"]


class Executor(Protocol):
    """The seam between accepting a run and running its steps."""

    default_queue: str  # Where steps go; empty: nowhere, they run in the calling process.

    def proceed(
        self,
        runner: StepRunner,
        thread_id: str,
        ready: Sequence[ReadyStep],
        run_id: str = "",
    ) -> BaseException | None:
        """Return when the run is no longer active.

        Args:
            runner: how a step of the graph is done.
            thread_id: the thread whose run is to proceed.
            ready: its ready steps, not yet sent anywhere.
            run_id: the run; empty: the one that is there.

        Returns:
            what the first failed step raised, by plan order, if it failed in this process.
        """
        ...

    def send(self, ready: Sequence[ReadyStep]) -> None:
        """Dispatch ready steps to other processes, without waiting; nothing in process."""
        ...

    def checkpointer(self) -> Checkpointer | None:
        """Return the checkpointer that this executor comes with, if any."""
        ...
