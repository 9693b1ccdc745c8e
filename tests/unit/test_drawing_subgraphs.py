"""How subgraphs are opened in a drawing, compared with LangGraph's."""

import pytest

from orchestrator import StateGraph
from tests.fixtures.drawings import CHAIN, END, FORK, START, Plan, State, around

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
    "one that never ends": around(Plan(("x", "y"), ((START, "x"), ("x", "y"), ("y", "x")))),
    "one with a node that nothing leads to": around(
        Plan(("x", "sent"), ((START, "x"), ("x", END)))
    ),
    "a way back from the inside of one": Plan(
        ("a", "sub"),
        ((START, "a"), ("a", "a"), ("a", "sub"), ("sub", "sub")),
        subgraphs={"sub": CHAIN},
    ),
    "commands to others": Plan(
        ("a", "b"), ((START, "a"),), destinations={"a": ("b",)}, subgraphs={"a": CHAIN, "b": LOOP}
    ),
}


@pytest.mark.parametrize("xray", [False, True, 0, 1, 2])
@pytest.mark.parametrize("plan", NESTED.values(), ids=NESTED)
def test_subgraphs_are_opened_as_langgraph_opens_them(plan, xray):
    ours, theirs = plan.ours(xray), plan.theirs(xray)
    assert ours.to_json() == theirs.to_json()
    assert ours.draw_mermaid() == theirs.draw_mermaid()
    assert ours.draw_mermaid(with_styles=False) == theirs.draw_mermaid(with_styles=False)


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


def test_a_loop_that_is_all_of_a_subgraph_is_drawn():
    """LangGraph's text leaves it out."""
    plan = around(Plan(("x",), ((START, "x"), ("x", "x"))))
    assert "sub\\3ax --> sub\\3ax;" in plan.ours(True).draw_mermaid(with_styles=False)


def test_a_subgraph_named_as_a_node_has_an_id_of_its_own():
    """In LangGraph's text the two are one."""
    plan = around(Plan(("a", "x"), ((START, "a"), ("a", "x")), subgraphs={"a": CHAIN}))
    text = plan.ours(True).draw_mermaid()
    assert '\tsubgraph sub\\3aa["a"]\n' in text
    assert "\ta(a)\n" in text


def test_json_tells_which_graph_a_subgraph_is():
    *_, sub, _, _ = around(CHAIN).ours().to_json()["nodes"]
    assert sub["data"]["id"][-1] == "CompiledStateGraph"
    names = [
        node.get("data", {}).get("name") for node in around(CHAIN).ours(True).to_json()["nodes"]
    ]
    assert names == [START, "a", "b", None, "sub:x", "sub:y"]


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
    assert list(first.get_graph(xray=True).nodes) == [START, END, "one:two"]
