"""The graphs that are measured, by whosever classes: ours and LangGraph's have the same names."""

from __future__ import annotations

import operator
import time
from typing import Annotated, Any, NamedTuple, TypedDict

from benchmarks.peers.contract import attempt, chunk

__all__ = ["Append", "Carry", "Count", "Kit", "Loop", "Spread", "Victim"]


class Kit(NamedTuple):
    """Where the words come from."""

    state_graph: Any
    start: str
    end: str
    send: Any
    interrupt: Any


class Count(TypedDict):
    """A counter, and a list that grows with every step."""

    count: int
    seen: Annotated[list[int], operator.add]


def count_one(state: Count) -> dict[str, object]:
    """Count one."""
    return {"count": state["count"] + 1, "seen": [state["count"]]}


def row(kit: Kit, steps: int) -> Any:
    """Return a graph of `steps` nodes in a row."""
    builder = kit.state_graph(Count)
    before = kit.start
    for number in range(steps):
        builder.add_node(f"step{number}", count_one)
        builder.add_edge(before, f"step{number}")
        before = f"step{number}"
    return builder


class Spread(TypedDict, total=False):
    """How many branches, and what they gather."""

    branches: int
    seen: Annotated[list[int], operator.add]


def piece(number: int) -> dict[str, object]:
    """Return one branch's part."""
    return {"seen": [number]}


def fan(kit: Kit) -> Any:
    """Return a graph that sends itself `branches` branches, and joins them."""
    builder = kit.state_graph(Spread)
    builder.add_node("piece", piece)
    builder.add_node("join", lambda _: {})
    builder.add_conditional_edges(
        kit.start,
        lambda state: [kit.send("piece", number) for number in range(state["branches"])],
        ["piece"],
    )
    builder.add_edge("piece", "join")
    return builder


PAUSED_BYTES = 1_024  # Of the state of a thread that is paused.


class Loop(TypedDict, total=False):
    """State of fixed size: where the loop stands, and when a node after a pause began."""

    count: int
    depth: int
    note: str  # Bytes that are carried along.
    began: float


def _work(state: Loop) -> Loop:
    return {"count": state["count"] + 1}


def loop(kit: Kit) -> Any:
    """Return a graph that makes `depth` steps, asks, notes when the next node began, and asks."""

    def gate(state: Loop) -> Loop:
        del state
        kit.interrupt("go on?")
        return {}

    def after(state: Loop) -> Loop:
        del state
        return {"began": time.time()}

    builder = kit.state_graph(Loop)
    for name, node in {"work": _work, "gate": gate, "after": after}.items():
        builder.add_node(name, node)
    builder.add_edge(kit.start, "work")
    builder.add_conditional_edges(
        "work",
        lambda state: "work" if state["count"] < state["depth"] else "gate",
        ["work", "gate"],
    )
    builder.add_edge("gate", "after")
    builder.add_edge("after", "gate")
    return builder


def _repeated(kit: Kit, schema: type, name: str, node: Any) -> Any:
    """Return a graph whose one node runs `depth` times."""
    builder = kit.state_graph(schema)
    builder.add_node(name, node)
    builder.add_edge(kit.start, name)
    builder.add_conditional_edges(
        name, lambda state: name if state["count"] < state["depth"] else kit.end, [name, kit.end]
    )
    return builder


class Append(TypedDict, total=False):
    """A log that each step adds a chunk to."""

    count: int
    depth: int
    size: int
    log: Annotated[list[str], operator.add]


def _append(state: Append) -> Append:
    return {"count": state["count"] + 1, "log": [chunk(state["count"], state["size"])]}


def append(kit: Kit) -> Any:
    """Return a graph whose `depth` steps append `size` bytes each; of size 0: a number."""
    return _repeated(kit, Append, "append", _append)


class Carry(TypedDict, total=False):
    """A large value that no step changes, beside a small one that each step does."""

    count: int
    depth: int
    body: str


def carry(kit: Kit) -> Any:
    """Return a graph of `depth` steps with a large value that stays as it is."""
    return _repeated(kit, Carry, "work", lambda state: {"count": state["count"] + 1})


class Victim(TypedDict, total=False):
    """Where attempts are written down."""

    ledger: str
    done: int


def victim(kit: Kit) -> Any:
    """Return a graph of one step that waits to be killed the first time."""
    builder = kit.state_graph(Victim)
    builder.add_node("work", lambda state: {"done": attempt(state["ledger"])})
    builder.add_edge(kit.start, "work")
    return builder
