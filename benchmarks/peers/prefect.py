"""Prefect: a flow whose tasks keep their results, and the server that it starts, on SQLite.

Results are persisted, so that a flow that is run again does not repeat its tasks; nothing of it is
continued by itself. Tasks side by side are mapped on the default task runner.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers.contract import Order, footprint, run, timed_ms

HOME = Path(tempfile.mkdtemp(prefix="bench-prefect-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(
    PREFECT_HOME=str(HOME),
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true",
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="60",
    PREFECT_RESULTS_PERSIST_BY_DEFAULT="true",
    PREFECT_LOGGING_LEVEL="CRITICAL",
    PREFECT_LOGGING_TO_API_ENABLED="false",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
)

import psutil  # noqa: E402 - Prefect reads its settings when it is imported.
from prefect import flow, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402


@task(cache_policy=NO_CACHE)
def count_one(count: int) -> int:
    """Count one."""
    return count + 1


@flow
def row(steps: int) -> dict[str, Any]:
    """Make no-op tasks one after the other."""
    count, seen = 0, []
    for _ in range(steps):
        seen.append(count)
        count = count_one(count)
    return {"count": count, "seen": seen}


@flow
def fan(branches: int) -> int:
    """Make tasks side by side, and join them."""
    return len([each.result() for each in count_one.map(range(branches))])


def _row(order: Order) -> dict[str, float]:
    cost = timed_ms(lambda _: row(order.steps), order.runs, lambda: row(2))
    return {"ms_per_step": cost / order.steps}


def _rows(order: Order) -> dict[str, float]:
    row(2)
    with ThreadPoolExecutor(8) as pool:
        begun = time.perf_counter()
        list(pool.map(lambda _: row(order.steps), range(order.threads)))
        took = time.perf_counter() - begun
    return {"steps_per_s": order.threads * order.steps / took}


def _fan(order: Order) -> dict[str, float]:
    cost = timed_ms(lambda _: fan(order.size), order.runs, lambda: fan(5))
    return {"ms_per_branch": cost / order.size}


def _smallest(_: Order) -> dict[str, float]:
    row(2)
    ready = time.time() - psutil.Process().create_time()
    return {"start_s": ready, **footprint(os.getpid())}


WORKLOADS: Mapping[str, Callable[[Order], Mapping[str, Any]]] = {
    "row": _row,
    "rows": _rows,
    "fan": _fan,
    "smallest": _smallest,
}

if __name__ == "__main__":
    sys.exit(run(WORKLOADS))
