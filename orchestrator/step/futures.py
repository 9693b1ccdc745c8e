"""The future of a `@task`: waited for with `result()`, or awaited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from orchestrator.step.cancelscope import CancelScope

__all__ = ["TaskFuture"]


class TaskFuture(Future[Any]):
    """What calling a `@task` gives; also awaitable, in any event loop."""

    def __init__(self, scope: CancelScope | None = None) -> None:
        """Begin without a result; `scope` is that of a task which can be cancelled."""
        super().__init__()
        self._scope = scope
        self._thread: threading.Thread | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait without blocking the event loop."""
        return asyncio.wrap_future(self).__await__()

    def run_in(self, thread: threading.Thread) -> None:
        """Start the OS thread that sets the result."""
        self._thread = thread
        thread.start()

    def cancel(self) -> bool:
        """Cancel the task, and nothing else; return whether it is cancelled.

        An async task that has not ended can be cancelled. It is not kept, so another attempt at the
        step runs it again. A synchronous task runs to its end.
        """
        if self._scope is None or not super().cancel():
            return self.cancelled()
        self._scope.cancel()
        return True

    def settle(self) -> BaseException | None:
        """Wait until the task's code has ended; return what it raised, if it was not cancelled."""
        with suppress(CancelledError):
            return self.exception()
        if self._thread is not None:
            self._thread.join()
        return None
