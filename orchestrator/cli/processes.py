"""Child processes: started in sessions of their own, watched, and stopped in order.

Rule 1: a child never outlives its parent. It is tethered, and the caller that starts children stops
        them in a `finally`.
Rule 2: Ctrl-C is for the parent only. Each child is in its own session, so that the parent decides
        the order in which they end.
Rule 3: a whole child means its whole session: a worker's own children go with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TypeVar

from orchestrator.cli.command_options import with_graphs
from orchestrator.cli.exits import CommandError
from orchestrator.cli.stop_signals import StopRequestedError
from orchestrator.cli.tether import tethered

POLL_S = 0.05
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Sink = Callable[[str, str], None]  # (name of the child, line without its end)


@dataclass
class Child:
    """A process we started, the leader of its own session."""

    name: str
    process: subprocess.Popen[bytes]
    started_s: float = field(default_factory=time.monotonic)
    reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its session."""
        return self.process.pid

    def exit_code(self) -> int | None:
        """Return how it ended; None while it runs."""
        return self.process.poll()

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of its session."""
        for pid in session_members(self.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def kill_all(self) -> None:
        """End every process of its session at once, and those that are born meanwhile."""
        while members := session_members(self.pid):
            for pid in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(POLL_S / 10)
        self.process.wait()


def start_child(
    name: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    sink: Sink | None = None,
    log: Path | None = None,
) -> Child:
    """Start a program whose output goes, line by line, to `sink`, or whole to the file `log`.

    Raises:
        OSError: if it cannot be started.
    """
    with contextlib.ExitStack() as stack:
        output: int | IO[bytes] = subprocess.PIPE
        if sink is None:
            output = stack.enter_context((log or Path(os.devnull)).open("ab"))
        process = subprocess.Popen(  # noqa: S603  # The caller decides what runs; there is no shell.
            tethered(argv, signal.SIGKILL),  # A polite signal can wait for a server that died too.
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
        )
    child = Child(name, process)
    if sink is not None and process.stdout is not None:
        child.reader = threading.Thread(
            target=pass_lines_on,
            args=(name, process.stdout, sink),
            name=f"read-{name}",
            daemon=True,
        )
        child.reader.start()
    return child


def pass_lines_on(name: str, stream: IO[bytes], sink: Sink) -> None:
    """Read a child's output to its end."""
    with stream:
        for line in stream:
            sink(name, line.decode("utf-8", "replace").rstrip("\r\n"))


def stop_children(children: Sequence[Child], grace_s: float) -> list[Child]:
    """Stop children side by side: SIGTERM to each, then SIGKILL to the rest of their sessions.

    A second stop signal while we wait ends the patience, not the clean-up.

    Returns:
        Those that had to be killed.
    """
    for child in children:
        if child.exit_code() is None:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
    deadline = time.monotonic() + grace_s
    killed = []
    try:
        while any(child.exit_code() is None for child in children) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        pass
    for child in children:
        if child.exit_code() is None:
            killed.append(child)
        child.kill_all()
        if child.reader is not None:
            child.reader.join(timeout=1.0)
    return killed


def session_members(session: int) -> list[int]:
    """Return the living processes of a session."""
    import psutil  # Only commands that start processes need it.

    members = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                members.append(pid)
    return members


@contextlib.contextmanager
def raise_on_stop_signals() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into `StopRequestedError` in the main OS thread."""

    def stop(number: int, _: FrameType | None) -> None:
        raise StopRequestedError(number)

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- workers --------------------------------------------------------------------------------
#
# Rule 1: a worker is a session of processes, which end with it.
# Rule 2: a local folder named `workers` or `orchestrator` must not replace ours: the interpreter is
#         started so that it does not import from the current folder first. Graphs are found there.


STOP_GRACE_S = 10.0  # For running steps to finish; the next fleet runs the others again.
LOG_TAIL_LINES = 8
Held = TypeVar("Held")


def worker_environment(
    url: str, folder: Path, graphs: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment for processes that belong to a fleet on that server.

    Args:
        url: the server.
        folder: for their temporary files, of which a killed one leaves some.
        graphs: the graphs that they load, instead of the configured ones.
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
        """Kill a worker with all its processes, but only while it holds claims.

        It is stopped first (SIGSTOP), so that its claims cannot change between the query and the
        kill. If it holds none, it is continued.

        Args:
            child: the worker.
            holds: returns the worker's claims, from the store.

        Returns:
            Its claims when it was killed; empty if it was not killed.
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
        """Check that no worker ended unexpectedly.

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
