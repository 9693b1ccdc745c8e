"""Calling user code: the node, then its routers; and reading what they return as writes.

Knows the graph and one step's input; knows nothing of checkpointers. Whatever user code raises goes
through unchanged.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.checkpoint.model import PlannedStep
from orchestrator.core.advance import Frame
from orchestrator.core.apply import SENDS, apply
from orchestrator.errors import InvalidUpdateError
from orchestrator.graph.routing import END, START, Command, Send
from orchestrator.graph.schema import ROOT, update_items
from orchestrator.graph.spec import Branch, GraphSpec, NodeSpec, branch_channel
from orchestrator.step.loop import run_coroutine

__all__ = ["Call", "writes_after"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a node."""

    spec: GraphSpec
    frame: Frame
    step: PlannedStep
    arg: Any  # Of the `Send` that asked for the step, if one did.
    extras: Mapping[str, Any]  # What nodes and routers may ask for by parameter name.

    def run(self) -> tuple[tuple[str, Any], ...]:
        """Run the node and its routers; return all that the step writes.

        Raises:
            InvalidUpdateError: if the node returns no update, or a router leads nowhere.
        """
        node = self.spec.nodes[self.step.node]
        seen = self._input(node)
        if node.action is None:
            return writes_after(self.spec, self.frame, node, seen, self.extras)
        extras = {name: self.extras[name] for name in node.injected}
        result = node.action(seen, **extras)
        if node.is_async:
            result = run_coroutine(result)
        return writes_after(self.spec, self.frame, node, result, self.extras)

    def _input(self, node: NodeSpec) -> Any:
        if self.step.index >= 0:
            return self.arg
        if node.action is None:
            return self.frame.checkpoint.control[START]
        return node.reader.read(self.spec.channels, self.frame.values)


def writes_after(
    spec: GraphSpec,
    frame: Frame,
    node: NodeSpec,
    result: Any,
    extras: Mapping[str, Any],
) -> tuple[tuple[str, Any], ...]:
    """Return what a node that returned `result` writes: updates, edges, routing.

    Raises:
        InvalidUpdateError: if `result` is no update, or a router leads nowhere.
    """
    keys = spec.input_keys if node.name == START else spec.state_keys
    updates = _updates(spec, node, result, keys)
    writes = [*updates, *_goto(spec, node, result), *node.writes]
    for branch in node.branches:
        shown = result if branch.passes_result and isinstance(result, dict) else {}
        writes += _route(spec, frame, node, branch, updates, shown, extras)
    return tuple(writes)


def _updates(
    spec: GraphSpec, node: NodeSpec, result: Any, keys: tuple[str, ...]
) -> list[tuple[str, Any]]:
    if isinstance(result, Command):
        return [] if result.graph == Command.PARENT else _updates(spec, node, result.update, keys)
    if isinstance(result, Send) or result is None:
        return []
    if isinstance(result, (list, tuple)) and any(isinstance(i, (Command, Send)) for i in result):
        return [pair for item in result for pair in _updates(spec, node, item, keys)]
    if keys == (ROOT,):
        return [(ROOT, result)]
    if isinstance(result, Mapping):
        _refuse_unknown(spec, node, result)
        return [(key, value) for key, value in result.items() if key in keys]
    if isinstance(result, list) and all(isinstance(i, tuple) and len(i) == 2 for i in result):
        return _updates(spec, node, dict(result), keys) if result else _no_update(node, result)
    items = update_items(result, keys)
    return _no_update(node, result) if items is None else items


def _no_update(node: NodeSpec, result: Any) -> list[tuple[str, Any]]:
    what = "the input" if node.name == START else f"the node {node.name!r} returned"
    msg = (
        f"{what} {result!r:.100} is no update of the state: expected a dict of its keys, "
        f"None, or a Command"
    )
    raise InvalidUpdateError(msg)


def _refuse_unknown(spec: GraphSpec, node: NodeSpec, update: Mapping[Any, Any]) -> None:
    unknown = [key for key in update if key not in spec.state_keys]
    if not unknown:
        return
    close = difflib.get_close_matches(str(unknown[0]), spec.state_keys, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    who = "the input" if node.name == START else f"the node {node.name!r}"
    msg = (
        f"{who} updates {unknown[0]!r}, which is no key of the state.{hint} "
        f"The keys are: {', '.join(spec.state_keys)}"
    )
    raise InvalidUpdateError(msg)


def _goto(spec: GraphSpec, node: NodeSpec, result: Any) -> list[tuple[str, Any]]:
    if isinstance(result, Send):
        return [_towards(spec, node, result)]
    if isinstance(result, Command):
        return [_towards(spec, node, t) for t in result.targets() if t != END]
    if isinstance(result, (list, tuple)) and not isinstance(result, str):
        return [
            pair
            for item in result
            if isinstance(item, (Command, Send))
            for pair in _goto(spec, node, item)
        ]
    return []


def _towards(spec: GraphSpec, node: NodeSpec, target: Any) -> tuple[str, Any]:
    """Return the write that leads to a node or sends it something."""
    name = target.node if isinstance(target, Send) else target
    if name not in spec.nodes or name == START:
        known = ", ".join(repr(n) for n in spec.nodes if n != START)
        msg = f"the node {node.name!r} leads to {name!r}, which is no node. The nodes are: {known}"
        raise InvalidUpdateError(msg)
    return (SENDS, target) if isinstance(target, Send) else (branch_channel(name), None)


def _route(
    spec: GraphSpec,
    frame: Frame,
    node: NodeSpec,
    branch: Branch,
    updates: list[tuple[str, Any]],
    shown: Mapping[str, Any],
    extras: Mapping[str, Any],
) -> Iterable[tuple[str, Any]]:
    """Ask a router, which sees the committed state with the node's own updates.

    Where it sees a dict, it also sees what the node returned under `shown` keys that it does not read.
    """
    values = frame.values
    if updates:
        own = [(PlannedStep(node.name), updates)]
        values = apply(spec, frame.checkpoint, values, own, 0, passes=False).values
    state = branch.reader.read(spec.channels, values)
    if isinstance(state, dict):
        state = {**shown, **state}
    chosen = branch.path(state, **{name: extras[name] for name in branch.injected})
    if hasattr(chosen, "__await__"):
        chosen = run_coroutine(chosen)
    targets = chosen if isinstance(chosen, (list, tuple)) else [chosen]
    ended = [_end_of(node, branch, target) for target in targets]
    return [_towards(spec, node, target) for target in ended if target != END]


def _end_of(node: NodeSpec, branch: Branch, target: Any) -> Any:
    if isinstance(target, Send) or branch.ends is None:
        return target
    if target not in branch.ends:
        known = ", ".join(map(repr, branch.ends))
        msg = (
            f"the router {branch.name!r} of {node.name!r} returned {target!r}; "
            f"its path map knows: {known}"
        )
        raise InvalidUpdateError(msg)
    return branch.ends[target]
