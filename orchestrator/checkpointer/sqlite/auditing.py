"""Looking at threads one after the other, inside a transaction. (INV-7)

The sweeper's indexes are SQLite's own, so they agree with the rows. What is looked at is whether
the rows agree with the plan and with each other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.checkpoint.audit import Audited, Damage, DamageCode
from orchestrator.checkpoint.commit import EventDraft, ReadyStep, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.checkpointer.base import Planner
from orchestrator.checkpointer.eventrecords import sealed_event
from orchestrator.checkpointer.sealing import opened_checkpoint
from orchestrator.checkpointer.sqlite.committing import add_events
from orchestrator.checkpointer.sqlite.packing import pack_step, text, to_text
from orchestrator.checkpointer.sqlite.reading import find_checkpoint
from orchestrator.checkpointer.sqlite.rows import HeadFields, StepRow, head_fields
from orchestrator.checkpointer.sqlite.statements import statements
from orchestrator.checkpointer.steady import Change, Fault, KeptStep, faults
from orchestrator.errors import StateCorruptedError
from orchestrator.ids import root_thread

__all__ = ["Auditing"]

_SQL = statements("auditing")
_READ = statements("reading")
_WRITE = statements("writing")
_REMEDY = "audit with repair"
_EARLIER = "go back to an earlier checkpoint, or start a new run"
_BACKUP = "restore the file from a backup, or start a new run on another thread"


@dataclass(frozen=True, slots=True)
class Auditing:
    """One audit of some threads.

    Attributes:
        connection: inside a transaction, which writes if `repair`.
        now: the store's time.
        queue: where a step goes that is not there.
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
            return [_told(name, DamageCode.HEAD_LOST, "its head is gone", _BACKUP)]
        head = head_fields(row)
        plan = (head["thread"], head["checkpoint_id"])
        if head["status"] not in set(RunStatus):
            why = f"its status is {head['status']!r}"
            return [_told(name, DamageCode.STATUS_ALTERED, why, _BACKUP)]
        stored = find_checkpoint(self.connection, *plan)
        if stored is None:
            return [
                _told(name, DamageCode.CHECKPOINT_LOST, "its head checkpoint is gone", _EARLIER)
            ]
        try:
            planned = self.plan(name, text(head["graph"]), opened_checkpoint(name, stored))
        except StateCorruptedError as error:
            why = f"its head checkpoint cannot be read: {error}"
            return [_told(name, DamageCode.CHECKPOINT_LOST, why, _EARLIER)]
        rows = [StepRow._make(step) for step in self.connection.execute(_READ["steps"], plan)]
        kept = {text(step.id): _kept(name, step) for step in rows}
        found, open_ = faults(planned, kept, "" if head["local"] else self.queue)
        damages = [(fault.code, fault.why) for fault in found]
        damages += _counted(head, rows, open_, any_step=bool(planned))
        if self.repair and damages:
            self._put_right(head, planned, found, open_)
            self._note(name, head, damages)
        remedy = "" if self.repair else _REMEDY
        return [
            Damage(thread_id=name, code=code, why=why, repaired=self.repair, remedy=remedy)
            for code, why in damages
        ]

    def _put_right(
        self, head: HeadFields, planned: Sequence[ReadyStep], found: Sequence[Fault], open_: int
    ) -> None:
        plan = (head["thread"], head["checkpoint_id"])
        active = RunStatus(head["status"]).active
        places = {step.step_id: place for place, step in enumerate(planned)}
        for fault in found:
            step, id_ = fault.step, to_text(fault.step.step_id)
            if fault.change is Change.SETTLE:
                self.connection.execute(_SQL["settle"], (*plan, id_))
            else:
                row = (places[step.step_id], pack_step(step), to_text(step.queue), active)
                self.connection.execute(_SQL["write_step"], (*plan, id_, *row))
        self.connection.execute(_WRITE["set_live"], (active, *plan))
        head["open"] = open_
        stuck = open_ == 0 and bool(planned) and active
        head["idle_since_ms"] = (head["idle_since_ms"] or self.now) if stuck else 0

    def _note(self, name: str, head: HeadFields, damages: Sequence[tuple[DamageCode, str]]) -> None:
        fields = {"codes": " ".join(code for code, _ in damages)}
        fields["why"] = "; ".join(why for _, why in damages)
        draft = sealed_event(root_thread(name)[0], EventDraft("thread_repaired", fields))
        add_events(self.connection, head, self.now, (draft,))
        self.connection.execute(_WRITE["set_head"], head)
        self.connection.execute(_SQL["count"], (len(damages),))


def _told(name: str, code: DamageCode, why: str, remedy: str) -> Damage:
    return Damage(thread_id=name, code=code, why=why, remedy=remedy)


def _kept(thread_id: str, row: StepRow) -> KeptStep:
    known = row.wait in set(Wait)
    return KeptStep(
        ready=row.step(thread_id),
        wait=Wait(row.wait) if known else Wait.NOTHING,
        settled=bool(row.settled),
        done=row.outcome is not None,  # One column: the one cannot be there without the other.
        outcome=row.outcome is not None,
    )


def _counted(
    head: HeadFields, rows: Sequence[StepRow], open_: int, *, any_step: bool
) -> Iterator[tuple[DamageCode, str]]:
    active = RunStatus(head["status"]).active
    if head["open"] != open_:
        why = f"{open_} steps are open, and the head counts {head['open']}"
        yield DamageCode.MISCOUNTED, why
    if (open_ == 0 and any_step and active) != bool(head["idle_since_ms"]):
        yield DamageCode.UNINDEXED, "whether it is to be advanced is not known"
    if any(row.live != active for row in rows if row.outcome is None):
        yield DamageCode.UNINDEXED, "a step does not know whether its run is active"
