"""OS threads of nodes whose time is over and that do not end: native code that does not return.

Python cannot end a thread. A node that was given up may keep a core busy, or memory, for as long as
its process lives. (`step/timeout.py`)

Rule 1: it has a grace from its time limit on (`GRAPHSTALK_STUCK_S`); then it is logged, once.
Rule 2: a pool process is then replaced when it runs no step: it begins no other, and exits with the
        code by which Celery recycles. Its steps are not to blame, since it has none. (INV-4)
Rule 3: where nodes run in the worker's own process (threads, solo), it is only logged.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import billiard.pool
import billiard.process
import psutil

from orchestrator.step.timeout import Leftover, leftovers
from workers.busy import Busy

__all__ = ["Stuck"]

_POLL_S = 1.0
_PAUSE_S = 0.2  # So long Celery's main process may take to read the result of the last step.

_log = logging.getLogger(__name__)


class Stuck:
    """Reports what this process cannot end, and ends the process."""

    def __init__(self, busy: Busy, grace_s: float, retire: Callable[[], None]) -> None:
        """Begin with nothing.

        Args:
            busy: what the process is busy with.
            grace_s: how long a node may continue after its time limit.
            retire: lets the process begin no other step.
        """
        self._busy, self._grace_s, self._retire = busy, grace_s, retire
        self._seen: set[threading.Thread] = set()

    def loop(self) -> None:
        """Poll until the process ends."""
        pause = threading.Event()
        while not pause.wait(min(_POLL_S, self._grace_s)):
            new = [one for one in leftovers(self._grace_s) if one.thread not in self._seen]
            for one in new:
                self._seen.add(one.thread)
                self._report(one, pause)
            if new and _is_pool_process():
                self._retire()
                while pause.wait(_PAUSE_S) or not self._busy.is_idle:
                    continue
                os._exit(billiard.pool.EX_RECYCLE)

    def _report(self, one: Leftover, pause: threading.Event) -> None:
        before = _cpu_s(one.thread)
        pause.wait(_PAUSE_S)
        share = (_cpu_s(one.thread) - before) / _PAUSE_S
        then = (
            "its process is replaced when it runs no step"
            if _is_pool_process()
            else "restart the worker to end it, or use --pool prefork, which replaces processes"
        )
        _log.error(
            "node %r still runs %.0f s after its time limit, in code that cannot be stopped, and "
            "uses %.0f %% of a core; %s",
            one.node,
            one.over_s,
            share * 100,
            then,
        )


def _is_pool_process() -> bool:
    return bool(billiard.process.current_process()._name != "MainProcess")  # noqa: SLF001 - no accessor


def _cpu_s(thread: threading.Thread) -> float:
    """Return how long a thread has computed."""
    times = {one.id: one.user_time + one.system_time for one in psutil.Process().threads()}
    return times.get(thread.native_id or 0, 0.0)
