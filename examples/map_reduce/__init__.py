"""Map and reduce: one step for each text, side by side, and one that adds them up.

The router `scatter` sends each text to the node `count`. The reducer `operator.add` collects the
results in the order of sending, whichever text was counted first.
"""

import operator
from collections import Counter
from typing import Annotated, TypedDict

from orchestrator import END, START, Send, StateGraph


class State(TypedDict, total=False):
    """Texts, what was counted in each, and in all of them."""

    texts: list[str]
    counts: Annotated[list[dict[str, int]], operator.add]
    total: dict[str, int]


class Text(TypedDict):
    """What one step of `count` gets instead of the whole state."""

    text: str


def scatter(state: State) -> list[Send]:
    """Send each text to a step of its own."""
    return [Send("count", {"text": text}) for text in state["texts"]]


def count(state: Text) -> State:
    """Count the words of one text."""
    return {"counts": [dict(Counter(state["text"].lower().split()))]}


def add_up(state: State) -> State:
    """Bring all counts together, once all steps of `count` are done."""
    total: Counter[str] = Counter()
    for counts in state["counts"]:
        total.update(counts)
    return {"total": dict(total)}


builder = StateGraph(State)
builder.add_node(count, input_schema=Text)
builder.add_node(add_up)
builder.add_conditional_edges(START, scatter, ["count"])
builder.add_edge("count", "add_up")
builder.add_edge("add_up", END)
