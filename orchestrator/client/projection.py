"""From what happens to a thread to what a stream shows of it; the shapes are LangGraph's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from orchestrator.client.results import INTERRUPT
from orchestrator.client.snapshot import (
    as_written,
    child_namespace,
    config_of,
    metadata_of,
    shown,
    written,
)
from orchestrator.engine.advance import Frame
from orchestrator.engine.apply import HANDLED, RETURN
from orchestrator.engine.branches import parents_of
from orchestrator.graph.routing import START, Command, channel_name
from orchestrator.graph.spec import SINGLE, GraphSpec
from orchestrator.ids import root_thread
from orchestrator.integrations.langchain import message_ids
from orchestrator.model.checkpoint import Checkpoint, Interrupt, PlannedStep
from orchestrator.step.facts import (
    Advanced,
    Asked,
    Done,
    Fact,
    Failed,
    Missed,
    Stopped,
    TaskDone,
    TaskStarted,
    Written,
)
from orchestrator.step.invoke import input_of

Part = tuple[tuple[str, ...], str, Any]  # Namespace, mode, data.
GAP = "gap"  # Shown whatever the modes: a reader must know that something is missing.
_PUSHED = ("__pregel_push",)  # What triggers a step that was sent, or a task that was called.


# What a fact can show, in order: a mode, and what makes its data; `None`: nothing this time.
_Slot = tuple[str, Callable[[], Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Which parts of what happens a reader sees.

    Attributes:
        spec: the graph that the reader reads; without, states are shown as they are stored.
        modes: the stream modes.
        output_keys: the keys of the state it shows; empty: all; of subgraphs, their output.
        one_key: whether values are shown without their key; of subgraphs, with it.
        keeps: whether there is a checkpointer, so that checkpoints can be named.
        typed: whether the states of checkpoints are instances of the state's class.
        configurable: what the call says in `configurable`; configs of checkpoints hold it.
        metadata: what the call says of its steps, with its tags.
    """

    spec: GraphSpec | None
    modes: frozenset[str]
    output_keys: tuple[str, ...] = ()
    one_key: bool = False
    keeps: bool = True
    typed: bool = False
    configurable: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def parts(self, fact: Fact) -> Iterator[Part]:
        """Return what a stream shows of a fact, in order."""
        return (part for _, part in self.numbered(fact))

    def numbered(self, fact: Fact) -> Iterator[tuple[int, Part]]:
        """Return the same, each with its place among all that could be shown of the fact.

        The places do not depend on the modes, nor on what the reader knows of the graph.
        """
        ns = root_thread(fact.thread_id)[1]
        space = tuple(ns.split("|")) if ns else ()
        for place, (mode, make) in enumerate(self._slots(fact.spec, fact)):
            if make is not None and (mode in self.modes or mode == GAP):
                yield place, (space, mode, make())

    def _slots(self, spec: GraphSpec | None, fact: Fact) -> Iterator[_Slot]:
        match fact:
            case Advanced():
                yield from self._advanced(spec, fact)
            case Done():
                yield from self._done(spec, fact)
            case Asked():
                yield from self._asked(spec, fact)
            case Failed():
                error = f"{fact.error.type}({fact.error.message!r})"
                yield from self._result(fact, _name(spec, fact.node), error=error)
            case TaskStarted():
                data = {"id": fact.id, "name": fact.name, "input": fact.input, "triggers": _PUSHED}
                data |= {"metadata": self.metadata} if self.metadata else {}
                yield from self._task(fact, "task", fact.number, lambda: data)
            case TaskDone():
                yield from self._task_done(fact)
            case Stopped():
                is_root = not root_thread(fact.thread_id)[1]
                yield "updates", (lambda: {INTERRUPT: ()}) if is_root else None
            case Written():
                yield fact.mode, lambda: fact.data
            case Missed():
                gap = {"first": fact.first, "last": fact.last, "reason": fact.reason}
                yield GAP, lambda: gap

    # ---- checkpoints ------------------------------------------------------------------------

    def _advanced(self, spec: GraphSpec | None, fact: Advanced) -> Iterator[_Slot]:
        frame, keys = fact.frame, self._keys(spec)
        is_input = frame.checkpoint.source == "input" and not fact.completed
        news = fact.changed is None or not fact.changed.isdisjoint(keys or fact.changed)
        is_shown = news and not (is_input and fact.changed is not None)
        yield "values", partial(self.values, spec, frame.values) if is_shown else None
        checkpoint = partial(self._checkpoint, spec, fact) if self.keeps else None
        yield "checkpoints", checkpoint
        step = frame.checkpoint.step
        yield "debug", partial(_debug, fact, "checkpoint", step, checkpoint) if checkpoint else None
        for planned in fact.begins:
            is_seen = _is_seen(spec, planned.node)
            begins = partial(self._begins, spec, frame, planned) if is_seen else None
            yield from self._task(fact, "task", step + 1, begins)
        for planned in fact.begins:
            writes = fact.completed.get(planned.id_in(frame.checkpoint))
            update = partial(self._update, spec, _name(spec, planned.node), writes, cached=True)
            yield "updates", update if writes is not None else None

    def _checkpoint(self, spec: GraphSpec | None, fact: Advanced) -> dict[str, Any]:
        checkpoint: Checkpoint = fact.frame.checkpoint
        # Before the input is applied.
        is_first = any(step.node == START for step in checkpoint.plan)
        parents, values = parents_of(checkpoint.metadata), shown(fact.frame.values, spec)
        metadata = metadata_of(checkpoint)
        # A fork with which a stream begins was made by its call: what that says is known.
        stored = fact.changed is None and checkpoint.source != "fork"
        if not stored:
            metadata = {key: metadata[key] for key in ("source", "step", "parents")}
        return {
            "config": self._config(fact, checkpoint.id, parents),
            "parent_config": self._config(fact, checkpoint.parent, parents, stored=stored),
            "values": spec.as_state(values) if spec and self.typed and not is_first else values,
            "metadata": metadata,
            "next": [_name(spec, step.node) for step in checkpoint.plan],
            "tasks": [_shown(spec, fact, step) for step in checkpoint.plan],
        }

    def _config(
        self,
        fact: Advanced,
        checkpoint_id: int | None,
        parents: Mapping[str, str],
        *,
        stored: bool = False,
    ) -> dict[str, Any] | None:
        if checkpoint_id is None:
            return None
        named = config_of(fact.thread_id, checkpoint_id, parents)["configurable"]
        return {"configurable": {**({} if stored else self.configurable), **named}}

    def _begins(self, spec: GraphSpec | None, frame: Frame, step: PlannedStep) -> dict[str, Any]:
        arg = frame.args.get(step.index)
        node = spec.nodes.get(step.node) if spec else None
        metadata = {**self.metadata, **(node.options.metadata if node else {})}
        return {
            "id": step.id_in(frame.checkpoint),
            "name": _name(spec, step.node),
            "input": input_of(spec, frame, step, arg) if spec and node else arg,
            "triggers": _triggers(spec, step),
            **({"metadata": metadata} if metadata else {}),
        }

    # ---- values and updates -------------------------------------------------------------------

    def _keys(self, spec: GraphSpec | None) -> tuple[str, ...]:
        if spec is None:
            return ()
        if spec is not self.spec:
            return spec.output_keys
        return self.output_keys or spec.visible_keys  # As in LangGraph, all keys are streamed.

    def values(self, spec: GraphSpec | None, values: Mapping[str, Any]) -> Any:
        """Return the state as a stream shows it."""
        keys = self._keys(spec)
        seen = shown(values, spec, keys)
        one_key = self.one_key and spec is self.spec
        return seen.get(keys[0]) if one_key and keys and isinstance(seen, dict) else seen

    def _update(
        self, spec: GraphSpec | None, node: str, writes: Any, *, cached: bool
    ) -> dict[str, Any]:
        keys = self._keys(spec)
        one = (self.one_key and spec is self.spec) or keys in SINGLE
        update: dict[str, Any] = {node: _update(writes, keys, one=one)}
        return {**update, "__metadata__": {"cached": True}} if cached else update

    def _done(self, spec: GraphSpec | None, fact: Done) -> Iterator[_Slot]:
        # To the graph around, its caller shows what it was given to do.
        hands_up = any(key == Command.PARENT for key, _ in fact.writes)
        is_seen = not hands_up and _is_seen(spec, fact.node)
        name = _name(spec, fact.node)
        if any(key == HANDLED for key, _ in fact.writes):
            name = f"__error_handler__{name}"
        update = partial(self._update, spec, name, fact.writes, cached=fact.cached)
        yield "updates", update if is_seen else None
        if is_seen and not fact.cached:
            yield from self._result(fact, name, result=_kept(fact.writes))

    def _asked(self, spec: GraphSpec | None, fact: Asked) -> Iterator[_Slot]:
        is_root = not root_thread(fact.thread_id)[1]
        asked = fact.interrupts
        yield "updates", (lambda: {INTERRUPT: asked}) if asked or is_root else None
        if not asked:
            return  # A subgraph stopped before or after a node; only the outermost graph shows it.
        yield "values", partial(self._asking, spec, fact)
        interrupts = [interrupt_fields(interrupt) for interrupt in asked]
        yield from self._result(fact, _name(spec, fact.node), interrupts=interrupts)

    def _asking(self, spec: GraphSpec | None, fact: Asked) -> dict[str, Any]:
        seen = self.values(spec, fact.values)
        return {**(seen if isinstance(seen, dict) else {}), INTERRUPT: fact.interrupts}

    # ---- tasks --------------------------------------------------------------------------------

    def _result(self, fact: Done | Asked | Failed, name: str, **fields: Any) -> Iterator[_Slot]:
        empty: dict[str, Any] = {"error": None, "result": {}, "interrupts": []}
        data = {"id": fact.step_id, "name": name, **empty, **fields}
        yield from self._task(fact, "task_result", fact.number, lambda: data)

    def _task_done(self, fact: TaskDone) -> Iterator[_Slot]:
        failed = fact.error is not None
        is_shown = not failed and not fact.interrupts
        update = {fact.name: fact.result}
        if fact.cached:
            update = {**update, "__metadata__": {"cached": True}}
        yield "updates", (lambda: update) if is_shown else None
        if fact.cached or fact.interrupts:
            return  # What it asks, the step that called it asks.
        data: dict[str, Any] = {
            "id": fact.id,
            "name": fact.name,
            "error": fact.error,
            "result": {} if failed else {RETURN: fact.result},
            "interrupts": [],
        }
        yield from self._task(fact, "task_result", fact.number, lambda: data)

    def _task(
        self, fact: Fact, kind: str, number: int, make: Callable[[], dict[str, Any]] | None
    ) -> Iterator[_Slot]:
        yield "tasks", make
        yield "debug", partial(_debug, fact, kind, number, make) if make else None


def _name(spec: GraphSpec | None, node: str) -> str:
    return spec.shown(node) if spec else node


def _triggers(spec: GraphSpec | None, step: PlannedStep) -> tuple[str, ...]:
    """Return what can trigger a step's node; LangGraph shows all of it, not what did."""
    if step.index >= 0:
        return _PUSHED
    known = spec is not None and step.node in spec.nodes
    found = sorted({*spec.nodes[step.node].triggers}) if spec and known else step.triggers
    return tuple(map(channel_name, found))


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


def _shown(spec: GraphSpec | None, fact: Advanced, step: PlannedStep) -> dict[str, Any]:
    """Return a step as the part of a checkpoint shows it."""
    checkpoint = fact.frame.checkpoint
    step_id, name = step.id_in(checkpoint), _name(spec, step.node)
    asked, failed = fact.left.get(step_id, ((), None))
    writes = fact.completed.get(step_id)
    task: dict[str, Any] = {"id": step_id, "name": name}
    if failed is not None:
        task["error"] = failed
    else:
        result = _kept(writes or ())
        task |= {"result": result} if result else {}
        task["interrupts"] = tuple(map(interrupt_fields, asked))
    inner = spec.nodes.get(step.node) if spec else None
    state = None
    if inner is not None and inner.subgraph and inner.subgraph.checkpointer is not False:
        lasts = inner.subgraph.checkpointer is True
        ns = child_namespace(fact.thread_id, checkpoint, step, name, lasts=lasts)
        root, _ = root_thread(fact.thread_id)
        state = {"configurable": {"thread_id": root, "checkpoint_ns": ns}}
    return {**task, "state": state}


def _debug(
    fact: Fact, kind: str, step: int, payload: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    at = dt.datetime.now(dt.UTC)
    if fact.ts_ms is not None:  # Read from a log, it is the same at each time.
        at = dt.datetime.fromtimestamp(fact.ts_ms / 1000, dt.UTC)
    return {"step": step, "timestamp": at.isoformat(), "type": kind, "payload": payload()}


def interrupt_fields(interrupt: Interrupt) -> dict[str, Any]:
    """Return a question as plain data."""
    fields = {"value": interrupt.value, "id": interrupt.id}
    if interrupt.response_schema is not None:
        fields["response_schema"] = interrupt.response_schema
    if interrupt.key is not None:
        fields["key"] = interrupt.key
    return fields


class Unseen:
    """What one reader has not seen."""

    def __init__(self, projection: Projection, subgraphs: bool) -> None:  # noqa: FBT001 - LangGraph's option
        """Begin with a reader that reads subgraphs, or not."""
        self._projection, self._subgraphs = projection, subgraphs
        self._seen: set[Any] = set()  # Ids of messages.

    def parts(self, fact: Fact, base: str = "") -> Iterator[Part]:
        """Return what a stream shows of a fact, a message as a pair with its metadata.

        Args:
            fact: what happened.
            base: the namespace of the reader.
        """
        return (part for _, part in self.numbered(fact, base))

    def numbered(self, fact: Fact, base: str = "") -> Iterator[tuple[int, Part]]:
        """Return the same, each with its place among all that could be shown of the fact."""
        reads = self._subgraphs or root_thread(fact.thread_id)[1] == base
        if reads and isinstance(fact, Advanced) and "messages" in self._projection.modes:
            self._notice(fact)
        for place, (space, mode, data) in self._projection.numbered(fact):
            if mode != "messages":
                yield place, (space, mode, data)
            elif reads and self._is_new(data):
                yield place, (space, mode, data[:2])

    def catch_up(self, facts: Iterable[Fact]) -> None:
        """Learn which messages the reader saw when it read these facts, earlier."""
        whole = self._projection
        self._projection = replace(whole, modes=whole.modes & {"messages"})
        for fact in facts:
            for _ in self.numbered(fact):
                pass
        self._projection = whole

    def _is_new(self, data: Any) -> bool:
        message, _, whole = data
        name = message["id"] if isinstance(message, dict) else message.id
        if whole and name in self._seen:
            return False
        self._seen.add(name)
        return True

    def _notice(self, fact: Advanced) -> None:
        """Remember the messages that nodes are called with."""
        frame = fact.frame
        spec = fact.spec
        for step in fact.begins:
            if spec is None or step.node not in spec.nodes:  # Called by code, or gone.
                self._seen |= message_ids(dict(frame.values))
            elif step.node != START or spec.nodes[START].action is not None:
                arg = frame.args.get(step.index)
                self._seen |= message_ids(input_of(spec, frame, step, arg))
