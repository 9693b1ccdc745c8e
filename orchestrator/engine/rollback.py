"""What of a thread is damaged, and how it goes on from a checkpoint that is not. Pure. (INV-10)"""

from __future__ import annotations

from orchestrator.engine.branches import branched
from orchestrator.engine.records import Records
from orchestrator.engine.settle import Placement, steps_of
from orchestrator.envelope.damage import check_damage
from orchestrator.errors import StateCorruptedError, UnknownTypeError
from orchestrator.frozen import replace
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import mint_checkpoint_id
from orchestrator.model.checkpoint import RunStatus, StepError
from orchestrator.model.commit import Commit, LoadedThread
from orchestrator.model.events import CheckpointSetAside, run_ended

__all__ = ["damage_to_state", "damage_to_steps", "set_back"]


def damage_to_state(records: Records, loaded: LoadedThread) -> str:
    """Return what of a checkpoint is damaged: itself, its plan or a value; empty: nothing.

    Raises:
        UnknownTypeError: if it is whole as far as it can be read here, and this process lacks a
            type that is needed for the rest.
    """
    stored = loaded.checkpoint
    try:
        for record in (stored.header, stored.plan, *loaded.blobs.values()):
            check_damage(record)
        checkpoint = records.checkpoint(stored.header, stored.plan)
        held = checkpoint.names().values()
        absent = [name for name in held if name not in loaded.blobs]
    except UnknownTypeError:
        raise  # Another process reads it: nothing may be set back.
    except StateCorruptedError as error:
        return str(error)
    return f"a stored value is missing: {absent[0]!r}" if absent else ""


def damage_to_steps(loaded: LoadedThread) -> str:
    """Return what of the steps at the head is damaged: a result, question, answer or note."""
    try:
        for outcome in loaded.outcomes.values():
            check_damage(outcome)
        for step in loaded.steps.values():
            for kept in (step.asks, step.answers, step.notes):
                for record in kept.values():
                    check_damage(record)
            if step.completed and step.step.step_id not in loaded.outcomes:
                return f"the result of the step {step.step.step_id} is missing"
    except StateCorruptedError as error:
        return str(error)
    return ""


def set_back(
    records: Records,
    where: Placement,
    spec: GraphSpec | None,
    loaded: LoadedThread,
    good: LoadedThread,
    why: str,
    *,
    lost: bool = False,
) -> Commit:
    """Make a good checkpoint the head again, as a new one; the damaged one stays in the history.

    A run whose very input is damaged cannot go on: it fails, on the state from before it, and what
    was left to do there, by an earlier run, is not done.

    Args:
        records: how the thread is stored.
        where: which thread and graph, and where steps run.
        spec: the graph, if the caller has it.
        loaded: the thread at its damaged head.
        good: the thread at the checkpoint to go back to.
        why: what is damaged.
        lost: whether the input of the run is.
    """
    before = records.checkpoint(good.checkpoint.header, good.checkpoint.plan)
    checkpoint = before.again(
        id=mint_checkpoint_id(loaded.head.checkpoint_id, loaded.now_ms),
        parent=before.id,
        step=before.step + 1,
        source="fork",
        created_ms=loaded.now_ms,
    )
    checkpoint = branched(checkpoint, where.thread_id, before.id)
    if lost:
        checkpoint = replace(checkpoint, plan=())
    ready = steps_of(checkpoint, where, spec)
    aside = CheckpointSetAside(checkpoint=loaded.head.checkpoint_id, back_to=before.id, reason=why)
    events = [aside.draft()]
    status, error = None, b""
    if lost or (loaded.head.status.active and not ready):
        status = RunStatus.FAILED
        what = f"the input of the run {loaded.head.run_id} is damaged: {why}. Give it again"
        module = StateCorruptedError.__module__
        record = StepError(type="StateCorruptedError", module=module, message=what)
        error = records.store_error(record)
        events.append(run_ended(RunStatus.FAILED))
    elif not loaded.head.status.active:
        status = RunStatus.PAUSED if ready else RunStatus.SUCCEEDED
    return Commit(
        thread_id=where.thread_id,
        expect_head=loaded.head.checkpoint_id,
        expect_run=loaded.head.run_id,
        expect_status=(loaded.head.status,),
        checkpoint=records.store_checkpoint(checkpoint),
        ready=ready,
        status=status,
        head={"error": error},
        events=tuple(events),
    )
