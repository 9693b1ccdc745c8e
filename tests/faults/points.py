"""The points of a step at which a process can be hit, and how one of a fleet is brought there.

No product code takes part: a proxy holds the call of a script, or its answer, so the process that
asked stands still exactly there.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import psutil

from tests.faults.proxy import Proxy, Side, Trap
from tests.integration.fleet import Fleet, Worker

__all__ = ["IN_PLACE", "POINTS", "VICTIMS", "Hit", "behind", "bring", "keep_up"]

Script = Literal["claim", "commit"]

IN_THE_NODE = "in the node"
UNACKNOWLEDGED = "before the acknowledgement"
IN_PLACE = os.environ.get("TEST_DISPATCH") == "inline"
CLAIM: Script = "commit" if IN_PLACE else "claim"  # In place the commit of a step claims the next.
CALLS: dict[str, tuple[Script, Side]] = {
    "before its claim": (CLAIM, "call"),
    "after its claim": (CLAIM, "answer"),
    "before its commit": ("commit", "call"),
    "after its commit": ("commit", "answer"),
    UNACKNOWLEDGED: ("commit", "answer"),
}
POINTS = (*list(CALLS)[:2], IN_THE_NODE, *list(CALLS)[2:])


@dataclass(slots=True)
class Hit:
    """Who stands at a point: a process of a worker."""

    pid: int
    worker: Worker
    trap: Trap | None = None
    frozen: bool = False  # The main process is, so that it acknowledges nothing.

    def kill(self, victim: str) -> float:
        """Kill a process, or all; return when."""
        VICTIMS[victim](self)
        return time.time()

    def deliver_late(self) -> bytes:
        """Let what was held arrive now; return what the server answers."""
        assert self.trap is not None
        self.trap.deliver()
        return self.trap.answer()

    def go_on(self, *, lost: bool) -> None:
        """Let what was held arrive, or be lost."""
        if self.trap is not None and lost:
            self.trap.lose()
        elif self.trap is not None:
            self.trap.deliver()
        if self.frozen and self.worker.child.exit_code() is None:
            os.kill(self.worker.pid, signal.SIGCONT)


def _killing(pid_of: Callable[[Hit], int]) -> Callable[[Hit], None]:
    def kill(hit: Hit) -> None:
        end = time.monotonic() + 10  # A keeper whose predecessor was just killed is on its way.
        while not (pid := pid_of(hit)) and time.monotonic() < end:
            time.sleep(0.02)
        assert pid  # 0 would be the test itself.
        os.kill(pid, signal.SIGKILL)
        while is_there(pid):  # A signal is only sent: who asks at once would still find it.
            time.sleep(0.002)

    return kill


def is_there(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


VICTIMS: dict[str, Callable[[Hit], None]] = {
    "pool process": _killing(lambda hit: hit.pid),
    "main process": _killing(lambda hit: hit.worker.pid),
    "keeper": _killing(lambda hit: hit.worker.keeper),
    "machine": lambda hit: hit.worker.kill_all(),
}


def bring(fleet: Fleet, proxy: Proxy, thread: str, point: str, *, again: Sequence[str] = ()) -> Hit:
    """Start a run of the graph `row` and bring a process to a point of its second step.

    Until then nothing happened to the run. What other attempts at the step do, `again` says.
    """
    gates = {name: f"{thread}.{name}" for name in ("one", "two")}
    script = {name: [f"wait {gate}"] for name, gate in gates.items()}
    script["two"] += again
    fleet.submit("row", thread, script=script)
    fleet.wait_for("one", thread=thread)
    call, side = CALLS.get(point, ("", "call"))
    if point.endswith("its claim"):
        trap = _trap(fleet, proxy, thread, call, side)
        fleet.open(gates["one"])
        return _caught(fleet, trap)
    fleet.open(gates["one"])
    running = fleet.wait_for("two", thread=thread)
    if call == "":
        return Hit(running.pid, fleet.worker_of(running.pid))
    trap = _trap(fleet, proxy, thread, call, side)
    fleet.open(gates["two"])
    hit = _caught(fleet, trap)
    if point == UNACKNOWLEDGED:
        os.kill(hit.worker.pid, signal.SIGSTOP)
        hit.frozen = True
        trap.deliver()
    return hit


def _trap(fleet: Fleet, proxy: Proxy, thread: str, script: str, side: Side) -> Trap:
    return proxy.trap(fleet.store.script_hashes()[script], side, f":t:{thread}:")


def _caught(fleet: Fleet, trap: Trap) -> Hit:
    port = trap.wait()
    for worker in fleet.workers:
        for pid in worker.pids():
            if port in ports(pid):
                return Hit(pid, worker, trap)
    msg = f"no worker speaks from port {port}"
    raise AssertionError(msg)


def ports(pid: int) -> set[int]:
    """Return the ports from which a process speaks."""
    try:
        return {c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.laddr}
    except psutil.Error:
        return set()


def behind(fleet: Fleet, proxy: Proxy) -> None:
    """Let the workers of a fleet reach their server through a proxy.

    In place they may hold on to a thread for as long as a test looks at it: no step of it goes back
    to the queue because a gate was opened late.
    """
    more = {"REDIS_URL": proxy.url, "GRAPHSTALK_SLICE_MS": "10000"}
    fleet.variables = {**fleet.variables, **more}


def keep_up(fleet: Fleet, count: int, pool: str) -> None:
    """Start workers until there are so many, all of them kept."""
    running = [worker for worker in fleet.workers if is_there(worker.pid)]
    fleet.start_many(count - len(running), pool=pool)
    fleet.wait_kept(*running)
