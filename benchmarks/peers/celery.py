"""Plain Celery: a `chain` of no-op tasks, and a `chord`. It keeps no steps: the broker's speed.

The settings that its documentation recommends for short tasks whose loss matters: late
acknowledgement, the default prefetch, results ignored in a chain (a chord needs them).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import redis
from celery import Celery, chain, chord

from benchmarks.peers.contract import (
    PROCESSES,
    Order,
    cpu_s,
    footprint,
    program,
    rates,
    run,
    timed_ms,
    until,
)

URL = os.environ.get("BENCH_CELERY_URL", "redis://127.0.0.1:6379/1")

app = Celery("bench", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,  # As ours: work that a dying worker had taken is not to be lost.
    worker_prefetch_multiplier=4,  # Celery's default, and its fastest here.
    task_default_queue="bench",
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.count", ignore_result=True)
def count(state: dict[str, int] | None = None) -> dict[str, int]:
    """Count one."""
    return {"count": (state or {"count": 0})["count"] + 1}


@app.task(name="bench.done", ignore_result=True)
def done(state: object, key: str) -> None:
    """Say that a chain or a chord has ended."""
    del state
    with app.pool.acquire(block=True) as connection:
        connection.default_channel.client.incr(key)


@app.task(name="bench.piece")
def piece(number: int) -> int:
    """Return one branch's part."""
    return number


class _Fleet:
    """A worker that runs, and how many chains have ended."""

    def __init__(self, url: str) -> None:
        self.server = redis.Redis.from_url(url)
        self._wanted = 0
        self.server.delete("done")

    def chain(self, steps: int) -> None:
        self._wanted += 1
        tasks = [count.s({"count": 0}), *(count.s() for _ in range(steps - 2)), done.s("done")]
        chain(*tasks).apply_async()

    def chord(self, branches: int) -> None:
        self._wanted += 1
        chord([piece.s(number) for number in range(branches)])(done.s("done"))

    def wait(self) -> None:
        wanted = self._wanted
        until(lambda: int(self.server.get("done") or 0) >= wanted, "the end of all chains", 600)


@contextmanager
def _fleet(
    order: Order, pool: str = "prefork", concurrency: int = PROCESSES
) -> Iterator[tuple[_Fleet, int]]:
    url = order.where.removesuffix("/0") + "/1"
    app.conf.broker_url = app.conf.result_backend = url
    fleet = _Fleet(url)
    command = (
        *(sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery:app", "worker"),
        *(f"--concurrency={concurrency}", f"--pool={pool}", "--loglevel=error"),
        *("--without-gossip", "--without-mingle"),
    )
    env = {"BENCH_CELERY_URL": url}
    with program(*command, log=order.folder / "celery.log", env=env) as worker:
        fleet.chain(2)
        fleet.wait()
        yield fleet, worker.pid


def _row(order: Order) -> dict[str, float]:
    with _fleet(order) as (fleet, _):

        def once(_: int) -> None:
            fleet.chain(order.steps)
            fleet.wait()

        cost = timed_ms(once, order.runs)
    return {"ms_per_step": cost / order.steps}


def _rows(order: Order) -> dict[str, float]:
    with _fleet(order) as (fleet, worker):
        server = int(fleet.server.info("server")["process_id"])
        begun, worker_s, server_s = time.perf_counter(), cpu_s(worker), cpu_s(server)
        for _ in range(order.threads):
            fleet.chain(order.steps + 1)  # Ours have a step for the input, too.
        fleet.wait()
        took = time.perf_counter() - begun
        worker_s, server_s = cpu_s(worker) - worker_s, cpu_s(server) - server_s
    return rates(order, took, worker_s, server_s)


def _fan(order: Order) -> dict[str, float]:
    with _fleet(order) as (fleet, _):

        def once(_: int) -> None:
            fleet.chord(order.size)
            fleet.wait()

        def warm() -> None:
            fleet.chord(50)
            fleet.wait()

        cost = timed_ms(once, order.runs, warm)
    return {"ms_per_branch": cost / order.size}


def _smallest(order: Order) -> dict[str, float]:
    with _fleet(order, "solo", 1) as (_, pid):
        ready = time.time() - psutil.Process().create_time()
        return {"start_s": ready, **footprint(pid)}


WORKLOADS = {"row": _row, "rows": _rows, "fan": _fan, "smallest": _smallest}

if __name__ == "__main__":
    sys.exit(run(WORKLOADS))
