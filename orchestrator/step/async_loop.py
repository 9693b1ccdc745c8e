"""Running coroutines from synchronous code.

A run that was begun from an event loop runs its coroutines there. Others run in one event loop per
process, in a thread of its own: clients that nodes keep between steps (connection pools) stay
valid, since the loop stays the same. A forked child starts its own.

Each coroutine has an OS thread that waits for it, to commit its step.

Each part of a run that can be cancelled alone has a scope of its own, inside the scope around it:
an awaited call, a superstep of several steps, a step, a task, an attempt with a time limit.
Code of a step that wants to end early asks its scope (`ctx.cancelled`, `ctx.check()`).

Rule 1: a scope is cancelled once, with all scopes inside it. What begins in it later is refused.
Rule 2: a coroutine gets `asyncio.CancelledError` where it awaits, and may clean up. The OS thread
        that waits for it gets `Cancelled` when it has ended, unless it returned a result after all.
Rule 3: synchronous code is never interrupted. What it returns later is not committed, because the
        claims of its run are revoked. (INV-3)
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar, Token, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, NamedTuple

from orchestrator import limits

__all__ = [
    "Begin",
    "CancelScope",
    "Cancelled",
    "WaitingThread",
    "callers_loop",
    "cancel_scope",
    "check_cancelled",
    "elsewhere",
    "run_coroutine",
]


class Cancelled(BaseException):
    """Raised in an OS thread whose scope was cancelled; `except Exception` does not catch it."""


class Begin(NamedTuple):
    """Lets a coroutine begin in its event loop."""

    loop: asyncio.AbstractEventLoop
    start: Callable[[], object]

    @staticmethod
    def together(begins: Iterable[Begin]) -> None:
        """Let coroutines begin; in a loop, all of them before any of them continues."""
        loops: dict[asyncio.AbstractEventLoop, list[Callable[[], object]]] = {}
        for loop, start in begins:
            loops.setdefault(loop, []).append(start)
        for loop, starts in loops.items():
            loop.call_soon_threadsafe(_call, starts)


def _call(functions: Iterable[Callable[[], object]]) -> None:
    for function in functions:
        function()


cancel_scope: ContextVar[CancelScope | None] = ContextVar("graphstalk_cancel_scope", default=None)


def check_cancelled() -> None:
    """Refuse to begin anything in a scope that was cancelled.

    Raises:
        Cancelled: if it was.
    """
    scope = cancel_scope.get()
    if scope is not None and scope.ends_runs:
        raise Cancelled


@contextmanager
def elsewhere() -> Iterator[None]:
    """Wait inside the block for what other processes do: a cancelled call need not wait for it."""
    scope = cancel_scope.get()
    with scope.holding(_nothing) if scope is not None else nullcontext():
        yield


def _nothing() -> None:
    """Do nothing: the run of another process continues."""


class CancelScope:
    """One scope.

    Attributes:
        outer: the scope around it, if there is one.
        cancelled: whether it was cancelled.
        ends_runs: whether runs in it end after the superstep they are in; if not, cancelling ends
            coroutines only.
        begins: what an OS thread calls that is about to wait for a coroutine.
    """

    def __init__(
        self, outer: CancelScope | None, *, begins: Callable[[Begin], None] | None = None
    ) -> None:
        """Begin empty.

        Args:
            outer: the scope around it.
            begins: called by an OS thread that is about to wait for a coroutine, with what lets the
                coroutine begin; by default as in the scope around it, at last at once.
        """
        self.outer, self.cancelled, self.ends_runs = outer, False, False
        self._lost = False
        self.begins: Callable[[Begin], None] | None = (
            begins if begins is not None or outer is None else outer.begins
        )
        self._lock = threading.Lock()
        self._jobs: set[_Job] = set()
        self._inner: set[CancelScope] = set()
        self._runs: list[Callable[[], None]] = []
        self._readers: list[Callable[[], None]] = []

    @contextmanager
    def entered(self) -> Iterator[CancelScope]:
        """Make it the scope of the code inside the block."""
        token = self.enter()
        try:
            yield self
        finally:
            self.leave(token)

    def enter(self) -> Token[CancelScope | None]:
        """Make it the scope of the code that follows; return what to `leave` with."""
        if self.outer is not None:
            self.outer._add(self)  # noqa: SLF001 - another scope
        return cancel_scope.set(self)

    def leave(self, token: Token[CancelScope | None]) -> None:
        """Make the scope around it the one of the code that follows."""
        cancel_scope.reset(token)
        if self.outer is not None:
            self.outer._inner.discard(self)  # noqa: SLF001 - another scope

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let the scope around it cancel it, too, during the block."""
        if self.outer is not None:
            self.outer._add(self)  # noqa: SLF001 - another scope
        try:
            yield
        finally:
            if self.outer is not None:
                self.outer._inner.discard(self)  # noqa: SLF001 - another scope

    def _add(self, inner: CancelScope) -> None:
        with self._lock:
            self._inner.add(inner)
            cancelled, ends_runs = self.cancelled, self.ends_runs
        if cancelled:
            inner.cancel(ends_runs=ends_runs)

    def cancel(self, *, ends_runs: bool = True) -> None:
        """Cancel it and all scopes inside it, and return at once."""
        with self._lock:
            if self.cancelled and self.ends_runs >= ends_runs:
                return
            self.cancelled, self.ends_runs = True, self.ends_runs or ends_runs
            jobs, inner, readers = list(self._jobs), list(self._inner), list(self._readers)
        for job in jobs:
            job.cancel()
        for reader in readers:
            reader()
        for scope in inner:
            scope.cancel(ends_runs=ends_runs)

    def lose(self) -> None:
        """Cancel it because the claim of its step was taken away; log nothing, store nothing."""
        self._lost = True
        self.cancel()

    @property
    def is_lost(self) -> bool:
        """Whether the claim of its step, or of a step around it, was taken away."""
        return self._lost or (self.outer is not None and self.outer.is_lost)

    @contextmanager
    def reporting(self, to: Callable[[], None]) -> Iterator[None]:
        """Call `to` if the scope is cancelled during the block."""
        with self._lock:
            self._readers.append(to)
        if self.cancelled:
            to()
        try:
            yield
        finally:
            with self._lock:
                self._readers.remove(to)

    # ---- coroutines -----------------------------------------------------------------------

    def run(
        self, awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop, *, ends: bool = True
    ) -> Any:
        """Run a coroutine to its end in an event loop of another OS thread; return its result.

        Args:
            awaitable: the coroutine.
            loop: the event loop.
            ends: whether the loop may end first, and cancel what runs in it.

        Raises:
            Cancelled: if the scope was cancelled.
            CancelledError: if the coroutine was cancelled otherwise.
        """
        job = _Job(loop, ends=ends)
        with self._lock:
            refused = self.cancelled
            if not refused:
                self._jobs.add(job)
        if refused:
            _close(awaitable)
            raise Cancelled
        try:
            begin = Begin(loop, partial(copy_context().run, job.start, awaitable))
            if self.begins is None:
                Begin.together([begin])
            else:
                self.begins(begin)
            return job.ended.result()
        finally:
            with self._lock:
                self._jobs.discard(job)

    def coroutines(self) -> list[Future[Any]]:
        """Return the futures of all coroutines in it, and in the scopes inside it."""
        with self._lock:
            found = [job.ended for job in self._jobs]
            inner = list(self._inner)
        return [*found, *(future for scope in inner for future in scope.coroutines())]

    def pause(self, seconds: float) -> None:
        """Let time pass, at most until it is cancelled."""
        cancelled = threading.Event()
        with self.reporting(cancelled.set):
            cancelled.wait(seconds)

    # ---- runs -----------------------------------------------------------------------------

    @contextmanager
    def holding(self, stop: Callable[[], None]) -> Iterator[None]:
        """Count a run as one in the scope during the block; `stop` stores that it was stopped.

        A cancelled call does not wait for the OS thread of such a run.
        """
        with self._lock:
            self._runs.append(stop)
        try:
            yield
        finally:
            with self._lock:
                self._runs.remove(stop)

    @property
    def has_runs(self) -> bool:
        """Whether a run is in it, or in a scope inside it."""
        with self._lock:
            inner = list(self._inner)
            found = bool(self._runs)
        return found or any(scope.has_runs for scope in inner)

    def stop_runs(self) -> None:
        """Store that the runs in it were stopped, the innermost first."""
        with self._lock:
            inner, runs = list(self._inner), list(self._runs)
        for scope in inner:
            scope.stop_runs()
        for stop in reversed(runs):
            stop()


class _Job:
    """A coroutine in an event loop, as the OS thread that waits for it sees it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, ends: bool) -> None:
        self.ended: Future[Any] = Future()
        self._loop, self._ends, self._cancelled = loop, ends, False
        self._task: asyncio.Task[Any] | None = None

    def start(self, awaitable: Awaitable[Any]) -> None:
        """Begin; called in the event loop, with the context of the waiting thread."""

        async def main() -> Any:
            return await awaitable

        self._task = self._loop.create_task(main())
        self._task.add_done_callback(self._end)
        self._task.add_done_callback(lambda _: _close(awaitable))  # It may not have begun.
        if self._cancelled:
            self._task.cancel()

    def cancel(self) -> None:
        """Let the coroutine end."""
        self._cancelled = True
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # The loop is closed, and its coroutines with it.
            if not self.ended.done():
                self.ended.set_exception(Cancelled())

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            # Without a scope's wish it is the event loop that ends, or the coroutine's own doing.
            asked = self._cancelled or (self._ends and task.cancelling())
            self.ended.set_exception(Cancelled() if asked else CancelledError())
        elif (error := task.exception()) is not None:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(task.result())


def _close(awaitable: Awaitable[Any]) -> None:
    """End a coroutine that will not be awaited; one that has ended stays as it is."""
    if asyncio.iscoroutine(awaitable):
        awaitable.close()


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
