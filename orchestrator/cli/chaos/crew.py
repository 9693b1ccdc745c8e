"""The workers that chaos disturbs: who belongs to which, and a replacement for each that ended.

Rule 1: only processes that were started here are ever signalled.
Rule 2: what was stopped is continued, whatever ends the crew.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import psutil

from orchestrator.cli.children import Child, session_members, stop_children
from orchestrator.cli.exits import CommandError
from orchestrator.cli.fleet import Fleet

__all__ = ["Crew"]

LEAVE_S = 30.0  # How long a worker that was asked to stop may take.
STOP_GRACE_S = 5.0
START_S = 60.0  # How long workers may take to be at work.
POLL_S = 0.1


class Crew:
    """A number of workers that are started again whenever they end."""

    def __init__(
        self, env: Mapping[str, str], arguments: Sequence[str], folder: Path, size: int
    ) -> None:
        self.fleet = Fleet(env, arguments, log_dir=folder)
        self.deaths: dict[int, list[float]] = defaultdict(list)  # Process → when it was killed.
        self.leaving: list[tuple[float, Child]] = []  # Asked to stop; until when they have time.
        self.unasked: list[str] = []  # Workers that ended though nobody ended them.
        self._stopped: list[tuple[float, list[int]]] = []  # Until when, and which processes.
        self._names = [f"worker-{number}" for number in range(1, size + 1)]
        self._blamed: set[int] = set()  # Main processes that we ended.

    def start(self, at_work: Callable[[], Collection[int]]) -> None:
        """Start all workers; return when they are at work.

        Args:
            at_work: asks the store which workers' main processes there are.

        Raises:
            CommandError: if one ends at its start, with the end of its log, or is not at work soon.
        """
        for name in self._names:
            self.fleet.start(name)
        deadline = time.monotonic() + START_S
        while not {child.pid for child in self.fleet.workers.values()} <= set(at_work()):
            self.fleet.check()
            if time.monotonic() > deadline:
                msg = f"the workers are not at work after {START_S:g} s"
                raise CommandError(msg)
            time.sleep(POLL_S)

    def once(self) -> None:
        """Continue what was stopped long enough; start what has ended."""
        now = time.monotonic()
        for due in [each for each in self._stopped if each[0] <= now]:
            self._stopped.remove(due)
            send(due[1], signal.SIGCONT)
        for name in self._names:
            child = self.fleet.workers[name]
            code = child.exit_code()
            if code is not None:
                if child.pid not in self._blamed:
                    self.unasked.append(f"{name} (process {child.pid}) ended with {code}")
                self.fleet.start(name)
        for until, child in list(self.leaving):
            if child.exit_code() is not None or until <= now:
                self.leaving.remove((until, child))
                if child.exit_code() is None:
                    self.unasked.append(f"{child.name} (process {child.pid}) did not stop")
                    child.kill_all()

    # ---- who there is -------------------------------------------------------------------

    def workers(self) -> list[Child]:
        """Return the workers that run."""
        alive = [self.fleet.workers[name] for name in self._names]
        return [child for child in alive if child.exit_code() is None]

    def keepers(self) -> list[int]:
        """Return the processes that keep leases."""
        return [pid for child in self.workers() for pid in session_members(child.pid) if keeps(pid)]

    def members(self, child: Child) -> list[int]:
        """Return all processes of a worker."""
        return session_members(child.pid)

    def pool(self) -> list[int]:
        """Return the processes that run nodes."""
        return [
            pid
            for child in self.workers()
            for pid in session_members(child.pid)
            if pid != child.pid and not keeps(pid)
        ]

    # ---- what is done to them -----------------------------------------------------------

    def kill(self, pids: Sequence[int], at_ms: float) -> None:
        """Kill processes with SIGKILL, at a time of the server's."""
        for pid in pids:
            self.deaths[pid].append(at_ms)
        self._blamed.update(pids)
        send(pids, signal.SIGKILL)

    def kill_worker(self, child: Child, at_ms: float) -> None:
        """Kill a worker with all of its processes."""
        self.kill(session_members(child.pid), at_ms)
        child.kill_all()

    def stop(self, pids: list[int], lasts_s: float) -> None:
        """Stop processes, and continue them after a time."""
        self._stopped.append((time.monotonic() + lasts_s, pids))
        send(pids, signal.SIGSTOP)

    def replace(self, child: Child) -> None:
        """Start another worker in the place of one that is asked to stop."""
        self.leaving.append((time.monotonic() + LEAVE_S, child))
        self._blamed.add(child.pid)
        with contextlib.suppress(ProcessLookupError):
            child.process.terminate()
        self.fleet.start(child.name)

    def go_on(self) -> None:
        """Continue everything that is stopped."""
        for _, pids in self._stopped:
            send(pids, signal.SIGCONT)
        self._stopped.clear()

    def close(self) -> None:
        """End all workers."""
        self.go_on()
        self.fleet.stop(STOP_GRACE_S)
        stop_children([child for _, child in self.leaving], STOP_GRACE_S)


def keeps(pid: int) -> bool:
    """Whether a process is a worker's keeper."""
    try:
        return "workers.keeper" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to processes, of which some may have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
