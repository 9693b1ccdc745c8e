"""A fleet of real worker processes on a real server, for tests: started, disturbed, cleaned up.

Rule 1: every worker is a session of its own and writes to a log of its own, printed at the end, so
        that a test that fails shows it.
Rule 2: nothing outlives the fleet, whatever the test did to it.
Rule 3: a test waits for what can be seen in the store, in the ledger or in the process table.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar

import psutil
import redis

from orchestrator import Client, CompiledStateGraph, MemoryCheckpointer
from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.cli.embedded import EmbeddedServer
from orchestrator.cli.processes import Child, session_members, start_child
from orchestrator.config import Settings
from orchestrator.model.commit import LoadedStep
from tests.fixtures.own_server import server_binary
from tests.integration import graphs
from tests.integration.graphs import gate_of

__all__ = ["GRAPHS", "Fleet", "Ran", "Worker", "inputs", "twin"]

_T = TypeVar("_T")

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = (
    *("tour", "row", "fan", "placed", "patient", "bounded", "opaque", "ticker", "hopper"),
    *("relay", "nested"),
)
WAIT_S = 40.0  # Two cores, shared with whatever else runs.
STOP_S = 20.0
POLL_S = 0.02
DOWN_S = 1.0  # How long a server that was killed is away.
# Leases short enough for tests, long enough for a machine that is busy.
QUICK = {
    "GRAPHSTALK_LEASE_TTL_S": "1.5",
    "GRAPHSTALK_BEAT_S": "0.15",
    "GRAPHSTALK_HINT_GRACE_S": "0.7",
    "GRAPHSTALK_DISPATCH": os.environ.get("TEST_DISPATCH", "queue"),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """One line of the ledger: an attempt that really ran."""

    t: float
    thread: str
    step: str
    name: str
    attempt: int
    worker: str
    key: str

    @property
    def pid(self) -> int:
        """Return the process that ran it."""
        return pid_of(self.worker)


@dataclass
class Worker:
    """A worker: its main process, its keeper, its pool."""

    child: Child
    log: Path

    @property
    def pid(self) -> int:
        """Return the main process."""
        return self.child.pid

    @property
    def keeper(self) -> int:
        """Return the process that keeps its leases, 0 while there is none."""
        for pid in session_members(self.pid):
            with contextlib.suppress(psutil.Error):
                if "workers.keeper" in psutil.Process(pid).cmdline():
                    return pid
        return 0

    def pids(self) -> list[int]:
        """Return all of its processes."""
        return session_members(self.pid)

    def is_running(self) -> bool:
        """Whether any process of it lives."""
        return self.child.exit_code() is None or bool(session_members(self.pid))

    def terminate(self) -> None:
        """Ask it to stop, as a platform does."""
        self.child.process.terminate()

    def kill_all(self) -> None:
        """End all of its processes at once: the machine is gone."""
        self.child.kill_all()


class Fleet:
    """A server, its workers, and what there is to see of both."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str] | None = None,
        *,
        own_broker: bool | str = False,
        module: ModuleType = graphs,
        names: Sequence[str] = GRAPHS,
    ) -> None:
        """Prepare a deployment in `folder`; nothing is started yet.

        Args:
            folder: for data, logs and the ledger.
            env: settings as environment variables, beside those that make tests quick.
            own_broker: whether messages go through another server than the checkpoints, or the
                address of a broker that runs already.
            module: where its graphs are.
            names: their names there.
        """
        self._module, self._names = module, names
        self.folder, self._env, self._own_broker = folder, {**QUICK, **(env or {})}, own_broker
        self.ledger = folder / "ledger"
        self.scratch = folder / "scratch"  # Of the workers: what a killed one leaves is there.
        self.workers: list[Worker] = []
        self.server: EmbeddedServer
        self.broker: EmbeddedServer | None = None
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the servers."""
        self.scratch.mkdir(exist_ok=True)
        self.server = EmbeddedServer(self.folder / "store", binary=server_binary())
        self.server.start()
        variables = {**self._env, "REDIS_URL": self.server.url}
        variables["GRAPHSTALK_STATE_DIR"] = str(self.folder / "state")
        if isinstance(self._own_broker, str):
            variables["GRAPHSTALK_BROKER_URL"] = self._own_broker
        elif self._own_broker:
            self.broker = EmbeddedServer(self.folder / "broker", binary=server_binary())
            self.broker.start()
            variables["GRAPHSTALK_BROKER_URL"] = self.broker.url
        self.variables = variables
        self.settings = Settings.from_env(variables)
        self.redis = self._closing.enter_context(redis.Redis.from_url(self.server.url))
        its_own = self.broker.url if self.broker is not None else self.server.url
        self.queues = redis.Redis.from_url(its_own)
        self._closing.callback(self.queues.close)
        self.store = RedisCheckpointer(settings=self.settings)
        self._closing.callback(self.store.close)
        known = {name: getattr(self._module, name) for name in self._names}
        self.client = self._closing.enter_context(Client(graphs=known, settings=self.settings))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything, and print what the workers said."""
        for worker in self.workers:
            worker.kill_all()
        self._closing.close()
        self.server.stop()
        if self.broker is not None:
            self.broker.stop()
        for worker in self.workers:
            lines = worker.log.read_text("utf-8", "replace").splitlines()
            print(f"--- {worker.log.name}", *lines[-60:], sep="\n")

    @property
    def queue(self) -> str:
        """The default queue, as the broker knows it."""
        return self.settings.queue_prefix + self.settings.queue

    def restart_server(self, while_down: Callable[[], object] = lambda: None) -> None:
        """Kill the server, let it be away for a moment, and start it again with what it kept."""
        self.server = restarted(self.server, while_down)

    def restart_broker(self, while_down: Callable[[], object] = lambda: None) -> None:
        """As `restart_server`, for a broker of its own."""
        assert self.broker is not None
        self.broker = restarted(self.broker, while_down)

    # ---- workers ------------------------------------------------------------------------

    def start(
        self,
        *,
        pool: str = "prefork",
        concurrency: int = 1,
        queues: str = "",
        known: Mapping[str, str] | None = None,
        events: bool = False,
        wait: bool = True,
        options: Sequence[str] = (),
    ) -> Worker:
        """Start a worker and wait until it takes steps.

        Args:
            pool: what runs nodes.
            concurrency: how many at a time.
            queues: that it takes from, if not the default one.
            known: the graphs it knows, name → attribute of the graphs of these tests.
            events: whether it sends Celery's events.
            wait: whether to return only when it is ready.
            options: of its command line, besides.
        """
        known = {name: name for name in self._names} if known is None else known
        pairs = ",".join(f"{n}={self._module.__name__}:{a}" for n, a in known.items())
        name = f"worker{len(self.workers)}"
        log = self.folder / f"{name}.log"
        argv = [sys.executable, "-m", "workers", f"--graphs={pairs}", f"--name={name}"]
        argv += [f"--pool={pool}", f"--concurrency={concurrency}", "--loglevel=info"]
        argv += [*([f"--queues={queues}"] if queues else ()), *(["-E"] if events else ())]
        argv += options
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GRAPHSTALK_")},
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.scratch),
            **self.variables,
            "GRAPHSTALK_HEARTBEAT_FILE": str(self.folder / f"{name}.heartbeat"),
            "PYTHONUNBUFFERED": "1",
        }
        worker = Worker(start_child(name, argv, env=env, log=log), log)
        self.workers.append(worker)
        if wait:
            self.wait_until(lambda: b" ready." in log.read_bytes(), f"{name} is ready")
        return worker

    def start_many(self, count: int, **options: Any) -> list[Worker]:
        """Start workers side by side; return once they and their keepers are at work."""
        workers = [self.start(wait=False, **options) for _ in range(count)]
        for worker in workers:
            self.wait_until(lambda log=worker.log: b" ready." in log.read_bytes(), "all are ready")
        self.wait_kept(*workers)
        return workers

    def wait_kept(self, *workers: Worker) -> None:
        """Wait until the keepers of these workers are at work."""
        pids = {worker.pid for worker in workers}
        self.wait_until(lambda: pids <= {w.pid for w in self.client.workers()}, "keepers work")

    def stop(self, *workers: Worker) -> list[int]:
        """Ask workers to stop, wait until all of them have, and return their exit codes."""
        for worker in workers:
            worker.terminate()
        ended = [lambda worker=worker: not worker.is_running() for worker in workers]
        for one in ended:
            self.wait_until(one, "the worker has stopped", STOP_S)
        return [worker.child.process.wait() for worker in workers]

    def worker_of(self, pid: int) -> Worker:
        """Return the worker to which a process belongs."""
        return next(w for w in self.workers if pid in session_members(w.pid))

    # ---- runs ---------------------------------------------------------------------------

    def submit(self, graph: str, thread: str = "t", **state: Any) -> str:
        """Enqueue a run with `state` and the ledger; return its thread."""
        return self.client.submit(graph, inputs(self.ledger, **state), thread_id=thread).thread_id

    def result(self, thread: str = "t", timeout_s: float = WAIT_S) -> Any:
        """Wait for a run and return its output without what belongs to the test."""
        return strip(self.client.result(thread, timeout_s))

    def open(self, name: str) -> None:
        """Open a gate: that of the node `name`, if its script names no other."""
        gate_of(str(self.ledger), name).touch()

    def wait_for(self, name: str, *, attempt: int = 1, thread: str = "t") -> Ran:
        """Wait until an attempt at a node really runs."""

        def found() -> Ran | None:
            mine = [r for r in self.ran(thread) if (r.name, r.attempt) == (name, attempt)]
            return mine[0] if mine else None

        return self.wait_until(found, f"attempt {attempt} at {name} of {thread} runs")

    def steps(self, thread: str = "t") -> dict[str, LoadedStep]:
        """Return the steps of the current superstep by node, and index if they were sent."""
        loaded = self.store.load(thread, values=False)
        assert loaded is not None
        return {
            s.step.node if s.step.index < 0 else f"{s.step.node}:{s.step.index}": s
            for s in loaded.steps.values()
        }

    def turned(self) -> Worker:
        """Wait until a superstep is about to be advanced, and return by which worker."""
        marker = Path(f"{self.ledger}.turn")
        pid = self.wait_until(lambda: marker.exists() and marker.read_text("utf-8"), "a turn")
        return self.worker_of(int(pid))

    # ---- what there is to see -----------------------------------------------------------

    def ran(self, thread: str | None = None) -> list[Ran]:
        """Return the lines of the ledger, of one thread or all, in the order of writing."""
        if not self.ledger.exists():
            return []
        lines = self.ledger.read_text("utf-8").splitlines()
        every = [Ran(**json.loads(line)) for line in lines]
        return [one for one in every if thread in {None, one.thread}]

    def stats(self, name: str) -> int:
        """Return a counter, summed over partitions."""
        keys = [self.store.keys.partition(p) + "stats" for p in range(self.store.partitions)]
        return sum(int(self.redis.hget(key, name) or 0) for key in keys)

    def wait_until(self, happened: Callable[[], _T], what: str, timeout_s: float = WAIT_S) -> _T:
        """Wait until `happened` returns something true, and return that.

        Raises:
            AssertionError: if it does not in time.
        """
        end = time.monotonic() + timeout_s
        while True:
            found = happened()
            if found:
                return found
            assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}"
            time.sleep(POLL_S)


def restarted(server: EmbeddedServer, while_down: Callable[[], object]) -> EmbeddedServer:
    """Kill a server, and return one on the same data and port once it serves."""
    port = int(server.url.rsplit(":", 1)[1].partition("/")[0])
    with redis.Redis.from_url(server.url) as client:
        client.config_set("appendfsync", "always")
        client.set("now-everything-is-on-disk", 1)
        client.delete("now-everything-is-on-disk")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    while server.is_running():
        time.sleep(POLL_S)
    server.stop()
    while_down()
    time.sleep(DOWN_S)
    again = EmbeddedServer(server.folder.path, port, binary=server_binary())
    again.start()
    return again


def inputs(ledger: Path, **state: Any) -> dict[str, Any]:
    """Return an input of the graphs of these tests."""
    return {"ledger": str(ledger), **state}


def strip(values: Any) -> Any:
    """Return a state without what a test put there for itself."""
    return {k: v for k, v in values.items() if k not in {"ledger", "script", "turn"}}


def twin(
    graph: CompiledStateGraph, folder: Path, answers: Sequence[Any] = (), **state: Any
) -> tuple[CompiledStateGraph, Any]:
    """Run a graph undisturbed in this process; return it with its threads, and its output."""
    from orchestrator import Command

    here = CompiledStateGraph(graph.spec, checkpointer=MemoryCheckpointer())
    output = here.invoke(inputs(folder / "twin", **state), "t")
    for answer in answers:
        output = here.invoke(Command(resume=answer), "t")
    return here, strip(output)


def pid_of(owner: str) -> int:
    """Return the process of an owner of claims."""
    return int(owner.rsplit(":", 2)[1])


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Freeze processes, and let them go on afterwards."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
