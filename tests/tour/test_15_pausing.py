"""A node that cannot go on yet raises `InterruptedError`; the next input lets it go on there."""

from typing import TypedDict

import pytest

from orchestrator import MemoryCheckpointer, StateGraph


class State(TypedDict, total=False):
    draft: str
    approved: bool
    final: str


@pytest.fixture
def drafted():
    return []


@pytest.fixture
def graph(drafted):
    def draft(state: State):
        drafted.append(1)
        return {"draft": "a text"}

    def review(state: State):
        if not state.get("approved"):
            raise InterruptedError("waiting for approval")

    def finalize(state: State):
        return {"final": state["draft"].upper()}

    builder = StateGraph(State).add_sequence([draft, review, finalize]).set_entry_point("draft")
    return builder.compile(MemoryCheckpointer())


def test_the_call_raises_an_interrupted_error_that_says_where_and_why(graph):
    with pytest.raises(InterruptedError) as error:
        graph.invoke({}, config={"thread_id": "task1"})

    assert (error.value.node, error.value.reason) == ("review", "waiting for approval")
    assert graph.get_state("task1").values == {"draft": "a text"}


def test_the_next_input_goes_on_at_that_node_and_not_from_the_beginning(graph, drafted):
    with pytest.raises(InterruptedError):
        graph.invoke({}, config={"thread_id": "task1"})

    result = graph.invoke({"approved": True}, config={"thread_id": "task1"})
    assert result["final"] == "A TEXT"
    assert drafted == [1]


def test_a_node_that_still_cannot_go_on_pauses_again(graph, drafted):
    for value in ({}, {"approved": False}, None):
        with pytest.raises(InterruptedError):
            graph.invoke(value, "task1")
    assert drafted == [1]
