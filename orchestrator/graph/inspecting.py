"""What functions tell about themselves: their names, parameters, hints."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from orchestrator.errors import InvalidGraphError
from orchestrator.graph.routing import Command
from orchestrator.graph.schema import field_hints

__all__ = [
    "INJECTED",
    "action_of",
    "destinations_of",
    "ends_of",
    "first_hint",
    "injected",
    "named",
    "subgraph_of",
]

# What a node or router may ask for by parameter name.
INJECTED = ("config", "ctx", "error", "previous", "runtime", "store", "writer")


def named(node: Any, action: Any) -> tuple[str, Any]:
    """Return name and action of a node.

    Raises:
        InvalidGraphError: if one of them is missing.
    """
    if isinstance(node, str):
        if action is None:
            raise InvalidGraphError(
                f"the node {node!r} has no function: add_node({node!r}, function)"
            )
        name = node
    else:
        own = getattr(node, "get_name", None) if hasattr(node, "invoke") else None
        found = own() if callable(own) else getattr(node, "__name__", None)
        if not isinstance(found, str):
            msg = f"a node is a named function, or a name and a callable: {node!r}"
            raise InvalidGraphError(msg)
        name, action = found, node
    if not callable(action) and not hasattr(action, "invoke") and not hasattr(action, "ainvoke"):
        raise InvalidGraphError(f"the node {name!r} is not callable: {action!r}")
    return name, action


def subgraph_of(action: Any) -> Any:
    """Return the compiled graph that `action` is, or `None`."""
    return action if hasattr(action, "spec") and hasattr(action, "invoke") else None


def action_of(action: Any) -> Callable[..., Any]:
    """Return a function that does what `action` does: a callable, or anything with `invoke`."""
    if inspect.isroutine(action) or not (hasattr(action, "invoke") or hasattr(action, "ainvoke")):
        return typing.cast("Callable[..., Any]", action)
    if hasattr(action, "invoke"):

        def call(state: Any, config: Any) -> Any:
            return action.invoke(state, config)

        return call

    async def acall(state: Any, config: Any) -> Any:
        return await action.ainvoke(state, config)

    return acall


def injected(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the parameters beside the state that a function asks for by name."""
    try:
        parameters = list(inspect.signature(function).parameters)
    except (ValueError, TypeError):
        return ()
    return tuple(name for name in parameters[1:] if name in INJECTED)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        return get_type_hints(target)
    except (NameError, TypeError, SyntaxError, AttributeError):
        return {}  # Hints only refine; a node without them sees the whole state.


def first_hint(function: Callable[..., Any]) -> Any:
    """Return the state type that a function's first parameter names, if it names one."""
    try:
        first = next(iter(inspect.signature(function).parameters), None)
    except (ValueError, TypeError):
        return None
    hint = _hints(function).get(first) if first else None
    return (
        hint if isinstance(hint, type) and hint not in {dict, list} and field_hints(hint) else None
    )


def ends_of(
    path: Callable[..., Any], path_map: Mapping[Hashable, str] | Sequence[str] | None
) -> Mapping[Hashable, str] | None:
    """Return what a router's returns stand for, or `None`: they are node names."""
    if isinstance(path_map, Mapping):
        return dict(path_map)
    if path_map is not None:
        return {name: name for name in path_map}
    names = _literals(_hints(path).get("return"))
    return {name: name for name in names} or None


def destinations_of(action: Callable[..., Any]) -> tuple[str, ...]:
    """Return the nodes that an annotation `Command[Literal["a", "b"]]` of the result names."""
    returned = _hints(action).get("return")
    options = get_args(returned) if _is_union(returned) else (returned,)
    commands = [o for o in options if get_origin(o) is Command]
    return tuple(name for command in commands for name in _literals(*get_args(command)))


def _literals(hint: Any = None) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in {typing.Union, types.UnionType}
