"""Running coroutines from synchronous code.

A run that was begun from an event loop runs its coroutines there. Others run in one event loop per
process, in a thread of its own: clients that nodes keep between steps (connection pools) stay
valid, since the loop stays the same. A forked child starts its own.

Each coroutine has an OS thread that waits for it, to commit its step.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

from orchestrator import limits
from orchestrator.step.cancelscope import cancel_scope

__all__ = ["WaitingThread", "callers_loop", "run_coroutine"]

# The event loop from which the current run was begun.
callers_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar(
    "graphstalk_loop", default=None
)

_lock = threading.Lock()
_loops: dict[
    int, asyncio.AbstractEventLoop
] = {}  # By process id: a fork's copy is no running loop.


def _loop() -> asyncio.AbstractEventLoop:
    given = callers_loop.get()
    if given is not None and given.is_running() and given is not _running():
        return given
    pid = os.getpid()
    with _lock:
        loop = _loops.get(pid)
        if loop is None:
            loop = _loops[pid] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="graphstalk-async", daemon=True).start()
        return loop


def _running() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of this OS thread: it cannot wait for itself."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def run_coroutine(awaitable: Awaitable[Any]) -> Any:
    """Run `awaitable` to its end and return its result, with the caller's context variables.

    Raises:
        Cancelled: if the cancel scope of the caller was cancelled.
    """
    scope = cancel_scope.get()
    if scope is not None:
        loop = _loop()
        return scope.run(awaitable, loop, ends=loop is callers_loop.get())

    async def main() -> Any:
        return await awaitable

    return asyncio.run_coroutine_threadsafe(main(), _loop()).result()


class WaitingThread(threading.Thread):
    """An OS thread that waits for coroutines, one after the other.

    To start one takes longer than a step that awaits nothing, so it is kept for a while.
    """

    _idle: ClassVar[list[WaitingThread]] = []

    def __init__(self) -> None:
        """Begin without a job."""
        super().__init__(name="graphstalk-step", daemon=True)
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    @classmethod
    def submit(cls, call: Callable[[], Any]) -> Future[Any]:
        """Call in an idle thread, or in a new one; return the future of the result."""
        try:
            thread = cls._idle.pop()
        except IndexError:
            thread = cls()
            thread.start()
        future: Future[Any] = Future()
        thread._jobs.put((future, call))
        return future

    def run(self) -> None:
        """Do one job after the other, until none has come for a while."""
        while True:
            try:
                future, call = self._jobs.get(timeout=limits.IDLE_THREAD_S)
            except Empty:
                try:
                    self._idle.remove(self)
                except ValueError:
                    continue  # A job is on its way.
                return
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
                self._idle.append(self)
                future.set_exception(error)
            else:
                self._idle.append(self)
                future.set_result(result)
            del future, call

    @classmethod
    def forget(cls) -> None:
        """Forget all idle threads: a forked process does not have them."""
        cls._idle.clear()


os.register_at_fork(after_in_child=WaitingThread.forget)
