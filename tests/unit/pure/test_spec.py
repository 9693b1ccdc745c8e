"""A frozen graph: what follows from its structure."""

from typing import Annotated, TypedDict

import pytest

from orchestrator.channels import AnyValue
from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.routing import END, START, branch_channel, join_channel


class State(TypedDict):
    x: int
    passing: Annotated[int, AnyValue]


def node(state):
    return None


def other(state):
    return {"x": 1}


def base(action=node, metadata=None):
    graph = GraphBuilder(State).add_node("b", action, metadata=metadata).add_node("a", action)
    return graph.add_edge(START, "b").add_edge("b", "a")


CHANGES = {
    "a node": lambda g: g.add_node("c", node),
    "an edge": lambda g: g.add_edge("a", "b"),
    "a join": lambda g: g.add_edge(["a", "b"], "a"),
    "a router": lambda g: g.add_conditional_edges("a", node),
    "a router's ends": lambda g: g.add_conditional_edges("a", node, ["a", END]),
    "a key": lambda g: g.add_node("c", node, input_schema=TypedDict("New", {"new": int})),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_structure_changes_the_fingerprint(what):
    changed = base()
    CHANGES[what](changed)
    assert changed.freeze("g").fingerprint != base().freeze("g").fingerprint


def test_all_changes_are_told_apart():
    prints = set()
    for change in CHANGES.values():
        graph = base()
        change(graph)
        prints.add(graph.freeze("g").fingerprint)
    assert len(prints) == len(CHANGES)


def test_code_name_and_metadata_of_nodes_do_not_change_the_fingerprint():
    assert base().freeze("g").fingerprint == base(other, {"a": 1}).freeze("h").fingerprint


def test_the_order_of_writing_does_not_change_the_fingerprint():
    graph = GraphBuilder(State).add_node("a", node).add_node("b", node)
    graph.add_edge("b", "a").add_edge(START, "b")
    assert graph.freeze("g").fingerprint == base().freeze("g").fingerprint


def test_two_joins_of_different_sources_are_different_channels():
    assert join_channel(("a", "b"), "c") != join_channel(("a",), "c")
    assert join_channel(("a", "b"), "c") != join_channel(("b", "a"), "c")


def test_channels_that_are_no_keys_of_the_state_are_control():
    spec = base().freeze("g")
    assert spec.control == {START, branch_channel("a"), branch_channel("b")}


def test_triggers_list_nodes_by_name():
    spec = base().freeze("g")
    assert spec.triggers[branch_channel("a")] == ("a",)
    assert spec.triggers[START] == (START,)


def test_finishing_and_transient_channels_are_known():
    spec = base().add_node("last", node, defer=True).freeze("g")
    assert spec.finishing == (branch_channel("last"),)
    assert spec.transient_state == ("passing",)


def test_a_node_without_a_queue_runs_on_the_default_one():
    spec = base().add_node("gpu", node, queue="gpu").freeze("g")
    found = [spec.queue_of(name, "", "default") for name in ("a", "gpu")]
    assert found == ["default", "gpu"]
    assert [spec.queue_of(name, "run", "default") for name in ("a", "gpu")] == ["run", "gpu"]
