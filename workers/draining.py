"""What becomes of the steps that run when their worker is told to stop.

Rule 1: from that moment the worker takes no message any more; what it runs has its grace.
Rule 2: what has not ended then is handed back: released, sent again, done elsewhere at once. It is
        not to blame, so this does not count as a death under it.
Rule 3: after that the worker ends by force. Whatever a node still does is not kept. (INV-3)
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutting_down

from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.config import Settings
from orchestrator.dispatch.broker import Dispatch, dispatcher, open_store
from orchestrator.errors import CheckpointerUnavailableError
from workers.health import heartbeat_file
from workers.runtime import RUN_FOLDER_VARIABLE, TEMPLATE_VARIABLE, mark_stopping

__all__ = ["Drain", "hand_back"]

_log = logging.getLogger(__name__)


class Drain(bootsteps.Step):
    """Hands back what still runs when a worker's grace is over, and ends it."""

    requires = ("workers.bootsteps:LeaseKeeper",)

    def __init__(self, _worker: Any, **_: Any) -> None:
        """Prepare; nothing is watched yet."""
        self._told = threading.Event()
        self._grace_s = Settings.from_env().drain_s

    def create(self, _worker: Any) -> None:
        """Wait for the worker to be told to stop, in an OS thread of its own."""
        worker_shutting_down.connect(self._begin, weak=False)
        threading.Thread(target=self._wait, name="drain", daemon=True).start()

    def _begin(self, **_: Any) -> None:
        mark_stopping()
        self._told.set()

    def _wait(self) -> None:
        """Wait for the end of the grace; a worker that stops in time takes this OS thread along."""
        self._told.wait()
        threading.Event().wait(self._grace_s)
        settings = Settings.from_env()
        store = open_store(settings, os.environ.get(TEMPLATE_VARIABLE))
        folder = Path(os.environ[RUN_FOLDER_VARIABLE])
        count = hand_back(folder, store, dispatcher(store, settings))
        _log.warning("the grace of %g s is over: %d steps are handed back", self._grace_s, count)
        heartbeat_file().unlink(missing_ok=True)
        os._exit(0)


def hand_back(folder: Path, store: RedisCheckpointer, dispatch: Dispatch) -> int:
    """Hand back the steps of all processes that a folder names, and kill those; return how many.

    This process is not killed. A server that is away is told nothing: leases run out, too.
    """
    owners: dict[int, str] = {}
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # It died just now, and its keeper knows.
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
