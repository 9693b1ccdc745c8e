"""Calls that start at the same instant, each in an OS thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["race"]

_T = TypeVar("_T")


def race(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """Run all calls side by side and return their results in order; the first error is raised."""
    barrier = threading.Barrier(len(calls))

    def start(call: Callable[[], _T]) -> _T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(start, calls))
