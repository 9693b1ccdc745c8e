"""Calls that start at the same instant, and waiting for a condition instead of a guessed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")

Tick = Callable[[float], None]  # Lets seconds pass, of the time that counts.


def wait_until(
    happened: Callable[[], _T | None],
    *,
    tick: Tick = time.sleep,
    timeout_s: float = 10,
    step_s: float = 0.02,
) -> _T:
    """Let time pass, step by step, until `happened` returns something true; return that.

    Args:
        happened: the condition. It is called before any time passes.
        tick: lets time pass; a manual clock makes waiting instant.
        timeout_s: how much time may pass, as counted in steps.
        step_s: how much time passes between two calls.

    Raises:
        AssertionError: if it has not happened by then.
    """
    for _ in range(max(1, round(timeout_s / step_s))):
        found = happened()
        if found:
            return found
        tick(step_s)
    msg = f"it did not happen within {timeout_s:g} s"
    raise AssertionError(msg)


def race(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """Run all calls side by side and return their results in order; the first error is raised."""
    barrier = threading.Barrier(len(calls))

    def start(call: Callable[[], _T]) -> _T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(start, calls))
