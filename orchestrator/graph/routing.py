"""Where a run goes next: the edges' ends, and what a node returns to steer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

from orchestrator.channels import MISSING
from orchestrator.graph.policy import TimeoutPolicy

START: Final = "__start__"  # Where every run begins.
END: Final = "__end__"  # Where a path ends.


_LANGGRAPH = "langgraph.types"  # Where LangGraph defines what steers.


def plain_name(name: Any) -> Any:
    """Return a name as a plain text: of a member of a `str` enum, the text that it equals."""
    return str.__str__(name) if isinstance(name, str) else name


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Send:
    """Run `node` in the next superstep with `arg` as its input instead of the state.

    A node or router may send many to one node; their results are applied in the order of sending.

    Attributes:
        node: the node.
        arg: its input.
        timeout: how long this call of it may take, instead of what the node says.
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
        """Show the node and its input, and the limit if there is one."""
        limit = "" if self.timeout is None else f", timeout={self.timeout!r}"
        return f"Send(node={self.node!r}, arg={self.arg!r}{limit})"


NodeT = TypeVar("NodeT")  # The names it may lead to, for readers: `Command[Literal["a", "b"]]`.


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Command(Generic[NodeT]):
    """What a node returns to update the state and say where to go; what a caller gives to resume.

    Attributes:
        update: an update of the state, as a node returns it.
        goto: node names or `Send`s to run next, besides what the edges say.
        resume: the answer to an open interrupt, or a mapping from interrupt id to answer. Any
            value is an answer, also `None`; `MISSING`: there is none.
        graph: `Command.PARENT` addresses the graph around this one.
    """

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    graph: str | None = None
    update: Any = None
    resume: Any = MISSING
    goto: Send | str | Sequence[Send | str] = ()

    def __repr__(self) -> str:
        """Show what the command says, without what it leaves out."""
        said = (
            f"{each.name}={value!r}"
            for each in fields(self)
            if (value := getattr(self, each.name)) is not each.default and value != each.default
        )
        return f"Command({', '.join(said)})"

    def targets(self) -> tuple[Send | str, ...]:
        """Return `goto` as a tuple, names as plain texts."""
        many = (self.goto,) if isinstance(self.goto, (Send, str)) else self.goto
        return tuple(plain_name(target) for target in many)


def own(value: Any) -> Any:
    """Return LangGraph's `Command` or `Send` as the one of this package; anything else as it is.

    They are known by where their class is defined, so LangGraph is not imported. A list of what
    leads somewhere may hold them, too.
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
