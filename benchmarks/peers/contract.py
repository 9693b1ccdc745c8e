"""What every peer's program is: `python -m benchmarks.peers.<peer> WORKLOAD …` → one line of JSON.

It runs in the peer's own virtual environment, so this module knows the standard library and psutil
only. A program measures itself: its interpreter's start and its imports are no part of a figure
unless the workload says so.

Rule 1: what is measured was warmed up before, in the same process.
Rule 2: the last line of the standard output is the result; everything else may be chatter.
Rule 3: a workload that a peer has no way of doing is not among its workloads.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

__all__ = [
    "PROCESSES",
    "ROOT",
    "Order",
    "attempt",
    "chunk",
    "cpu_s",
    "footprint",
    "kill_and_restart",
    "program",
    "run",
    "slope_ms",
    "stop_in_order",
    "timed_ms",
    "until",
]

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 120.0
PROCESSES = 3  # Of a worker's pool: one more than cores, since a process waits for its commits.


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be measured, how much of it and where."""

    workload: str
    store: str  # Which of the peer's stores.
    where: str  # Its address; empty where it needs none, or is a file.
    folder: Path  # A folder of this measurement's own.
    steps: int
    threads: int
    size: int  # Bytes, or branches.
    depth: int  # Steps before a pause.
    runs: int


def run(workloads: Mapping[str, Callable[[Order], Mapping[str, Any]]]) -> int:
    """Read the command line, measure, and print the result as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(workloads))
    parser.add_argument("--store", default="")
    parser.add_argument("--where", default="")
    for name, value in {"steps": 50, "threads": 1, "size": 0, "depth": 0, "runs": 10}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--folder", type=Path)
    given = vars(parser.parse_args())
    stop_in_order()
    with contextlib.ExitStack() as stack:
        if given["folder"] is None:
            given["folder"] = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = workloads[given["workload"]](Order(**given))
    sys.stdout.flush()
    print(json.dumps(found), flush=True)
    return 0


def stop_in_order() -> None:
    """Have SIGTERM unwind this program, so that what it started ends with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def rates(order: Order, took_s: float, worker_s: float, server_s: float) -> dict[str, float]:
    """Return steps per second, and the processor's time per step: of many threads at once.

    Args:
        order: what was to be done; each thread has a step for its input, too.
        took_s: how long all of it took.
        worker_s: seconds of CPU that the worker used.
        server_s: seconds of CPU that the server used.
    """
    steps = order.threads * (order.steps + 1)
    return {
        "steps_per_s": steps / took_s,
        "worker_cpu_ms": worker_s / steps * 1000,
        "server_cpu_ms": server_s / steps * 1000,
    }


def timed_ms(
    call: Callable[[int], object], runs: int, warm: Callable[[], object] | None = None
) -> float:
    """Return the milliseconds of one call, of `runs` after one call, or `warm`, that warms up."""
    if warm is None:
        call(-1)
    else:
        warm()
    begun = time.perf_counter()
    for number in range(runs):
        call(number)
    return (time.perf_counter() - begun) / runs * 1000


def slope_ms(call: Callable[[str, int], object], steps: int, runs: int) -> float:
    """Return the milliseconds of one more step: what `steps` cost over a tenth of them.

    What a run costs as a whole, as its input and its result, is no part of it.
    """
    few = steps // 10
    call("warm", few)
    costs: dict[int, list[float]] = {few: [], steps: []}
    for number in range(runs):
        for length, taken in costs.items():
            begun = time.perf_counter()
            call(f"{length}-{number}", length)
            taken.append((time.perf_counter() - begun) * 1000)
    more = statistics.median(costs[steps]) - statistics.median(costs[few])
    return more / (steps - few)


def chunk(number: int, size: int) -> str:
    """Return `size` random base64 digits, the same for the same number."""
    return base64.b64encode(random.Random(number).randbytes(size)).decode()[:size]


def until(true: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: if it does not come true in time.
    """
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            msg = f"{what} did not happen within {timeout_s} s"
            raise TimeoutError(msg)
        time.sleep(0.002)


def footprint(*pids: int) -> dict[str, float]:
    """Return how many processes there are under these, themselves included, and their memory.

    Memory is the proportional share (PSS) where the system tells it: pages that two processes share
    count once. Elsewhere what is theirs alone.
    """
    found = {}
    for pid in pids:
        top = psutil.Process(pid)
        found.update({each.pid: each for each in (top, *top.children(recursive=True))})
    memory = 0
    for each in found.values():
        full = each.memory_full_info()
        memory += getattr(full, "pss", 0) or full.uss
    return {"processes": len(found), "memory_mb": memory / 1e6}


def cpu_s(*pids: int) -> float:
    """Return the processor time that these processes and those under them have used."""
    used = 0.0
    for pid in pids:
        top = psutil.Process(pid)
        for each in (top, *top.children(recursive=True)):
            times = each.cpu_times()
            used += times.user + times.system
    return used


@contextlib.contextmanager
def program(
    *command: str, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own; end it with SIGTERM, and all of it with SIGKILL."""
    full = {**os.environ, **(env or {}), "PYTHONPATH": str(ROOT)}
    with log.open("ab") as out:
        made = subprocess.Popen(
            command, env=full, cwd=ROOT, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield made
    finally:
        made.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            made.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGKILL)


def kill_and_restart(command: Sequence[str], ledger: Path, log: Path) -> float:
    """Return the seconds from kill -9 to the same step running in a process started at once.

    `command` runs or recovers one thread whose step adds a line to `ledger` and, if it is the first
    one there, waits. A supervisor that sees the death at once is the best case there is.
    """
    with program(*command, log=log) as victim:
        until(ledger.exists, "the first attempt")
        os.killpg(victim.pid, signal.SIGKILL)
        begun = time.perf_counter()
        with program(*command, log=log):
            until(lambda: len(ledger.read_text().split()) > 1, "the second attempt")
            return time.perf_counter() - begun


def attempt(ledger: str) -> int:
    """Write down an attempt of a step; the first one waits to be killed."""
    path = Path(ledger)
    first = not path.exists()
    with path.open("a", encoding="utf-8") as out:
        out.write("ran\n")
    if first:
        time.sleep(WAIT_S)
    return 1
