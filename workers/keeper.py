"""The keeper: a small process beside each worker that keeps the leases of its processes.

It is a process of its own, so that a node which holds the interpreter lock for minutes cannot lose
its lease; and it inspects processes: a process cannot report its own death.

Rule 1: a process that lives and is not stopped is renewed, whatever it does.
Rule 2: a process that has died has its claims released at once; its steps are sent again.
Rule 3: a process that is stopped (SIGSTOP, frozen) is not renewed: its lease runs out.
Rule 4: the keeper ends when no process is left to keep; not by the signals that end the worker,
        because the worker's last steps still need their leases.
Rule 5: it releases claims on which their process does not work; see `lease_check.py`.

It also runs the sweeper and the auditor, which must not depend on what nodes do to the worker's
processes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.checkpointer.fleet import SharedCheckpointer, Worker
from orchestrator.config import Settings
from orchestrator.dispatch.broker import Dispatch, dispatcher, open_store
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.maintenance.auditor import Auditor
from orchestrator.maintenance.sweeper import Sweeper
from workers.lease_check import LeaseCheck, busy_path
from workers.process import RUN_FOLDER_VARIABLE, TEMPLATE_VARIABLE

__all__ = ["Keeper", "main"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    """A process that holds leases."""

    owner: str
    pid: int
    process: psutil.Process
    # Becomes readable when the process dies; `None` where there is no such thing.
    pidfd: int | None

    def dead(self) -> bool:
        """Return whether the process has ended, reaped or not."""
        try:
            return not self.process.is_running() or self.process.status() in _ENDED
        except psutil.NoSuchProcess:
            return True

    def stopped(self) -> bool:
        """Return whether the process is frozen."""
        try:
            return self.process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}
        except psutil.NoSuchProcess:
            return False


_ENDED = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


@dataclass(slots=True)
class Keeper:
    """Keeps the leases of the processes that register in a folder."""

    folder: Path
    parent: int  # The worker's main process.
    store: SharedCheckpointer
    dispatch: Dispatch
    settings: Settings
    worker: Worker | None = None
    kept: dict[int, _Kept] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)  # Owners whose claims must still be released.

    def once(self, wait_s: float) -> bool:
        """Do one round, waiting at most `wait_s` for a death; return whether to continue."""
        self._find()
        self._wait(wait_s)
        for one in [one for one in self.kept.values() if one.dead()]:
            self._bury(one)
        self.dead = {owner for owner in self.dead if not self._release(owner)}
        alive = [one.owner for one in self.kept.values() if not one.stopped()]
        with contextlib.suppress(CheckpointerUnavailableError):
            self.store.renew(alive, ttl_s=self.settings.lease_ttl_s)
            if self.worker is not None:
                self.store.fleet.announce(self.worker)
        return bool(self.kept) or os.getppid() == self.parent

    def _find(self) -> None:
        """Add the processes that have registered since."""
        for path in self.folder.iterdir():
            if not path.name.isdigit() or int(path.name) in self.kept:
                continue
            pid = int(path.name)
            owner = path.read_text("utf-8")
            try:
                process = psutil.Process(pid)
                pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
            except (psutil.NoSuchProcess, ProcessLookupError):
                self.dead.add(owner)
                self._forget(pid)
                continue
            except OSError:
                pidfd = None
            self.kept[pid] = _Kept(owner, pid, process, pidfd)

    def _wait(self, wait_s: float) -> None:
        """Wait until a process dies, or for `wait_s`."""
        poll = select.poll()
        unseen = False
        for one in self.kept.values():
            if one.pidfd is None:
                unseen = True
            else:
                poll.register(one.pidfd, select.POLLIN)
        poll.poll(int(min(wait_s, 0.1 if unseen else wait_s) * 1000))

    def _bury(self, one: _Kept) -> None:
        self.dead.add(one.owner)
        del self.kept[one.pid]
        if one.pidfd is not None:
            os.close(one.pidfd)
        self._forget(one.pid)

    def _forget(self, pid: int) -> None:
        for path in (self.folder / str(pid), busy_path(self.folder, pid)):
            path.unlink(missing_ok=True)

    def _release(self, owner: str) -> bool:
        try:
            steps = self.store.release(owner)
            if steps:
                _log.warning("%s died in %d steps; they are sent again", owner, len(steps))
                self.dispatch(steps)
        except CheckpointerUnavailableError:
            return False
        return True

    def loop(self) -> None:
        """Keep until no process is left to keep."""
        while self.once(self.settings.beat_s):
            pass


def main(argv: list[str]) -> int:
    """Keep the leases of the worker whose main process is `argv[0]`; `argv[1]` describes it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(format="%(asctime)s keeper %(levelname)s %(message)s")
    settings = Settings.from_env()
    template = os.environ.get(TEMPLATE_VARIABLE)
    # A renewal that gets no answer must be asked again before the lease is over.
    store = open_store(settings, template, answer_s=settings.lease_ttl_s / 3)
    dispatch = dispatcher(store, settings)
    worker = Worker(**json.loads(argv[1]))
    folder = Path(os.environ[RUN_FOLDER_VARIABLE])
    keeper = Keeper(folder, int(argv[0]), store, dispatch, settings, worker)
    stop = threading.Event()
    sweeper_store = open_store(settings, template)
    sweeper_store.fleet.watch_rollbacks(Path(settings.state_dir))
    sweeper = Sweeper(
        sweeper_store,
        dispatcher(sweeper_store, settings),
        f"{worker.name}:{os.getpid()}",
        settings.sweep_s,
    )
    auditor = Auditor(open_store(settings, os.environ.get(TEMPLATE_VARIABLE)), _leads(sweeper))
    lease_check = LeaseCheck(folder, sweeper_store, dispatcher(sweeper_store, settings))
    for one in (sweeper, auditor, lease_check):
        name = type(one).__name__.lower()
        threading.Thread(target=_run_loop, args=(one.loop, stop), name=name, daemon=True).start()
    keeper.loop()
    # Only at the end: a keeper that fails is replaced, and the next one needs the folder.
    stop.set()
    with contextlib.suppress(CheckpointerUnavailableError):
        store.fleet.leave(worker.name)
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _leads(sweeper: Sweeper) -> Callable[[], bool]:
    return lambda: sweeper.leading


def _run_loop(loop: Callable[[threading.Event], None], stop: threading.Event) -> None:
    """Sweep, audit or check; if that fails, end the process: the worker starts another keeper."""
    try:
        loop(stop)
    except BaseException:  # noqa: BLE001 - whatever it was, the process ends
        _log.exception("a loop of the keeper failed, and the keeper ends")
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
