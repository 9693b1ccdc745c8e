"""One look at what was left lying, inside a transaction. (INV-7)"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator import limits
from orchestrator.checkpoint.commit import ReadyStep, Swept
from orchestrator.checkpointer.sqlite.claiming import take_away
from orchestrator.checkpointer.sqlite.packing import text, to_text
from orchestrator.checkpointer.sqlite.rows import StepRow
from orchestrator.checkpointer.sqlite.statements import statements
from orchestrator.checkpointer.sweeping import LEAD_MS, Trust

__all__ = ["Sweeping", "mark_sent"]

_SQL = statements("sweeping")


def mark_sent(connection: sqlite3.Connection, step: ReadyStep, now: int) -> None:
    """Remember that the message of a step of the current plan was handed to the broker."""
    key = (to_text(step.thread_id), to_text(step.step_id))
    connection.execute(_SQL["mark_sent"], (now, *key))


@dataclass(frozen=True, slots=True)
class Sweeping:
    """One look at a time, in the store's time."""

    connection: sqlite3.Connection
    now: int
    lease_ms: int
    grace_ms: int

    def once(self, leader: str) -> Swept:
        """Look once; see `Checkpointer.sweep`."""
        trust = self._lead(leader)
        if trust is None:
            return Swept()
        released = self._expire() if trust.expires(self.now, self.lease_ms) else 0
        due = tuple(self._due())
        stuck, waiting = tuple(self._stuck()), self._waiting()
        return Swept(leading=True, due=due, stuck=stuck, waiting=waiting, released=released)

    def may_release(self) -> bool:
        """Return whether there is a lease that has run out."""
        return self.connection.execute(_SQL["any_expired"], (self.now,)).fetchone() is not None

    def _lead(self, leader: str) -> Trust | None:
        """Return what is known of the sweeps before, or `None`: somebody else leads."""
        row = self.connection.execute(_SQL["trust"]).fetchone()
        name, until_ms, last_ms, since_ms = row or ("", 0, 0, 0)
        # A dead leader is no silence: that others ask shows that keepers could have renewed.
        trust = Trust(last_ms, since_ms).seen(self.now, self.lease_ms)
        leads = text(name) == leader or until_ms <= self.now
        if leads:
            name, until_ms = to_text(leader), self.now + min(self.lease_ms, LEAD_MS)
        values = (name, until_ms, trust.last_ms, trust.since_ms)
        self.connection.execute(_SQL["set_trust"], values)
        return trust if leads else None

    def _expire(self) -> int:
        found = self.connection.execute(_SQL["expired"], (self.now,)).fetchall()
        for name, *row in found:
            take_away(self.connection, text(name), StepRow._make(row), self.now, since_ms=0)
        self.connection.execute(_SQL["forget_leases"], (self.now,))
        return len(found)

    def _due(self) -> Iterator[ReadyStep]:
        room = limits.SWEEP_BATCH_MAX
        for name, before in (
            ("timed", self.now),
            ("unsent", self.now - self.grace_ms),
            ("lost", self.grace_ms),
        ):
            # All rows before the first change: handing a step out moves it in these indexes.
            found: list[Any] = self.connection.execute(_SQL[name], (before, room)).fetchall()
            room -= len(found)
            for thread_id, *row in found:
                step = StepRow._make(row)
                self.connection.execute(_SQL["hand_out"], (self.now, *step.key))
                yield step.step(text(thread_id))

    def _stuck(self) -> Iterator[ReadyStep]:
        values = (self.now - self.grace_ms, limits.SWEEP_BATCH_MAX)
        for thread, plan, local in self.connection.execute(_SQL["idle"], values).fetchall():
            self.connection.execute(_SQL["told"], (self.now, thread))
            if not local:
                name, *row = self.connection.execute(_SQL["first_step"], (thread, plan)).fetchone()
                yield StepRow._make(row).step(text(name))

    def _waiting(self) -> tuple[str, ...]:
        values = (self.now - self.grace_ms, limits.SWEEP_BATCH_MAX)
        return tuple(text(name) for (name,) in self.connection.execute(_SQL["waiting"], values))
