"""New threads made of the checkpoints of another: a fork of one, a copy of all. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.engine.accept import RunConfig, new_head
from orchestrator.engine.branches import without_branch
from orchestrator.engine.carryover import without_spots
from orchestrator.engine.settle import Decider, steps_of
from orchestrator.frozen import replace
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import root_thread
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import Commit, LoadedThread, ReadyStep, StepGuard, StepUpdate
from orchestrator.model.events import ThreadCopied, ThreadForked


def fork(
    decider: Decider, spec: GraphSpec, config: RunConfig, source: str, loaded: LoadedThread
) -> Commit:
    """Begin a thread with one checkpoint of another; its steps wait to be resumed.

    Args:
        decider: of the new thread.
        spec: the graph.
        config: what the new thread is started with.
        source: the other thread.
        loaded: the other thread at the checkpoint.
    """
    records, where = decider.records, decider.where
    before = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    checkpoint = before.again(
        parent=None,
        source="fork",
        tails={},
        control=without_spots(before.control),
        metadata=without_branch(before.metadata),
    )
    ready = steps_of(checkpoint, where, spec)
    return Commit(
        thread_id=where.thread_id,
        expect_new=True,
        checkpoint=records.store_checkpoint(checkpoint),
        blobs=loaded.blobs,
        ready=ready,
        status=RunStatus.PAUSED if ready else RunStatus.SUCCEEDED,
        head=new_head(decider, config, checkpoint.step + 1),
        events=(ThreadForked(of=source, checkpoint=before.id).draft(),),
    )


def copy_checkpoint(
    target: str,
    loaded: LoadedThread,
    ready: tuple[ReadyStep, ...],
    values: tuple[Mapping[str, bytes], Mapping[str, str]],
    *,
    is_first: bool,
) -> Commit:
    """Add a checkpoint of another thread to a copy.

    Args:
        target: the copy.
        loaded: the other thread at the checkpoint.
        ready: the steps of the checkpoint, as those of the copy.
        values: what the copy lacks: values, and the lists that some of them continue.
        is_first: whether the copy begins with it.
    """
    blobs, tails = values
    head: Mapping[str, str | int | bytes] = {
        "graph": loaded.head.graph,
        "run_id": loaded.head.run_id,
        "local": 1,
    }
    return Commit(
        thread_id=target,
        expect_new=is_first,
        checkpoint=loaded.checkpoint,
        blobs=blobs,
        tails=tails,
        ready=ready,
        status=RunStatus.RUNNING if loaded.outcomes else loaded.head.status,
        head=head if is_first else {},
    )


def copy_outcome(step: ReadyStep, fence: int, outcome: bytes) -> Commit:
    """Complete a claimed step of a copy as it was completed in the other thread."""
    guard = StepGuard(step.step_id, fence)
    return Commit(thread_id=step.thread_id, guard=guard, completed=outcome)


def copy_waits(target: str, loaded: LoadedThread) -> Commit:
    """Let the open steps of a copy wait as they do in the other thread."""
    updates = tuple(
        StepUpdate(
            step=replace(live.step, thread_id=target),
            wait=live.wait,
            error=live.error or None,
            reason=live.reason,
        )
        for live in loaded.steps.values()
        if not live.completed
    )
    return Commit(thread_id=target, updates=updates)


def copy_head(target: str, source: str, h: Head) -> Commit:
    """End a copy: its head says of the run what that of the other thread says."""
    return Commit(
        thread_id=target,
        status=h.status,
        head={
            "graph": h.graph,
            "fingerprint": h.fingerprint,
            "run_id": h.run_id,
            "config": h.config,
            "error": h.error,
            "stop": h.stop,
            "resumes": h.resumes,
            "breaks_seen": h.breaks_seen,
            "local": int(h.local),
            "owner": "",
        },
        events=(ThreadCopied(of=root_thread(source)[0]).draft(),),
    )
