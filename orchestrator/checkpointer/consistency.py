"""What the steps of a thread must be by its plan, and what differs. Pure. (INV-7)

For stores whose sweeper reads the steps themselves (memory, SQLite): records can be lost, or can
contradict the plan, the results and the counters. The store shows what it has; `audited` builds
what must be there, and the store writes the difference. Redis has separate indexes, and records as
raw text, see `redis/thread_check.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.checkpointer.base import Planner
from orchestrator.envelope.event_codec import sealed_event
from orchestrator.envelope.sealed_records import opened_checkpoint
from orchestrator.errors import StateCorruptedError
from orchestrator.ids import root_thread
from orchestrator.model.audit import Damage, DamageCode
from orchestrator.model.commit import SETTLED_WAITS, EventDraft, ReadyStep, StoredCheckpoint, Wait
from orchestrator.model.events import ThreadRepaired

_REMEDY = "audit with repair"
_EARLIER = "go back to an earlier checkpoint, or start a new run"

Finding = tuple[DamageCode, str]  # What is wrong, and a sentence.


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """The fields of a step that follow from the plan, the results and the run."""

    ready: ReadyStep
    completed: bool
    settled: bool
    live: bool = True  # Whether the run is active, where a store keeps that with a step.


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState:
    """A thread as a store has it.

    Attributes:
        graph: the name of its graph.
        queue: where a step goes whose record is lost.
        active: whether the run is active.
        checkpoint: the head checkpoint, if it is there.
        steps: the records of the current plan, by id.
        waits: what each step waits for.
        results: the steps whose result is there.
        open: how many steps the head counts as open.
        stuck: whether the superstep counts as settled and not advanced.
        keeps_live: whether the store keeps `live` with each step.
    """

    graph: str
    queue: str
    active: bool
    checkpoint: StoredCheckpoint | None
    steps: Mapping[str, StepRecord]
    waits: Mapping[str, Wait]
    results: frozenset[str]
    open: int
    stuck: bool
    keeps_live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must be there: all of it is written where anything differs."""

    steps: Mapping[str, StepRecord]  # In the order of the plan.
    changed: frozenset[str]  # The steps that differ from what is there.
    open: int
    stuck: bool


class Repair(Protocol):
    """Writes what must be there, and the event that says so."""

    def __call__(self, expected: Expected, event: EventDraft, count: int, /) -> None:
        """Write; `count`: how many damages that repairs."""
        ...


def audited(
    thread_id: str, state: StoredState, plan: Planner, repair: Repair | None
) -> list[Damage]:
    """Return what is wrong with a thread; `repair`: writes what must be there instead."""
    try:
        checked = state.checkpoint and opened_checkpoint(thread_id, state.checkpoint)
        planned = plan(thread_id, state.graph, checked) if checked else None
        why = "its head checkpoint is gone"
    except StateCorruptedError as error:
        planned, why = None, f"its head checkpoint cannot be read: {error}"
    if planned is None:
        return [reported(thread_id, DamageCode.CHECKPOINT_LOST, why, _EARLIER)]
    expected = expected_state(planned, state)
    found = list(differences(state, expected))
    if repair is not None and found:
        codes, why = " ".join(code for code, _ in found), "; ".join(why for _, why in found)
        draft = ThreadRepaired(codes=codes, why=why).draft()
        repair(expected, sealed_event(root_thread(thread_id)[0], draft), len(found))
    done = repair is not None
    remedy = "" if done else _REMEDY
    return [
        Damage(thread_id=thread_id, code=code, why=why, repaired=done, remedy=remedy)
        for code, why in found
    ]


def reported(thread_id: str, code: DamageCode, why: str, remedy: str) -> Damage:
    """Return a damage that no store can repair."""
    return Damage(thread_id=thread_id, code=code, why=why, remedy=remedy)


def expected_state(planned: Sequence[ReadyStep], state: StoredState) -> Expected:
    """Return what must be there by the plan and the results."""
    steps = {}
    for step in planned:
        id_ = step.step_id
        there = state.steps.get(id_)
        done = id_ in state.results
        steps[id_] = StepRecord(
            ready=replace(step, queue=there.ready.queue if there else state.queue),
            completed=done,
            settled=state.waits.get(id_, Wait.NOTHING) in SETTLED_WAITS,
            live=state.active,
        )
    open_ = sum(not (step.completed or step.settled) for step in steps.values())
    changed = {i for i, s in steps.items() if i not in state.steps or _differs(s, state.steps[i])}
    return Expected(
        steps=steps,
        changed=frozenset(changed),
        open=open_,
        stuck=not open_ and bool(steps) and state.active,
    )


def _differs(must: StepRecord, there: StepRecord) -> bool:
    settled = must.completed or must.settled == there.settled
    return not (settled and must.ready == there.ready and must.completed == there.completed)


def differences(state: StoredState, expected: Expected) -> Iterator[Finding]:
    """Return what differs, as sentences with codes."""
    for id_ in expected.steps:
        if id_ in expected.changed:
            yield from _step_findings(expected.steps[id_], state.steps.get(id_))
    if state.open != expected.open:
        why = f"{expected.open} steps are open, and the head counts {state.open}"
        yield DamageCode.MISCOUNTED, why
    if state.stuck != expected.stuck:
        yield DamageCode.UNINDEXED, "whether it must be advanced is not what its steps say"
    if state.keeps_live and any(
        there.live != state.active for there in state.steps.values() if not there.completed
    ):
        yield DamageCode.UNINDEXED, "whether the run of a step is active is not what the head says"


def _step_findings(must: StepRecord, there: StepRecord | None) -> Iterator[Finding]:
    name = f"the step of {must.ready.node!r} ({must.ready.step_id[:8]})"
    if there is None:
        yield DamageCode.STEP_LOST, f"{name} is gone; it is to be run"
        return
    if there.ready != must.ready:
        yield DamageCode.STEP_ALTERED, f"{name} is not what the plan says"
    if there.completed and not must.completed:
        yield DamageCode.OUTCOME_LOST, f"the result of {name} is gone, so it is to be run again"
    elif must.completed and not there.completed:
        yield DamageCode.DONE_LOST, f"{name} has its result, and does not count as completed"
    elif not must.completed and there.settled != must.settled:
        why = f"whether {name} keeps its superstep open does not fit its state"
        yield DamageCode.STEP_ALTERED, why
