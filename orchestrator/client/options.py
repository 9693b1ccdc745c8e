"""What a caller may say about one call, besides input and config; the names are LangGraph's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from orchestrator.core.accepting import Multitask
from orchestrator.errors import GraphstalkError
from orchestrator.graph.runtime import RunControl

__all__ = ["MODES", "CallOptions", "OptionError", "StreamMode", "checked", "modes_of"]

StreamMode = Literal["values", "updates", "custom", "messages", "tasks", "checkpoints", "debug"]
MODES: tuple[str, ...] = (
    "values", "updates", "custom", "messages", "tasks", "checkpoints", "debug",
)  # fmt: skip

_VALUES: Mapping[str, tuple[Any, ...]] = {
    "durability": (None, "sync", "async", "exit"),
    "version": (None, "v1", "v2"),
    "on_pending": (None, "discard", "apply", "reject"),
    "on_corrupt": (None, "raise", "restart"),
    "multitask_strategy": (None, "reject", "enqueue", "interrupt", "rollback"),
}


class OptionError(GraphstalkError, ValueError):
    """An option of a call that there is not, or with a value it cannot have."""

    code = "INVALID_OPTION"


class CallOptions(TypedDict, total=False):
    """The options of `invoke`, `stream` and their relatives.

    Keys:
        context: what nodes get as `runtime.context`; a mapping becomes the `context_schema`.
        stream_mode: what is streamed, one mode or a list of them.
        print_mode: what is also printed, as `stream_mode`.
        output_keys: the keys of the state to show, instead of the graph's output.
        interrupt_before: nodes before which this call stops, instead of the graph's.
        interrupt_after: nodes after which this call stops.
        durability: when commits are made, where this process runs the graph: "sync", each before
            the next step begins; "async", while the next steps run, in the same order, all of them
            before the call returns or raises; "exit", when the call ends: the thread gets one
            checkpoint, and a process that dies leaves it as it was. On a fleet always "sync".
        control: a `RunControl`, to stop the run from elsewhere.
        subgraphs: whether streams show what happens inside subgraphs.
        debug: whether to print updates and values.
        version: "v2" gives a `GraphOutput`, and stream parts as dicts.
        on_pending: what happens to steps that are left when a new input comes: "discard" drops
            them, "apply" keeps the writes of those that completed, "reject" refuses the input.
        on_corrupt: what happens to a new input if none of the thread's checkpoints is whole:
            "raise", or "restart", which begins on an empty state.
        multitask_strategy: what happens if the thread has a run that has not ended; LangGraph's
            name: "reject" raises `ThreadBusyError`, "enqueue" waits until it has, "interrupt" stops
            it and keeps what it has done, "rollback" stops it and takes back what it has done.
    """

    context: Any
    stream_mode: StreamMode | Sequence[StreamMode] | None
    print_mode: StreamMode | Sequence[StreamMode]
    output_keys: str | Sequence[str] | None
    interrupt_before: Sequence[str] | Literal["*"] | None
    interrupt_after: Sequence[str] | Literal["*"] | None
    durability: Literal["sync", "async", "exit"] | None
    control: RunControl | None
    subgraphs: bool
    debug: bool | None
    version: Literal["v1", "v2"]
    on_pending: Literal["discard", "apply", "reject"]
    on_corrupt: Literal["raise", "restart"]
    multitask_strategy: Multitask


def checked(options: Mapping[str, Any]) -> CallOptions:
    """Return options after a look at them.

    Raises:
        OptionError: if one does not exist, or cannot have its value.
    """
    unknown = [key for key in options if key not in CallOptions.__annotations__]
    if unknown:
        known = ", ".join(CallOptions.__annotations__)
        raise OptionError(f"there is no option {unknown[0]!r}. The options are: {known}")
    for name, values in _VALUES.items():
        if options.get(name) not in values:
            known = ", ".join(repr(value) for value in values if value is not None)
            raise OptionError(f"{name}={options[name]!r} is not one of {known}")
    return cast("CallOptions", options)


def modes_of(given: str | Sequence[str] | None, default: str) -> tuple[str, ...]:
    """Return stream modes as a tuple.

    Raises:
        OptionError: if one does not exist.
    """
    modes = (
        (given,) if isinstance(given, str) else tuple(given) if given is not None else (default,)
    )
    for mode in modes:
        if mode not in MODES:
            raise OptionError(f"stream_mode={mode!r} is not one of {', '.join(map(repr, MODES))}")
    return modes
