"""The graph that is measured: no-op steps in a row over a counter and a growing list."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from orchestrator import START, StateGraph

STEPS = 50


class Count(TypedDict):
    """What the steps count."""

    count: int
    seen: Annotated[list[int], operator.add]


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
