"""What is drawn of a graph: nodes and edges, compared with LangGraph's own drawing."""

from __future__ import annotations

import re
from typing import Any, Literal

import langgraph.func
import langgraph.graph
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import StateGraph, entrypoint
from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.drawing import (
    Drawing,
    DrawingError,
    DrawnEdge,
    drawing_of,
)
from orchestrator.graph.routing import Command
from tests.fixtures.drawings import END, START, Plan, State, act, ways


def agent(**options: Any) -> Plan:
    return Plan(
        ("agent", "tools"),
        ((START, "agent"), ("tools", "agent")),
        (("agent", {"call": "tools", "done": END}),),
        **options,
    )


SAME = {
    "one node": Plan(("a",), ((START, "a"), ("a", END))),
    "a chain": Plan(("a", "b", "c"), ((START, "a"), ("a", "b"), ("b", "c"))),
    "a join": Plan(
        ("a", "b", "c", "d"), ((START, "a"), ("a", "b"), ("a", "c"), (["b", "c"], "d"), ("d", END))
    ),
    "a late join": Plan(
        ("a", "b", "c", "d"), ((START, "a"), ("a", "b"), ("b", "c"), (["a", "c"], "d"))
    ),
    "a join to the end": Plan(("a", "b"), ((START, "a"), (START, "b"), (["a", "b"], END))),
    "an agent": agent(),
    "stops": agent(stops={"interrupt_before": ["tools"], "interrupt_after": ["tools", "agent"]}),
    "a list of ends": Plan(("a", "b", "c"), ((START, "a"),), (("a", ["b", "c", END]),)),
    "a label like another node": Plan(
        ("a", "b", "c"), ((START, "a"),), (("a", {"b": "c", "c": "b"}),)
    ),
    "labels that are no text": Plan(
        ("a", "b", "c"), ((START, "a"),), (("a", {True: "b", 7: "c"}),)
    ),
    "a router at the start": Plan(("a", "b"), (), ((START, {"l": "a", "r": "b", "n": END}),)),
    "two routers": Plan(
        ("a", "b", "c", "d"), ((START, "a"),), (("a", {"x": "b"}), ("a", {"y": "c", "z": "d"}))
    ),
    "a node that repeats": Plan(("a",), ((START, "a"),), (("a", {"again": "a", "done": END}),)),
    "an end beside an edge": Plan(("a", "b"), ((START, "a"), ("a", "b"), ("a", END))),
    "commands": Plan(("a", "b", "c"), ((START, "a"),), destinations={"a": ("b", "c", END)}),
    "commands with labels": Plan(
        ("a", "b"), ((START, "a"),), destinations={"a": {"b": "go on", END: "b"}}
    ),
    "a node on its own": Plan(("a", "b"), ((START, "a"),)),
    "a deferred node": Plan(
        ("a", "b", "c", "d"),
        ((START, "a"), ("a", "b"), ("a", "c"), (["b", "c"], "d")),
        deferred=("d",),
    ),
    "odd names": Plan(
        ("a b", 'c"]', "d(x)", "ü", "#"),
        ((START, "a b"), ("a b", 'c"]'), ('c"]', "d(x)"), ("d(x)", "ü"), ("ü", "#")),
    ),
}


@pytest.mark.parametrize("plan", SAME.values(), ids=SAME)
def test_nodes_and_edges_are_those_that_langgraph_draws(plan):
    ours, theirs = plan.ours(), plan.theirs()
    assert list(ours.nodes) == list(theirs.nodes)
    assert ways(ours) == ways(theirs)
    assert ours.to_json()["edges"] == theirs.to_json()["edges"]
    described = [{n["id"]: n.get("metadata") for n in d.to_json()["nodes"]} for d in (ours, theirs)]
    assert described[0] == described[1]
    kinds = [
        {n["id"]: n.get("data", {}).get("id") for n in d.to_json()["nodes"]} for d in (ours, theirs)
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("name", sorted(SAME.keys() - {"odd names"}))
def test_mermaid_draws_the_same_edges_for_both(name):
    plan = SAME[name]
    assert mermaid_edges(plan.ours().draw_mermaid()) == mermaid_edges(plan.theirs().draw_mermaid())


@pytest.mark.parametrize("name", sorted(SAME.keys() - {"odd names", "stops"}))
def test_mermaids_text_is_that_of_langgraph(name):
    ours, theirs = SAME[name].ours(), SAME[name].theirs()
    if ours.first_node() and ours.last_node():  # Elsewhere START or END loses its shape there.
        assert ours.draw_mermaid() == theirs.draw_mermaid()
    if name != "a node on its own":  # It is in no edge, so there it is left out.
        assert ours.draw_mermaid(with_styles=False) == theirs.draw_mermaid(with_styles=False)


def test_edges_are_equal_to_those_of_langchain():
    plan = SAME["an agent"]
    assert plan.ours().edges == plan.theirs().edges
    assert set(plan.theirs().edges) == set(plan.ours().edges)
    assert (plan.ours().first_node().id, plan.ours().last_node().id) == (START, END)
    assert SAME["a node on its own"].ours().first_node() is None


def mermaid_edges(text: str) -> set[tuple[str, ...]]:
    found = re.findall(
        r'^\t(\w+) (-\.|--)(?: "?&nbsp;(.*?)&nbsp;"? )?(?:\.->|->|-->|>) (\w+);', text, re.MULTILINE
    )
    assert len(found) == text.count(";\n\t") - text.count("TD;\n\t") + text.endswith(";\n")
    return set(found)


names = ["a", "b", "c", "d", "e"]


@st.composite
def plans(draw: Any) -> Plan:
    """A graph in which something leads to every node, and whose last node has no way on."""
    nodes = names[: draw(st.integers(2, 5))]
    edges: set[tuple[str, str]] = {(START, nodes[0])}
    for number, name in enumerate(nodes[1:], 1):
        edges.add((draw(st.sampled_from(nodes[:number])), name))
    edges |= draw(st.sets(st.tuples(st.sampled_from(nodes[:-1]), st.sampled_from(nodes))))
    ends = st.dictionaries(
        st.sampled_from(["x", "y", "z"]), st.sampled_from([*nodes, END]), min_size=1
    )
    routers = draw(st.dictionaries(st.sampled_from([START, *nodes[:-1]]), ends))
    perhaps = [(source, only_new(source, ends, edges)) for source, ends in routers.items()]
    return Plan(tuple(nodes), tuple(sorted(edges)), tuple(way for way in perhaps if way[1]))


def only_new(source: str, ends: dict[str, str], edges: set[tuple[str, str]]) -> dict[str, str]:
    return {said: end for said, end in ends.items() if (source, end) not in edges}


@settings(max_examples=25, deadline=None)
@given(plans())
def test_any_graph_has_the_edges_that_langgraph_draws(plan):
    ours, theirs = plan.ours(), plan.theirs()
    assert {way[:2] + way[3:] for way in ways(ours)} == {way[:2] + way[3:] for way in ways(theirs)}
    said = {(e.source, e.target): e.data for e in ours.edges}
    for edge in theirs.edges:  # LangGraph keeps one of several labels.
        assert edge.data is None or edge.data in said[edge.source, edge.target].split(", ")


# ---- where the drawing differs from LangGraph's on purpose --------------------------------


def test_a_router_that_does_not_say_where_it_leads_may_lead_anywhere():
    """LangGraph's documentation says so, too; what it draws is only an edge to END."""
    plan = Plan(("a", "b", "c"), ((START, "a"),), (("a", None),))
    assert {way for way in ways(plan.ours()) if way[0] == "a"} == {
        ("a", other, None, True) for other in ("b", "c", END)
    }


def test_an_edge_that_is_always_taken_hides_one_that_may_be():
    """In LangGraph that depends on whether the node can run twice."""
    plan = Plan(("a", "b"), ((START, "a"), ("a", "b")), (("a", {"x": "b", "y": END}),))
    assert {way for way in ways(plan.ours()) if way[0] == "a"} == {
        ("a", "b", None, False),
        ("a", END, "y", True),
    }


def test_an_edge_with_several_labels_shows_them_all():
    """LangGraph shows one, as if the router could not return the others."""
    plan = Plan(("a", "b"), ((START, "a"),), (("a", {"yes": "b", "maybe": "b", "no": END}),))
    assert ("a", "b", "yes, maybe", True) in ways(plan.ours())


def test_a_label_that_is_the_nodes_name_is_shown_beside_others_only():
    plan = Plan(("a", "b"), ((START, "a"),), (("a", {"b": "b", "also": "b", END: END}),))
    assert {way[1:3] for way in ways(plan.ours()) if way[0] == "a"} == {
        ("b", "b, also"),
        (END, None),
    }


def test_a_cycle_without_a_way_out_has_no_end():
    """LangGraph draws a perhaps from whichever node its trial run of 250 supersteps stops at."""
    drawing = Plan(("a", "b"), ((START, "a"), ("a", "b"), ("b", "a"))).ours()
    assert END not in drawing.nodes
    assert len(drawing.edges) == 3


def test_what_follows_a_node_that_nothing_known_leads_to_is_drawn():
    """LangGraph leaves its edges out; but a `Send` or `Command` may lead to it."""
    drawing = Plan(("a", "sent", "next"), ((START, "a"), ("sent", "next"))).ours()
    assert ways(drawing) >= {("sent", "next", None, False), ("next", END, None, False)}


def test_a_deferred_node_has_only_the_edges_that_were_written():
    """LangGraph adds one from whatever ran last before it."""
    plan = Plan(
        ("a", "b", "c", "d"), ((START, "a"), ("a", "b"), ("b", "c"), ("a", "d")), deferred=("d",)
    )
    assert ("c", END, None, False) in ways(plan.ours())
    assert ("c", "d", None, True) not in ways(plan.ours())


def test_the_queue_of_a_node_is_told():
    graph = GraphBuilder(State).add_node("a", act, queue="gpu").add_edge(START, "a")
    assert drawing_of(graph.freeze("g")).nodes["a"].metadata == {"queue": "gpu"}


def test_a_function_that_handles_errors_is_told_with_its_node():
    """LangGraph draws it as a node of its own, to which nothing leads."""

    def mend(state):
        raise AssertionError

    graph = StateGraph(State).add_node("a", act, error_handler=mend).add_edge(START, "a")
    assert list(graph.compile().get_graph().nodes) == [START, "a", END]
    assert graph.compile().get_graph().nodes["a"].metadata == {"error_handler": "mend"}


def test_an_entrypoint_is_a_node_that_is_begun_and_ended():
    """LangGraph draws its end as a perhaps."""

    def work(value: int) -> int:
        raise AssertionError

    drawing = entrypoint()(work).get_graph()
    theirs = langgraph.func.entrypoint()(work).get_graph()
    assert set(drawing.nodes) == set(theirs.nodes) == {START, "work", END}
    assert ways(drawing) == {(START, "work", None, False), ("work", END, None, False)}
    assert drawing.nodes["work"].data is work
    graph = StateGraph(State).add_node("sub", entrypoint()(work)).add_edge(START, "sub")
    opened = graph.compile().get_graph(xray=True)
    assert list(opened.nodes) == [START, "sub:work", END]


def test_annotated_destinations_are_drawn_and_given_ones_come_first():
    def node(state):
        raise AssertionError

    node.__annotations__ = {"return": Command[Literal["b", "gone"]]}
    graph = GraphBuilder(State).add_node("a", node).add_node("b", act).add_edge(START, "a")
    assert ("a", "b", None, True) in ways(drawing_of(graph.freeze("g")))
    graph = GraphBuilder(State).add_node("a", node, destinations=[END]).add_node("b", act)
    drawing = drawing_of(graph.add_edge(START, "a").freeze("g"))
    assert ways(drawing) == {(START, "a", None, False), ("a", END, None, True)}


# ---- the face -----------------------------------------------------------------------------


def test_json_tells_of_each_node_where_its_code_is():
    class Callable:
        def __call__(self, state):
            raise AssertionError

    graph = GraphBuilder(State).add_node("a", act, metadata={"k": [1]}).add_node("b", Callable())
    graph.add_edge(START, "a").add_edge("a", "b")
    start, first, second, end = drawing_of(graph.freeze("g")).to_json()["nodes"]
    assert (start["type"], start["data"]["name"], end) == ("runnable", START, {"id": END})
    where = ["langgraph", "_internal", "_runnable", "RunnableCallable"]
    assert first == {
        "id": "a",
        "type": "runnable",
        "data": {"id": where, "name": "a"},
        "metadata": {"k": [1]},
    }
    assert second["data"]["id"] == start["data"]["id"] == where


def test_a_png_is_refused_with_what_to_use_instead():
    drawing = agent().ours()
    for method in (drawing.draw_png, drawing.draw_mermaid_png):
        with pytest.raises(DrawingError, match=r"no service is called here. Use draw_svg\(\)"):
            method(output_file_path="graph.png")


def test_a_notebook_is_given_a_picture_and_text():
    drawing = agent().ours()
    shown = drawing._repr_mimebundle_(include=None, exclude=None)
    assert shown == {"image/svg+xml": drawing.draw_svg(), "text/plain": drawing.draw_ascii()}


def test_a_notebook_is_shown_a_compiled_graph_as_a_picture():
    graph = StateGraph(State).add_node("a", act).add_edge(START, "a").compile()
    shown = graph._repr_mimebundle_(include=None, exclude=None)
    assert shown == {"image/svg+xml": graph.get_graph().draw_svg(), "text/plain": repr(graph)}


@pytest.mark.parametrize("method", ["draw_svg", "draw_mermaid", "draw_ascii"])
def test_states_of_unknown_nodes_and_unknown_states_are_refused(method):
    draw = getattr(agent().ours(), method)
    with pytest.raises(
        DrawingError, match=r"'agnet', which is no node. The nodes are: '__start__'"
    ):
        draw(states={"agnet": "done"})
    with pytest.raises(DrawingError, match="use one of done, running, paused, failed, next"):
        draw(states={"agent": "finished"})


def test_a_drawing_without_nodes_is_false_and_still_drawn():
    nothing = Drawing({}, [])
    assert not nothing
    assert agent().ours()
    assert nothing.draw_ascii() == ""
    assert nothing.draw_mermaid(with_styles=False) == "graph TD;\n"
    assert nothing.draw_svg().startswith("<svg ")


def test_edges_are_in_order_of_source_and_target_and_ends_of_paths_last():
    edges = Plan(("b", "c"), ((START, "b"),), (("b", {"stop": END, "go": "c"}),)).ours().edges
    assert edges == [
        DrawnEdge(START, "b"),
        DrawnEdge("b", END, "stop", conditional=True),
        DrawnEdge("b", "c", "go", conditional=True),
        DrawnEdge("c", END),
    ]
