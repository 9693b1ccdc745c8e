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

__all__ = ["Call", "updates_of", "writes_after"]


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
    updates = updates_of(spec, node, result)
    writes = [*updates, *_goto(spec, node, result), *node.writes]
    for branch in node.branches:
        shown = result if branch.passes_result and isinstance(result, dict) else {}
        writes += _route(spec, frame, node, branch, updates, shown, extras)
    return tuple(writes)


def updates_of(spec: GraphSpec, node: NodeSpec, result: Any) -> list[tuple[str, Any]]:
    """Return the update of the state that a node's `result` is; START's result is the input.

    Raises:
        InvalidUpdateError: if it is none.
    """
    keys = spec.input_keys if node.name == START else spec.state_keys
    if isinstance(result, Command):
        return _command_updates(spec, node, result, keys)
    if isinstance(result, Send) or result is None:
        return []
    if isinstance(result, (list, tuple)) and any(isinstance(i, (Command, Send)) for i in result):
        return [pair for item in result for pair in updates_of(spec, node, item)]
    if keys == (ROOT,):
        return [(ROOT, result)]
    if isinstance(result, Mapping):
        return _known(node, result.items(), keys)
    items = update_items(result, keys)
    return _no_update(node, result) if items is None else items


def _command_updates(
    spec: GraphSpec, node: NodeSpec, command: Command, keys: tuple[str, ...]
) -> list[tuple[str, Any]]:
    if command.graph is not None:
        msg = (
            f"the node {node.name!r} returned a Command for the graph {command.graph!r}, but there "
            f"is no graph around this one: leave out graph=…"
        )
        raise InvalidUpdateError(msg)
    pairs = command.update
    if (
        keys != (ROOT,)
        and isinstance(pairs, (list, tuple))
        and all(isinstance(i, tuple) and len(i) == 2 and isinstance(i[0], str) for i in pairs)
    ):
        return _known(node, pairs, keys)  # Unlike a dict, it may write a key twice.
    return updates_of(spec, node, pairs)


def _no_update(node: NodeSpec, result: Any) -> list[tuple[str, Any]]:
    what = "the input" if node.name == START else f"what the node {node.name!r} returned"
    msg = (
        f"{what} is no update of the state: expected a dict of its keys, None, or a Command, "
        f"but it is {result!r:.100}"
    )
    raise InvalidUpdateError(msg)


def _known(
    node: NodeSpec, pairs: Iterable[tuple[Any, Any]], keys: tuple[str, ...]
) -> list[tuple[str, Any]]:
    """Return an update whose keys there are."""
    update = list(pairs)
    unknown = [key for key, _ in update if key not in keys]
    if not unknown:
        return update
    close = difflib.get_close_matches(str(unknown[0]), keys, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    is_input = node.name == START
    who, what = ("the input", "input") if is_input else (f"the node {node.name!r}", "state")
    msg = (
        f"{who} updates {unknown[0]!r}, which is no key of the {what}.{hint} "
        f"The keys are: {', '.join(keys)}"
    )
    raise InvalidUpdateError(msg)


def _goto(spec: GraphSpec, node: NodeSpec, result: Any) -> list[tuple[str, Any]]:
    who = f"the node {node.name!r}"
    if isinstance(result, Send):
        return [_towards(spec, who, result)]
    if isinstance(result, Command):
        return [_towards(spec, who, t) for t in _targets(who, result) if t != END]
    if isinstance(result, (list, tuple)) and not isinstance(result, str):
        return [
            pair
            for item in result
            if isinstance(item, (Command, Send))
            for pair in _goto(spec, node, item)
        ]
    return []


def _targets(who: str, command: Command) -> tuple[Any, ...]:
    try:
        return command.targets()
    except TypeError:
        msg = f"{who} returned Command(goto={command.goto!r}): expected a node, a Send, or a list"
        raise InvalidUpdateError(msg) from None


def _towards(spec: GraphSpec, who: str, target: Any) -> tuple[str, Any]:
    """Return the write that leads to a node or sends it something."""
    name = target.node if isinstance(target, Send) else target
    if not isinstance(name, str) or name not in spec.nodes or name == START:
        known = ", ".join(repr(n) for n in spec.nodes if n != START)
        msg = f"{who} leads to {name!r}, which is no node. The nodes are: {known}"
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

    Where it sees a dict, that also holds what is `shown` of keys that it does not read.
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
    who = f"the router {branch.name!r} of {node.name!r}"
    ended = [_end_of(who, branch, target) for target in targets]
    return [_towards(spec, who, target) for target in ended if target != END]


def _end_of(who: str, branch: Branch, target: Any) -> Any:
    if isinstance(target, Send) or branch.ends is None:
        return target
    try:
        return branch.ends[target]
    except (KeyError, TypeError):  # What cannot be hashed is no label either.
        known = ", ".join(map(repr, branch.ends))
        msg = f"{who} returned {target!r}; its path map knows: {known}"
        raise InvalidUpdateError(msg) from None
