"""What a compiled graph shows of itself, and what of it may be set: LangGraph's attributes."""

import asyncio
import operator
from typing import Annotated, TypedDict

import langgraph.graph
import pytest

from orchestrator import (
    END,
    START,
    GraphCallbackHandler,
    InvalidGraphError,
    MemoryCheckpointer,
    Runtime,
    StateGraph,
    entrypoint,
    interrupt,
)
from orchestrator.store import InMemoryStore


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    secret: str


class Output(TypedDict):
    log: list[str]


def one(state):
    return {"log": ["one"]}


async def two(state):
    return {"log": [*state["log"], "two"]}


def told(state, config, runtime, store, writer):
    writer("heard")
    return {"log": [config["configurable"].get("who"), runtime.context, type(store).__name__]}


def built(**options):
    builder = StateGraph(State, output_schema=Output)
    builder.add_sequence([one, ("two", two), told]).set_entry_point("one")
    return builder.compile(**options)


def test_channels_and_keys_are_shown():
    graph = built()
    assert {"log", "secret", START, "branch:to:two"} <= graph.channels.keys()
    assert graph.input_channels == START
    assert graph.output_channels == ["log"]
    assert graph.stream_channels == graph.stream_channels_list == ["log", "secret"]
    assert (graph.stream_mode, graph.step_timeout, graph.debug) == ("updates", None, False)
    assert graph.context_schema is None


def test_a_state_without_fields_and_an_entrypoint_have_one_channel():
    single = StateGraph(Annotated[list, operator.add]).add_node("a", lambda s: [1])
    graph = single.add_edge(START, "a").compile()
    assert graph.output_channels == graph.stream_channels == "__root__"

    @entrypoint()
    def flow(n: int) -> int:
        return n

    assert (flow.output_channels, flow.stream_channels) == (END, END)
    assert flow.stream_channels_list == [END]
    assert list(flow.nodes) == ["flow"]
    assert flow.nodes["flow"].invoke(3) == 3


def test_the_default_mode_may_be_set_on_a_graph_and_given_in_a_call():
    graph = built()
    assert [list(part) for part in graph.stream({})] == [["one"], ["two"], ["told"]]
    graph.stream_mode = "values"
    given = {"log": ["in"]}
    assert next(graph.stream(given)) == given
    graph.stream_mode = ["values", "updates"]
    assert next(graph.stream(given)) == ("values", given)
    assert next(graph.stream(given, stream_mode="updates")) == {"one": {"log": ["one"]}}
    assert graph.invoke(given)["log"][:2] == ["in", "one"]
    assert built().stream_mode == "updates"


def test_a_graph_shows_values_where_it_gets_the_config_of_the_node_around():
    inner, seen, given = built(), {}, {"log": ["in"]}

    def node(state, config):
        seen["alone"] = list(inner.stream(given))
        seen["as part"] = list(inner.stream(given, config))
        return {}

    StateGraph(State).add_node(node).add_edge(START, "node").compile().invoke({})
    assert list(seen["alone"][0]) == ["one"]
    assert seen["as part"][0] == given


def test_a_graph_can_be_renamed_until_it_runs():
    graph = built(checkpointer=MemoryCheckpointer())
    graph.name = "other"
    assert (graph.name, graph.get_name(), graph.spec.name) == ("other", "other", "other")
    graph.invoke({}, "t")
    assert graph.checkpointer.load("t").head.graph == "other"


def test_where_a_run_stops_may_be_set():
    graph = built(checkpointer=MemoryCheckpointer(), interrupt_before=["two"])
    assert (graph.interrupt_before_nodes, graph.interrupt_after_nodes) == (["two"], [])
    graph.interrupt_before_nodes = []
    graph.interrupt_after_nodes = "*"
    assert graph.interrupt_after_nodes == ["one", "two", "told"]
    graph.invoke({}, "t")
    assert graph.get_state("t").next == ("two",)
    with pytest.raises(InvalidGraphError, match="cannot interrupt at 'three', which is no node"):
        graph.interrupt_before_nodes = ["three"]
    assert graph.interrupt_before_nodes == []


def test_a_copy_keeps_what_was_set_and_goes_its_own_way():
    graph = built()
    graph.stream_mode = "values"
    copy = graph.with_config(tags=["x"])
    assert copy.stream_mode == "values"
    copy.name = "copy"
    assert graph.name == "graph"


# ---- what is printed ---------------------------------------------------------------------


@pytest.mark.parametrize("where", ["compile", "invoke", "attribute"])
def test_debug_prints_updates_and_values_and_returns_the_output(where, capsys):
    graph = built(debug=where == "compile")
    if where == "attribute":
        graph.debug = True
    options = {"debug": True} if where == "invoke" else {}
    assert graph.invoke({"log": ["in"]}, **options)["log"][:2] == ["in", "one"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["[values] {'log': ['in']}", "[updates] {'one': {'log': ['one']}}"]
    assert graph.invoke({"log": ["in"]}, debug=False)["log"][0] == "in"
    assert capsys.readouterr().out == ""


def test_what_is_printed_and_what_is_returned_are_chosen_apart(capsys):
    graph = built()
    assert graph.invoke({"log": ["in"]}, print_mode="updates")["log"][0] == "in"
    assert graph.invoke({"log": ["in"]}, stream_mode=["values"])[0] == ("values", {"log": ["in"]})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["[updates]"] * 3


def test_a_run_that_prints_reports_its_question_once(capsys):
    class Heard(GraphCallbackHandler):
        events = ()

        def on_interrupt(self, event):
            self.events = (*self.events, event.interrupts[0].value)

    heard = Heard()
    graph = StateGraph(State).add_node("ask", lambda s: {"log": [interrupt("q?")]})
    graph = graph.add_edge(START, "ask").compile(MemoryCheckpointer(), debug=True)
    output = graph.invoke({}, {"thread_id": "t", "callbacks": [heard]})
    assert output["__interrupt__"][0].value == "q?"
    assert heard.events == ("q?",)
    assert "q?" in capsys.readouterr().out


def test_compile_names_the_option_that_it_does_not_have():
    with pytest.raises(TypeError, match=r"no option 'dispatcher'\. The options are: debug"):
        built(dispatcher="queue")


# ---- one node ----------------------------------------------------------------------------


def test_a_node_is_called_with_a_state_of_the_callers():
    graph = built()
    assert graph.nodes["one"].invoke({}) == {"log": ["one"]}
    assert graph.nodes["two"].invoke({"log": ["a"]}) == {"log": ["a", "two"]}
    assert asyncio.run(graph.nodes["two"].ainvoke({"log": []})) == {"log": ["two"]}
    assert graph.nodes[START].invoke({"log": []}) == {"log": []}


def test_a_node_gets_what_it_asks_for_by_name():
    graph = built(store=InMemoryStore())
    node = graph.nodes["told"]
    config = {"configurable": {"who": "me"}}
    assert node.invoke({}) == {"log": [None, None, "InMemoryStore"]}
    assert node.invoke({}, config) == {"log": ["me", None, "InMemoryStore"]}
    given = node.invoke({}, config, runtime=Runtime(context=7), store=None)
    assert given == {"log": ["me", 7, "NoneType"]}


def test_a_node_shows_what_was_said_about_it():
    builder = StateGraph(State).add_node("a", one, metadata={"who": "me"}).add_edge(START, "a")
    builder.add_node("inner", built()).add_edge("a", "inner")
    graph = builder.compile()
    node = graph.nodes["a"]
    assert (node.name, node.bound, node.channels) == ("a", one, ["log", "secret"])
    assert (node.metadata, node.triggers) == ({"who": "me"}, ("branch:to:a",))
    assert (node.retry_policy, node.cache_policy, node.subgraphs) == ((), None, [])
    inner = graph.nodes["inner"]
    assert inner.subgraphs == [inner.bound]
    assert inner.invoke({})["log"][0] == "one"
    assert node.copy({}) == node


def test_a_builder_shows_the_rules_of_each_schema_as_langgraph_does():
    class Given(TypedDict):
        log: list[str]

    class Private(TypedDict):
        draft: str

    def shown(builder):
        builder.add_node("a", one, input_schema=Private)
        return {
            schema: {key: type(rule).__name__ for key, rule in each.items()}
            for schema, each in builder.schemas.items()
        }

    ours = shown(StateGraph(State, input_schema=Given, output_schema=Output))
    theirs = langgraph.graph.StateGraph(State, input_schema=Given, output_schema=Output)
    assert list(ours) == [State, Given, Output, Private]
    assert ours[Private] == {"draft": "LastValue"}
    assert ours == shown(theirs)
