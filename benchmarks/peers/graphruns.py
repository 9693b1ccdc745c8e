"""The workloads of a compiled graph that runs in this process: ours and LangGraph's alike."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import psutil

from benchmarks.peers import graphs
from benchmarks.peers.contract import Order, footprint, kill_and_restart, slope_ms, timed_ms
from benchmarks.peers.graphs import PAUSED_BYTES, Kit

__all__ = ["Side", "workloads"]

POOL = 8  # Threads of the process among which many graphs' threads are shared out.
RESUMES = 100


class Side(NamedTuple):
    """One of the two: its words, and how it keeps threads."""

    kit: Kit
    command: Any  # Its `Command`.
    module: str  # This program, to start it again.
    store: Callable[[Order], AbstractContextManager[Any]]  # A checkpointer.
    options: Callable[[Order], dict[str, Any]]  # Of every `invoke`.
    stored: Callable[[Order, Any], dict[str, float]]  # What the store holds and was sent.


class _Runs:
    """A graph, and how it is called."""

    def __init__(self, side: Side, order: Order, builder: Any, saver: Any) -> None:
        self._graph = builder.compile(saver)
        self._options = side.options(order)
        self._prefix = order.folder.name  # Threads of other measurements are in the same store.

    def __call__(self, thread: object, value: Any, limit: int = 10_000) -> Any:
        config = {
            "configurable": {"thread_id": f"{self._prefix}-{thread}"},
            "recursion_limit": limit,
        }
        return self._graph.invoke(value, config, **self._options)


def workloads(side: Side) -> dict[str, Callable[[Order], Mapping[str, Any]]]:
    """Return what `contract.run` runs."""
    made = (_row, _rows, _fan, _resume, _cold, _append, _grown, _carry)
    made += (_kill, _victim, _smallest, _paused)
    return {
        work.__name__.strip("_"): lambda order, work=work: work(side, order)  # type: ignore[misc]
        for work in made
    }


def _row(side: Side, order: Order) -> dict[str, float]:
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.row(side.kit, order.steps), saver)
        cost = timed_ms(lambda number: runs(f"row{number}", _zero()), order.runs)
    return {"ms_per_step": cost / order.steps}


def _zero() -> dict[str, Any]:
    return {"count": 0, "seen": []}


def _rows(side: Side, order: Order) -> dict[str, float]:
    with side.store(order) as saver, ThreadPoolExecutor(POOL) as pool:
        runs = _Runs(side, order, graphs.row(side.kit, order.steps), saver)
        runs("warm", _zero())
        begun = time.perf_counter()
        list(pool.map(lambda number: runs(f"rows{number}", _zero()), range(order.threads)))
        took = time.perf_counter() - begun
    return {"steps_per_s": order.threads * order.steps / took}


def _fan(side: Side, order: Order) -> dict[str, float]:
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.fan(side.kit), saver)
        cost = timed_ms(
            lambda number: runs(f"fan{number}", {"branches": order.size, "seen": []}),
            order.runs,
            lambda: runs("warm", {"branches": 50, "seen": []}),
        )
    return {"ms_per_branch": cost / order.size}


def _resume(side: Side, order: Order) -> dict[str, list[float]]:
    """Resume two threads in turns, one paused after 10 steps, one after `depth`."""
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.loop(side.kit), saver)
        for depth in (10, order.depth):
            runs(depth, {"count": 0, "depth": depth}, depth + 10)
        found: dict[str, list[float]] = {"short_ms": [], "long_ms": []}
        for _ in range(RESUMES):
            for name, depth in (("short_ms", 10), ("long_ms", order.depth)):
                begun = time.time()
                state = runs(depth, side.command(resume=True))
                found[name].append((state["began"] - begun) * 1000)
    return {name: values[1:] for name, values in found.items()}


def _cold(side: Side, order: Order) -> dict[str, float]:
    """Resume, in a process that has just opened the store, a thread that another one paused."""
    marker = order.folder / "paused"
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.loop(side.kit), saver)
        if not marker.exists():
            runs("cold", {"count": 0, "depth": order.depth}, order.depth + 10)
            marker.touch()
            return {}
        begun = time.time()
        state = runs("cold", side.command(resume=True))
        return {"ms": (state["began"] - begun) * 1000}


def _append(side: Side, order: Order) -> dict[str, float]:
    state = {"count": 0, "depth": order.steps, "size": order.size, "log": []}
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.append(side.kit), saver)
        runs("warm", {**state, "depth": 2})
        before = side.stored(order, saver)
        begun = time.perf_counter()
        end = runs("append", state, order.steps + 10)
        took = time.perf_counter() - begun
        after = side.stored(order, saver)
    found = {name: after[name] - before[name] for name in after}
    return {"ms": took * 1000, "state_bytes": sum(map(len, end["log"])), **found}


def _grown(side: Side, order: Order) -> dict[str, float]:
    """Make steps that each append to a list of `depth` numbers."""
    seen = list(range(order.depth))
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.row(side.kit, order.steps), saver)
        runs("warm", _zero())
        before = side.stored(order, saver)
        begun = time.perf_counter()
        runs("grown", {"count": 0, "seen": seen})
        took = time.perf_counter() - begun
        after = side.stored(order, saver)
    found = {name: after[name] - before[name] for name in after}
    return {"ms_per_step": took / order.steps * 1000, **found}


def _carry(side: Side, order: Order) -> dict[str, float]:
    body = "x" * order.size
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.carry(side.kit), saver)

        def once(name: str, steps: int) -> None:
            runs(name, {"count": 0, "depth": steps, "body": body})

        return {"ms_per_step": slope_ms(once, order.steps, order.runs)}


def _kill(side: Side, order: Order) -> dict[str, float]:
    ledger = order.folder / "ledger"
    command = (
        *(sys.executable, "-m", side.module, "victim", f"--store={order.store}"),
        *(f"--where={order.where}", f"--folder={order.folder}"),
    )
    took = kill_and_restart(command, ledger, order.folder / "log")
    return {"ms": took * 1000, "attempts": len(ledger.read_text().split())}


def _victim(side: Side, order: Order) -> dict[str, float]:
    """Run the step that is killed; where it was already begun, go on with it: the caller's part."""
    ledger = order.folder / "ledger"
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.victim(side.kit), saver)
        runs("victim", None if ledger.exists() else {"ledger": str(ledger)})
    return {}


def _smallest(side: Side, order: Order) -> dict[str, float]:
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.row(side.kit, 2), saver)
        runs("first", _zero())
        ready = time.time() - psutil.Process().create_time()
        return {"start_s": ready, **footprint(os.getpid())}


def _paused(side: Side, order: Order) -> dict[str, float]:
    with side.store(order) as saver:
        runs = _Runs(side, order, graphs.loop(side.kit), saver)
        value = {"count": 0, "depth": 1, "note": secrets.token_hex(PAUSED_BYTES // 2)}
        runs("warm", value)
        before = side.stored(order, saver)["stored_bytes"]
        for number in range(order.threads):
            runs(number, value)
        after = side.stored(order, saver)["stored_bytes"]
    return {"bytes_per_thread": (after - before) / order.threads, "slots": 0}
