"""From a checkpoint and the results of its superstep to the next checkpoint with its plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from orchestrator.channels import MISSING
from orchestrator.engine.apply import Writes, apply, plan
from orchestrator.engine.carryover import NOTES, Carryover, Kept, keeps_steps, kept_in, notes_for
from orchestrator.frozen import frozen, replace
from orchestrator.graph.routing import START, Command, Send
from orchestrator.graph.schema import Loop
from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import Checkpoint, PlannedStep


@frozen(kw_only=False)
class Frame:
    """A checkpoint with the values it refers to.

    Attributes:
        checkpoint: the checkpoint.
        values: the state's values in it.
        stop: the number of the last superstep its run may begin.
        args: what its `Send`s carry, by index, where a reader wants it.
        changes: what a migration made of values of an earlier version; `MISSING`: they are gone.
    """

    checkpoint: Checkpoint
    values: Mapping[str, Any]
    stop: int = 0
    args: Mapping[int, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def loop(self) -> Loop:
        """Return the position of the run in its budget."""
        return Loop(self.checkpoint.step + 1, self.stop)


@frozen(kw_only=False)
class Next:
    """A new checkpoint and what is new about it."""

    checkpoint: Checkpoint
    values: Mapping[str, Any]
    changed: Mapping[str, Any]  # Key of the state → its new value.
    sends: tuple[Send, ...] = ()
    keeps_steps: bool = False  # Whether a caller's command kept steps: no break stops it there.
    appended: Mapping[str, list[Any]] = field(default_factory=dict)  # Key → what its list grew by.
    before: Mapping[str, Any] = field(default_factory=dict)  # The values before.
    follows: int | None = None  # The checkpoint before, if that is not the parent.
    handled: tuple[str, ...] = ()  # The error handlers that ran, where a run may pause after one.

    @property
    def news(self) -> frozenset[str]:
        """Return the keys of the state that have a new value."""
        return frozenset((*self.changed, *self.appended) if self.appended else self.changed)


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
    results = list(results)
    before = _migrated(frame, new_id) if frame.changes else frame.checkpoint
    applied = apply(spec, before, frame.values, results, new_id, passes=passes)
    for key, value in frame.changes.items():  # Stored with this checkpoint in any case.
        if value is not MISSING:
            applied.changed.setdefault(key, value)
    control, sends = applied.control, applied.sends
    kept = kept_in(before)
    if spec.lineage.renames:
        kept = [replace(k, node=spec.lineage.node(k.node)) for k in kept]
    steps: tuple[PlannedStep, ...] = ()
    if not applied.leads_out:
        if kept:
            sends += [Send(k.node, k.arg) for k in kept if k.is_send]
        steps = plan(spec, control, applied.versions, applied.seen, sends)
        if kept:
            steps += _continued(spec, steps, kept)
        if kept or sends:
            control.update(notes_for(sends, kept))
    else:
        control[Command.PARENT] = next(v for _, w in results for k, v in w if k == Command.PARENT)
        sends.clear()
    checkpoint = replace(
        before,
        id=new_id,
        parent=before.id,
        step=before.step + 1,
        source=source,
        created_ms=now_ms,
        versions=applied.versions,
        control=control,
        seen=applied.seen,
        writers=tuple({step.node: None for step, _ in results}),
        sends=len(sends),
        sends_version=new_id if sends else 0,
        plan=steps,
        state_version=spec.lineage.version,
    )
    return Next(
        checkpoint,
        applied.values,
        applied.changed,
        tuple(sends),
        keeps_steps(before),
        applied.appended,
        frame.values,
    )


def _continued(
    spec: GraphSpec, steps: Iterable[PlannedStep], kept: Iterable[Kept]
) -> tuple[PlannedStep, ...]:
    """Return the kept steps that continue beside those that are planned anew."""
    triggered = {step.node for step in steps if step.index < 0}
    return tuple(
        PlannedStep(k.node)
        for k in kept
        if not k.is_send and k.node in spec.nodes and k.node not in triggered
    )


def _migrated(frame: Frame, new_id: int) -> Checkpoint:
    """Return where the superstep began, as if a migration had been made before it."""
    versions = dict(frame.checkpoint.versions)
    for key, value in frame.changes.items():
        if value is MISSING:
            versions.pop(key, None)
        else:
            versions[key] = new_id
    return replace(frame.checkpoint, versions=versions)


def accept_input(
    before: Checkpoint | None,
    value: Any,
    *,
    new_id: int,
    now_ms: int,
    metadata: Mapping[str, Any],
    carryover: Carryover | None = None,
) -> Checkpoint:
    """Return the checkpoint by which a run begins: the input waits for START to take it in.

    It needs no graph, so any client can make it. Steps that the thread had left unfinished are
    dropped, since their triggers are gone, but for those that `carryover` keeps.
    """
    step = before.step + 1 if before else -1
    state = {k: v for k, v in before.versions.items() if k not in before.control} if before else {}
    writers = before.writers if before and carryover and carryover.kept is not None else ()
    return Checkpoint(
        id=new_id,
        ns=before.ns if before else "",
        parent=before.id if before else None,
        step=step,
        source="input",
        created_ms=now_ms,
        versions={**state, **_unfinished(before, "versions"), START: new_id},
        control={
            **_unfinished(before, "control"),
            START: value,
            **(carryover.notes() if carryover else {}),
        },
        seen=before.seen if before else {},
        writers=writers,
        metadata=dict(metadata),
        state_version=before.state_version if before else None,
        tails=before.tails if before else {},
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
        if gathered is not None and key not in pending and key not in NOTES
    }


def breaks_at(
    checkpoint: Checkpoint, nodes: Iterable[str], stops: frozenset[str], seen: int
) -> bool:
    """Return whether the run stops here because one of `nodes` is in `stops`.

    It stops once per news: not where everything is as old as `seen`, where it was resumed.
    """
    if not stops:
        return False
    newest = max([*checkpoint.versions.values(), checkpoint.sends_version])
    return newest > seen and any(node in stops for node in nodes)
