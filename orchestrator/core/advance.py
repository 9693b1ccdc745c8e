"""From a checkpoint and the results of its superstep to the next checkpoint with its plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.checkpoint.model import Checkpoint, PlannedStep
from orchestrator.core.apply import Writes, apply, plan
from orchestrator.graph.routing import START, Send
from orchestrator.graph.spec import GraphSpec

__all__ = ["Frame", "Next", "accept_input", "advance", "breaks_at"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A checkpoint with the values it refers to."""

    checkpoint: Checkpoint
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Next:
    """A new checkpoint and what is new about it."""

    checkpoint: Checkpoint
    values: Mapping[str, Any]
    changed: Mapping[str, Any]  # Key of the state → its new value.
    sends: tuple[Send, ...] = ()


def advance(
    spec: GraphSpec,
    frame: Frame,
    results: Iterable[tuple[PlannedStep, Writes]],
    *,
    new_id: int,
    now_ms: int,
    source: str = "loop",
    passes: bool = True,
) -> Next:
    """Apply a superstep and plan the next one; without `passes`, as if no time had gone by.

    Raises:
        InvalidUpdateError: as `apply`.
    """
    before, results = frame.checkpoint, list(results)
    applied = apply(spec, before, frame.values, results, new_id, passes=passes)
    steps = plan(spec, applied.control, applied.versions, applied.seen, applied.sends)
    checkpoint = replace(
        before,
        id=new_id,
        parent=before.id,
        step=before.step + 1,
        source=source,
        created_ms=now_ms,
        versions=applied.versions,
        control=applied.control,
        seen=applied.seen,
        writers=tuple(dict.fromkeys(step.node for step, _ in results)),
        sends=len(applied.sends),
        sends_version=new_id if applied.sends else 0,
        plan=steps,
    )
    return Next(checkpoint, applied.values, applied.changed, tuple(applied.sends))


def accept_input(
    before: Checkpoint | None,
    value: Any,
    *,
    new_id: int,
    now_ms: int,
    metadata: Mapping[str, Any],
) -> Checkpoint:
    """Return the checkpoint by which a run begins: the input waits for START to take it in.

    It needs no graph, so any client can make it. Steps that the thread had left unfinished are
    dropped: their triggers are gone.
    """
    step = before.step + 1 if before else -1
    state = {k: v for k, v in before.versions.items() if k not in before.control} if before else {}
    return Checkpoint(
        id=new_id,
        ns=before.ns if before else "",
        parent=before.id if before else None,
        step=step,
        source="input",
        created_ms=now_ms,
        versions={**state, **_unfinished(before, "versions"), START: new_id},
        control={**_unfinished(before, "control"), START: value},
        seen=before.seen if before else {},
        metadata=dict(metadata),
        plan=(PlannedStep(START, -1, (START,)),),
    )


def _unfinished(before: Checkpoint | None, part: str) -> dict[str, Any]:
    """Return the joins and deferred triggers that wait on: they outlive a run, as in LangGraph.

    What an edge triggers holds `None`; what waits holds what it has gathered so far.
    """
    if before is None:
        return {}
    fields: Mapping[str, Any] = getattr(before, part)
    pending = {START, *(channel for step in before.plan for channel in step.triggers)}
    return {
        key: fields[key]
        for key, gathered in before.control.items()
        if gathered is not None and key not in pending
    }


def breaks_at(
    checkpoint: Checkpoint, nodes: Iterable[str], stops: frozenset[str], seen: int
) -> bool:
    """Return whether the run stops here because one of `nodes` is in `stops`.

    It stops once per news: not where everything is as old as `seen`, where it was resumed.
    """
    newest = max([*checkpoint.versions.values(), checkpoint.sends_version])
    return newest > seen and any(node in stops for node in nodes)
