"""Calling user code: the node, then its routers; and reading what they return as writes.

Knows the graph and one step's input; knows nothing of checkpointers. Whatever user code raises goes
through unchanged.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from orchestrator.channels import Overwrite
from orchestrator.engine.advance import Frame
from orchestrator.engine.apply import SENDS, values_with
from orchestrator.engine.carryover import goto_in, is_update, keeps_steps
from orchestrator.errors import InvalidUpdateError, ParentCommand
from orchestrator.graph.routing import END, START, Command, Send, branch_channel, own, plain_name
from orchestrator.graph.schema import ROOT, Reader, has_fields, update_items
from orchestrator.graph.spec import Branch, GraphSpec, NodeSpec
from orchestrator.model.checkpoint import PlannedStep
from orchestrator.step.async_loop import run_coroutine

__all__ = [
    "Heard",
    "check_command",
    "finish",
    "input_of",
    "leads",
    "parent_write",
    "targets_of",
    "updates_of",
    "writes_after",
    "writes_of_edit",
]

_FIRST_ROUTER = 3  # Its function is the first part of a node, its updates the second.
_PLAIN = frozenset({dict, str, type(None)})  # What most functions return.


class Heard(Protocol):
    """What hears of a node that returned, and of its routers."""

    def named(self, writes: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return updates as they are stored: messages have ids."""
        ...

    def returned(self, result: Any) -> Any:
        """Return what a function returned as it is stored: messages have ids."""
        ...

    def routed(self, branch: Branch, number: int, seen: Any, call: Callable[[], Any]) -> Any:
        """Return what `call` does, which calls a router."""
        ...


def input_of(spec: GraphSpec, frame: Frame, step: PlannedStep, arg: Any) -> Any:
    """Return what a step's node is called with; `arg` is that of its `Send`, if one asked for it.

    Raises:
        ValidationError: pydantic's, if the state is no instance of its model.
    """
    if step.index >= 0:
        return arg
    node = spec.nodes[step.node]
    if node.name == START:
        return frame.checkpoint.control[START]
    return _seen(spec, node.reader, frame.values, frame)


def _seen(spec: GraphSpec, reader: Reader, values: Mapping[str, Any], frame: Frame) -> Any:
    """Return values of a frame as a reader shows them."""
    return reader.read(spec.channels, values, frame.loop if reader.managed else None)


def check_command(spec: GraphSpec, update: Any, goto: Iterable[Any]) -> None:
    """Refuse a caller's command that no run could follow.

    Raises:
        InvalidUpdateError: if it updates what there is not, or leads nowhere.
    """
    if update is not None:
        _updates(spec, spec.start, update, spec.state_keys)
    for target in goto:
        if target != END:
            _towards(spec, "the Command", target)


def finish(result: Any) -> Any:
    """Return what a function returned, awaited if that is needed; LangGraph's `Command` as ours."""
    if type(result) in _PLAIN:  # To ask whether something can be awaited takes far longer.
        return result
    if type(result) is not list and inspect.isawaitable(result):
        result = run_coroutine(result)
    return own(result)


def writes_after(
    spec: GraphSpec,
    frame: Frame,
    node: NodeSpec,
    result: Any,
    extras: Mapping[str, Any],
    heard: Heard | None = None,
) -> tuple[tuple[str, Any], ...]:
    """Return what a node that returned `result` writes: updates, edges, routing.

    Args:
        spec: the graph.
        frame: the state as the node's routers see it, without its own updates.
        node: the node.
        result: what it returned.
        extras: what routers may ask for by name.
        heard: hears of the updates and of the routers.

    Raises:
        InvalidUpdateError: if `result` is no update, or a router leads nowhere.
        ParentCommand: if it is a command for the graph around this one.
    """
    if node.name == START and node.action is None:
        return _input_writes(spec, frame, node, result, extras, heard)
    if node.returns is not None:
        result = heard.returned(result) if heard else result
        return (*node.returns(result), *node.writes)
    if node.name == START:
        updates = updates_of(spec, node, result)
    else:
        updates = _updates(spec, node, result, spec.state_keys)
    if heard is not None and updates:
        updates = heard.named(updates)
    goto = [] if type(result) in _PLAIN else _goto(spec, node, result)
    writes = (*updates, *goto, *node.writes)
    if not node.branches:
        return writes
    return (*writes, *_routed(spec, frame, node, updates, result, extras, heard))


def _input_writes(
    spec: GraphSpec,
    frame: Frame,
    node: NodeSpec,
    value: Any,
    extras: Mapping[str, Any],
    heard: Heard | None,
) -> tuple[tuple[str, Any], ...]:
    """Return the writes of an input, with those of the caller's command."""
    checkpoint = frame.checkpoint
    targets = [target for target in goto_in(checkpoint) if target != END]
    gotos = [_towards(spec, "the Command", target) for target in targets]
    if keeps_steps(checkpoint):
        keys = spec.state_keys
        updates = _updates(spec, node, value, keys)
        return (*(heard.named(updates) if heard else updates), *gotos)
    keys = spec.state_keys if is_update(checkpoint) else spec.input_keys
    updates = _updates(spec, node, value, keys)
    if spec.begun and has_fields(value):
        updates = [_beginning(spec, frame, key, item) for key, item in updates]
    if heard is not None and updates:
        updates = heard.named(updates)
    routed = _routed(spec, frame, node, updates, value, extras, heard)
    return (*updates, *node.writes, *routed, *gotos)


def _beginning(spec: GraphSpec, frame: Frame, key: str, item: Any) -> tuple[str, Any]:
    """Return a write of an input that is an instance of the state: its fields have their defaults.

    So the first value of a key that begins with its default takes the default's place.
    """
    return key, Overwrite(item) if key in spec.begun and key not in frame.values else item


def _routed(
    spec: GraphSpec,
    frame: Frame,
    node: NodeSpec,
    updates: list[tuple[str, Any]],
    result: Any,
    extras: Mapping[str, Any],
    heard: Heard | None,
) -> list[tuple[str, Any]]:
    """Ask the routers of a node; they see the committed state with the node's own updates."""
    routed: list[tuple[str, Any]] = []
    first = _FIRST_ROUTER if node.action or node.subgraph else _FIRST_ROUTER - 1
    for number, branch in enumerate(node.branches, first):
        shown = result if branch.passes_result and isinstance(result, dict) else {}
        values = frame.values
        if updates:
            values = values_with(spec, frame.checkpoint, values, updates)
        state = _seen(spec, branch.reader, values, frame)
        if isinstance(state, dict):
            state = {**shown, **state}  # Also keys of the result that it does not read.
        extra = {name: extras[name] for name in branch.injected}
        call = partial(_chosen, branch, state, extra)
        chosen = heard.routed(branch, number, state, call) if heard else call()
        routed += _route(spec, node, branch, chosen)
    return routed


def _chosen(branch: Branch, state: Any, extra: Mapping[str, Any]) -> Any:
    return finish(branch.path(state, **extra))


def updates_of(spec: GraphSpec, node: NodeSpec, result: Any) -> list[tuple[str, Any]]:
    """Return the update of the state that a node's `result` is; START's result is the input.

    Raises:
        InvalidUpdateError: if it is none.
    """
    if node.name != START:
        return _updates(spec, node, result, spec.state_keys)
    parts = result if isinstance(result, (list, tuple)) else (result,)
    leading = next((part for part in parts if isinstance(part, (Command, Send))), None)
    if leading is not None:  # An input only updates, so where it leads would be lost.
        msg = (
            f"the input must be an update of the state ({leading!r:.100}): to lead a run, give "
            f"invoke a single Command(update=…, goto=…), whose goto may be a Send"
        )
        raise InvalidUpdateError(msg)
    return _updates(spec, node, result, spec.input_keys)


def _updates(
    spec: GraphSpec, node: NodeSpec, result: Any, keys: tuple[str, ...]
) -> list[tuple[str, Any]]:
    if type(result) is dict and keys != (ROOT,) and all(map(keys.__contains__, result)):
        return list(result.items())
    if isinstance(result, Command):
        return _command_updates(spec, node, result, keys)
    if isinstance(result, Send) or result is None:
        return []
    if isinstance(result, (list, tuple)) and any(isinstance(i, (Command, Send)) for i in result):
        return [pair for item in result for pair in _updates(spec, node, item, keys)]
    if keys == (ROOT,):
        return [(ROOT, result)]
    if isinstance(result, Mapping):
        lenient = node.subgraph is not None or not spec.strict
        return _known(node, result.items(), keys, lenient=lenient)
    if node.name == START and _is_pairs(result):
        return _known(node, result, keys, lenient=not spec.strict)  # It may write a key twice.
    items = None if isinstance(result, type) else update_items(result, keys, spec.begun)
    if items is None:
        return _no_update(node, result)
    if not items and keys and not (node.subgraph or any(hasattr(result, key) for key in keys)):
        return _no_key(node, result, keys)
    return items


def _command_updates(
    spec: GraphSpec, node: NodeSpec, command: Command[Any], keys: tuple[str, ...]
) -> list[tuple[str, Any]]:
    if command.graph is not None:
        raise ParentCommand(command)
    pairs = command.update
    if keys != (ROOT,) and _is_pairs(pairs):
        return _known(node, pairs, keys, lenient=not spec.strict)  # It may write a key twice.
    return _updates(spec, node, pairs, keys)


def _is_pairs(update: Any) -> bool:
    return isinstance(update, (list, tuple)) and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in update
    )


def _no_update(node: NodeSpec, result: Any) -> list[tuple[str, Any]]:
    what = "the input" if node.name == START else f"what the node {node.name!r} returned"
    msg = (
        f"{what} is no update of the state: expected a dict of its keys, None, or a Command, "
        f"but it is {result!r:.100}"
    )
    raise InvalidUpdateError(msg)


def _no_key(node: NodeSpec, result: Any, keys: tuple[str, ...]) -> list[tuple[str, Any]]:
    who = "the input" if node.name == START else f"what the node {node.name!r} returned"
    cls = type(result)
    msg = (
        f"{who} must update at least one key of the state, but {cls.__module__}.{cls.__qualname__} "
        f"has a field for none ({result!r:.100}). The keys are: {', '.join(keys)}. "
        f"Return a dict, such as {{{keys[0]!r}: …}}, or None to change nothing"
    )
    raise InvalidUpdateError(msg)


def _known(
    node: NodeSpec, pairs: Iterable[tuple[Any, Any]], keys: tuple[str, ...], *, lenient: bool
) -> list[tuple[str, Any]]:
    """Return an update whose keys there are; `lenient` drops those that there are not."""
    update = list(pairs)
    unknown = [key for key, _ in update if key not in keys]
    if not unknown:
        return update
    if lenient:
        return [(key, value) for key, value in update if key in keys]
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
        return [_towards(spec, who, t) for t in targets_of(who, result) if t != END]
    if isinstance(result, (list, tuple)) and not isinstance(result, str):
        return [
            pair
            for item in result
            if isinstance(item, (Command, Send))
            for pair in _goto(spec, node, item)
        ]
    return []


def leads(result: Any) -> bool:
    """Return whether a node that returned `result` says where to go."""
    if isinstance(result, Command):
        return bool(result.goto)
    if isinstance(result, (list, tuple)):
        return any(leads(item) for item in result)
    return isinstance(result, Send)


def writes_of_edit(
    spec: GraphSpec,
    frame: Frame,
    node: NodeSpec,
    values: Any,
    targets: Iterable[Any],
    extras: Mapping[str, Any],
    *,
    routed_only: bool,
) -> tuple[tuple[str, Any], ...]:
    """Return what an edit writes: as if a node had returned it, and led to `targets`, too.

    Args:
        spec: the graph.
        frame: the state before.
        node: the node.
        values: what it would have returned.
        targets: where a Command had led, which stays as it was chosen.
        extras: what routers may ask for by parameter name.
        routed_only: whether START led nowhere but there.

    Raises:
        InvalidUpdateError: as `writes_after`.
    """
    gotos = [_towards(spec, "the Command", target) for target in targets]
    if routed_only:
        return (*_updates(spec, node, values, spec.state_keys), *gotos)
    return (*writes_after(spec, frame, node, values, extras), *gotos)


def parent_write(who: str, command: Command[Any]) -> tuple[str, Any]:
    """Return the write by which a node hands a command to the graph around its own.

    Raises:
        InvalidUpdateError: if the command names another graph, or leads nowhere.
    """
    if command.graph != Command.PARENT:
        msg = (
            f"{who} returned a Command for the graph {command.graph!r}: graph must be "
            f"Command.PARENT, for the graph around this one, or be left out"
        )
        raise InvalidUpdateError(msg)
    targets = targets_of(who, command)
    wrong = [target for target in targets if not isinstance(target, (str, Send))]
    if wrong:
        msg = f"{who} returned Command(goto={wrong[0]!r}): expected a node, a Send, or a list"
        raise InvalidUpdateError(msg)
    plain = [t if isinstance(t, str) else [t.node, t.arg] for t in targets]
    return Command.PARENT, [command.update, plain]


def targets_of(who: str, command: Command[Any]) -> tuple[Any, ...]:
    """Return where a command leads.

    Raises:
        InvalidUpdateError: if `goto` is neither a target nor a list of them.
    """
    try:
        return command.targets()
    except TypeError:
        msg = f"{who} returned Command(goto={command.goto!r}): expected a node, a Send, or a list"
        raise InvalidUpdateError(msg) from None


def _towards(spec: GraphSpec, who: str, target: Any) -> tuple[str, Any]:
    """Return the write that leads to a node or sends it something."""
    name = target.node if isinstance(target, Send) else plain_name(target)
    if not isinstance(name, str) or name not in spec.nodes or name == START:
        known = ", ".join(repr(n) for n in spec.nodes if n != START)
        msg = f"{who} leads to {name!r}, which is no node. The nodes are: {known}"
        raise InvalidUpdateError(msg)
    return (SENDS, target) if isinstance(target, Send) else (branch_channel(name), None)


def _route(
    spec: GraphSpec, node: NodeSpec, branch: Branch, chosen: Any
) -> Iterable[tuple[str, Any]]:
    """Return the writes that lead where a router has chosen to go."""
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
