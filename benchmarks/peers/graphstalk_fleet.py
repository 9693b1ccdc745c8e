"""graphstalk on a fleet: a worker of the project's own, and this process as its client.

`--store` is the dispatch: `queue` (a message for each step) or `inline` (a worker goes on with the
step that follows). The database of `--where` is emptied first: the server is the benchmark's own.
"""

from __future__ import annotations

import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks.peers.contract import (
    PROCESSES,
    Order,
    cpu_s,
    footprint,
    program,
    rates,
    run,
    slope_ms,
    timed_ms,
)
from benchmarks.peers.fleetgraphs import GRAPHS
from benchmarks.peers.graphs import PAUSED_BYTES
from benchmarks.peers.roundtrips import round_trips
from benchmarks.takeover import measure_takeover
from orchestrator import Client
from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.config import Settings
from orchestrator.dispatch.await_run import wait_for_rest

WAIT_S = 900.0
RESUMES = 100
WARM = 0.1  # The part of a long run after which a worker's memory should be what it stays.


class _Fleet:
    """A worker that runs, and a client of it."""

    def __init__(self, order: Order, client: Client, worker: int) -> None:
        self.client, self.worker = client, worker
        self.store = RedisCheckpointer(settings=client.settings)
        self._dispatch, self._prefix = order.store, order.folder.name

    def submit(self, graph: str, thread: object, value: Any, limit: int = 10_000) -> Any:
        return self.client.submit(
            f"{graph}_{self._dispatch}",
            value,
            thread_id=f"{self._prefix}-{thread}",
            config={"recursion_limit": limit},
        )

    def do(self, graph: str, thread: object, value: Any, limit: int = 10_000) -> Any:
        return self.submit(graph, thread, value, limit).result(WAIT_S)

    def rest(self, thread: object) -> dict[str, Any]:
        """Wait until a thread asks something; return its state."""
        name = f"{self._prefix}-{thread}"
        wait_for_rest(self.store, name, WAIT_S)
        return dict(self.client.get_state(name).values)

    def stored_bytes(self, thread: object = "") -> int:
        """Return what the server's memory holds of a thread, key by key."""
        keys = self.store.client.scan_iter(f"*t:{self._prefix}-{thread}:*", count=1000)
        return sum(self.store.client.memory_usage(key, samples=0) or 0 for key in keys)

    def sent_bytes(self) -> int:
        return int(self.store.client.info("stats")["total_net_input_bytes"])


@contextmanager
def _fleet(order: Order, pool: str = "prefork", concurrency: int = PROCESSES) -> Iterator[_Fleet]:
    settings = Settings.from_env({"REDIS_URL": order.where})
    names = (name for name in GRAPHS if name.endswith(order.store))
    command = (
        *(sys.executable, "-m", "workers", f"--pool={pool}", f"--concurrency={concurrency}"),
        *(f"--graphs={name}=benchmarks.peers.fleetgraphs:{name}" for name in names),
    )
    env = {
        "REDIS_URL": order.where,
        "GRAPHSTALK_HEARTBEAT_FILE": str(order.folder / "heartbeat"),
    }
    with Client(graphs=GRAPHS, settings=settings) as client:
        RedisCheckpointer(settings=settings).client.flushdb()
        with program(*command, log=order.folder / "worker.log", env=env) as worker:
            fleet = _Fleet(order, client, worker.pid)
            fleet.do("short", "up", _zero())
            yield fleet


def _zero() -> dict[str, Any]:
    return {"count": 0, "seen": []}


def _row(order: Order) -> dict[str, float]:
    with _fleet(order) as fleet:
        cost = timed_ms(lambda number: fleet.do("row", number, _zero()), order.runs)
        trips = round_trips(fleet.store, lambda: fleet.do("row", "trips", _zero()))
    return {"ms_per_step": cost / order.steps, "round_trips": trips / (order.steps + 1)}


def _rows(order: Order) -> dict[str, float]:
    with _fleet(order) as fleet:
        fleet.do("row", "warm", _zero())
        server = int(fleet.store.client.info("server")["process_id"])
        begun, worker_s, server_s = time.perf_counter(), cpu_s(fleet.worker), cpu_s(server)
        handles = [fleet.submit("row", number, _zero()) for number in range(order.threads)]
        for handle in handles:
            assert handle.result(WAIT_S)["count"] == order.steps
        took = time.perf_counter() - begun
        worker_s, server_s = cpu_s(fleet.worker) - worker_s, cpu_s(server) - server_s
    return rates(order, took, worker_s, server_s)


def _fan(order: Order) -> dict[str, float]:
    with _fleet(order) as fleet:
        value = {"branches": order.size, "seen": []}
        cost = timed_ms(
            lambda number: fleet.do("fan", number, value),
            order.runs,
            lambda: fleet.do("fan", "warm", {"branches": 50, "seen": []}),
        )
    return {"ms_per_branch": cost / order.size}


def _long(order: Order) -> dict[str, Any]:
    """Make `depth` steps and watch the worker's memory; resume it and a short thread in turns."""
    with _fleet(order) as fleet:
        began = time.perf_counter()
        fleet.submit("loop", "short", {"count": 0, "depth": 10})
        fleet.submit("loop", "long", {"count": 0, "depth": order.depth}, order.depth + 1000)
        sizes = _watch(fleet, f"{order.folder.name}-long", order.depth)
        fleet.rest("long")
        took = time.perf_counter() - began
        found: dict[str, list[float]] = {"short_ms": [], "long_ms": []}
        for _ in range(RESUMES):
            for name, thread in (("short_ms", "short"), ("long_ms", "long")):
                begun = time.time()
                thread_id = f"{order.folder.name}-{thread}"
                fleet.client.resume(thread_id, value="yes")
                state = fleet.rest(thread)
                found[name].append((state["began"] - begun) * 1000)
        stored = fleet.stored_bytes("long")
    return {**found, **sizes, "ms_per_step": took / order.depth * 1000, "stored_bytes": stored}


def _watch(fleet: _Fleet, thread: str, depth: int) -> dict[str, float]:
    """Return the greatest growth of a worker's process between the warm part and the end."""
    warm: dict[int, int] = {}
    while True:
        state = fleet.client.get_state(thread)
        count = state.values.get("count", 0) if state.values else 0
        sizes = {
            each.pid: each.memory_info().rss
            for each in psutil.Process(fleet.worker).children(recursive=True)
        }
        if not warm and count >= depth * WARM:
            warm = sizes
        if count >= depth:
            grown = [size / warm[pid] for pid, size in sizes.items() if pid in warm]
            return {"memory_growth": max(grown, default=1.0), "rss_mb": max(sizes.values()) / 1e6}
        time.sleep(0.1)


def _append(order: Order) -> dict[str, float]:
    value = {"count": 0, "depth": order.steps, "size": order.size, "log": []}
    with _fleet(order) as fleet:
        fleet.do("append", "warm", {**value, "depth": 2})
        sent = fleet.sent_bytes()
        begun = time.perf_counter()
        end = fleet.do("append", "measured", value, order.steps + 10)
        took = time.perf_counter() - begun
        sent = fleet.sent_bytes() - sent
        stored = fleet.stored_bytes("measured")
    state = sum(map(len, end["log"]))
    return {"ms": took * 1000, "state_bytes": state, "stored_bytes": stored, "sent_bytes": sent}


def _grown(order: Order) -> dict[str, float]:
    """Make steps that each append to a list of `depth` numbers."""
    seen = list(range(order.depth))
    with _fleet(order) as fleet:
        begun = time.perf_counter()
        fleet.do("row", "grown", {"count": 0, "seen": seen})
        took = time.perf_counter() - begun
        stored = fleet.stored_bytes("grown")
    return {"ms_per_step": took / order.steps * 1000, "stored_bytes": stored}


def _carry(order: Order) -> dict[str, float]:
    body = "x" * order.size

    def once(name: str, steps: int) -> None:
        fleet.do("carry", name, {"count": 0, "depth": steps, "body": body})

    with _fleet(order) as fleet:
        return {"ms_per_step": slope_ms(once, order.steps, order.runs)}


def _smallest(order: Order) -> dict[str, float]:
    with _fleet(order, "solo", 1) as fleet:
        ready = time.time() - psutil.Process().create_time()
        return {"start_s": ready, **footprint(fleet.worker)}


def _paused(order: Order) -> dict[str, float]:
    """Pause many threads; see what the server holds of each, and that a worker is free."""
    with _fleet(order) as fleet:
        server = fleet.store.client
        value = {"count": 0, "depth": 1, "note": secrets.token_hex(PAUSED_BYTES // 2)}
        fleet.submit("loop", "warm", value)
        fleet.rest("warm")
        before = server.info("memory")["used_memory"]
        for number in range(order.threads):
            fleet.submit("loop", number, value)
        for number in range(order.threads):
            wait_for_rest(fleet.store, f"{order.folder.name}-{number}", WAIT_S)
        time.sleep(1)  # Buffers of the server's log are given back.
        after = server.info("memory")["used_memory"]
        claims = sum(server.scard(key) for key in server.scan_iter("*:claims:*", count=1000))
        begun = time.perf_counter()
        fleet.do("short", "probe", _zero())
        probe = (time.perf_counter() - begun) * 1000
    each = (after - before) / order.threads
    return {"bytes_per_thread": each, "slots": claims, "probe_ms": probe}


def _kill(order: Order) -> dict[str, float]:
    """Kill pool processes that run a step; the fleet finds out by itself."""
    found = measure_takeover(kills=order.runs, machines=0)
    return {
        "ms": statistics.median(found.processes) * 1000,
        "worst_ms": max(found.processes) * 1000,
        "lost": found.lost,
        "duplicated": found.duplicated,
        "attempts": 2 + found.stray / order.runs,
    }


WORKLOADS: dict[str, Callable[[Order], Any]] = {
    "row": _row,
    "rows": _rows,
    "fan": _fan,
    "kill": _kill,
    "long": _long,
    "append": _append,
    "grown": _grown,
    "carry": _carry,
    "smallest": _smallest,
    "paused": _paused,
}

if __name__ == "__main__":
    sys.exit(run(WORKLOADS))
