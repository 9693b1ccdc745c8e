"""The sweeper: finds steps that should run and do not, and sends them (again).

Any process may sweep; per partition one leads at a time. It needs no graph: all it does is send
messages, and a message more than needed costs one refused claim; and begin runs that are next in
line, which one does if several try. (INV-7)
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.dispatch.broker import Dispatch
from orchestrator.errors import CheckpointerUnavailableError, StateCorruptedError
from orchestrator.model.commit import ReadyStep
from orchestrator.step.next_run import begin_next

__all__ = ["Sweep", "Sweeper"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one round over all partitions did."""

    led: int = 0  # Partitions this process leads.
    sent: int = 0  # Messages.
    released: int = 0  # Claims taken from owners that did not renew.
    stuck: int = 0  # Supersteps that no process had advanced.


@dataclass(slots=True)
class Sweeper:
    """Sweeps all partitions of a checkpointer.

    Attributes:
        store: where threads are.
        dispatch: how messages get to the broker.
        name: under which it leads.
        interval_s: between two rounds.
    """

    store: Checkpointer
    dispatch: Dispatch
    name: str
    interval_s: float = 0.2
    leading: bool = False  # Whether it led any partition in the latest round.
    _damaged: set[str] = field(default_factory=set)  # Places whose damage was logged.

    def once(self) -> Sweep:
        """Do one round.

        Raises:
            CheckpointerUnavailableError: if the server does not answer; nothing is lost by that.
        """
        led = released = stuck = 0
        found: list[ReadyStep] = []
        waiting: list[str] = []
        for partition in range(self.store.partitions):
            try:
                swept = self.store.sweep(partition, leader=self.name)
            except StateCorruptedError as error:
                self._report(f"partition {partition}", error)
                led += 1  # No other process can lead it either: the auditor is needed.
                continue
            led += swept.leading
            released += swept.released
            stuck += len(swept.stuck)
            found += [*swept.due, *swept.stuck]
            waiting += swept.waiting
        for thread_id in waiting:
            found += self._begun(thread_id)
        self.leading = led > 0  # Before anything can fail: the auditor runs where it is so.
        if found:
            self._send(found)
        return Sweep(led, len(found), released, stuck)

    def _begun(self, thread_id: str) -> tuple[ReadyStep, ...]:
        """Begin a thread's next run; return what is to be sent."""
        try:
            ready = begin_next(self.store, thread_id)
        except StateCorruptedError as error:
            self._report(f"the thread {thread_id!r}", error)
            return ()
        return () if self.store.pushes else ready

    def _send(self, found: list[ReadyStep]) -> None:
        try:
            self.dispatch(found)
        except StateCorruptedError as error:  # What was not marked as sent is found again.
            self._report("a list of what was sent", error)

    def _report(self, where: str, error: StateCorruptedError) -> None:
        """Log once that something is damaged; the sweep continues with everything else."""
        if where not in self._damaged:
            self._damaged.add(where)
            _log.error("sweep: %s is skipped: %s", where, error)

    def loop(self, stop: threading.Event) -> None:
        """Sweep until `stop` is set; a server that is away is waited for."""
        away = False
        while not stop.wait(self.interval_s):
            try:
                done = self.once()
            except CheckpointerUnavailableError as error:
                if not away:
                    _log.warning("sweep: %s; it is tried again until it answers", error)
                away = True
                continue
            if away:
                _log.warning("sweep: the server answers again")
            away = False
            if done.released or done.stuck:
                _log.warning(
                    "sweep: released %d claims, found %d stuck supersteps",
                    done.released,
                    done.stuck,
                )
