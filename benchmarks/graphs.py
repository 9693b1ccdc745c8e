"""The graphs that are measured: no-op steps in a row over a growing list, and a fan-out."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from orchestrator import START, Send, StateGraph

STEPS = 50
FANOUT = 1_000


class Count(TypedDict):
    """What the steps count."""

    count: int
    seen: Annotated[list[int], operator.add]


class Spread(TypedDict):
    """What the branches of a fan-out gather."""

    seen: Annotated[list[int], operator.add]


def piece(number: int) -> dict[str, object]:
    """Return one branch's part."""
    return {"seen": [number]}


def scatter(send: Any) -> list[Any]:
    """Return the branches, by whosever `Send`."""
    return [send("piece", number) for number in range(FANOUT)]


def build_fan() -> StateGraph:
    """Return a graph of many branches."""
    builder = StateGraph(Spread).add_node(piece)
    return builder.add_conditional_edges(START, lambda _: scatter(Send), ["piece"])


def step(state: Count) -> dict[str, object]:
    """Count one."""
    return {"count": state["count"] + 1, "seen": [state["count"]]}


def build(steps: int = STEPS) -> StateGraph:
    """Return a graph of `steps` nodes in a row."""
    builder = StateGraph(Count)
    before = START
    for number in range(steps):
        name = f"step{number}"
        builder.add_node(name, step)
        builder.add_edge(before, name)
        before = name
    return builder


graph = build().compile(name="bench")
