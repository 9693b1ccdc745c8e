"""From what happens to a thread to what a stream shows of it; the shapes are LangGraph's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.checkpoint.model import Checkpoint, Interrupt, PlannedStep
from orchestrator.client.snapshot import (
    as_written,
    child_namespace,
    config_of,
    metadata_of,
    shown,
    written,
)
from orchestrator.core.advance import Frame
from orchestrator.core.apply import HANDLED, RETURN
from orchestrator.core.branches import parents_of
from orchestrator.graph.routing import START, Command
from orchestrator.graph.spec import SINGLE, GraphSpec
from orchestrator.ids import root_thread
from orchestrator.step.call import input_of
from orchestrator.step.facts import (
    Advanced,
    Asked,
    Done,
    Fact,
    Failed,
    Stopped,
    TaskDone,
    TaskStarted,
    Written,
)

__all__ = ["Part", "Projection", "interrupt_fields"]

Part = tuple[tuple[str, ...], str, Any]  # Namespace, mode, data.
INTERRUPT = "__interrupt__"
_PUSHED = ("__pregel_push",)  # What triggers a step that was sent, or a task that was called.


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Which parts of what happens a reader sees.

    Attributes:
        spec_of: gives the graph of a namespace; without, states are shown as they are stored.
        modes: the stream modes.
        output_keys: the keys of the state it shows; empty: all; of subgraphs, their output.
        one_key: whether values are shown without their key.
        keeps: whether there is a checkpointer, so that checkpoints can be named.
    """

    spec_of: Callable[[str], GraphSpec | None]
    modes: frozenset[str]
    output_keys: tuple[str, ...] = ()
    one_key: bool = False
    keeps: bool = True

    def parts(self, fact: Fact) -> Iterator[Part]:
        """Return what a stream shows of a fact, in order."""
        ns = root_thread(fact.thread_id)[1]
        space = tuple(ns.split("|")) if ns else ()
        spec = self.spec_of(ns)
        for mode, data in self._shown(spec, fact):
            yield space, mode, data

    def _shown(self, spec: GraphSpec | None, fact: Fact) -> Iterator[tuple[str, Any]]:
        match fact:
            case Advanced():
                yield from self._advanced(spec, fact)
            case Done() if any(key == Command.PARENT for key, _ in fact.writes):
                return  # It speaks to the graph around, where its caller shows what it said.
            case Done() if _is_seen(spec, fact.node):
                name = _name(spec, fact.node)
                if any(key == HANDLED for key, _ in fact.writes):
                    name = f"__error_handler__{name}"
                yield from self._updates(spec, name, fact.writes, cached=fact.cached)
                if not fact.cached:
                    yield from self._result(fact, name, result=_kept(fact.writes))
            case Asked():
                yield from self._asked(spec, fact)
            case Failed():
                error = f"{fact.error.type}({fact.error.message!r})"
                yield from self._result(fact, _name(spec, fact.node), error=error)
            case TaskStarted():
                data = {"id": fact.id, "name": fact.name, "input": fact.input, "triggers": _PUSHED}
                yield from self._task("task", fact.number, data)
            case TaskDone():
                yield from self._task_done(fact)
            case Stopped() if "updates" in self.modes and not root_thread(fact.thread_id)[1]:
                yield "updates", {INTERRUPT: ()}
            case Written() if fact.mode in self.modes:
                yield fact.mode, fact.data

    # ---- checkpoints ------------------------------------------------------------------------

    def _advanced(self, spec: GraphSpec | None, fact: Advanced) -> Iterator[tuple[str, Any]]:
        frame, keys = fact.frame, self._keys(spec)
        is_input = frame.checkpoint.source == "input" and not fact.completed
        news = fact.changed is None or not fact.changed.isdisjoint(keys or fact.changed)
        if "values" in self.modes and news and not (is_input and fact.changed is not None):
            yield "values", self.values(spec, frame.values)
        if self.keeps and self.modes & {"checkpoints", "debug"}:
            data = _checkpoint(spec, fact)
            if "checkpoints" in self.modes:
                yield "checkpoints", data
            if "debug" in self.modes:
                yield "debug", _debug("checkpoint", frame.checkpoint.step, data)
        for step in fact.begins:
            if self.modes & {"tasks", "debug"} and _is_seen(spec, step.node):
                yield from self._begins(spec, frame, step)
        for step in fact.begins:
            writes = fact.completed.get(step.id_in(frame.checkpoint))
            if writes is not None:
                yield from self._updates(spec, _name(spec, step.node), writes, cached=True)

    def _begins(self, spec: GraphSpec | None, frame: Frame, step: Any) -> Iterator[tuple[str, Any]]:
        arg = frame.args.get(step.index)
        data = {
            "id": step.id_in(frame.checkpoint),
            "name": _name(spec, step.node),
            "input": input_of(spec, frame, step, arg) if spec and step.node in spec.nodes else arg,
            "triggers": _triggers(spec, step),
        }
        yield from self._task("task", frame.checkpoint.step + 1, data)

    # ---- values and updates -------------------------------------------------------------------

    def _keys(self, spec: GraphSpec | None) -> tuple[str, ...]:
        if spec is None:
            return ()
        if spec is not self.spec_of(""):
            return spec.output_keys
        return self.output_keys or spec.visible_keys  # As in LangGraph, all keys are streamed.

    def values(self, spec: GraphSpec | None, values: Mapping[str, Any]) -> Any:
        """Return the state as a stream shows it."""
        keys = self._keys(spec)
        seen = shown(values, spec, keys)
        return seen.get(keys[0]) if self.one_key and keys and isinstance(seen, dict) else seen

    def _updates(
        self,
        spec: GraphSpec | None,
        node: str,
        writes: tuple[tuple[str, Any], ...],
        *,
        cached: bool,
    ) -> Iterator[tuple[str, Any]]:
        if "updates" not in self.modes:
            return
        update: dict[str, Any] = {node: _update(writes, self._keys(spec), one=self._one(spec))}
        if cached:
            update["__metadata__"] = {"cached": True}
        yield "updates", update

    def _one(self, spec: GraphSpec | None) -> bool:
        return self.one_key or self._keys(spec) in SINGLE

    def _asked(self, spec: GraphSpec | None, fact: Asked) -> Iterator[tuple[str, Any]]:
        if "updates" in self.modes and (fact.interrupts or not root_thread(fact.thread_id)[1]):
            yield "updates", {INTERRUPT: fact.interrupts}
        if not fact.interrupts:
            return  # A subgraph stopped before or after a node; only the outermost graph tells.
        if "values" in self.modes:
            seen = self.values(spec, fact.values)
            more = seen if isinstance(seen, dict) else {}
            yield "values", {**more, INTERRUPT: fact.interrupts}
        yield from self._result(
            fact, _name(spec, fact.node), interrupts=[interrupt_fields(i) for i in fact.interrupts]
        )

    # ---- tasks --------------------------------------------------------------------------------

    def _result(
        self, fact: Done | Asked | Failed, name: str, **fields: Any
    ) -> Iterator[tuple[str, Any]]:
        empty: dict[str, Any] = {"error": None, "result": {}, "interrupts": []}
        data = {"id": fact.step_id, "name": name, **empty, **fields}
        yield from self._task("task_result", fact.number, data)

    def _task_done(self, fact: TaskDone) -> Iterator[tuple[str, Any]]:
        failed = fact.error is not None
        if "updates" in self.modes and not failed and not fact.interrupts:
            update = {fact.name: fact.result}
            yield "updates", {**update, "__metadata__": {"cached": True}} if fact.cached else update
        if fact.cached or fact.interrupts:
            return  # What it asks, the step that called it asks.
        data: dict[str, Any] = {
            "id": fact.id,
            "name": fact.name,
            "error": fact.error,
            "result": {} if failed else {RETURN: fact.result},
            "interrupts": [],
        }
        yield from self._task("task_result", fact.number, data)

    def _task(self, kind: str, number: int, data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        if "tasks" in self.modes:
            yield "tasks", data
        if "debug" in self.modes:
            yield "debug", _debug(kind, number, data)


def _name(spec: GraphSpec | None, node: str) -> str:
    return spec.shown(node) if spec else node


def _triggers(spec: GraphSpec | None, step: PlannedStep) -> tuple[str, ...]:
    """Return what can trigger a step's node; LangGraph shows all of it, not what did."""
    if step.index >= 0:
        return _PUSHED
    known = spec is not None and step.node in spec.nodes
    return tuple(sorted({*spec.nodes[step.node].triggers})) if spec and known else step.triggers


def _is_seen(spec: GraphSpec | None, node: str) -> bool:
    """Return whether people see a node: START only where it does something."""
    return node != START or (spec is not None and spec.start.action is not None)


def _kept(writes: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Return the updates among a step's writes; several of one key as LangGraph shows them."""
    return written(pair for pair in writes if _is_state(pair[0]))


def _is_state(key: str) -> bool:
    return (
        key == RETURN
        or key in {"__root__", "__end__"}
        or not key.startswith(("__", "branch:to:", "join:"))
    )


def _update(writes: tuple[tuple[str, Any], ...], keys: tuple[str, ...], *, one: bool) -> Any:
    """Return what a node wrote to the keys that are shown."""
    for key, value in writes:
        if key == RETURN:
            return value
    mine = [
        (key, as_written(value))
        for key, value in writes
        if key in keys or (not keys and _is_state(key))
    ]
    if one:
        values = [value for _, value in mine]
        return values[0] if len(values) == 1 else values or None
    if not mine:
        return None
    if len({key for key, _ in mine}) < len(mine):
        return [{key: value} for key, value in mine]
    return dict(mine)


def _checkpoint(spec: GraphSpec | None, fact: Advanced) -> dict[str, Any]:
    checkpoint: Checkpoint = fact.frame.checkpoint
    tasks: list[dict[str, Any]] = []
    for step in checkpoint.plan:
        step_id = step.id_in(checkpoint)
        task: dict[str, Any] = {"id": step_id, "name": _name(spec, step.node)}
        writes = fact.completed.get(step_id)
        if writes is not None:
            task["result"] = _kept(writes)
        inner = spec.nodes.get(step.node) if spec else None
        state = None
        if inner is not None and inner.subgraph is not None:
            name, lasts = _name(spec, step.node), inner.subgraph.checkpointer is True
            ns = child_namespace(fact.thread_id, checkpoint, step, name, lasts=lasts)
            root, _ = root_thread(fact.thread_id)
            state = {"configurable": {"thread_id": root, "checkpoint_ns": ns}}
        tasks.append({**task, "interrupts": (), "state": state})
    parent, parents = checkpoint.parent, parents_of(checkpoint.metadata)
    return {
        "config": config_of(fact.thread_id, checkpoint.id, parents),
        "parent_config": None if parent is None else config_of(fact.thread_id, parent, parents),
        "values": shown(fact.frame.values, spec),
        "metadata": metadata_of(checkpoint),
        "next": [_name(spec, step.node) for step in checkpoint.plan],
        "tasks": tasks,
    }


def _debug(kind: str, step: int, payload: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC).isoformat()
    return {"step": step, "timestamp": now, "type": kind, "payload": payload}


def interrupt_fields(interrupt: Interrupt) -> dict[str, Any]:
    """Return a question as plain data."""
    fields = {
        "value": interrupt.value,
        "id": interrupt.id,
        "response_schema": interrupt.response_schema,
    }
    if interrupt.key is not None:
        fields["key"] = interrupt.key
    return fields
