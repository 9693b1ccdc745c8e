"""The folder, server and workers of chaos."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from orchestrator.cli.demo import own_namespace
from orchestrator.cli.embedded import EmbeddedServer, find_server
from orchestrator.cli.exits import CommandError
from orchestrator.cli.output import say
from orchestrator.cli.processes import Child, Fleet, session_members, stop_children
from orchestrator.config import without_password

POLL_S = 0.02
BROKER_VARIABLES = ("GRAPHSTALK_BROKER_URL", "CELERY_BROKER_URL")
QUEUE_VARIABLES = ("GRAPHSTALK_NAMESPACE", "GRAPHSTALK_QUEUE")


@dataclass(slots=True)
class Site:
    """A folder and a server."""

    url: str
    folder: Path
    server: EmbeddedServer | None = None  # `None`: the server is not ours.
    binary: Path | None = None  # Of our server.
    keep: bool = False  # Whether the folder stays when all is over.

    def kill_server(self, away_s: float) -> None:
        """Kill our server, and start it again on the same data and port.

        What a server with `appendfsync everysec` has acknowledged may still be on its way to the
        file when it is killed. That is its promise, not ours to test, so it writes all of it first.
        """
        import redis

        assert self.server is not None
        assert self.server.pid is not None
        with redis.Redis.from_url(self.url) as client:
            client.config_set("appendfsync", "always")
            client.set("graphstalk-chaos", "a write, so that all before it are in the file", px=1)
        os.kill(self.server.pid, signal.SIGKILL)
        while self.server.is_running():
            time.sleep(POLL_S)
        self.server.stop()
        time.sleep(away_s)
        port = urlsplit(self.url).port
        again = EmbeddedServer(self.server.folder.path, port, binary=self.binary)
        again.start()
        self.server = again


@contextlib.contextmanager
def broker_set(url: str | None) -> Iterator[None]:
    """Let messages go through a broker, or else through our server; ignore the environment."""
    names = [*BROKER_VARIABLES, *QUEUE_VARIABLES]
    before = {name: os.environ[name] for name in names if name in os.environ}
    for name in BROKER_VARIABLES:
        os.environ.pop(name, None)
    if url is not None:
        os.environ[BROKER_VARIABLES[0]] = url
        os.environ.update(dict.fromkeys(QUEUE_VARIABLES, f"chaos-{secrets.token_hex(4)}"))
        say(f"messages go through {without_password(url)}, which is never killed")
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextlib.contextmanager
def site(url: str | None, broker: str | None = None) -> Iterator[Site]:
    """Have a folder and a server for as long as the context lasts.

    Args:
        url: a server that runs already, of which a namespace and a queue of our own are used;
            `None`: what `REDIS_URL` names, else a server of our own.
        broker: the broker; `None`: the server of our own, or the broker of the environment.
    """
    found = find_server({**os.environ, "REDIS_URL": url} if url else None)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="graphstalk-chaos-"))
        if broker is not None or found.url is None:
            stack.enter_context(broker_set(broker))
        if found.url is not None:
            stack.enter_context(own_namespace(found.url, keep=False, prefix="chaos"))
            say("the server is not ours: it is never killed; of workers, only ours are")
            here = Site(found.url, folder)
        else:
            server = EmbeddedServer(folder / "data", binary=found.binary)
            server.start()
            here = Site(server.url, folder, server, found.binary)
            say(f"embedded server ({found.source}) at {server.url}")
        try:
            yield here
        finally:
            if here.server is not None:
                here.server.stop()
            if here.keep:
                say(f"kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)


# ---- workers --------------------------------------------------------------------------------
#
# Rule 1: only processes that were started here are ever signalled.
# Rule 2: a stopped process is continued, however the crew ends.


LEAVE_S = 30.0  # How long a worker that was asked to stop may take.
STOP_GRACE_S = 5.0
START_S = 60.0  # How long workers may take to be at work.
START_POLL_S = 0.1


class Crew:
    """A number of workers that are started again whenever they end."""

    def __init__(
        self, env: Mapping[str, str], arguments: Sequence[str], folder: Path, size: int
    ) -> None:
        self.fleet = Fleet(env, arguments, log_dir=folder)
        self.deaths: dict[int, list[float]] = defaultdict(list)  # Process → when it was killed.
        self.leaving: list[tuple[float, Child]] = []  # Asked to stop; until when they have time.
        self.unasked: list[str] = []  # Workers that ended unexpectedly.
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
            time.sleep(START_POLL_S)

    def once(self) -> None:
        """Continue processes that were stopped long enough; start ended workers again."""
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

    # ---- processes ----------------------------------------------------------------------

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

    # ---- faults -------------------------------------------------------------------------

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

    def continue_all(self) -> None:
        """Continue everything that is stopped."""
        for _, pids in self._stopped:
            send(pids, signal.SIGCONT)
        self._stopped.clear()

    def close(self) -> None:
        """End all workers."""
        self.continue_all()
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
