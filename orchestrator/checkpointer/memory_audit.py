"""One look at a thread in memory, and what is put right. (INV-7)"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from orchestrator.checkpoint.audit import Damage, DamageCode
from orchestrator.checkpoint.commit import Wait
from orchestrator.checkpointer.base import Planner
from orchestrator.checkpointer.memory_thread import Step, Thread
from orchestrator.checkpointer.steady import Change, Fault, KeptStep, faults
from orchestrator.errors import StateCorruptedError

__all__ = ["audited"]

_REMEDY = "audit with repair"


def audited(
    thread: Thread, name: str, plan: Planner, queue: str, now: int, *, repair: bool
) -> list[Damage]:
    """Return what is wrong with a thread; put it right if `repair`."""
    stored = thread.checkpoints.get(thread.head.checkpoint_id)
    try:
        planned = plan(name, thread.head.graph, stored) if stored else None
        why = "its head checkpoint is gone"
    except StateCorruptedError as error:
        planned, why = None, f"its head checkpoint cannot be read: {error}"
    if planned is None:
        remedy = "go back to an earlier checkpoint, or start a new run"
        code = DamageCode.CHECKPOINT_LOST
        return [Damage(thread_id=name, code=code, why=why, remedy=remedy)]
    kept = {step_id: _kept(thread, step) for step_id, step in thread.steps.items()}
    found, open_ = faults(planned, kept, "" if thread.head.local else queue)
    damages = [(fault.code, fault.why) for fault in found]
    damages += _counted(thread, open_)
    if repair and damages:
        _repair(thread, found, open_, now)
        fields = {"codes": " ".join(code for code, _ in damages)}
        thread.log(now, "thread_repaired", {**fields, "why": "; ".join(why for _, why in damages)})
    remedy = "" if repair else _REMEDY
    return [
        Damage(thread_id=name, code=code, why=why, repaired=repair, remedy=remedy)
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
