"""Beginning a new thread with a snapshot of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.calls import Calls
from orchestrator.client.snapshot import config_of
from orchestrator.client.threadconfig import ConfigError, ThreadConfig
from orchestrator.engine.accept import new_head
from orchestrator.engine.branches import without_branch
from orchestrator.engine.carryover import without_spots
from orchestrator.engine.resume import missing
from orchestrator.engine.settle import Placement, steps_of
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Commit
from orchestrator.model.events import ThreadForked

if TYPE_CHECKING:
    from orchestrator.client.compiled import CompiledStateGraph

__all__ = ["fork_of"]


def fork_of(
    graph: CompiledStateGraph, store: Checkpointer, parsed: ThreadConfig, new_id: str
) -> Mapping[str, Any]:
    """Copy a snapshot to a new thread; return the config of its one checkpoint.

    Raises:
        ConfigError: if the new thread exists already.
        UnknownThreadError: if there is no such thread or checkpoint.
    """
    records, thread_id = graph.records, parsed.thread()
    calls = Calls(store, records, graph.default_queue)
    if parsed.checkpoint_id is not None:
        loaded = calls.at(thread_id, parsed.checkpoint_id)
    else:
        found = store.load(thread_id)
        if found is None:
            raise missing(thread_id)
        loaded = found
    before = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    checkpoint = before.again(
        parent=None,
        source="fork",
        tails={},
        control=without_spots(before.control),
        metadata=without_branch(before.metadata),
    )
    where = Placement(new_id, graph.name, graph.executor.default_queue)
    ready = steps_of(checkpoint, where, graph.spec)
    run = graph.run_config(parsed, {})
    origin = ThreadForked(of=thread_id, checkpoint=before.id)
    commit = Commit(
        thread_id=new_id,
        expect_new=True,
        checkpoint=records.store_checkpoint(checkpoint),
        blobs=loaded.blobs,
        ready=ready,
        status=RunStatus.PAUSED if ready else RunStatus.SUCCEEDED,
        head=new_head(records, where, run, checkpoint.step + 1),
        events=(origin.draft(),),
    )
    _check_arguments(loaded.blobs, [step.arg for step in ready if step.arg])
    if store.commit(commit).refused is not None:
        msg = f"the thread {new_id!r} exists already: fork to a new one"
        raise ConfigError(msg)
    return config_of(new_id, checkpoint.id)


def _check_arguments(blobs: Mapping[str, bytes], names: list[str]) -> None:
    absent = [name for name in names if name not in blobs]
    if absent:
        msg = (
            f"the snapshot has {len(absent)} steps that were sent an argument, which is loaded "
            f"with the latest snapshot only: roll the thread back to it, or fork the latest"
        )
        raise ConfigError(msg)
