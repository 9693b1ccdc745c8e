"""Beginning a new thread with a snapshot of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.checkpointer.base import Checkpointer, commit_to
from orchestrator.client.calls import Calls
from orchestrator.client.snapshot import config_of
from orchestrator.client.threadconfig import ConfigError, ThreadConfig
from orchestrator.engine.fork import fork
from orchestrator.engine.resume import missing
from orchestrator.engine.settle import Decider, Placement

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
    decider = Decider(records, Placement(new_id, graph.name, graph.executor.default_queue))
    commit = fork(decider, graph.spec, graph.run_config(parsed, {}), thread_id, loaded)
    _check_arguments(loaded.blobs, [step.arg for step in commit.ready if step.arg])
    if commit_to(store, commit).refused is not None:
        msg = f"the thread {new_id!r} exists already: fork to a new one"
        raise ConfigError(msg)
    assert commit.checkpoint is not None
    return config_of(new_id, commit.checkpoint.id)


def _check_arguments(blobs: Mapping[str, bytes], names: list[str]) -> None:
    absent = [name for name in names if name not in blobs]
    if absent:
        msg = (
            f"the snapshot has {len(absent)} steps that were sent an argument, which is loaded "
            f"with the latest snapshot only: roll the thread back to it, or fork the latest"
        )
        raise ConfigError(msg)
