"""`Send` runs a node once per item, side by side, with that item as its input.

How many there are is decided while the graph runs. A reducer brings the results together, in the
order in which they were sent.
"""

import operator
from typing import Annotated, TypedDict

from orchestrator import START, Send, StateGraph


class State(TypedDict, total=False):
    texts: list[str]
    lengths: Annotated[list[int], operator.add]
    total: int


def send_texts(state: State):
    return [Send("measure", {"text": text}) for text in state["texts"]]


def measure(item):
    return {"lengths": [len(item["text"])]}


def add_up(state: State):
    return {"total": sum(state["lengths"])}


def build():
    builder = StateGraph(State).add_node(measure).add_node(add_up)
    builder.add_conditional_edges(START, send_texts, ["measure"])
    return builder.add_edge("measure", "add_up").compile()


def test_a_node_is_mapped_over_items_and_what_follows_runs_once():
    result = build().invoke({"texts": ["a", "bbb", "cc"]})

    assert result["lengths"] == [1, 3, 2]
    assert result["total"] == 6


def test_the_order_of_results_is_the_order_of_sending():
    texts = ["x" * length for length in range(20)]

    assert build().invoke({"texts": texts})["lengths"] == list(range(20))
