"""Restate: a handler whose steps are kept in the journal of a Restate server, which calls it.

The service is served by Hypercorn, as its documentation says. A step's own result is kept, not the
whole state. `--where` is `<ingress port>,<admin port>`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import psutil
import restate

from benchmarks.peers.contract import Order, attempt, chunk, footprint, program, run, until

service = restate.Service("bench")


async def _next(count: int) -> int:
    return count + 1


@service.handler()
async def row(ctx: restate.Context, steps: int) -> dict[str, Any]:
    """Make no-op steps one after the other."""
    count, seen = 0, []
    for number in range(steps):
        seen.append(count)
        count = await ctx.run_typed(f"step{number}", _next, restate.RunOptions(), count)
    return {"count": count, "seen": seen}


@service.handler()
async def fan(ctx: restate.Context, branches: int) -> int:
    """Make steps side by side, and join them."""
    parts = [
        ctx.run_typed(f"piece{number}", _next, restate.RunOptions(), number)
        for number in range(branches)
    ]
    return len(await restate.gather(*parts))


async def _chunk(number: int, size: int) -> str:
    return chunk(number, size)


@service.handler()
async def append(ctx: restate.Context, asked: dict[str, int]) -> int:
    """Gather chunks, one after the other."""
    log = [
        await ctx.run_typed(f"step{n}", _chunk, restate.RunOptions(), n, asked["size"])
        for n in range(asked["steps"])
    ]
    return sum(map(len, log))


@service.handler()
async def carry(ctx: restate.Context, asked: dict[str, Any]) -> int:
    """Make no-op steps beside a large value."""
    count = 0
    for number in range(asked["steps"]):
        count = await ctx.run_typed(f"step{number}", _next, restate.RunOptions(), count)
    return count + len(asked["body"])


def _attempt(ledger: str) -> int:
    return attempt(ledger)


@service.handler()
async def victim(ctx: restate.Context, ledger: str) -> int:
    """Run the step that is killed."""
    return await ctx.run_typed("work", _attempt, restate.RunOptions(), ledger)


app = restate.app(services=[service])


@contextmanager
def _served(order: Order, port: int) -> Iterator[int]:
    command = (
        *(sys.executable, "-m", "hypercorn", "benchmarks.peers.restate:app"),
        *("--bind", f"127.0.0.1:{port}", "--log-level", "error"),
    )
    with program(*command, log=order.folder / "hypercorn.log") as made:
        until(lambda: _listens(port), "Hypercorn")
        yield made.pid


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _register(order: Order, port: int) -> None:
    admin = order.where.split(",")[1]
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"http://127.0.0.1:{admin}/deployments",
            json={"uri": f"http://127.0.0.1:{port}", "force": True},
        )
        answer.raise_for_status()


@asynccontextmanager
async def _caller(order: Order) -> AsyncIterator[Any]:
    ingress = order.where.split(",")[0]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=600, limits=limits) as client:

        async def call(handler: str, value: Any) -> Any:
            answer = await client.post(f"http://127.0.0.1:{ingress}/bench/{handler}", json=value)
            answer.raise_for_status()
            return answer.json()

        yield call


async def _cost_ms(order: Order, handler: str, value: Any, warm: Any = None) -> float:
    """Return the milliseconds of one call, of `runs` after one, or one of `warm`, that warms up."""
    port = _free_port()
    with _served(order, port):
        await _register(order, port)
        async with _caller(order) as call:
            await call(handler, value if warm is None else warm)
            begun = time.perf_counter()
            for _ in range(order.runs):
                await call(handler, value)
            return (time.perf_counter() - begun) / order.runs * 1000


def _row(order: Order) -> dict[str, float]:
    return {"ms_per_step": asyncio.run(_cost_ms(order, "row", order.steps)) / order.steps}


def _fan(order: Order) -> dict[str, float]:
    return {"ms_per_branch": asyncio.run(_cost_ms(order, "fan", order.size, 50)) / order.size}


def _carry(order: Order) -> dict[str, float]:
    few = order.steps // 10
    costs = [
        asyncio.run(_cost_ms(order, "carry", {"body": "x" * order.size, "steps": steps}))
        for steps in (few, order.steps)
    ]
    return {"ms_per_step": (costs[1] - costs[0]) / (order.steps - few)}


def _append(order: Order) -> dict[str, float]:
    value = {"steps": order.steps, "size": order.size}
    return {"ms": asyncio.run(_cost_ms(order, "append", value))}


def _rows(order: Order) -> dict[str, float]:
    async def measure() -> float:
        port = _free_port()
        with _served(order, port):
            await _register(order, port)
            async with _caller(order) as call:
                await call("row", order.steps)
                begun = time.perf_counter()
                await asyncio.gather(*(call("row", order.steps) for _ in range(order.threads)))
                return time.perf_counter() - begun

    return {"steps_per_s": order.threads * order.steps / asyncio.run(measure())}


def _kill(order: Order) -> dict[str, float]:
    """Kill the service's process and start another one on its port at once."""
    ledger, port = order.folder / "ledger", _free_port()

    async def measure() -> float:
        with _served(order, port) as pid:
            await _register(order, port)
            async with _caller(order) as call:
                running = asyncio.create_task(call("victim", str(ledger)))
                while not ledger.exists():  # noqa: ASYNC110 - another process makes it
                    await asyncio.sleep(0.01)
                os.killpg(pid, 9)
                begun = time.perf_counter()
                with _served(order, port):
                    await running
                    return time.perf_counter() - begun

    return {"ms": asyncio.run(measure()) * 1000, "attempts": len(ledger.read_text().split())}


def _smallest(order: Order) -> dict[str, float]:
    async def measure() -> dict[str, float]:
        port = _free_port()
        with _served(order, port) as pid:
            await _register(order, port)
            async with _caller(order) as call:
                await call("row", 2)
            ready = time.time() - psutil.Process().create_time()
            return {"start_s": ready, **footprint(pid)}

    return asyncio.run(measure())


WORKLOADS = {
    "row": _row,
    "rows": _rows,
    "fan": _fan,
    "append": _append,
    "carry": _carry,
    "kill": _kill,
    "smallest": _smallest,
}

if __name__ == "__main__":
    sys.exit(run(WORKLOADS))
