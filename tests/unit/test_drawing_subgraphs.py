"""How subgraphs are opened in a drawing, compared with LangGraph's."""

import re
from typing import Any

import pytest

from orchestrator import StateGraph
from tests.fixtures.drawings import CHAIN, END, FORK, START, Plan, State, around, ways

CHOICE = Plan(("l", "r"), ((START, "l"),), (("l", {"go": "r", "stop": END}),))
LOOP = Plan(("l", "r"), ((START, "l"), ("l", "r")), (("r", {"again": "l", "stop": END}),))
BEGIN = Plan(("l", "r"), (), ((START, {"left": "l", "right": "r"}),))


NESTED = {
    "a chain": around(CHAIN),
    "a choice": around(CHOICE),
    "a loop": around(LOOP),
    "a fork": around(FORK),
    "a router at the start": around(BEGIN),
    "a way around": Plan(
        ("a", "sub"),
        ((START, "a"),),
        (("a", {"in": "sub", "no": END}), ("sub", {"again": "sub", "back": "a"})),
        subgraphs={"sub": CHAIN},
    ),
    "one after the other": Plan(
        ("a", "b"), ((START, "a"), ("a", "b")), subgraphs={"a": CHAIN, "b": FORK}
    ),
    "only a subgraph": Plan(("sub",), ((START, "sub"),), subgraphs={"sub": CHAIN}),
    "three levels": around(around(around(CHOICE, "low"), "mid"), "top"),
    "one in a fork": around(
        Plan(("l", "r"), ((START, "l"), (START, "r")), subgraphs={"l": CHAIN}), "sub"
    ),
    "commands to others": Plan(
        ("a", "b"), ((START, "a"),), destinations={"a": ("b",)}, subgraphs={"a": CHAIN, "b": LOOP}
    ),
}


@pytest.mark.parametrize("xray", [False, True, 0, 1, 2])
@pytest.mark.parametrize("plan", NESTED.values(), ids=NESTED)
def test_subgraphs_are_opened_as_langgraph_opens_them(plan, xray):
    ours, theirs = plan.ours(xray), plan.theirs(xray)
    assert set(ours.nodes) == set(theirs.nodes)
    assert ways(ours) == ways(theirs)
    assert mermaid_lines(ours.draw_mermaid()) == mermaid_lines(theirs.draw_mermaid())


def mermaid_lines(text: str) -> set[tuple[Any, ...]]:
    """The lines of a flowchart, each with the subgraphs it stands in; ids without escapes."""
    text = text.partition("graph TD;\n")[2].replace("\\3a\\", ":").replace("\\3a", ":")
    within: list[str] = []
    found: set[tuple[Any, ...]] = set()
    for line in text.splitlines():
        if title := re.fullmatch(r'\tsubgraph (?:.*\["(.*)"\]|(.*))', line):
            within.append(title[1] or title[2])
        elif line == "\tend":
            within.pop()
        elif "classDef" not in line:
            found.add((*within, re.sub(r":::\w+$|[\"()\[\]]", "", line)))
    assert not within
    return found


def test_a_subgraph_that_never_ends_stays_closed():
    """LangGraph opens it, with a perhaps to an END that it never reaches."""
    drawing = around(Plan(("x", "y"), ((START, "x"), ("x", "y"), ("y", "x")))).ours(True)
    assert "sub" in drawing.nodes
    assert drawing.clusters == {}


def test_a_subgraph_with_a_node_that_nothing_known_leads_to_is_opened():
    """LangGraph leaves it closed, since it finds no single first node."""
    plan = around(Plan(("x", "sent"), ((START, "x"), ("x", END))))
    assert ways(plan.ours(True)) >= {("a", "sub:x", None, False), ("sub:x", "b", None, False)}
    assert "sub:sent" in plan.ours(True).nodes
    assert "sub" in plan.theirs(True).nodes


def test_two_subgraphs_of_one_name_are_drawn():
    """LangGraph raises an error when it writes them for Mermaid."""
    plan = Plan(
        ("a", "b"),
        ((START, "a"), ("a", "b")),
        subgraphs={"a": around(CHAIN, "s"), "b": around(FORK, "s")},
    )
    with pytest.raises(ValueError, match="duplicate subgraph"):
        plan.theirs(True).draw_mermaid()
    assert plan.ours(True).draw_mermaid().count('["s"]') == 2


def test_json_tells_which_graph_a_subgraph_is():
    *_, sub, _, _ = around(CHAIN).ours().to_json()["nodes"]
    assert sub["data"]["id"][-1] == "CompiledStateGraph"
    names = [
        node.get("data", {}).get("name") for node in around(CHAIN).ours(True).to_json()["nodes"]
    ]
    assert names == [START, "a", "sub:x", "sub:y", "b", None]


def test_a_graph_that_a_nodes_code_calls_is_opened_too():
    inner = FORK.write(StateGraph(State)).compile()

    def calls(state: State) -> State:
        return inner.invoke(state)

    builder = StateGraph(State).add_node(calls).add_edge(START, "calls")
    drawn = builder.compile().get_graph(xray=True)
    assert list(drawn.clusters) == ["calls"]
    assert {"calls:l", "calls:r"} < drawn.nodes.keys()
    assert list(builder.compile().get_graph().nodes) == [START, "calls", END]


def test_graphs_whose_code_calls_each_other_are_opened_once():
    graphs = []

    def one(state: State) -> State:
        return second.invoke(state)

    def two(state: State) -> State:
        return first.invoke(state)

    for node in (one, two):
        name = node.__name__
        graphs.append(StateGraph(State).add_node(name, node).add_edge(START, name).compile())
    first, second = graphs
    assert list(first.get_graph(xray=True).nodes) == [START, "one:two", END]
