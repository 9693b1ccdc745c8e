"""Whether a thread without separate indexes is as it was written. Pure. (INV-7)

In memory and in SQLite the sweeper looks at the steps themselves: what can go wrong is that a step
is gone, or that what is counted and remembered of steps does not agree with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from orchestrator.checkpoint.audit import DamageCode
from orchestrator.checkpoint.commit import ReadyStep, Wait

_SETTLED = {Wait.ANSWER, Wait.PERSON}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStep:
    """What is kept of a step."""

    ready: ReadyStep
    wait: Wait
    settled: bool
    done: bool  # Whether it counts as completed.
    outcome: bool  # Whether its result is there.


class Change(Enum):
    """What is to be done about a step."""

    WRITE = "write"  # As the plan says.
    SETTLE = "settle"  # Or not: as what it waits for says.
    COMPLETE = "complete"
    RUN_AGAIN = "run again"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a step, and what is to be done."""

    code: DamageCode
    why: str
    change: Change
    step: ReadyStep


def faults(
    planned: Sequence[ReadyStep], kept: dict[str, KeptStep], queue: str
) -> tuple[list[Fault], int]:
    """Return what is wrong with the steps of a thread, and how many are open once it is right.

    Args:
        planned: the steps by the plan; their queues are not known.
        kept: the steps that are there, by id.
        queue: where a step goes that is not there.
    """
    found: list[Fault] = []
    open_ = 0
    for plan in planned:
        step = kept.get(plan.step_id)
        name = f"the step of {plan.node!r} ({plan.step_id[:8]})"
        if step is None:
            ready = replace(plan, queue=queue)
            why = f"{name} is gone; it is to be run"
            found.append(Fault(DamageCode.STEP_LOST, why, Change.WRITE, ready))
            open_ += 1
            continue
        wrong = list(_of_step(name, plan, step))
        found += wrong
        done = step.outcome or (step.done and not wrong)
        open_ += not (done or step.wait in _SETTLED)
    return found, open_


def _of_step(name: str, plan: ReadyStep, step: KeptStep) -> Iterator[Fault]:
    ready = replace(plan, queue=step.ready.queue)
    if step.ready != ready:
        why = f"{name} is not what the plan says"
        yield Fault(DamageCode.STEP_ALTERED, why, Change.WRITE, ready)
    if step.done and not step.outcome:
        why = f"the result of {name} is gone, so it is to be run again"
        yield Fault(DamageCode.OUTCOME_LOST, why, Change.RUN_AGAIN, ready)
    elif step.outcome and not step.done:
        why = f"{name} has its result, and does not count as completed"
        yield Fault(DamageCode.DONE_LOST, why, Change.COMPLETE, ready)
    elif not step.done and step.settled != (step.wait in _SETTLED):
        why = f"whether {name} keeps its superstep open does not agree with its state"
        yield Fault(DamageCode.STEP_ALTERED, why, Change.SETTLE, ready)
