"""The routing of a run: START, END, `Command` and `Send`, and the channels behind edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

from orchestrator.channels import MISSING
from orchestrator.graph.policy import TimeoutPolicy

START: Final = "__start__"  # Where every run begins.
END: Final = "__end__"  # Where a path ends.


_LANGGRAPH = "langgraph.types"  # The module of LangGraph's `Command` and `Send`.


def plain_name(name: Any) -> Any:
    """Return a name as a plain `str`; a member of a `str` enum becomes its value."""
    return str.__str__(name) if isinstance(name, str) else name


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Send:
    """Run `node` in the next superstep with `arg` as its input instead of the state.

    A node or router may send many to one node; their results are applied in the order of sending.

    Attributes:
        node: the node.
        arg: its input.
        timeout: the limit of time for this step, instead of the node's.
    """

    node: str
    arg: Any
    timeout: TimeoutPolicy | None

    def __init__(
        self, node: str, arg: Any, *, timeout: float | timedelta | TimeoutPolicy | None = None
    ) -> None:
        """Address a node; `timeout` in seconds, or a policy."""
        object.__setattr__(self, "node", plain_name(node))
        object.__setattr__(self, "arg", arg)
        object.__setattr__(self, "timeout", TimeoutPolicy.coerce(timeout))

    def __repr__(self) -> str:
        limit = "" if self.timeout is None else f", timeout={self.timeout!r}"
        return f"Send(node={self.node!r}, arg={self.arg!r}{limit})"


NodeT = TypeVar("NodeT")  # The nodes that it may lead to: `Command[Literal["a", "b"]]`.


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Command(Generic[NodeT]):
    """An update of the state with the next nodes, or a caller's answer that resumes a run.

    Attributes:
        update: an update of the state, as a node returns it.
        goto: node names or `Send`s to run next, besides those of the edges.
        resume: the answer to an open interrupt, or a mapping from interrupt id to answer. Any
            value is an answer, also `None`; `MISSING`: there is no answer.
        graph: `Command.PARENT` addresses the graph around this one.
    """

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    graph: str | None = None
    update: Any = None
    resume: Any = MISSING
    goto: Send | str | Sequence[Send | str] = ()

    def __repr__(self) -> str:
        given = (
            f"{each.name}={value!r}"
            for each in fields(self)
            if (value := getattr(self, each.name)) is not each.default and value != each.default
        )
        return f"Command({', '.join(given)})"

    def targets(self) -> tuple[Send | str, ...]:
        """Return `goto` as a tuple, names as plain texts."""
        many = (self.goto,) if isinstance(self.goto, (Send, str)) else self.goto
        return tuple(plain_name(target) for target in many)


def own(value: Any) -> Any:
    """Return LangGraph's `Command` or `Send` as the one of this package; other values unchanged.

    They are recognized by the module of their class, so LangGraph is not imported. A list or tuple
    may hold them, too.
    """
    cls = type(value)
    if cls is dict or value is None:
        return value
    if cls is list or cls is tuple:
        if all(type(item).__module__ != _LANGGRAPH for item in value):
            return value
        return [own(item) for item in value]
    home = next((base for base in cls.__mro__ if base.__module__ == _LANGGRAPH), None)
    if home is None or home.__name__ not in {"Command", "Send"}:
        return value
    if home.__name__ == "Send":
        return Send(value.node, value.arg, timeout=_own_timeout(getattr(value, "timeout", None)))
    goto = own(value.goto)
    resume = MISSING if value.resume is None else value.resume  # As LangGraph reads it.
    return Command(graph=value.graph, update=value.update, resume=resume, goto=goto)


def _own_timeout(timeout: Any) -> Any:
    if type(timeout).__module__ != _LANGGRAPH:
        return timeout
    return TimeoutPolicy(
        run_timeout=timeout.run_timeout,
        idle_timeout=timeout.idle_timeout,
        refresh_on=timeout.refresh_on,
    )


def branch_channel(node: str) -> str:
    """Return the channel that triggers `node` when an edge or a router leads to it."""
    return f"branch:to:{node}"


def channel_name(channel: str) -> str:
    """Return the name by which LangGraph knows a channel that triggers nodes."""
    return channel.replace("|", "+") if channel.startswith("join:") else channel


def join_channel(sources: tuple[str, ...], node: str) -> str:
    """Return the channel that triggers `node` once all sources have run."""
    return f"join:{'|'.join(sources)}:{node}"  # No name holds a '|', so no two joins are one.
