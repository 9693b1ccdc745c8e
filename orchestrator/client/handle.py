"""A run, from the outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.client.results import INTERRUPT
from orchestrator.errors import GraphPausedError

if TYPE_CHECKING:
    from orchestrator.client.client import Client

__all__ = ["RunHandle"]


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run that was enqueued.

    Attributes:
        client: through which it is looked at.
        thread_id: the thread it runs on.
        run_id: the run.
    """

    client: Client
    thread_id: str
    run_id: str

    @property
    def status(self) -> str:
        """Return what the run is doing: queued, running, paused, succeeded, failed, cancelled."""
        return self.client.status(self.thread_id)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the run and return its output.

        Args:
            timeout: seconds to wait at most.

        Raises:
            GraphPausedError: if the run waits for an answer; the message holds the questions.
            StepFailedError: if it failed.
            RunCancelledError: if it was cancelled.
            RunNotFinishedError: if it is not at rest in time; it goes on all the same.
        """
        output = self.client.result(self.thread_id, timeout)
        asked = output.get(INTERRUPT) if isinstance(output, dict) else None
        if asked:
            listed = "; ".join(f"{i.id}: {i.value!r:.200}" for i in asked)
            msg = f"the run of thread {self.thread_id!r} waits for an answer: {listed}"
            raise GraphPausedError(msg)
        return output

    def cancel(self) -> bool:
        """End the run; return whether there was anything to end."""
        return self.client.cancel(self.thread_id)
