"""A router decides where to go: it sees the state and returns the name of a node, or `END`."""

from typing import Literal, TypedDict

from orchestrator import END, START, Command, StateGraph


class State(TypedDict):
    number: int
    steps: int


def halve(state: State):
    return {"number": state["number"] // 2, "steps": state["steps"] + 1}


def triple(state: State):
    return {"number": state["number"] * 3 + 1, "steps": state["steps"] + 1}


def parity(state: State) -> Literal["halve", "triple", "__end__"]:
    if state["number"] == 1:
        return END
    return "triple" if state["number"] % 2 else "halve"


def test_routers_make_loops_that_end_where_they_say():
    builder = StateGraph(State).add_node(halve).add_node(triple)
    for source in (START, "halve", "triple"):
        builder.add_conditional_edges(source, parity)

    assert builder.compile().invoke({"number": 6, "steps": 0}) == {"number": 1, "steps": 8}


def test_a_path_map_names_what_a_router_returns():
    builder = StateGraph(State).add_node(halve)
    builder.add_conditional_edges(
        START, lambda state: state["number"] % 2 == 0, {True: "halve", False: END}
    )
    graph = builder.compile()

    assert graph.invoke({"number": 4, "steps": 0})["number"] == 2
    assert graph.invoke({"number": 5, "steps": 0})["number"] == 5


def test_a_node_may_update_and_route_at_once_with_a_command():
    def decide(state: State):
        return Command(update={"steps": 10}, goto="halve")

    builder = StateGraph(State).add_node(decide).add_node(halve).set_entry_point("decide")

    assert builder.compile().invoke({"number": 8, "steps": 0}) == {"number": 4, "steps": 11}
