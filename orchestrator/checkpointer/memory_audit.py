"""Looking at threads in memory one after the other, and putting them right. (INV-7)"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from orchestrator.checkpoint.audit import Audited, Damage, DamageCode
from orchestrator.checkpoint.commit import EventDraft, Wait
from orchestrator.checkpointer.base import Planner
from orchestrator.checkpointer.consistency import Change, Fault, KeptStep, faults
from orchestrator.checkpointer.transition import Step, Thread
from orchestrator.envelope.event_codec import sealed_event
from orchestrator.envelope.sealed_records import opened_checkpoint
from orchestrator.errors import StateCorruptedError
from orchestrator.ids import root_thread

__all__ = ["Auditing"]

_REMEDY = "audit with repair"
_EARLIER = "go back to an earlier checkpoint, or start a new run"


@dataclass(frozen=True, slots=True)
class Auditing:
    """One audit of some threads.

    Attributes:
        plan: returns the steps that a checkpoint planned.
        queue: where a step goes that is not there.
        now: the store's time.
        repair: whether to change anything.
    """

    plan: Planner
    queue: str
    now: int
    repair: bool

    def some(self, threads: Mapping[str, Thread], cursor: str, limit: int) -> Audited:
        """Audit the next `limit` threads by name; see `Checkpointer.audit`."""
        names = sorted(name for name in threads if name > cursor)
        found = [damage for name in names[:limit] for damage in self._thread(name, threads[name])]
        following = names[limit - 1] if len(names) > limit else ""
        return Audited(cursor=following, threads=len(names[:limit]), found=tuple(found))

    def _thread(self, name: str, thread: Thread) -> list[Damage]:
        stored = thread.checkpoints.get(thread.head.checkpoint_id)
        try:
            checked = stored and opened_checkpoint(name, stored)
            planned = self.plan(name, thread.head.graph, checked) if checked else None
            why = "its head checkpoint is gone"
        except StateCorruptedError as error:
            planned, why = None, f"its head checkpoint cannot be read: {error}"
        if planned is None:
            code = DamageCode.CHECKPOINT_LOST
            return [Damage(thread_id=name, code=code, why=why, remedy=_EARLIER)]
        kept = {step_id: _kept(thread, step) for step_id, step in thread.steps.items()}
        found, open_ = faults(planned, kept, "" if thread.head.local else self.queue)
        damages = [(fault.code, fault.why) for fault in found]
        damages += _counted(thread, open_)
        if self.repair and damages:
            _repair(thread, found, open_, self.now)
            codes, why = " ".join(code for code, _ in damages), "; ".join(w for _, w in damages)
            draft = EventDraft("thread_repaired", {"codes": codes, "why": why})
            thread.log(self.now, draft.type, sealed_event(root_thread(name)[0], draft).fields)
        remedy = "" if self.repair else _REMEDY
        return [
            Damage(thread_id=name, code=code, why=why, repaired=self.repair, remedy=remedy)
            for code, why in damages
        ]


def _kept(thread: Thread, step: Step) -> KeptStep:
    id_ = step.ready.step_id
    return KeptStep(
        ready=step.ready,
        wait=step.wait,
        settled=step.settled,
        done=id_ in thread.done,
        outcome=(step.ready.checkpoint_id, id_) in thread.outcomes,
    )


def _counted(thread: Thread, open_: int) -> Iterator[tuple[DamageCode, str]]:
    if thread.head.open != open_:
        why = f"{open_} steps are open, and the head counts {thread.head.open}"
        yield DamageCode.MISCOUNTED, why
    if _is_stuck(thread, open_) != bool(thread.idle_since_ms):
        yield DamageCode.UNINDEXED, "whether it is to be advanced is not known"


def _is_stuck(thread: Thread, open_: int) -> bool:
    return open_ == 0 and bool(thread.steps) and thread.head.status.active


def _repair(thread: Thread, found: list[Fault], open_: int, now: int) -> None:
    for fault in found:
        id_ = fault.step.step_id
        if fault.change is Change.WRITE:
            if id_ in thread.steps:
                thread.steps[id_].ready = fault.step
            else:
                thread.steps[id_] = Step(fault.step)
        elif fault.change is Change.SETTLE:
            step = thread.steps[id_]
            step.settled = step.wait in {Wait.ANSWER, Wait.PERSON}
        elif fault.change is Change.COMPLETE:
            thread.done.add(id_)
            thread.steps[id_].owner = ""
        else:
            thread.done.discard(id_)
            thread.steps[id_] = Step(fault.step)
    thread.head = replace(thread.head, open=open_)
    thread.idle_since_ms = (thread.idle_since_ms or now) if _is_stuck(thread, open_) else 0
