"""What can be said about a node when it is added, and what it says when nothing is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict, cast

from orchestrator.errors import InvalidGraphError
from orchestrator.graph.inspecting import injected
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy, policies_of
from orchestrator.graph.routing import plain_name
from orchestrator.graph.spec import (
    DEFAULT_HANDLER,
    DispatchMode,
    Handler,
    NodeOptions,
    handler_name,
)
from orchestrator.ids import QUEUE_RULE, is_queue

__all__ = ["NodeDefaults", "NodeSettings", "checked_dispatch", "checked_queue", "options_of"]


class NodeSettings(TypedDict, total=False):
    """The options of `add_node`, besides name and function.

    Keys:
        defer: run it only when the run would otherwise end.
        metadata: plain data for people, shown with the graph.
        input_schema: what it sees, if not the whole state; its other keys become private state.
        retry_policy: when to try again after an error; of several, the first that fits.
        cache_policy: when a result of before serves again; needs a cache at `compile`.
        error_handler: a function `(state, error)` that runs instead of a node that failed for good;
            what it returns is what the node returns.
        destinations: the nodes a returned `Command` may lead to, for drawing; a mapping gives
            labels.
        timeout: seconds, a `timedelta` or a `TimeoutPolicy` for one attempt.
        queue: the Celery queue whose workers run it, if not the default one.
        dispatch: how it gets to a worker, if not as the graph's nodes do; see `compile`.
        retry: the old name of `retry_policy`, deprecated.
        input: the old name of `input_schema`, deprecated.
    """

    defer: bool
    metadata: Mapping[str, Any] | None
    input_schema: Any
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None
    cache_policy: Any
    error_handler: Callable[..., Any] | None
    destinations: Iterable[str] | Mapping[str, str | None] | None
    timeout: float | timedelta | TimeoutPolicy | None
    queue: str | None
    dispatch: DispatchMode | None
    retry: RetryPolicy | Sequence[RetryPolicy] | None
    input: Any


_OLD_NAMES: Mapping[str, str] = {"retry": "retry_policy", "input": "input_schema"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDefaults:
    """What holds for nodes that say nothing of their own; `None`: nothing does."""

    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None
    cache_policy: Any = None
    error_handler: Callable[..., Any] | None = None
    timeout: float | timedelta | TimeoutPolicy | None = None


def checked_settings(name: str, settings: NodeSettings) -> NodeSettings:
    """Return options with those of an old name under their new one, and a warning.

    Raises:
        TypeError: if there is no such option, with its name and those there are.
    """
    known = NodeSettings.__annotations__
    unknown = [key for key in settings if key not in known]
    if unknown:
        names = ", ".join(key for key in known if key not in _OLD_NAMES)
        msg = f"add_node({name!r}) has no option {unknown[0]!r}. The options are: {names}"
        raise TypeError(msg)
    found: dict[str, Any] = {**settings}
    for old in _OLD_NAMES.keys() & found.keys():
        new, value = _OLD_NAMES[old], found.pop(old)
        msg = f"add_node({name!r}, {old}=…) is deprecated: write {new}="
        warnings.warn(msg, DeprecationWarning, stacklevel=3)
        if found.get(new) is None:
            found[new] = value
    return cast("NodeSettings", found)


def options_of(name: str, settings: NodeSettings, defaults: NodeDefaults) -> NodeOptions:
    """Return what is said about a node, with defaults where it says nothing.

    Raises:
        InvalidGraphError: if a timeout is none.
    """
    chosen: dict[str, Any] = {
        key: settings.get(key) if settings.get(key) is not None else getattr(defaults, key)
        for key in ("retry_policy", "cache_policy", "error_handler", "timeout")
    }
    handler, own = chosen["error_handler"], settings.get("error_handler") is not None
    try:
        timeout = TimeoutPolicy.coerce(chosen["timeout"])
    except (ValueError, TypeError) as error:
        raise InvalidGraphError(f"the timeout of the node {name!r}: {error}") from error
    return NodeOptions(
        queue=checked_queue(settings.get("queue")),
        dispatch=checked_dispatch(settings.get("dispatch")),
        retry=policies_of(chosen["retry_policy"]),
        defer=bool(settings.get("defer")),
        metadata=dict(settings.get("metadata") or {}),
        destinations=_labelled(settings.get("destinations")),
        cache=chosen["cache_policy"],
        timeout=timeout,
        handler=(
            Handler(
                action=handler,
                injected=injected(handler),
                retry=policies_of(defaults.retry_policy),
                name=handler_name(name) if own else DEFAULT_HANDLER,
                shared=not own,
            )
            if handler is not None
            else None
        ),
    )


def checked_dispatch(dispatch: DispatchMode | None) -> DispatchMode | None:
    """Return how steps get to workers.

    Raises:
        InvalidGraphError: if there is no such way.
    """
    if dispatch not in {None, "queue", "inline"}:
        raise InvalidGraphError(f'dispatch must be "queue" or "inline", not {dispatch!r}')
    return dispatch


def checked_queue(queue: str | None) -> str | None:
    """Return the name of a queue.

    Raises:
        InvalidGraphError: if a worker could not be told to take from it.
    """
    if queue is not None and not is_queue(queue):
        raise InvalidGraphError(f"{QUEUE_RULE} (queue={queue!r})")
    return queue


def _labelled(
    given: Iterable[str] | Mapping[str, str | None] | None,
) -> Mapping[str, str | None]:
    labelled = given if isinstance(given, Mapping) else dict.fromkeys(given or ())
    return {plain_name(node): label for node, label in labelled.items()}
