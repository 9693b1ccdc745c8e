"""`stream` shows a run while it happens, in as much detail as the reader asks for."""

import operator
from typing import Annotated, TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, StateGraph, get_stream_writer


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def load(state: State):
    get_stream_writer()({"percent": 50})
    return {"log": ["loaded"]}


def sort(state: State):
    return {"log": ["sorted"]}


@pytest.fixture
def graph():
    builder = StateGraph(State).add_sequence([load, sort]).set_entry_point("load")
    return builder.compile(MemoryCheckpointer())


def test_updates_are_what_each_node_returned(graph):
    assert list(graph.stream({}, "t", stream_mode="updates")) == [
        {"load": {"log": ["loaded"]}},
        {"sort": {"log": ["sorted"]}},
    ]


def test_several_modes_come_in_one_stream_with_their_names(graph):
    assert list(graph.stream({}, "t", stream_mode=["custom", "values"])) == [
        ("custom", {"percent": 50}),
        ("values", {"log": ["loaded"]}),
        ("values", {"log": ["loaded", "sorted"]}),
    ]


def test_a_namespace_says_from_which_subgraph_a_part_comes(graph):
    inner = StateGraph(State).add_node(sort).add_edge(START, "sort").compile()
    outer = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile()

    parts = list(outer.stream({}, stream_mode="updates", subgraphs=True))
    seen = [([part.partition(":")[0] for part in ns], list(data)) for ns, data in parts]
    assert seen == [(["inner"], ["sort"]), ([], ["inner"])]


def test_whoever_stops_reading_stops_the_run_which_can_be_resumed(graph):
    for chunk in graph.stream({}, "t", stream_mode="updates"):
        assert "load" in chunk
        break

    assert graph.get_state("t").next == ("sort",)
    assert graph.invoke(None, "t") == {"log": ["loaded", "sorted"]}
