"""Running coroutines from synchronous code: one event loop per process, in a thread of its own.

Clients that nodes keep between steps (connection pools) stay valid, since the loop stays the same.
A forked child starts its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable
from typing import Any

__all__ = ["run_coroutine"]

_lock = threading.Lock()
_loops: dict[
    int, asyncio.AbstractEventLoop
] = {}  # By process id: a fork's copy is no running loop.


def _loop() -> asyncio.AbstractEventLoop:
    pid = os.getpid()
    with _lock:
        loop = _loops.get(pid)
        if loop is None:
            loop = _loops[pid] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="graphstalk-async", daemon=True).start()
        return loop


def run_coroutine(awaitable: Awaitable[Any]) -> Any:
    """Run `awaitable` to its end and return its result; context variables go along."""

    async def main() -> Any:
        return await awaitable

    return asyncio.run_coroutine_threadsafe(main(), _loop()).result()
