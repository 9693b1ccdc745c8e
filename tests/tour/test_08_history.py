"""Every superstep leaves a checkpoint: look back at any of them, and change the state by hand."""

import operator
from typing import Annotated, TypedDict

import pytest

from orchestrator import MemoryCheckpointer, StateGraph


class State(TypedDict, total=False):
    draft: str
    edits: Annotated[list[str], operator.add]


def write(state: State):
    return {"draft": "teh text", "edits": ["written"]}


def publish(state: State):
    return {"edits": [f"published: {state['draft']}"]}


@pytest.fixture
def graph():
    builder = StateGraph(State).add_sequence([write, publish]).set_entry_point("write")
    return builder.compile(MemoryCheckpointer(), interrupt_before=["publish"])


def test_history_is_newest_first_and_each_snapshot_can_be_loaded_again(graph):
    graph.invoke({}, "page-1")
    graph.invoke(None, "page-1")

    history = list(graph.get_state_history("page-1"))
    assert [snapshot.next for snapshot in history] == [(), ("publish",), ("write",), ("__start__",)]
    before_publishing = graph.get_state(history[1].config)
    assert before_publishing.values == {"draft": "teh text", "edits": ["written"]}


def test_a_state_is_mended_by_hand_before_the_run_goes_on(graph):
    graph.invoke({}, "page-1")
    assert graph.get_state("page-1").next == ("publish",)

    graph.update_state("page-1", {"draft": "the text", "edits": ["mended"]}, as_node="write")
    result = graph.invoke(None, "page-1")

    assert result["edits"] == ["written", "mended", "published: the text"]
