"""A graph is functions over a state, and edges between them.

The state is a dictionary whose keys a `TypedDict` names. A node takes the state and returns an
update: the keys that change, and nothing else.
"""

from typing import TypedDict

from orchestrator import END, START, StateGraph


class State(TypedDict, total=False):
    name: str
    greeting: str


def tidy(state: State) -> State:
    return {"name": state["name"].strip().title()}


def greet(state: State) -> State:
    return {"greeting": f"Hello, {state['name']}!"}


def test_a_run_begins_at_start_follows_the_edges_and_returns_the_state():
    builder = StateGraph(State)
    builder.add_node(tidy)  # The function's name is the node's name.
    builder.add_node("say_hello", greet)  # Or give it one.
    builder.add_edge(START, "tidy")
    builder.add_edge("tidy", "say_hello")
    builder.add_edge("say_hello", END)
    graph = builder.compile()

    assert graph.invoke({"name": "  ada "}) == {"name": "Ada", "greeting": "Hello, Ada!"}


def test_a_sequence_is_a_shorter_way_to_write_the_same():
    graph = StateGraph(State).add_sequence([tidy, greet]).set_entry_point("tidy").compile()

    assert graph.invoke({"name": "grace"})["greeting"] == "Hello, Grace!"
