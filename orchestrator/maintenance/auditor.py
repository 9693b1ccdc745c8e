"""The auditor: finds threads that no message or timer would continue, and repairs them.

The sweeper trusts what is indexed for it. The auditor trusts nothing: it reads threads
themselves, a few at a time, all of them over and over. (INV-7)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from orchestrator import limits
from orchestrator.checkpointer.base import Checkpointer, commit_to
from orchestrator.engine.records import Records
from orchestrator.engine.settle import Placement, append_event, steps_of
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.model.audit import Damage
from orchestrator.model.commit import ReadyStep, StoredCheckpoint
from orchestrator.model.events import ThreadDamaged
from orchestrator.serde.codec import ALL_PLAIN, Codec

__all__ = ["Audit", "Auditor", "planned_by"]

_log = logging.getLogger(__name__)
_PAUSE = 20  # The pause after a round, as a multiple of the time that it took.


@dataclass(frozen=True, slots=True)
class Audit:
    """What one round found."""

    threads: int = 0  # How many were read.
    found: tuple[Damage, ...] = ()
    complete: bool = False  # Whether all threads have been seen since the last complete round.

    @property
    def repaired(self) -> int:
        """Return how many damages are repaired."""
        return sum(damage.repaired for damage in self.found)


@dataclass(slots=True)
class Auditor:
    """Audits the threads of a checkpointer.

    Attributes:
        store: where threads are.
        leads: whether this process is to audit; asked before each round of `loop`.
        repair: whether to change anything.
        interval_s: between two rounds, at least.
        limit: about how many threads a round reads in each partition.
    """

    store: Checkpointer
    leads: Callable[[], bool] = lambda: True
    repair: bool = True
    interval_s: float = 1.0
    limit: int = limits.AUDIT_BATCH_MAX
    _cursors: dict[int, str] = field(default_factory=dict)  # Of partitions not yet seen whole.
    _known: set[tuple[str, str]] = field(default_factory=set)  # Logged, and not repaired.

    def once(self) -> Audit:
        """Audit the next threads of each partition.

        Raises:
            CheckpointerUnavailableError: if the server does not answer.
        """
        if not self._cursors:
            self._cursors = dict.fromkeys(range(self.store.partitions), "")
        found: list[Damage] = []
        threads = 0
        for partition, cursor in list(self._cursors.items()):
            audited = self.store.audit(
                partition, plan=planned_by, repair=self.repair, cursor=cursor, limit=self.limit
            )
            found += audited.found
            threads += audited.threads
            if audited.cursor:
                self._cursors[partition] = audited.cursor
            else:
                del self._cursors[partition]
        return Audit(threads, tuple(found), complete=not self._cursors)

    def all(self) -> Audit:
        """Audit every thread."""
        self._cursors = {}
        rounds = [self.once()]
        while not rounds[-1].complete:
            rounds.append(self.once())
        found = dict.fromkeys(damage for each in rounds for damage in each.found)
        return Audit(sum(each.threads for each in rounds), tuple(found), complete=True)

    def report(self, found: Sequence[Damage]) -> None:
        """Log what was found; what cannot be repaired once, here and in the thread's own log."""
        for damage in found:
            key = damage.thread_id, damage.code.value
            if damage.repaired:
                _log.warning("repaired %r: %s [%s]", damage.thread_id, damage.why, damage.code)
            elif key not in self._known:
                self._known.add(key)
                what = "%r is damaged: %s [%s] %s"
                _log.error(what, damage.thread_id, damage.why, damage.code, damage.remedy)
                self._note(damage)

    def _note(self, damage: Damage) -> None:
        code, why, remedy = damage.code.value, damage.why, damage.remedy
        event = ThreadDamaged(codes=code, why=why, remedy=remedy).draft()
        commit_to(self.store, append_event(damage.thread_id, event))

    def loop(self, stop: threading.Event) -> None:
        """Audit until `stop` is set; a server that is away is waited for."""
        pause_s = self.interval_s
        while not stop.wait(pause_s):
            began = time.monotonic()
            if self.leads():
                try:
                    self.report(self.once().found)
                except CheckpointerUnavailableError:
                    _log.debug("audit: the server does not answer")
            pause_s = max(self.interval_s, _PAUSE * (time.monotonic() - began))


def planned_by(thread_id: str, graph: str, stored: StoredCheckpoint) -> tuple[ReadyStep, ...]:
    """Return the steps that a checkpoint planned; see `Planner`."""
    codec = Codec()  # Types of users are not known here.
    records = Records(codec.encode, partial(codec.decode, placeholders=ALL_PLAIN))
    checkpoint = records.checkpoint(stored.header, stored.plan)
    return steps_of(checkpoint, Placement(thread_id, graph), None)
