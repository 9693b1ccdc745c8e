"""A run, from the outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.client.aio import in_thread
from orchestrator.client.results import INTERRUPT
from orchestrator.errors import GraphPausedError

if TYPE_CHECKING:
    from orchestrator.client.client import Client
    from orchestrator.client.following import StreamPart
    from orchestrator.client.results import Until
    from orchestrator.client.snapshot import StateSnapshot

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
        return self.client.status(self.thread_id, self.run_id)

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
        output = self.client.result(self.thread_id, timeout, run_id=self.run_id)
        asked = output.get(INTERRUPT) if isinstance(output, dict) else None
        if asked:
            listed = "; ".join(f"{i.id}: {i.value!r:.200}" for i in asked)
            msg = f"the run of thread {self.thread_id!r} waits for an answer: {listed}"
            raise GraphPausedError(msg)
        return output

    def wait(self, until: Until = None, timeout: float | None = None) -> StateSnapshot:
        """Wait until the run has come so far; return the state there. A failed run raises nothing.

        Args:
            until: a status, such as `"paused"`, or several; or a function that gets the snapshot
                whenever something happened, and returns whether to stop waiting. By default: until
                the run rests, in whichever status.
            timeout: seconds to wait at most.

        Raises:
            RunNotFinishedError: if it does not come so far in time, or ends before.
            OptionError: if `until` names no status.
        """
        return self.client.wait(self.thread_id, until, timeout, run_id=self.run_id)

    async def await_until(self, until: Until = None, timeout: float | None = None) -> StateSnapshot:  # noqa: ASYNC109 - as `wait`
        """Await `wait`."""
        return await in_thread(lambda: self.wait(until, timeout))

    def stream(
        self,
        from_seq: int = 0,
        *,
        stream_mode: str | Sequence[str] = "updates",
        subgraphs: bool = False,
        timeout: float | None = None,
    ) -> Iterator[StreamPart]:
        """Read what happens on the thread, from its event log, until the run rests.

        Many may read, late or again: with the `seq` of the last part that was read, a reader
        continues where it was, without gap or repetition. Where events cannot be read any more,
        because the log was trimmed, a part of the mode `gap` says which.

        Args:
            from_seq: the `seq` of the part after which to begin, or the number of an event, after
                all of whose parts to begin; 0: with the beginning.
            stream_mode: what to show, one mode or several. `"messages"` only for a run that was
                submitted with `stream_mode="messages"`.
            subgraphs: whether to show what happens inside subgraphs.
            timeout: seconds to wait for the run to rest.

        Raises:
            OptionError: if the messages of the run are not kept, or a mode does not exist.
            RunNotFinishedError: if it does not rest in time.
        """
        return self.client.stream(
            self.thread_id,
            from_seq,
            stream_mode=stream_mode,
            subgraphs=subgraphs,
            timeout_s=timeout,
        )

    async def aresult(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as `result`
        """Await `result`."""
        return await in_thread(lambda: self.result(timeout))

    async def astream(self, from_seq: int = 0, **options: Any) -> AsyncIterator[StreamPart]:
        """Iterate over what `stream` gives."""
        parts = self.stream(from_seq, **options)
        while (part := await in_thread(lambda: next(parts, None))) is not None:
            yield part

    def cancel(self) -> bool:
        """End the run; return whether there was anything to end."""
        return self.client.cancel(self.thread_id, self.run_id)
