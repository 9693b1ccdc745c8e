"""The parts that a worker starts beside its pool: keeper, heartbeat file, and drain.

A worker that gets a request to stop:

Rule 1: it accepts no message from that moment; the steps that it runs have its grace to end.
Rule 2: steps that run longer are handed back: released, and dispatched again at once. That does
        not count as a death of their worker.
Rule 3: then the worker ends by force. What a node still does is not stored. (INV-3)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.signals import worker_process_init, worker_shutting_down

from orchestrator.checkpointer.fleet import SharedCheckpointer, Worker
from orchestrator.config import Settings
from orchestrator.dispatch.broker import Dispatch, dispatcher, open_store
from orchestrator.dispatch.message import celery_template
from orchestrator.errors import CheckpointerUnavailableError
from workers.configuration import refused_pool
from workers.health import beat, heartbeat_file
from workers.process import (
    RUN_FOLDER_VARIABLE,
    TEMPLATE_VARIABLE,
    loaded_graphs,
    mark_stopping,
    worker_process,
)

__all__ = ["Drain", "Heartbeat", "LeaseKeeper", "hand_back", "make_folder", "remove_left_folders"]

_FOLDER_PREFIX = "graphstalk-worker-"
_HELD = "held"  # A file in the folder, locked by the processes of its worker.
_KEEPER_TRIES = 5
_KEEPER_AGE_S = 10.0  # A keeper that fails before this age may not be able to work at all.

_log = logging.getLogger(__name__)
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LeaseKeeper(bootsteps.StartStopStep):
    """Starts the keeper before the pool forks, and starts it again if it dies.

    A keeper that ends repeatedly soon after its start ends the worker: without one its leases run
    out, and other workers would run its steps a second time.
    """

    exit_code = 0  # Of the worker, if its keeper could not start.

    def __init__(self, _worker: Any, **_: Any) -> None:
        """Prepare; nothing is started yet."""
        self._folder = ""
        self._held = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self._describe: Worker | None = None

    def create(self, worker: Any) -> None:
        """Load the graphs, and start the keeper, before there are pool processes."""
        if why := refused_pool(_pool_of(worker)):  # As where `celery worker` was called itself.
            raise SystemExit(f"graphstalk: {why}")
        graphs = loaded_graphs()
        settings = Settings.from_env()
        remove_left_folders()
        self._folder, self._held = make_folder()
        os.environ[RUN_FOLDER_VARIABLE] = self._folder
        if settings.one_redis:
            os.environ[TEMPLATE_VARIABLE] = celery_template()
        self._describe = Worker(
            name=f"{socket.gethostname()}:{os.getpid()}",
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=sorted(
                name.removeprefix(settings.queue_prefix)
                for name in worker.app.amqp.queues.consume_from
            ),
            pool=_pool_of(worker),
            concurrency=int(worker.concurrency or 0),
            graphs=sorted(graphs),
            broker=settings.broker_name,
        )
        if not worker.pool_cls.__module__.endswith("prefork"):
            worker_process()  # Nodes run in this process, so it is the one that holds leases.
            # After a reconnection Celery would set the number of messages from the OS thread of a
            # node, and wait there for an answer that the worker's own thread reads: both then wait.
            worker.app.conf.worker_enable_prefetch_count_reduction = False
        self._start_keeper()
        threading.Thread(target=self._watch, name="keeper-watch", daemon=True).start()
        threading.Thread(target=self._publish, name="publish-graphs", daemon=True).start()

    def _publish(self) -> None:
        """Publish the graphs for clients; while the server is away, try again."""
        store = open_store(Settings.from_env(), os.environ.get(TEMPLATE_VARIABLE))
        while not self._ending.is_set():
            try:
                known = {name: graph.spec.fingerprint for name, graph in loaded_graphs().items()}
                queues = {name: graph.spec.queue or "" for name, graph in loaded_graphs().items()}
                store.fleet.publish_graphs(known, queues)
            except CheckpointerUnavailableError:
                self._ending.wait(1)
            else:
                return

    def _start_keeper(self) -> None:
        assert self._describe is not None
        described = json.dumps(asdict(self._describe))
        command = [sys.executable, "-m", "workers.keeper", str(os.getpid()), described]
        # Ctrl-C in a terminal reaches the keeper, too, and must not end it while it starts: it
        # inherits these signals as blocked, and ignores them once it runs.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module and arguments
                command, pass_fds=(self._held,)
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _watch(self) -> None:
        failed = 0
        while not self._ending.is_set():
            assert self._process is not None
            began_s = time.monotonic()
            code = self._process.wait()
            if self._ending.is_set():
                return
            # One that was killed, which is a negative code, had not failed.
            failed = failed + 1 if code > 0 and time.monotonic() - began_s < _KEEPER_AGE_S else 0
            if failed == _KEEPER_TRIES:
                what = "the keeper ended (%s) %d times in a row soon after its start: stopping"
                _log.critical(what, code, failed)
                LeaseKeeper.exit_code = 1
                os.kill(os.getpid(), signal.SIGTERM)
                return
            _log.error("the keeper ended (%s); starting it again", code)
            self._start_keeper()
            self._ending.wait(0.5)

    def start(self, _parent: Any) -> None:
        """Do nothing: the keeper runs since `create`."""

    def stop(self, _parent: Any) -> None:
        """Leave the keeper running until the pool has ended; it then ends by itself."""

    def terminate(self, _parent: Any) -> None:
        """As `stop`."""

    def shutdown(self, _parent: Any) -> None:
        """Stop watching the keeper; it ends after this process, and clears up."""
        self._ending.set()


def make_folder() -> tuple[str, int]:
    """Make the folder of a worker; return it and the descriptor that shows that it is used.

    A lock is held for as long as any process has the descriptor: the worker, its pool processes and
    its keeper. However they end, the lock ends with the last of them.
    """
    folder = tempfile.mkdtemp(prefix=_FOLDER_PREFIX)
    draft = Path(folder, f"{_HELD}.new")
    held = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_SH)
    draft.rename(Path(folder, _HELD))  # Only now: a folder without it is not removed.
    # What billiard shares among processes goes there, too, and not to a folder that a kill leaves.
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        get_temp_dir()
    finally:
        tempfile.tempdir = before
    return folder, held


def remove_left_folders() -> None:
    """Remove the folders of this user's workers of which every process was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        try:
            if folder.lstat().st_uid != os.getuid():
                continue
            held = os.open(folder / _HELD, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # Not ready yet, or another worker removed it.
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # In use.
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(held)


def _pool_of(worker: Any) -> str:
    name = str(worker.pool_cls.__module__).rsplit(".", 1)[-1]
    return "threads" if name == "thread" else name


class Heartbeat(bootsteps.StartStopStep):
    """Touches the heartbeat file every second, so that a health check needs no broker."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, _worker: Any, **_: Any) -> None:
        """Prepare."""
        self._path: Path = heartbeat_file()
        self._timer: Any = None
        self._ending = threading.Event()

    def start(self, worker: Any) -> None:
        """Begin to beat."""
        beat(self._path)
        self._timer = worker.timer.call_repeatedly(1.0, beat, (self._path,))
        threading.Thread(target=self._wait, args=(worker,), name="heartbeat", daemon=True).start()

    def _wait(self, worker: Any) -> None:
        """Beat for the loop while it waits for the broker: no reason to restart a worker."""
        while not self._ending.wait(1.0):
            if getattr(worker.consumer, "connection", None) is None:
                beat(self._path)

    def stop(self, _worker: Any) -> None:
        """Stop beating, and leave no file that seems alive."""
        self._ending.set()
        if self._timer is not None:
            self._timer.cancel()
        self._path.unlink(missing_ok=True)


@worker_process_init.connect
def _register_pool_process(**_: Any) -> None:
    """Make a pool process's runtime before its first step, so that its keeper knows it.

    The pool `solo` says this of the worker's own process, and perhaps before the keeper's folder is
    made; `LeaseKeeper` makes that runtime.
    """
    if RUN_FOLDER_VARIABLE in os.environ:
        worker_process()


# ---- a request to stop ----------------------------------------------------------------------


class Drain(bootsteps.Step):
    """Hands back what still runs when a worker's grace is over, and ends it."""

    requires = ("workers.bootsteps:LeaseKeeper",)

    def __init__(self, _worker: Any, **_: Any) -> None:
        """Prepare; nothing is watched yet."""
        self._stopping = threading.Event()
        self._grace_s = Settings.from_env().drain_s

    def create(self, _worker: Any) -> None:
        """Wait for a request to stop, in an OS thread of its own."""
        worker_shutting_down.connect(self._begin, weak=False)
        threading.Thread(target=self._wait, name="drain", daemon=True).start()

    def _begin(self, **_: Any) -> None:
        mark_stopping()
        self._stopping.set()

    def _wait(self) -> None:
        """Wait for the end of the grace; a worker that stops in time ends this OS thread."""
        self._stopping.wait()
        threading.Event().wait(self._grace_s)
        settings = Settings.from_env()
        store = open_store(settings, os.environ.get(TEMPLATE_VARIABLE))
        folder = Path(os.environ[RUN_FOLDER_VARIABLE])
        count = hand_back(folder, store, dispatcher(store, settings))
        _log.warning("the grace of %g s is over: %d steps are handed back", self._grace_s, count)
        heartbeat_file().unlink(missing_ok=True)
        os._exit(0)


def hand_back(folder: Path, store: SharedCheckpointer, dispatch: Dispatch) -> int:
    """Hand back the steps of all processes that a folder names, and kill those; return how many.

    This process is not killed. If the server is away, the leases run out.
    """
    owners: dict[int, str] = {}
    for path in folder.iterdir():
        # If it has just died, its file is gone, and its keeper releases its claims.
        with contextlib.suppress(FileNotFoundError):
            if path.name.isdigit():
                owners[int(path.name)] = path.read_text("utf-8")
    count = 0
    with contextlib.suppress(CheckpointerUnavailableError):
        for owner in owners.values():
            steps = store.release(owner, died=False)
            dispatch(steps)
            count += len(steps)
    for pid in owners.keys() - {os.getpid()}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return count
