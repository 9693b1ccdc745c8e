"""Child processes: started in sessions of their own, watched, and stopped in order.

Rule 1: a child never outlives its parent. It is tethered, and whoever starts children stops them in
        a `finally`.
Rule 2: Ctrl-C is for the parent only. Each child is in its own session, so that the parent decides
        who goes first.
Rule 3: a whole child means its whole session: a worker's own children go with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from orchestrator.cli.stopping import StopRequestedError
from orchestrator.cli.tether import tethered

__all__ = ["Child", "StopRequestedError", "raise_on_stop_signals", "start_child", "stop_children"]

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
    """Stop children side by side: SIGTERM to each, then SIGKILL to what is left of their sessions.

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
    """Return the living processes of a session, wherever their parents went."""
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
