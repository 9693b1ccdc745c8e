"""What a stream of a run begins with: the checkpoint from which the run starts or goes on."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.checkpoint.commit import LoadedThread
from orchestrator.core.records import Records
from orchestrator.graph.spec import GraphSpec
from orchestrator.step.facts import Advanced, Left

__all__ = ["first_fact", "left_in"]


def first_fact(
    thread_id: str, loaded: LoadedThread, records: Records, spec: GraphSpec, *, resumes: bool
) -> Advanced:
    """Return the fact that a run begins, or goes on, at the thread's head.

    Args:
        thread_id: the thread.
        loaded: the thread at its head, with values.
        records: how it is stored.
        spec: its graph.
        resumes: whether the run goes on: its state is shown then, as if all of it were new.
    """
    frame = records.frame(loaded)
    return Advanced(
        thread_id=thread_id,
        spec=spec,
        frame=frame,
        changed=None if resumes else frozenset(),
        begins=frame.checkpoint.plan if loaded.head.status.active else (),
        completed={i: records.outcome(data).writes for i, data in loaded.outcomes.items()},
        left=left_in(loaded, records) if resumes else {},
    )


def left_in(loaded: LoadedThread, records: Records) -> Mapping[str, Left]:
    """Return what the steps of a thread had asked, and how they had failed, by step id."""
    found: dict[str, Left] = {}
    for step_id, step in loaded.steps.items():
        if not step.completed and (step.asks or step.error):
            asked = tuple(map(records.interrupt, filter(None, step.asks.values())))
            found[step_id] = asked, records.error(step.error)
    for step_id, data in loaded.outcomes.items():
        outcome = records.outcome(data)
        if outcome.interrupts or outcome.error:
            found[step_id] = outcome.interrupts, records.error(outcome.error)
    return found
