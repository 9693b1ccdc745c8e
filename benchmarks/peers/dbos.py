"""DBOS: a workflow is a function whose steps are kept in SQLite or Postgres.

A step's own result is kept, not the whole state, as its documentation advises: the counter and the
list are local variables of the workflow. Steps that run side by side are asynchronous ones that are
gathered. Its defaults, but for telemetry and the log's level.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from dbos import DBOS, DBOSConfig, SetWorkflowID

from benchmarks.peers.contract import (
    Order,
    attempt,
    chunk,
    footprint,
    kill_and_restart,
    run,
    slope_ms,
    timed_ms,
)
from benchmarks.peers.measures import file_size, postgres_size


@DBOS.step()
def count_one(count: int) -> int:
    """Count one."""
    return count + 1


@DBOS.workflow()
def row(steps: int) -> dict[str, Any]:
    """Make no-op steps one after the other."""
    count, seen = 0, []
    for _ in range(steps):
        seen.append(count)
        count = count_one(count)
    return {"count": count, "seen": seen}


@DBOS.step()
async def piece(number: int) -> int:
    """Return one branch's part."""
    return number


@DBOS.workflow()
async def fan(branches: int) -> int:
    """Make steps side by side, and join them."""
    return len(await asyncio.gather(*(piece(number) for number in range(branches))))


@DBOS.step()
def append_one(number: int, size: int) -> str:
    """Return one chunk."""
    return chunk(number, size)


@DBOS.workflow()
def append(steps: int, size: int) -> int:
    """Gather chunks, one after the other."""
    return sum(len(append_one(number, size)) for number in range(steps))


@DBOS.workflow()
def loop(depth: int) -> float:
    """Make steps, wait for a message, and say when the code after it began."""
    count = 0
    for _ in range(depth):
        count = count_one(count)
    DBOS.recv("go on", timeout_seconds=3600)
    return time.time()


@DBOS.step()
def try_once(ledger: str) -> int:
    """Write an attempt down."""
    return attempt(ledger)


@DBOS.workflow()
def victim(ledger: str) -> int:
    """Run the step that is killed."""
    return try_once(ledger)


@contextmanager
def _launched(order: Order) -> Iterator[None]:
    url = order.where or f"sqlite:///{order.folder}/dbos.sqlite"
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
        "enable_otlp": False,
        "application_version": "1",  # A restarted process is of the same version, and recovers.
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()


def _row(order: Order) -> dict[str, float]:
    with _launched(order):
        cost = timed_ms(lambda _: row(order.steps), order.runs)
    return {"ms_per_step": cost / order.steps}


def _rows(order: Order) -> dict[str, float]:
    with _launched(order):
        row(2)
        begun = time.perf_counter()
        handles = [DBOS.start_workflow(row, order.steps) for _ in range(order.threads)]
        for handle in handles:
            handle.get_result()
        took = time.perf_counter() - begun
    return {"steps_per_s": order.threads * order.steps / took}


def _fan(order: Order) -> dict[str, float]:
    async def measure() -> float:
        await fan(2)
        begun = time.perf_counter()
        for _ in range(order.runs):
            await fan(order.size)
        return (time.perf_counter() - begun) / order.runs * 1000

    with _launched(order):
        return {"ms_per_branch": asyncio.run(measure()) / order.size}


def _cold(order: Order) -> dict[str, float]:
    """Resume, in a process that has just launched, a workflow that another one left waiting."""
    marker, name = order.folder / "paused", f"{order.folder.name}-cold"
    if not marker.exists():
        with _launched(order):
            with SetWorkflowID(name):
                DBOS.start_workflow(loop, order.depth)
            while len(DBOS.list_workflow_steps(name)) < order.depth:
                time.sleep(0.05)
            time.sleep(0.5)
            marker.touch()
            os._exit(0)  # As a deploy would end it: with the workflow still waiting.
    begun = time.time()
    with _launched(order):
        DBOS.send(name, "yes", "go on")
        ended = DBOS.retrieve_workflow(name).get_result()
    return {"ms": (float(ended) - begun) * 1000}


def _stored(order: Order) -> int:
    return postgres_size(order.where) if order.where else file_size(order.folder / "dbos.sqlite")


def _append(order: Order) -> dict[str, float]:
    with _launched(order):
        append(2, order.size)
        before = _stored(order)
        begun = time.perf_counter()
        size = append(order.steps, order.size)
        took = time.perf_counter() - begun
        after = _stored(order)
    return {"ms": took * 1000, "state_bytes": size, "stored_bytes": after - before}


def _kill(order: Order) -> dict[str, float]:
    ledger = order.folder / "ledger"
    command = (
        *(sys.executable, "-m", "benchmarks.peers.dbos", "victim", f"--store={order.store}"),
        *(f"--where={order.where}", f"--folder={order.folder}"),
    )
    took = kill_and_restart(command, ledger, order.folder / "log")
    return {"ms": took * 1000, "attempts": len(ledger.read_text().split())}


def _victim(order: Order) -> dict[str, float]:
    ledger = order.folder / "ledger"
    began, name = ledger.exists(), f"{order.folder.name}-victim"
    with _launched(order):  # Recovers what its executor left.
        if began:
            DBOS.retrieve_workflow(name).get_result()
        else:
            with SetWorkflowID(name):
                victim(str(ledger))
    return {}


def _smallest(order: Order) -> dict[str, float]:
    with _launched(order):
        row(2)
        ready = time.time() - psutil.Process().create_time()
        return {"start_s": ready, **footprint(os.getpid())}


def _carry(order: Order) -> dict[str, float]:
    """Have the large value as the workflow's local variable: it is stored once, as its input."""
    with _launched(order):
        body = "x" * order.size
        cost = slope_ms(lambda _, steps: carry(body, steps), order.steps, order.runs)
    return {"ms_per_step": cost}


@DBOS.workflow()
def carry(body: str, steps: int) -> int:
    """Make no-op steps beside a large value."""
    count = 0
    for _ in range(steps):
        count = count_one(count)
    return count + len(body)


WORKLOADS = {
    "row": _row,
    "rows": _rows,
    "fan": _fan,
    "cold": _cold,
    "append": _append,
    "kill": _kill,
    "victim": _victim,
    "smallest": _smallest,
    "carry": _carry,
}

if __name__ == "__main__":
    sys.exit(run(WORKLOADS))
