"""How soon another process takes over a step whose process was killed, with kill -9.

`python -m benchmarks.takeover [--kills 30] [--machines 3] [--json]`

Two workers of two processes each. In turn, a process that runs a step is killed while others are
free; then whole workers with their keepers, detected by their leases alone. Times are the server's:
from its clock right before the kill to the claim that the step's commit names. What was lost or
doubled is counted from the stored events, and from a ledger to which every attempt adds a line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from benchmarks.peers.contract import program, until
from orchestrator import START, Client, StateGraph
from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.cli.embedded import EmbeddedServer
from orchestrator.cli.ledger import account_of, add_up
from orchestrator.cli.processes import session_members
from orchestrator.config import Settings
from orchestrator.step.context import StepContext

__all__ = ["Takeovers", "graph", "main", "measure_takeover"]

WORKERS, CONCURRENCY = 2, 2
WAIT_S = 60.0
P50_S, P99_S, MACHINE_S = 0.3, 1.0, 1.0  # The last one on top of a lease.


class State(TypedDict, total=False):
    """Where attempts are written down."""

    ledger: str
    done: int


def work(state: State, ctx: StepContext) -> State:
    """Write a line; the first attempt then waits to be killed."""
    with Path(state["ledger"]).open("a", encoding="utf-8") as ledger:
        ledger.write(f"{ctx.step_id}\n")
    if ctx.attempt == 1:
        time.sleep(WAIT_S)
    return {"done": 1}


def _graph() -> StateGraph:
    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    return builder


graph = _graph().compile(name="takeover")


@dataclass(slots=True)
class Takeovers:
    """What was measured."""

    lease_s: float
    processes: list[float] = field(default_factory=list)  # Seconds, by kill.
    machines: list[float] = field(default_factory=list)
    lost: int = 0
    duplicated: int = 0
    unfinished: int = 0
    stray: int = 0  # Attempts in the ledger beyond one for each kill and one for each commit.

    @property
    def ok(self) -> bool:
        """Return whether the targets were met."""
        fast = not self.processes or (
            statistics.median(self.processes) <= P50_S and _p99(self.processes) <= P99_S
        )
        slow = all(seconds <= self.lease_s + MACHINE_S for seconds in self.machines)
        return fast and slow and not (self.lost or self.duplicated or self.unfinished or self.stray)


def measure_takeover(*, kills: int = 30, machines: int = 3) -> Takeovers:
    """Kill `kills` pool processes and `machines` whole workers, each while it runs a step."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(EmbeddedServer(folder / "data"))
        fleet = _Fleet(server.url, folder, stack)
        for _ in range(WORKERS):
            fleet.start()
        for number in range(kills):
            fleet.kill(f"process{number}", whole=False)
        for number in range(machines):
            fleet.kill(f"machine{number}", whole=True)
            fleet.start()
        return fleet.result()


class _Fleet:
    """Workers, and the threads whose processes were killed."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self._settings = Settings.from_env({"REDIS_URL": url})
        self._client = stack.enter_context(
            Client(graphs={"takeover": graph}, settings=self._settings)
        )
        self._store = RedisCheckpointer(settings=self._settings)
        stack.callback(self._store.close)
        self._folder, self._stack = folder, stack
        self._ledger = folder / "ledger"
        self._workers: list[int] = []
        self._kills: dict[str, int] = {}  # Thread → the server's time of its kill.

    def start(self) -> None:
        """Start a worker, and wait until all of them are whole."""
        log = self._folder / f"worker{len(self._workers)}-{time.monotonic_ns()}.log"
        graphs = "--graphs=takeover=benchmarks.takeover:graph"
        command = (sys.executable, "-m", "workers", graphs, f"--concurrency={CONCURRENCY}")
        env = {
            "REDIS_URL": self._settings.url,
            "GRAPHSTALK_HEARTBEAT_FILE": str(log.with_suffix(".heartbeat")),
        }
        self._workers.append(self._stack.enter_context(program(*command, env=env, log=log)).pid)
        until(self._whole, "workers with all of their processes")

    def _whole(self) -> bool:
        """Whether every worker has its main process, its keeper at work and its pool."""
        at_work = {worker.pid for worker in self._client.workers()}
        sizes = [len(session_members(pid)) for pid in self._workers]
        return at_work >= set(self._workers) and all(n == 2 + CONCURRENCY for n in sizes)

    def kill(self, thread: str, *, whole: bool) -> None:
        """Kill whoever runs a thread's step, or its whole worker, and wait for the thread."""
        until(self._whole, "workers with all of their processes")
        self._client.submit("takeover", {"ledger": str(self._ledger)}, thread_id=thread)
        before = len(self._lines())
        until(lambda: len(self._lines()) > before, "a step that runs")
        loaded = self._store.load(thread, values=False)
        assert loaded is not None
        owner = next(step.owner for step in loaded.steps.values() if step.owner)
        pid = int(owner.rsplit(":", 2)[1])
        seconds, micros = self._store.client.time()
        if whole:
            session = os.getsid(pid)
            for member in session_members(session):
                os.kill(member, signal.SIGKILL)
            self._workers.remove(session)
        else:
            os.kill(pid, signal.SIGKILL)
        self._kills[thread] = seconds * 1000 + micros // 1000
        self._client.result(thread, WAIT_S)

    def _lines(self) -> list[str]:
        return self._ledger.read_text("utf-8").split() if self._ledger.exists() else []

    def result(self) -> Takeovers:
        """Draw up the account."""
        found = Takeovers(self._settings.lease_ttl_s)
        accounts = []
        for thread, killed_ms in self._kills.items():
            events = self._client.events(thread)
            finished = self._client.status(thread) == "succeeded"
            accounts.append(account_of(events, finished=finished))
            claimed_ms = max(int(e.fields.get("claimed_ms", 0)) for e in events)
            times = found.machines if thread.startswith("machine") else found.processes
            times.append((claimed_ms - killed_ms) / 1000)
        ledger = add_up(accounts)
        found.lost, found.duplicated = ledger.lost, ledger.duplicated
        found.unfinished = ledger.threads - ledger.finished
        found.stray = sum(count - 2 for count in Counter(self._lines()).values())
        return found


def _p99(values: list[float]) -> float:
    """Return the 99th percentile; of fewer than a hundred values, the greatest."""
    return sorted(values)[-(1 + len(values) // 100)]


def _row(name: str, values: list[float]) -> str:
    if not values:
        return f"{name:24} n=0"
    numbers = (statistics.median(values), _p99(values), max(values))
    p50, p99, most = (f"{number:.3f} s" for number in numbers)
    return f"{name:24} n={len(values):<3} p50 {p50}   p99 {p99}   max {most}"


def main() -> int:
    """Measure and print; the last line is JSON with `--json`. Return 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.takeover", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="of pool processes")
    parser.add_argument("--machines", type=int, default=3, help="kills of whole workers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.stderr.write(f"{options.kills} processes and {options.machines} workers to kill …\n")
    found = measure_takeover(kills=options.kills, machines=options.machines)
    print(_row("a pool process", found.processes))
    print(_row("a worker with its keeper", found.machines), f"  (lease {found.lease_s:g} s)")
    print(f"lost {found.lost}, duplicated {found.duplicated}, unfinished {found.unfinished}")
    if options.json:
        processes, machines = found.processes, found.machines
        numbers = {
            "kills": len(processes),
            "p50_s": statistics.median(processes) if processes else None,
            "p99_s": _p99(processes) if processes else None,
            "max_s": max(processes, default=None),
            "machine_kills": len(machines),
            "machine_max_s": max(machines, default=None),
            "lease_s": found.lease_s,
            "lost": found.lost,
            "duplicated": found.duplicated,
            "unfinished": found.unfinished,
            "stray_attempts": found.stray,
            "cores": os.cpu_count(),
            "ok": found.ok,
        }
        print(json.dumps(numbers))
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
