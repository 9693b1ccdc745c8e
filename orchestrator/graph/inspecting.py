"""What functions tell about themselves: their names, parameters, hints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from orchestrator.errors import InvalidGraphError
from orchestrator.graph.schema import field_hints

__all__ = ["INJECTED", "ends_of", "first_hint", "injected", "is_async", "named"]

INJECTED = ("config", "ctx")  # What a node or router may ask for by parameter name.


def named(
    node: str | Callable[..., Any], action: Callable[..., Any] | None
) -> tuple[str, Callable[..., Any]]:
    """Return name and function of a node.

    Raises:
        InvalidGraphError: if one of them is missing.
    """
    if isinstance(node, str):
        if action is None:
            raise InvalidGraphError(
                f"the node {node!r} has no function: add_node({node!r}, function)"
            )
        if not callable(action):
            raise InvalidGraphError(f"the node {node!r} is not callable: {action!r}")
        return node, action
    name = getattr(node, "__name__", None)
    if not callable(node) or name is None:
        raise InvalidGraphError(f"a node is a named function, or a name and a callable: {node!r}")
    return name, node


def is_async(action: Callable[..., Any]) -> bool:
    """Return whether calling `action` gives a coroutine."""
    call = type(action).__call__
    return inspect.iscoroutinefunction(action) or inspect.iscoroutinefunction(call)


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
    returned = _hints(path).get("return")
    return {name: name for name in get_args(returned)} if get_origin(returned) is Literal else None
