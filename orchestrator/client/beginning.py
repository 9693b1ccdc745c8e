"""What a stream of a run begins with: the checkpoint from which the run starts or goes on."""

from __future__ import annotations

from orchestrator.checkpoint.commit import LoadedThread
from orchestrator.core.records import Records
from orchestrator.graph.spec import GraphSpec
from orchestrator.step.facts import Advanced

__all__ = ["first_fact"]


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
    )
