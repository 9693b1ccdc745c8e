"""A join waits for several nodes: `add_edge([…], node)` runs its node once all of them have run."""

import operator
from typing import Annotated, TypedDict

from orchestrator import START, StateGraph


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def says(name):
    return lambda state: {"log": [name]}


def two_paths():
    """A short path (bread) and a long one (water, tea)."""
    builder = StateGraph(State)
    for name in ("bread", "water", "tea", "breakfast"):
        builder.add_node(name, says(name))
    return builder.add_edge(START, "bread").add_edge(START, "water").add_edge("water", "tea")


def test_a_join_runs_once_after_the_longest_path():
    graph = two_paths().add_edge(["bread", "tea"], "breakfast").compile()

    assert graph.invoke({})["log"] == ["bread", "water", "tea", "breakfast"]


def test_two_edges_are_no_join_and_run_the_node_at_each_arrival():
    graph = two_paths().add_edge("bread", "breakfast").add_edge("tea", "breakfast").compile()

    assert graph.invoke({})["log"].count("breakfast") == 2
