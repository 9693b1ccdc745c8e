"""A thread's state as people see it; the fields are LangGraph's."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.channels import MISSING, Overwrite, overwrite_of
from orchestrator.checkpoint.commit import LoadedStep, LoadedThread
from orchestrator.checkpoint.model import Checkpoint, Interrupt, PlannedStep, RunStatus, StepError
from orchestrator.core.apply import HANDLED, NO_CHANNELS, RETURN, SENDS, apply
from orchestrator.core.records import Records
from orchestrator.core.salvage import damage_to_state
from orchestrator.core.steering import carried_in
from orchestrator.errors import InvalidUpdateError, StateCorruptedError
from orchestrator.graph.schema import CONTROL
from orchestrator.graph.spec import SINGLE, GraphSpec
from orchestrator.ids import checkpoint_text, root_thread

__all__ = [
    "PregelTask",
    "StateSnapshot",
    "as_written",
    "config_of",
    "live_values",
    "namespace_below",
    "shown",
    "snapshot",
]


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
        config=config_of(thread_id, checkpoint.id),
        metadata={
            **checkpoint.metadata,
            "source": checkpoint.source,
            "step": checkpoint.step,
            "parents": {},
        },
        created_at=dt.datetime.fromtimestamp(checkpoint.created_ms / 1000, dt.UTC).isoformat(),
        parent_config=(
            None if checkpoint.parent is None else config_of(thread_id, checkpoint.parent)
        ),
        tasks=tasks,
        interrupts=tuple(i for task in tasks for i in task.interrupts) if latest else (),
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


def config_of(thread_id: str, checkpoint_id: int) -> Mapping[str, Any]:
    """Return the config that names a checkpoint."""
    root, ns = root_thread(thread_id)
    return {
        "configurable": {
            "thread_id": root,
            "checkpoint_ns": ns,
            "checkpoint_id": checkpoint_text(checkpoint_id),
        }
    }


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
            lost = StepError(type="StateCorruptedError", module=module, message=str(error))
        asked: tuple[Interrupt, ...] = ()
        open_ = live is not None and not live.completed
        if live is not None and open_:
            asked = tuple(records.interrupt(live.asks[question]) for question in live.questions)
        elif outcome is not None and not self.latest:
            asked = outcome.interrupts
        name = self.spec.shown(step.node) if self.spec else step.node
        pulled = ("__pregel_pull", name)
        return PregelTask(
            id=step_id,
            name=name,
            path=pulled if step.index < 0 else ("__pregel_push", step.index, False),
            error=records.error(live.error) if live is not None and open_ else lost,
            interrupts=asked,
            state=self._state(step, step_id),
            result=_result(outcome.writes, self.spec) if outcome is not None else None,
        )

    def _state(self, step: PlannedStep, step_id: str) -> Any:
        node = self.spec.nodes.get(step.node) if self.spec else None
        name = self.spec.shown(step.node) if self.spec else step.node
        origin = carried_in(self.checkpoint, step).origin
        ns = namespace_below(self.thread_id, name, origin or step_id)
        keeps = node.subgraph.checkpointer if node is not None and node.subgraph else False
        is_subgraph = keeps is not False  # One that keeps nothing has nothing to show.
        lasting = "|".join(part.partition(":")[0] for part in ns.split("|"))
        if keeps is True:
            ns = lasting
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
        if key == HANDLED:
            return None  # The node has failed; what it has is its handler's.
    kept = [(key, value) for key, value in writes if key not in hidden and not _is_edge(key)]
    return {key: as_written(value) for key, value in kept}


def as_written(value: Any) -> Any:
    """Return an `Overwrite` as the node returned it; it is stored as plain data."""
    replaces, new = overwrite_of(value)
    return Overwrite(new) if replaces else value


def _is_edge(key: str) -> bool:
    return key.startswith(CONTROL)
