"""A thread's state as people see it; the fields are LangGraph's."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.channels import MISSING, Overwrite, overwrite_of
from orchestrator.engine.apply import HANDLED, LEFT, NO_CHANNELS, RETURN, SENDS, apply
from orchestrator.engine.branches import parents_of, without_branch
from orchestrator.engine.carryover import carried_in, spot_in
from orchestrator.engine.records import Records
from orchestrator.engine.rollback import damage_to_state
from orchestrator.errors import InvalidUpdateError, StateCorruptedError
from orchestrator.graph.schema import CONTROL
from orchestrator.graph.spec import SINGLE, GraphSpec
from orchestrator.ids import checkpoint_text, root_thread
from orchestrator.model.checkpoint import Checkpoint, Interrupt, PlannedStep, RunStatus, StepError
from orchestrator.model.commit import LoadedStep, LoadedThread


class PregelTask(NamedTuple):
    """A step as a snapshot shows it, by LangGraph's name.

    Attributes:
        id: the step's id.
        name: its node.
        path: how it was triggered: by channels, or by the `Send` of an index.
        error: why it failed, if it did.
        interrupts: what it asks; in older snapshots, what it asked.
        state: of the subgraph that it runs: the config, or, if asked for, the snapshot.
        result: what it wrote, if it completed.
    """

    id: str
    name: str
    path: tuple[str | int, ...]
    error: StepError | None = None
    interrupts: tuple[Interrupt, ...] = ()
    state: Any = None
    result: Any = None


class StateSnapshot(NamedTuple):
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
    metadata: Mapping[str, Any] | None
    created_at: str | None
    parent_config: Mapping[str, Any] | None
    tasks: tuple[PregelTask, ...]
    interrupts: tuple[Interrupt, ...] = ()


def snapshot(
    thread_id: str,
    loaded: LoadedThread,
    records: Records,
    spec: GraphSpec | None,
    *,
    latest: bool,
    inside: Callable[[PlannedStep, str], Any] | None = None,
) -> StateSnapshot:
    """Return what is loaded of a thread as a snapshot.

    With the graph's `spec`, the latest snapshot shows the writes of completed steps of the running
    superstep too, as LangGraph does, unless they do not fit together: then it shows the state
    before, with the whole superstep still to come. `inside` gives the state of the subgraph that a
    step runs in a namespace. Of an older checkpoint that is damaged the snapshot holds nothing but
    what is damaged, in its metadata.
    """
    damage = "" if latest else damage_to_state(records, loaded)
    if damage:
        return _damaged(config_of(thread_id, loaded.checkpoint.id), damage)
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    parents = parents_of(checkpoint.metadata)
    values = (
        live_values(checkpoint, loaded, records, spec)
        if latest
        else records.values(checkpoint, loaded.blobs)
    )
    view = _View(thread_id, checkpoint, loaded, records, spec, latest, inside)
    plan = as_declared(checkpoint.plan, spec)
    tasks = tuple(view.task(step) for step in plan)
    waiting = [s.node for s in plan if s.id_in(checkpoint) not in loaded.outcomes]
    if not latest or (not waiting and loaded.head.status is RunStatus.FAILED):
        waiting = [step.node for step in plan]
    return StateSnapshot(
        values=shown(values, spec),
        next=tuple(spec.shown(node) if spec else node for node in waiting),
        config=config_of(thread_id, checkpoint.id, parents),
        metadata=metadata_of(checkpoint),
        created_at=created_at(checkpoint),
        parent_config=(
            None if checkpoint.parent is None else config_of(thread_id, checkpoint.parent, parents)
        ),
        tasks=tasks,
        interrupts=tuple(i for task in tasks for i in task.interrupts),
    )


def as_declared(plan: Sequence[PlannedStep], spec: GraphSpec | None) -> Sequence[PlannedStep]:
    """Return steps as people see them: what was sent, then nodes in the order of `add_node`."""
    if spec is None or len(plan) < 2:
        return plan
    places = defaultdict(int, {node: place for place, node in enumerate(spec.nodes)})
    return sorted(plan, key=lambda s: (0, s.index) if s.index >= 0 else (1, places[s.node]))


def live_values(
    checkpoint: Checkpoint, loaded: LoadedThread, records: Records, spec: GraphSpec | None
) -> Mapping[str, Any]:
    """Return the head's values, with what its completed steps wrote, if that fits together."""
    values = records.values(checkpoint, loaded.blobs)
    done = [
        (step, records.outcome(loaded.outcome(step.id_in(checkpoint))).writes)
        for step in checkpoint.plan
        if step.id_in(checkpoint) in loaded.outcomes
    ]
    if spec is not None and done and loaded.head.fingerprint in {"", spec.fingerprint}:
        with contextlib.suppress(InvalidUpdateError):  # Over this the superstep has failed.
            return apply(spec, checkpoint, values, done, checkpoint.id + 1).values
    return values


def config_of(
    thread_id: str, checkpoint_id: int, parents: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """Return the config that names a checkpoint.

    Args:
        thread_id: its thread.
        checkpoint_id: the checkpoint.
        parents: for one of a subgraph: those of the graphs around it, by namespace.
    """
    root, ns = root_thread(thread_id)
    text = checkpoint_text(checkpoint_id)
    named: dict[str, Any] = {"thread_id": root, "checkpoint_ns": ns, "checkpoint_id": text}
    if parents:
        named["checkpoint_map"] = {**parents, ns: text}
    return {"configurable": named}


def metadata_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the metadata of a checkpoint as people see it."""
    return {
        **without_branch(checkpoint.metadata),
        "source": checkpoint.source,
        "step": checkpoint.step,
        "parents": dict(parents_of(checkpoint.metadata)),
    }


def created_at(checkpoint: Checkpoint) -> str:
    """Return when a checkpoint was made, ISO 8601; those of a thread have different times.

    The id says it in microseconds, and grows from one to the next.
    """
    began = dt.datetime.fromtimestamp(0, dt.UTC)
    return (began + dt.timedelta(microseconds=checkpoint.id)).isoformat(timespec="microseconds")


def shown(values: Mapping[str, Any], spec: GraphSpec | None, keys: tuple[str, ...] = ()) -> Any:
    """Return the state's values as nodes and callers see them."""
    if spec is None:
        return dict(values)
    seen = {}
    keys = keys or spec.visible_keys
    for key in keys:
        value = spec.channels[key].get(values.get(key, MISSING))
        if value is not MISSING:
            seen[key] = value
    return seen.get(keys[0]) if keys in SINGLE else seen


def namespace_below(thread_id: str, name: str, step_id: str) -> str:
    """Return the namespace of the subgraph that a step of a thread runs."""
    ns = root_thread(thread_id)[1]
    own = f"{name}:{step_id}"
    return f"{ns}|{own}" if ns else own


def child_namespace(
    thread_id: str, checkpoint: Checkpoint, step: PlannedStep, name: str, *, lasts: bool
) -> str:
    """Return the namespace of the subgraph that a step runs.

    Args:
        thread_id: the thread of the step.
        checkpoint: what planned it.
        step: the step.
        name: its node's, as people see it.
        lasts: whether the state of the subgraph outlives its runs.
    """
    spot = spot_in(checkpoint, step)
    if spot is not None:
        return spot.ns
    ns = namespace_below(thread_id, name, carried_in(checkpoint, step).origin)
    return lasting_namespace(ns) if lasts else ns


def lasting_namespace(ns: str) -> str:
    """Return a namespace that is the same in every run: names of nodes only."""
    return "|".join(part.partition(":")[0] for part in ns.split("|"))


def _damaged(config: Mapping[str, Any], damage: str) -> StateSnapshot:
    metadata = {"source": "damaged", "error": damage}
    return StateSnapshot({}, (), config, metadata, None, None, ())


@dataclass(frozen=True, slots=True)
class _View:
    """A checkpoint as it is shown."""

    thread_id: str
    checkpoint: Checkpoint
    loaded: LoadedThread
    records: Records
    spec: GraphSpec | None
    latest: bool
    inside: Callable[[PlannedStep, str], Any] | None

    def task(self, step: PlannedStep) -> PregelTask:
        """Return one of its steps."""
        step_id, records = step.id_in(self.checkpoint), self.records
        live: LoadedStep | None = self.loaded.steps.get(step_id)
        stored = self.loaded.outcomes.get(step_id)
        outcome, lost = None, None
        try:
            outcome = records.outcome(stored) if stored is not None else None
        except StateCorruptedError as error:  # Or a value is, that this result names.
            if self.latest:
                raise
            module = StateCorruptedError.__module__
            lost = StepError(type=type(error).__name__, module=module, message=str(error))
        asked: tuple[Interrupt, ...] = ()
        open_ = live is not None and not live.completed
        if live is not None and open_:
            asked = tuple(records.interrupt(live.asks[question]) for question in live.questions)
        elif outcome is not None and not self.latest:
            asked = outcome.interrupts
        failed = records.error(live.error) if live is not None and open_ else lost
        if failed is None and outcome is not None:
            failed = records.error(outcome.error)
        name = self.spec.shown(step.node) if self.spec else step.node
        pulled = ("__pregel_pull", name)
        return PregelTask(
            id=step_id,
            name=name,
            path=pulled if step.index < 0 else ("__pregel_push", step.index, False),
            error=failed,
            interrupts=asked,
            state=self._state(step),
            result=_result(outcome.writes, self.spec) if outcome is not None else None,
        )

    def _state(self, step: PlannedStep) -> Any:
        node = self.spec.nodes.get(step.node) if self.spec else None
        name = self.spec.shown(step.node) if self.spec else step.node
        keeps = node.subgraph.checkpointer if node is not None and node.subgraph else False
        is_subgraph = keeps is not False  # One that keeps nothing has nothing to show.
        args = self.thread_id, self.checkpoint, step, name
        ns = child_namespace(*args, lasts=keeps is True)
        lasting = lasting_namespace(ns)
        root, _ = root_thread(self.thread_id)
        config = {"configurable": {"thread_id": root, "checkpoint_ns": ns}}
        if self.inside is None:
            return config if is_subgraph else None
        found = self.inside(step, ns) or (None if is_subgraph else self.inside(step, lasting))
        if found is None and is_subgraph:  # It has not begun.
            return StateSnapshot({}, (), config, None, None, None, ())
        return found


def _result(writes: tuple[tuple[str, Any], ...], spec: GraphSpec | None) -> Any:
    """Return a step's updates without its edges and routing; those of the one key as they are."""
    if spec is not None and spec.visible_keys in SINGLE:
        return next((value for key, value in writes if (key,) == spec.visible_keys), None)
    hidden = {SENDS, *NO_CHANNELS}
    for key, value in writes:
        if key == RETURN:
            return value
        if key in {HANDLED, LEFT}:
            return None  # The node has failed; what it has is its handler's.
    return written(pair for pair in writes if pair[0] not in hidden and not _is_edge(pair[0]))


def written(writes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return updates as LangGraph shows them: several of one key together, as `$writes`."""
    found: dict[str, list[Any]] = {}
    for key, value in writes:
        found.setdefault(key, []).append(as_written(value))
    return {key: each[0] if len(each) == 1 else {"$writes": each} for key, each in found.items()}


def as_written(value: Any) -> Any:
    """Return an `Overwrite` as the node returned it; it is stored as plain data."""
    replaces, new = overwrite_of(value)
    return Overwrite(new) if replaces else value


def _is_edge(key: str) -> bool:
    return key.startswith(CONTROL)
