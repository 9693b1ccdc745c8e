"""A person can change the state, as if a node had returned the change.

What the node's edges and routers say then happens: the run goes on after that node. Nothing is
erased, the change is a checkpoint like any other.
"""

from typing import TypedDict

import pytest

from orchestrator import END, START, MemoryCheckpointer, StateGraph


class State(TypedDict, total=False):
    draft: str
    sent: str


def write(state: State) -> State:
    raise RuntimeError("out of ideas")


def send(state: State) -> State:
    return {"sent": state["draft"]}


def is_good(state: State) -> str:
    return "send" if state["draft"] else END


def build(write=write, **options):
    builder = StateGraph(State).add_node("write", write).add_node(send).add_edge(START, "write")
    builder.add_conditional_edges("write", is_good)
    return builder.compile(MemoryCheckpointer(), **options)


def failed():
    graph = build()
    with pytest.raises(RuntimeError, match="out of ideas"):
        graph.invoke({}, "t")
    return graph


def test_a_node_that_cannot_do_its_work_is_stood_in_for():
    graph = failed()
    graph.update_state("t", {"draft": "by hand"}, as_node="write")
    assert graph.get_state("t").next == ("send",)
    assert graph.invoke(None, "t") == {"draft": "by hand", "sent": "by hand"}


def test_the_routers_of_that_node_decide_what_follows():
    graph = failed()
    graph.update_state("t", {"draft": ""}, as_node="write")
    assert graph.get_state("t").next == ()


def test_the_change_is_part_of_the_history():
    graph = failed()
    config = graph.update_state("t", {"draft": "by hand"}, as_node="write")
    newest, before, *_ = graph.get_state_history("t")
    assert newest.config == config
    assert newest.metadata["source"] == "update"
    assert before.values == {}


def test_between_two_nodes_a_run_can_be_corrected():
    graph = build(lambda state: {"draft": "rash"}, interrupt_before=["send"])
    graph.invoke({}, "t")
    graph.update_state("t", {"draft": "considered"}, as_node="write")
    assert graph.invoke(None, "t")["sent"] == "considered"


def test_without_a_node_it_is_a_change_by_the_one_that_ran_last():
    graph = failed()
    graph.update_state("t", {"draft": "by hand"}, as_node="write")
    graph.update_state("t", {"draft": "by hand, corrected"})
    assert graph.invoke(None, "t")["sent"] == "by hand, corrected"
