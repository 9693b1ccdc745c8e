"""A thread's state as people see it; the fields are LangGraph's."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.channels import MISSING
from orchestrator.checkpoint.commit import LoadedStep, LoadedThread
from orchestrator.checkpoint.model import Checkpoint, Interrupt, PlannedStep, RunStatus, StepError
from orchestrator.core.apply import SENDS, apply
from orchestrator.core.records import Records
from orchestrator.errors import InvalidUpdateError
from orchestrator.graph.schema import CONTROL, ROOT
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import checkpoint_text

__all__ = ["StateSnapshot", "StateTask", "config_of", "live_values", "shown", "snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTask:
    """A step as a snapshot shows it (LangGraph calls it a task)."""

    id: str
    name: str
    path: tuple[str | int, ...]
    error: StepError | None = None
    interrupts: tuple[Interrupt, ...] = ()
    state: Any = None
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSnapshot:
    """One checkpoint of a thread.

    Attributes:
        values: the state.
        next: the nodes that run next, or wait to.
        config: names this checkpoint; give it to `get_state` or `invoke` to come back here.
        metadata: `source` (input, loop, update, fork), `step`, and what the caller added.
        created_at: when, ISO 8601.
        parent_config: names the checkpoint before, or `None`.
        tasks: the steps that this checkpoint planned.
        interrupts: the questions that are open.
    """

    values: Any
    next: tuple[str, ...]
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    created_at: str
    parent_config: Mapping[str, Any] | None
    tasks: tuple[StateTask, ...]
    interrupts: tuple[Interrupt, ...] = ()


def snapshot(
    thread_id: str, loaded: LoadedThread, records: Records, spec: GraphSpec | None, *, latest: bool
) -> StateSnapshot:
    """Return what is loaded of a thread as a snapshot.

    With the graph's `spec`, the latest snapshot shows the writes of completed steps of the running
    superstep too, as LangGraph does, unless they do not fit together: then it shows the state
    before, with the whole superstep still to come.
    """
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    values = (
        live_values(checkpoint, loaded, records, spec)
        if latest
        else records.values(checkpoint, loaded.blobs)
    )
    tasks = tuple(_task(step, checkpoint, loaded, records) for step in checkpoint.plan)
    waiting = [s.node for s in checkpoint.plan if s.id_in(checkpoint) not in loaded.outcomes]
    if not latest or (not waiting and loaded.head.status is RunStatus.FAILED):
        waiting = [step.node for step in checkpoint.plan]
    return StateSnapshot(
        values=shown(values, spec),
        next=tuple(waiting),
        config=config_of(thread_id, checkpoint.id, checkpoint.ns),
        metadata={
            **checkpoint.metadata,
            "source": checkpoint.source,
            "step": checkpoint.step,
            "parents": {},
        },
        created_at=dt.datetime.fromtimestamp(checkpoint.created_ms / 1000, dt.UTC).isoformat(),
        parent_config=(
            None
            if checkpoint.parent is None
            else config_of(thread_id, checkpoint.parent, checkpoint.ns)
        ),
        tasks=tasks,
        interrupts=tuple(i for task in tasks for i in task.interrupts),
    )


def live_values(
    checkpoint: Checkpoint, loaded: LoadedThread, records: Records, spec: GraphSpec | None
) -> Mapping[str, Any]:
    """Return the head's values, with what its completed steps wrote, if that fits together."""
    values = records.values(checkpoint, loaded.blobs)
    done = [
        (step, records.outcome(loaded.outcomes[step.id_in(checkpoint)]).writes)
        for step in checkpoint.plan
        if step.id_in(checkpoint) in loaded.outcomes
    ]
    if spec is not None and done and loaded.head.fingerprint in {"", spec.fingerprint}:
        with contextlib.suppress(InvalidUpdateError):  # Over this the superstep has failed.
            return apply(spec, checkpoint, values, done, checkpoint.id + 1).values
    return values


def config_of(thread_id: str, checkpoint_id: int, ns: str = "") -> Mapping[str, Any]:
    """Return the config that names a checkpoint."""
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": ns,
            "checkpoint_id": checkpoint_text(checkpoint_id),
        }
    }


def shown(values: Mapping[str, Any], spec: GraphSpec | None, keys: tuple[str, ...] = ()) -> Any:
    """Return the state's values as nodes and callers see them."""
    if spec is None:
        return dict(values)
    seen = {}
    for key in keys or spec.state_keys:
        value = spec.channels[key].get(values.get(key, MISSING))
        if value is not MISSING:
            seen[key] = value
    return seen.get(ROOT) if (keys or spec.state_keys) == (ROOT,) else seen


def _task(
    step: PlannedStep, checkpoint: Checkpoint, loaded: LoadedThread, records: Records
) -> StateTask:
    step_id = step.id_in(checkpoint)
    live: LoadedStep | None = loaded.steps.get(step_id)
    outcome = loaded.outcomes.get(step_id)
    asked: tuple[Interrupt, ...] = ()
    if live is not None and not live.completed:
        asked = tuple(records.interrupt(live.asks[question]) for question in live.questions)
    path = ("__pull__", step.node) if step.index < 0 else ("__push__", step.index)
    return StateTask(
        id=step_id,
        name=step.node,
        path=path,
        error=records.error(live.error) if live is not None and not live.completed else None,
        interrupts=asked,
        result=_result(records.outcome(outcome).writes) if outcome is not None else None,
    )


def _result(writes: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Return a step's updates without its edges and routing."""
    return {key: value for key, value in writes if key != SENDS and not key.startswith(CONTROL)}
