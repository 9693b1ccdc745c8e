"""Names, parameters and annotations of the functions and runnables that a graph is made of."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from orchestrator.errors import InvalidGraphError, InvalidNodeError
from orchestrator.graph.fields import annotation_of, field_hints
from orchestrator.graph.routing import Command, plain_name
from orchestrator.graph.scope import current_scope
from orchestrator.graph.spec import GraphSpec

# The parameters that a node or router may have besides the state.
INJECTED = ("config", "ctx", "error", "previous", "runtime", "store", "writer")


def named(node: Any, action: Any) -> tuple[str, Any]:
    """Return name and action of a node.

    Raises:
        InvalidNodeError: if there is no action, or it cannot be called.
    """
    if isinstance(node, str):
        name = plain_name(node)
        if action is None:
            raise InvalidNodeError(
                f"the node {name!r} must have a function: add_node({name!r}, function)"
            )
    else:
        name, action = _own_name(node), node
    can_run = callable(action) or isinstance(action, dict)
    if not can_run and not hasattr(action, "invoke") and not hasattr(action, "ainvoke"):
        msg = (
            f"the node {name!r} must be a function, a callable object, a compiled graph, a "
            f"runnable or a dict of these ({type(action).__name__}: {action!r:.80})"
        )
        raise InvalidNodeError(msg)
    return name, action


def name_of(function: Any) -> str:
    """Return the name of a function; of a partial that of its function, of an object its class's.

    Tasks and entrypoints get this name. A node of a partial is called `partial`, as in LangGraph.
    """
    while isinstance(function, functools.partial) and not hasattr(function, "__name__"):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _own_name(node: Any) -> str:
    """Return the default name of a node: the function's, or that of an object's class."""
    own = getattr(node, "get_name", None) if _is_runnable(node) else None
    found = own() if callable(own) else getattr(node, "__name__", None)
    return str(found) if isinstance(found, str) else type(node).__name__


def subgraph_of(action: Any) -> Any:
    """Return the compiled graph that `action` is, or `None`."""
    return action if isinstance(getattr(action, "spec", None), GraphSpec) else None


def _is_runnable(action: Any) -> bool:
    """Return whether an object's class defines `invoke` or `ainvoke`; mocks do not."""
    return hasattr(type(action), "invoke") or hasattr(type(action), "ainvoke")


def action_of(action: Any) -> Callable[..., Any]:
    """Return the function of an action: of a callable, a runnable, or a dict of them.

    Raises:
        InvalidGraphError: for a dict, if langchain-core is not installed.
    """
    if isinstance(action, dict):
        action = _side_by_side(action)
    if inspect.isroutine(action) or (callable(action) and not _is_runnable(action)):
        return _collecting(action)
    return _invoked(action)


def _collecting(function: Any) -> Callable[..., Any]:
    """Return a function; for a generator function, one that returns the sum of what it yields.

    A part that cannot be added to the sum replaces it, as in LangChain's `RunnableLambda`.
    """
    called = getattr(function, "__call__", function)  # noqa: B004 - of an object that is callable
    if inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(called):

        @functools.wraps(function)
        async def collect_async(*args: Any, **options: Any) -> Any:
            found = None
            async for part in function(*args, **options):
                found = _added(found, part)
            return found

        return collect_async
    if inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(called):

        @functools.wraps(function)
        def collect(*args: Any, **options: Any) -> Any:
            return functools.reduce(_added, function(*args, **options), None)

        return collect
    return typing.cast("Callable[..., Any]", function)


def _added(found: Any, part: Any) -> Any:
    if found is None:
        return part
    try:
        return found + part
    except TypeError:
        return part


def _invoked(action: Any) -> Callable[..., Any]:
    """Return a function that invokes a runnable, asynchronously in a run of an event loop."""
    has_sync, has_async = hasattr(action, "invoke"), hasattr(action, "ainvoke")
    if has_async and _is_asynchronous(action):
        has_sync = False

    def call(state: Any, config: Any) -> Any:
        scope = current_scope.get()
        awaits = scope is not None and scope.host.in_event_loop()
        if has_async and (awaits or not has_sync):
            return action.ainvoke(state, config)
        return action.invoke(state, config)

    return call


def _is_asynchronous(action: Any) -> bool:
    """Return whether a runnable, or a part of it, has only coroutine functions, as MCP tools.

    Its `invoke` raises; that of a sequence raises after its first parts have run. Parts are found
    by the names of langchain-core's attributes.
    """
    todo, seen = [action], set[int]()
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        held = getattr(part, "__dict__", {})
        if "afunc" in held and "func" not in held:
            return True  # A `RunnableLambda`.
        if held.get("coroutine") is not None and held.get("func", part) is None:
            return True  # A `StructuredTool`.
        if _has_own_coroutine(type(part)):
            return True
        for name in _PARTS:
            inner = held.get(name)
            inner = list(inner.values()) if isinstance(inner, dict) else inner
            todo += inner if isinstance(inner, (list, tuple)) else [inner]
    return False


# Of sequences, parallels, bindings, fallbacks, branches, and LangGraph's node of tools.
_PARTS = (
    *("first", "middle", "last", "steps__", "bound", "runnable", "fallbacks", "mapper"),
    *("branches", "default", "_tools_by_name"),
)


def _has_own_coroutine(cls: type) -> bool:
    """Return whether a class of tools defines its own `_arun`."""
    home = next((base for base in cls.__mro__ if "_arun" in vars(base)), None)
    return home is not None and not home.__module__.startswith("langchain_core.")


def _side_by_side(actions: dict[str, Any]) -> Any:
    try:
        from langchain_core.runnables import RunnableParallel  # noqa: PLC0415 - optional, and slow
    except ImportError as error:
        names = ", ".join(actions)
        msg = f"a dict as a node ({names}) needs langchain-core: pip install langchain-core"
        raise InvalidGraphError(msg) from error
    return RunnableParallel(actions)


def injected(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names in `INJECTED` that are parameters of a function."""
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
        return {}  # Hints are optional: a node without them reads the whole state.


def first_hint(function: Callable[..., Any]) -> Any:
    """Return the state type that a function's first parameter is annotated with, if any."""
    try:
        first = next(iter(inspect.signature(function).parameters), None)
    except (ValueError, TypeError):
        return None
    hint, _ = annotation_of(_hints(function).get(first) if first else None)
    cls = get_origin(hint) or hint  # Of `State[str]` it is `State`.
    if not isinstance(cls, type) or cls in {dict, list}:
        return None
    return hint if field_hints(hint) else None


def ends_of(
    path: Callable[..., Any], path_map: Mapping[Hashable, str] | Sequence[str] | None
) -> Mapping[Hashable, str] | None:
    """Return the node for each value of a router; `None`: the values are node names."""
    if isinstance(path_map, Mapping):
        return {key: plain_name(node) for key, node in path_map.items()}
    if path_map is not None:
        return {name: plain_name(name) for name in path_map}
    names = _literals(_hints(path).get("return"))
    return {name: plain_name(name) for name in names} or None


def destinations_of(action: Callable[..., Any]) -> tuple[str, ...]:
    """Return the nodes that an annotation `Command[Literal["a", "b"]]` of the result names."""
    returned = _hints(action).get("return")
    options = get_args(returned) if _is_union(returned) else (returned,)
    commands = [o for o in options if get_origin(o) is Command]
    return tuple(plain_name(n) for command in commands for n in _literals(*get_args(command)))


def _literals(hint: Any = None) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in {typing.Union, types.UnionType}
