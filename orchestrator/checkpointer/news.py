"""Waiting for what becomes of a thread's runs by reading its log, where there is no shorter way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.checkpointer.base import Checkpointer

__all__ = ["news_in_log"]

_PAUSE_PART, _PAUSE_MAX_S = 0.03, 0.01  # Between two looks at the log.


@contextmanager
def news_in_log(
    store: Checkpointer, thread_id: str, after: int
) -> Iterator[Callable[[float], bool]]:
    """Listen to what becomes of the runs of a thread; see `Checkpointer.news`.

    What happens to its steps is let pass. A run that takes long is looked at less often: what that
    adds to it is a part of what it took.
    """
    began, seen = time.monotonic(), after

    def wait(wait_s: float) -> bool:
        nonlocal seen
        end = time.monotonic() + wait_s
        while (left := end - time.monotonic()) > 0:
            events = store.events(thread_id, after=seen, wait_s=left)
            seen = events[-1].seq if events else seen
            if any(event.type.startswith("run_") for event in events):
                return True
            time.sleep(min(left, _PAUSE_MAX_S, _PAUSE_PART * (time.monotonic() - began)))
        return False

    yield wait
