"""Running coroutines from synchronous code.

A run that was begun from an event loop runs its coroutines there. Others run in one event loop per
process, in a thread of its own: clients that nodes keep between steps (connection pools) stay
valid, since the loop stays the same. A forked child starts its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

from orchestrator.step.cancelscope import cancel_scope

__all__ = ["callers_loop", "run_coroutine"]

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
