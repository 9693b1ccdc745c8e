"""The future of a `@task`: waited for with `result()`, or awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

__all__ = ["TaskFuture"]


class TaskFuture(Future[Any]):
    """What calling a `@task` gives; also awaitable, in any event loop."""

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait without blocking the event loop."""
        return asyncio.wrap_future(self).__await__()
