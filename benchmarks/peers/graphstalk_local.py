"""graphstalk in one process: on memory, on SQLite, or on Redis. Runs in the project's own venv."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers.contract import Order, run
from benchmarks.peers.graphruns import Side, workloads
from benchmarks.peers.graphs import Kit
from benchmarks.peers.measures import file_size
from orchestrator import (
    END,
    START,
    Command,
    MemoryCheckpointer,
    Send,
    SqliteCheckpointer,
    StateGraph,
    interrupt,
)

KIT = Kit(StateGraph, START, END, Send, interrupt)


@contextmanager
def _store(order: Order) -> Iterator[Any]:
    if order.store == "memory":
        yield MemoryCheckpointer()
    elif order.store == "sqlite":
        yield SqliteCheckpointer(order.folder / "ours.db")
    else:
        from orchestrator.checkpointer.redis import RedisCheckpointer  # noqa: PLC0415
        from orchestrator.config import Settings  # noqa: PLC0415

        store = RedisCheckpointer(settings=Settings.from_env({"REDIS_URL": order.where}))
        yield store
        store.close()


def _stored(order: Order, store: Any) -> dict[str, float]:
    if order.store == "redis":
        info = store.client.info()
        sent = info["total_net_input_bytes"]
        return {"stored_bytes": info["used_memory_dataset"], "sent_bytes": sent}
    return {"stored_bytes": file_size(order.folder / "ours.db") if order.store == "sqlite" else 0}


SIDE = Side(KIT, Command, "benchmarks.peers.graphstalk_local", _store, lambda _: {}, _stored)


def _imports(order: Order) -> dict[str, float]:
    """Measure `import orchestrator` in new processes, less an empty one; the median."""

    def took(code: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - begun) * 1000

    costs = (took("import orchestrator") - took("pass") for _ in range(order.runs))
    return {"ms": statistics.median(costs)}


if __name__ == "__main__":
    sys.exit(run({**workloads(SIDE), "imports": _imports}))
