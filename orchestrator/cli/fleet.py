"""A fleet of worker processes on this machine: started, looked after, killed, stopped.

Rule 1: a worker is a session of processes: what it started goes with it.
Rule 2: a local folder named `workers` or `orchestrator` must not replace ours: the interpreter is
        told not to look into the current folder first. Graphs are still found there, last.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from orchestrator.cli.children import Child, Sink, start_child, stop_children
from orchestrator.cli.exits import CommandError
from orchestrator.cli.options import with_graphs

__all__ = ["STOP_GRACE_S", "Fleet", "worker_environment"]

STOP_GRACE_S = 10.0  # For running steps to finish; what does not is taken over by the next fleet.
LOG_TAIL_LINES = 8
Held = TypeVar("Held")


def worker_environment(
    url: str, folder: Path, graphs: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment for processes that belong to a fleet on that server.

    Args:
        url: the server.
        folder: for their temporary files, of which a killed one leaves some.
        graphs: what they are to know, instead of what is configured where they start.
    """
    return {
        **with_graphs(os.environ, graphs or {}),
        "REDIS_URL": url,
        "TMPDIR": str(folder),
        "PYTHONSAFEPATH": "1",  # (Rule 2)
        "PYTHONUNBUFFERED": "1",  # Lines arrive when they are written.
    }


class Fleet:
    """Workers of one deployment, by name."""

    def __init__(
        self,
        env: Mapping[str, str],
        arguments: Sequence[str],
        *,
        sink: Sink | None = None,
        log_dir: Path | None = None,
    ) -> None:
        """Remember how workers are started; none is yet.

        Args:
            env: their environment.
            arguments: for `graphstalk worker`.
            sink: takes their output line by line.
            log_dir: or the folder where each writes a file of its own.
        """
        self.workers: dict[str, Child] = {}
        self._env = env
        self._arguments = arguments
        self._sink = sink
        self._log_dir = log_dir

    def start(self, name: str) -> Child:
        """Start a worker, or start it again."""
        argv = [sys.executable, "-m", "orchestrator.cli", "worker", *self._arguments]
        log = self.log_of(name)
        child = start_child(name, argv, env=self._env, sink=self._sink, log=log)
        self.workers[name] = child
        return child

    def log_of(self, name: str) -> Path | None:
        """Return the file a worker writes to."""
        return None if self._log_dir is None else self._log_dir / f"{name}.log"

    def worker_of(self, pid: int) -> Child | None:
        """Return the worker to which a process belongs."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            session = os.getsid(pid)
            return next((each for each in self.workers.values() if each.pid == session), None)
        return None

    def kill_while(self, child: Child, holds: Callable[[], Collection[Held]]) -> Collection[Held]:
        """Kill a worker with all its processes, but only while it holds something.

        It is stopped first (SIGSTOP), so that what it holds cannot change between the look and the
        kill. If it holds nothing it goes on as if nothing had been.

        Args:
            child: the worker.
            holds: asks the store what the worker holds.

        Returns:
            What it held when it was killed; empty if it was not killed.
        """
        child.signal_all(signal.SIGSTOP)
        held: Collection[Held] = ()
        try:
            held = holds()
        finally:
            if not held:
                child.signal_all(signal.SIGCONT)
        if held:
            child.kill_all()
            self.workers.pop(child.name, None)
        return held

    def check(self) -> None:
        """Make sure that nobody died who was not killed.

        Raises:
            CommandError: with the end of the dead worker's log.
        """
        for child in self.workers.values():
            code = child.exit_code()
            if code is not None:
                msg = f"{child.name} (process {child.pid}) ended by itself with exit code {code}"
                raise CommandError(f"{msg}. {self._last_words(child.name)}".rstrip())

    def stop(self, grace_s: float = STOP_GRACE_S) -> list[Child]:
        """Stop all workers; return those that had to be killed."""
        workers, self.workers = list(self.workers.values()), {}
        return stop_children(workers, grace_s)

    def _last_words(self, name: str) -> str:
        log = self.log_of(name)
        if log is None or not log.exists():
            return ""
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "Its last words: " + " / ".join(line.strip() for line in lines[-LOG_TAIL_LINES:])
