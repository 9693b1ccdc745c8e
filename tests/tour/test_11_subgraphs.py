"""A compiled graph can be a node. What pauses or fails inside it goes on inside it."""

import operator
from typing import Annotated, TypedDict

import pytest

from orchestrator import START, Command, MemoryCheckpointer, StateGraph, interrupt


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def says(word):
    return lambda state: {"log": [word]}


def sign(state: State):
    return {"log": [f"signed by {interrupt('Who signs?')}"]}


def review():
    builder = StateGraph(State)
    builder.add_sequence([("read", says("read")), sign]).set_entry_point("read")
    return builder.compile()


@pytest.fixture
def graph():
    builder = StateGraph(State).add_node("review", review()).add_node("file", says("filed"))
    builder.add_edge(START, "review").add_edge("review", "file")
    return builder.compile(MemoryCheckpointer())


def test_a_question_of_a_subgraph_is_a_question_of_the_thread(graph):
    (question,) = graph.invoke({}, "letter")["__interrupt__"]
    assert question.value == "Who signs?"

    result = graph.invoke(Command(resume="Ada"), "letter")
    assert result["log"] == ["read", "signed by Ada", "filed"]


def test_the_state_of_a_subgraph_can_be_looked_at_and_changed(graph):
    graph.invoke({}, "letter")
    (task,) = graph.get_state("letter", subgraphs=True).tasks
    assert task.state.next == ("sign",)
    assert task.state.values == {"log": ["read"]}

    graph.update_state(task.state.config, {"log": ["signed by nobody"]}, as_node="sign")
    assert graph.invoke(None, "letter")["log"] == ["read", "signed by nobody", "filed"]


def test_a_subgraph_may_leave_the_way_to_the_graph_around_it():
    def give_up(state: State):
        return Command(graph=Command.PARENT, goto="expert", update={"log": ["gave up"]})

    novice = StateGraph(State).add_node(give_up).add_edge(START, "give_up").compile()
    team = StateGraph(State).add_node("novice", novice).add_node("expert", says("solved"))
    graph = team.add_edge(START, "novice").compile()

    assert graph.invoke({})["log"] == ["gave up", "solved"]


def test_with_true_a_subgraph_remembers_what_it_did_in_earlier_runs():
    def meet(state: State):
        return {"log": ["met"]}

    memory = StateGraph(State).add_node(meet).add_edge(START, "meet").compile(checkpointer=True)

    def count(state: State):
        return {"log": [f"met {len(memory.invoke({})['log'])} times"]}

    host = StateGraph(State).add_node(count).add_edge(START, "count").compile(MemoryCheckpointer())
    host.invoke({}, "t")

    assert host.invoke({}, "t")["log"] == ["met 1 times", "met 2 times"]
