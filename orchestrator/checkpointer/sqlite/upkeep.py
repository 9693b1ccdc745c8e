"""Sweep, audit and delete threads, inside a transaction. (INV-7)"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator import limits
from orchestrator.checkpointer.base import Planner
from orchestrator.checkpointer.consistency import (
    Expected,
    StepRecord,
    StoredState,
    audited,
    reported,
)
from orchestrator.checkpointer.lease_trust import LEAD_MS, Trust
from orchestrator.checkpointer.sqlite import queries
from orchestrator.checkpointer.sqlite.commits import add_events, find_head, is_held, release_step
from orchestrator.checkpointer.sqlite.database import statements
from orchestrator.checkpointer.sqlite.rows import (
    HeadFields,
    StepRow,
    head_fields,
    pack_step,
    text,
    to_text,
)
from orchestrator.envelope.list_tails import found_values
from orchestrator.envelope.seal import needs
from orchestrator.ids import CHILD
from orchestrator.model.audit import Audited, Damage, DamageCode
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import EventDraft, ReadyStep, Refusal, Swept, Wait

_SQL = statements("upkeep")
_READ = statements("reads")
_WRITE = statements("writes")
_BACKUP = "restore the file from a backup, or start a new run on another thread"
_ALL = [name for name in _SQL if name.startswith("delete_") and name != "delete_blob"]
_AFTER_CHILD = chr(ord(CHILD) + 1)


def mark_sent(connection: sqlite3.Connection, step: ReadyStep, now: int) -> None:
    """Remember that the message of a step of the current plan was handed to the broker."""
    key = (to_text(step.thread_id), to_text(step.step_id))
    connection.execute(_SQL["mark_sent"], (now, *key))


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep, in the store's time."""

    connection: sqlite3.Connection
    now: int
    lease_ms: int
    grace_ms: int

    def once(self, leader: str) -> Swept:
        """Sweep once; see `Checkpointer.sweep`."""
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
        """Return the sweeps so far, or `None` if another sweeper leads."""
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
            release_step(self.connection, text(name), StepRow._make(row), self.now, since_ms=0)
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
            self.connection.execute(_SQL["returned"], (self.now, thread))
            if not local:
                name, *row = self.connection.execute(_SQL["first_step"], (thread, plan)).fetchone()
                yield StepRow._make(row).step(text(name))

    def _waiting(self) -> tuple[str, ...]:
        values = (self.now - self.grace_ms, limits.SWEEP_BATCH_MAX)
        return tuple(text(name) for (name,) in self.connection.execute(_SQL["waiting"], values))


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit of some threads.

    Attributes:
        connection: inside a transaction, which writes if `repair`.
        now: the store's time.
        queue: where a step goes whose row is lost.
        plan: returns the steps that a checkpoint planned.
        repair: whether to change anything.
    """

    connection: sqlite3.Connection
    now: int
    queue: str
    plan: Planner
    repair: bool

    def some(self, cursor: str, limit: int) -> Audited:
        """Audit the next `limit` threads; see `Checkpointer.audit`."""
        rows = self.connection.execute(_SQL["some"], (int(cursor or 0), limit)).fetchall()
        found: list[Damage] = []
        for name, _, *head in rows:
            found += self._thread(text(name), head)
        following = str(rows[-1][1]) if len(rows) == limit else ""
        return Audited(cursor=following, threads=len(rows), found=tuple(found))

    def _thread(self, name: str, row: Sequence[object]) -> list[Damage]:
        if row[0] is None:
            return [reported(name, DamageCode.HEAD_LOST, "its head is gone", _BACKUP)]
        head = head_fields(row)
        if head["status"] not in set(RunStatus):
            why = f"its status is {head['status']!r}"
            return [reported(name, DamageCode.STATUS_ALTERED, why, _BACKUP)]
        write = partial(self._write, head) if self.repair else None
        return audited(name, self._state(name, head), self.plan, write)

    def _state(self, name: str, head: HeadFields) -> StoredState:
        plan = (head["thread"], head["checkpoint_id"])
        rows = [StepRow._make(step) for step in self.connection.execute(_READ["steps"], plan)]
        known = set(Wait)
        return StoredState(
            graph=text(head["graph"]),
            queue="" if head["local"] else self.queue,
            active=RunStatus(head["status"]).active,
            checkpoint=queries.find_checkpoint(self.connection, *plan),
            steps={
                text(row.id): StepRecord(
                    ready=row.step(name),
                    completed=row.completed,
                    settled=bool(row.settled),
                    live=bool(row.live),
                )
                for row in rows
            },
            waits={text(row.id): Wait(row.wait) for row in rows if row.wait in known},
            results=frozenset(text(row.id) for row in rows if row.completed),
            open=head["open"],
            stuck=bool(head["idle_since_ms"]),
            keeps_live=True,
        )

    def _write(self, head: HeadFields, expected: Expected, event: EventDraft, count: int) -> None:
        plan = (head["thread"], head["checkpoint_id"])
        active = RunStatus(head["status"]).active
        for place, (id_, must) in enumerate(expected.steps.items()):
            if id_ in expected.changed:
                row = (place, pack_step(must.ready), to_text(must.ready.queue), active)
                self.connection.execute(_SQL["write_step"], (*plan, to_text(id_), *row))
                self.connection.execute(_SQL["settle"], (*plan, to_text(id_)))
        self.connection.execute(_WRITE["set_live"], (active, *plan))
        head["open"] = expected.open
        head["idle_since_ms"] = (head["idle_since_ms"] or self.now) if expected.stuck else 0
        add_events(self.connection, head, self.now, (event,))
        self.connection.execute(_WRITE["set_head"], head)
        self.connection.execute(_SQL["count"], (count,))


def children(connection: sqlite3.Connection, thread_id: str) -> list[str]:
    """Return the ids of the child threads of a root thread, in order."""
    bounds = to_text(thread_id + CHILD), to_text(thread_id + _AFTER_CHILD)
    return [text(name) for (name,) in connection.execute(_SQL["children"], bounds)]


def delete(
    connection: sqlite3.Connection, thread_id: str, now: int, *, keep_head: bool
) -> Refusal | None:
    """Delete a thread with its child threads, or its history below the head; or refuse."""
    number, head = _number(connection, thread_id), find_head(connection, thread_id)
    if number is None:
        return Refusal.UNKNOWN_THREAD
    if is_held(connection, thread_id, now) or (head and _is_busy(connection, head, now)):
        return Refusal.WRONG_STATUS
    if keep_head and head is not None:
        _delete_history(connection, thread_id, head)
    if keep_head:
        return None
    for name in (thread_id, *children(connection, thread_id)):
        thread = (_number(connection, name),)
        connection.execute(_SQL["raise_floor"], thread)
        for statement in _ALL:
            connection.execute(_SQL[statement], thread)
    return None


def _number(connection: sqlite3.Connection, thread_id: str) -> int | None:
    row = connection.execute(_SQL["number"], (to_text(thread_id),)).fetchone()
    return row[0] if row else None


def _is_busy(connection: sqlite3.Connection, head: HeadFields, now: int) -> bool:
    """Return whether a thread has a run that is active, or one queued."""
    thread = (head["thread"],)
    if connection.execute(queries.SQL["line"], thread).fetchone() is not None:
        return True
    if head["status"] not in {RunStatus.QUEUED, RunStatus.RUNNING}:  # It may be damaged.
        return False
    claimed = connection.execute(_SQL["any_claim"], thread).fetchone() is not None
    return not head["local"] or claimed or queries.is_alive(connection, head["owner"], now)


def _delete_history(connection: sqlite3.Connection, thread_id: str, head: HeadFields) -> None:
    plan = (head["thread"], head["checkpoint_id"])
    connection.execute(_SQL["other_checkpoints"], plan)
    connection.execute(_SQL["other_steps"], plan)
    stored = queries.find_checkpoint(connection, *plan)
    assert stored is not None
    steps = queries.steps(connection, thread_id, *plan).values()
    outcomes = (outcome for _, outcome in connection.execute(queries.SQL["outcomes"], plan))
    named = [name for record in (stored.header, *outcomes) for name in needs(record)]
    args = [step.step.arg for step in steps if step.step.arg]
    find = partial(queries.blob, connection, head["thread"])
    kept = found_values(find, (*stored.refs, *args, *named))
    for (name,) in connection.execute(_SQL["blob_names"], plan[:1]).fetchall():
        if text(name) not in kept:
            connection.execute(_SQL["delete_blob"], (head["thread"], name))
