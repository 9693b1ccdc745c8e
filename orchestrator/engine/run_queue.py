"""A run that waits in its thread's line: how it is kept there, and how it begins. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator import limits
from orchestrator.channels import MISSING
from orchestrator.engine.accept import RunConfig, accept, plain
from orchestrator.engine.records import Records
from orchestrator.engine.settle import Placement
from orchestrator.errors import InvalidUpdateError, ThreadBusyError
from orchestrator.model.commit import Commit, LoadedThread
from orchestrator.model.events import RunEnqueued, RunWithdrawn

__all__ = ["begin", "check", "enqueue", "withdraw"]

_KEPT = (  # The fields of a `RunConfig` that wait with it.
    *("run_id", "fingerprint", "recursion_limit", "metadata", "configurable", "context"),
    *("messages", "resumes_max", "on_pending", "state_version", "queue"),
)


def check(thread_id: str, config: RunConfig, loaded: LoadedThread) -> None:
    """Refuse to let a run wait that could not begin later.

    Raises:
        ThreadBusyError: if the line is full.
        InvalidUpdateError: if the run steers steps there are, or may be refused.
    """
    if len(loaded.line) >= limits.LINE_MAX:
        msg = (
            f"the thread {thread_id!r} is busy, and {len(loaded.line)} runs are in line, which is "
            f"as many as may be. Wait, or use another thread"
        )
        raise ThreadBusyError(msg)
    if config.goto or config.steers or config.resume is not MISSING:
        msg = "a Command speaks of what is there now, so it cannot wait in line: wait for the run"
        raise InvalidUpdateError(msg)
    if config.on_pending == "reject":
        msg = "a run in line is accepted for good: on_pending='reject' could refuse it later"
        raise InvalidUpdateError(msg)


def enqueue(
    records: Records, where: Placement, value: Any, config: RunConfig, loaded: LoadedThread
) -> Commit:
    """Put a run last in its thread's line.

    Raises:
        UnserializableValueError: if the input cannot be stored.
    """
    begins = {
        "graph": where.graph,
        "queue": where.default_queue,
        "config": {name: getattr(config, name) for name in _KEPT},
        "input": plain(value),
    }
    place = len(loaded.line) + 1
    event = RunEnqueued(run=config.run_id, graph=where.graph, place=place).draft()
    return Commit(
        thread_id=where.thread_id,
        enqueue=(config.run_id, records.check("the input", begins)),
        key=(config.key, config.run_id) if config.key is not None else None,
        events=(event,),
    )


def begin(records: Records, thread_id: str, loaded: LoadedThread) -> Commit:
    """Let the first run in line begin.

    Raises:
        StateCorruptedError: if what is kept of it cannot be read.
    """
    run_id, stored = next(iter(loaded.line.items()))
    kept = records.decode(stored)
    config = RunConfig(**kept["config"])
    where = Placement(thread_id, kept["graph"], kept["queue"], config.queue)
    commit = accept(records, where, kept["input"], config, loaded, loaded.now_ms)
    return replace(commit, dequeue=run_id)


def withdraw(thread_id: str, run_id: str, why: str = "") -> Commit:
    """Take a run from the line before it began."""
    event = RunWithdrawn(run=run_id, reason=why).draft()
    return Commit(thread_id=thread_id, dequeue=run_id, events=(event,))
