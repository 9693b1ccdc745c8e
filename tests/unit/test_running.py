"""One call of a graph: how it ends before its time, and what it may say for itself alone."""

import operator
import sys
from types import FrameType
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import (
    START,
    Command,
    GraphDrained,
    GraphOutput,
    GraphRecursionError,
    IsLastStep,
    MemoryCheckpointer,
    RemainingSteps,
    RunControl,
    StateGraph,
    interrupt,
)
from orchestrator.client.options import ConfigError, OptionError
from orchestrator.errors import GraphBubbleUp, GraphstalkError, InvalidUpdateError
from orchestrator.graph.scope import current_scope, open_scope
from tests.fixtures.bench import Bench, finished

ALL = ["in", "side", "work", "end"]


# ---- told to stop -----------------------------------------------------------------------


def drained(bench: Bench, control: RunControl, value: Any) -> GraphDrained:
    with pytest.raises(GraphDrained) as caught:
        bench.call(value, control=control)
    return caught.value


def test_a_run_that_is_told_to_stop_does_so_after_the_superstep_and_may_be_resumed() -> None:
    bench, control = Bench(), RunControl()
    bench.acts["work"] = lambda: control.request_drain("deploy") or "work"
    error = drained(bench, control, {"log": ["in"]})
    assert (error.reason, "drained: deploy" in str(error)) == ("deploy", True)
    snapshot = bench.graph.get_state("t")
    assert (snapshot.values, snapshot.next) == ({"log": ["in", "side", "work"]}, ("end",))
    assert bench.store.load("t").head.status == "paused"
    assert bench.call(None) == {"log": ALL}
    assert sorted(bench.ran) == ["end", "side", "work"]


def test_a_signal_at_any_point_leaves_the_process_outside_of_the_graph() -> None:
    bench = Bench(stops=("work",))

    def interrupt_when_set(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is open_scope.__code__ and event == "return":
            raise KeyboardInterrupt
        return interrupt_when_set

    traced = sys.gettrace()
    sys.settrace(interrupt_when_set)
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.call({"log": ["in"]}, "first")
    finally:
        sys.settrace(traced)
    assert current_scope.get() is None
    assert bench.call({"log": ["in"]}, "second") == {"log": ["in"]}  # It stops: no GraphInterrupt.


def test_it_is_control_flow_and_no_error() -> None:
    assert issubclass(GraphDrained, GraphBubbleUp)
    assert not issubclass(GraphDrained, GraphstalkError)


def test_a_run_that_ends_with_that_superstep_has_nothing_to_stop() -> None:
    bench, control = Bench(), RunControl()
    bench.acts["end"] = lambda: control.request_drain() or "end"
    assert bench.call({"log": ["in"]}, control=control) == {"log": ALL}


def test_a_control_that_was_used_stops_the_next_run_before_its_first_node() -> None:
    bench, control = Bench(), RunControl()
    control.request_drain()
    assert drained(bench, control, {"log": ["in"]}).reason == "shutdown"
    assert bench.ran == []
    assert bench.graph.get_state("t").next == ("work", "side")
    assert bench.call(None, control=RunControl()) == {"log": ALL}


def test_a_node_may_see_that_it_should_come_to_an_end() -> None:
    seen: list[Any] = []

    def node(state: Any, runtime: Any) -> None:
        runtime.control.request_drain("soon")
        seen.append((runtime.drain_requested, runtime.drain_reason))

    builder = StateGraph(dict).add_node("a", node).add_node("b", node)
    graph = builder.add_edge(START, "a").add_edge("a", "b").compile(MemoryCheckpointer())
    with pytest.raises(GraphDrained):
        graph.invoke({}, "t", control=RunControl())
    assert seen == [(True, "soon")]


# ---- budgets ----------------------------------------------------------------------------


class Counted(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]
    last: IsLastStep
    left: RemainingSteps


def counting(limit: int) -> Any:
    """A loop that ends by itself where it may not go on."""

    def node(state: Counted) -> Counted:
        return {"seen": [(state["left"], state["last"])]}

    builder = StateGraph(Counted).add_node("a", node).add_edge(START, "a")
    builder.add_conditional_edges("a", lambda s: "a" if len(s["seen"]) < limit else "__end__")
    return builder.compile(MemoryCheckpointer())


@pytest.mark.parametrize("limit", [2, 5])
def test_a_node_knows_how_many_supersteps_are_left(limit: int) -> None:
    result = counting(limit).invoke({}, {"thread_id": "t", "recursion_limit": limit})
    left = list(range(limit - 1, -1, -1))
    assert result == {"seen": [(n, n == 1) for n in left]}


def test_a_router_sees_them_as_its_node_does() -> None:
    seen: list[Any] = []

    def router(state: Counted) -> str:
        seen.append(state["left"])
        return "a" if state["left"] > 1 else "__end__"

    builder = StateGraph(Counted).add_node("a", lambda state: None).add_edge(START, "a")
    graph = builder.add_conditional_edges("a", router).compile()
    graph.invoke({"seen": []}, {"recursion_limit": 4})
    assert seen == [3, 2, 1]


def test_a_resumed_run_has_its_whole_budget_again() -> None:
    graph, config = counting(9), {"thread_id": "t", "recursion_limit": 3}
    with pytest.raises(GraphRecursionError):
        graph.invoke({}, config)
    with pytest.raises(GraphRecursionError):
        graph.invoke(None, config)
    assert [n for n, _ in graph.get_state("t").values["seen"]] == [2, 1, 0] * 2
    assert graph.invoke(None, config)["seen"] == [(2, False), (1, True), (0, False)] * 3


@pytest.mark.parametrize("key", ["last", "left"])
def test_nobody_writes_them(key: str) -> None:
    graph = counting(1)
    with pytest.raises(InvalidUpdateError, match=f"updates '{key}', which is no key of the input"):
        graph.invoke({key: 1}, "t")
    assert "left" not in graph.invoke({}, "t")
    assert set(graph.get_state("t").values) == {"seen"}


# ---- what one call says -----------------------------------------------------------------


@pytest.mark.parametrize("keeps", [True, False])
def test_what_is_asked_is_returned_also_where_one_key_is(*, keeps: bool) -> None:
    class State(TypedDict, total=False):
        log: Annotated[list[str], operator.add]

    builder = StateGraph(State).add_node("ask", lambda state: {"log": [interrupt("who?")]})
    builder.add_node("work", lambda state: {"log": ["work"]}).add_edge(START, "work")
    graph = builder.add_edge("work", "ask").compile(MemoryCheckpointer() if keeps else None)
    (asked,) = graph.invoke({"log": []}, "t", output_keys="log")["__interrupt__"]
    assert asked.value == "who?"
    found = graph.invoke({"log": []}, "u", output_keys="log", version="v2")
    assert (found.value, [each.value for each in found.interrupts]) == (["work"], ["who?"])
    if keeps:
        assert graph.invoke(Command(resume="me"), "t", output_keys="log") == ["work", "me"]


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
def test_one_call_may_stop_elsewhere_than_the_graph(when: str) -> None:
    bench = Bench(stops=("end",))
    nodes = {"interrupt_before": ["side"], "interrupt_after": ["work"]}[when]
    bench.call({"log": ["in"]}, **{when: nodes})
    expected = {"interrupt_before": ("work", "side"), "interrupt_after": ("end",)}[when]
    assert bench.graph.get_state("t").next == expected


def test_one_call_may_go_past_where_the_graph_stops() -> None:
    assert Bench(stops=("end",)).call({"log": ["in"]}, interrupt_before=[]) == {"log": ALL}


def test_all_nodes_may_be_meant_by_a_star() -> None:
    bench = Bench()
    bench.call({"log": ["in"]}, interrupt_before="*")
    assert bench.ran == []


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"interrupt_before": ["nowhere"]}, InvalidUpdateError, "'nowhere', which is no node"),
        ({"durability": "often"}, OptionError, "durability='often' is not one of 'sync'"),
        ({"version": "v9"}, OptionError, "version='v9'"),
        ({"stream_mode": "all"}, OptionError, "stream_mode='all' is not one of"),
        ({"output_keys": "nope"}, OptionError, "output_keys must be keys of the state ('nope')"),
        ({"output_keys": ["log", "nope"]}, OptionError, "They are: log"),
        ({"interrupt_befor": []}, OptionError, "there is no option 'interrupt_befor'"),
    ],
)
def test_an_option_that_cannot_be_is_refused_and_nothing_changes(
    options: dict[str, Any], error: type[GraphstalkError], text: str
) -> None:
    finished().refuses({"log": ["x"]}, error, text, **options)


def test_the_output_may_be_one_key_or_several() -> None:
    class Two(TypedDict, total=False):
        a: int
        b: int

    builder = StateGraph(Two).add_node("n", lambda state: {"b": 2}).add_edge(START, "n")
    graph = builder.compile()
    assert graph.invoke({"a": 1}, output_keys="b") == 2
    assert graph.invoke({"a": 1}, output_keys=["b"]) == {"b": 2}


def test_the_second_version_returns_value_and_questions_apart() -> None:
    bench = Bench()
    bench.acts["work"] = lambda: interrupt("work?")
    output = bench.call({"log": ["in"]}, version="v2")
    assert isinstance(output, GraphOutput)
    assert (output.value, [i.value for i in output.interrupts]) == (
        {"log": ["in", "side"]},
        ["work?"],
    )
    assert bench.call(Command(resume="w"), version="v2") == GraphOutput(
        {"log": ["in", "side", "w", "end"]}, ()
    )


def test_a_graph_may_have_a_config_for_all_its_calls() -> None:
    bench = finished()
    graph = bench.graph.with_config({"configurable": {"thread_id": "t"}}, recursion_limit=1)
    with pytest.raises(GraphRecursionError):
        graph.invoke({"log": ["x"]})
    with pytest.raises(ConfigError, match="say which one"):
        bench.graph.invoke({"log": ["x"]})


# ---- keys that the state does not have --------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [
        {"seen": ["a"], "other": 1},
        Command(update={"seen": ["a"], "other": 1}),
        Command(update=[("seen", ["a"]), ("other", 1)]),
    ],
    ids=["dict", "command", "pairs"],
)
def test_a_graph_may_drop_keys_that_its_state_does_not_have(result: Any) -> None:
    def graph(**options: Any) -> Any:
        builder = StateGraph(Counted, **options).add_node("a", lambda state: result)
        return builder.add_edge(START, "a").compile(MemoryCheckpointer())

    lenient = graph(unknown_keys="ignore")
    assert lenient.invoke({"seen": ["in"], "another": 1}, "t") == {"seen": ["in", "a"]}
    lenient.update_state("t", {"seen": ["edit"], "third": 1}, as_node="a")
    assert lenient.get_state("t").values == {"seen": ["in", "a", "edit"]}
    with pytest.raises(InvalidUpdateError, match="updates 'other', which is no key of the state"):
        graph().invoke({"seen": ["in"]}, "t")


def test_parts_of_subgraphs_keep_their_keys_where_the_call_shows_one() -> None:
    class State(TypedDict, total=False):
        log: Annotated[list[str], operator.add]

    inner = StateGraph(State).add_node("deep", lambda _: {"log": ["deep"]})
    outer = StateGraph(State).add_node("sub", inner.add_edge(START, "deep").compile())
    graph = outer.add_edge(START, "sub").compile()
    parts = graph.stream(
        {"log": []}, subgraphs=True, output_keys="log", stream_mode=["updates", "values"]
    )
    seen = [(len(space), mode, data) for space, mode, data in parts]
    assert (1, "updates", {"deep": {"log": ["deep"]}}) in seen
    assert (1, "values", {"log": ["deep"]}) in seen
    assert (0, "updates", {"sub": ["deep"]}) in seen
    assert seen[-1] == (0, "values", ["deep"])


def test_a_lasting_subgraph_begins_anew_where_nothing_is_kept() -> None:
    class State(TypedDict, total=False):
        log: Annotated[list[int], operator.add]

    inner = StateGraph(State).add_node("count", lambda state: {"log": [len(state["log"])]})
    lasting = inner.add_edge(START, "count").compile(checkpointer=True)
    outer = StateGraph(State).add_node("sub", lasting).add_edge(START, "sub")
    outer.add_conditional_edges("sub", lambda s: "sub" if len(s["log"]) < 3 else "__end__")
    assert outer.compile().invoke({"log": []}) == {"log": [0, 0, 1]}
    assert outer.compile(MemoryCheckpointer()).invoke({"log": []}, "t") == {"log": [0, 0, 0, 2]}


def test_a_join_is_shown_by_the_name_of_its_channel_in_langgraph() -> None:
    class State(TypedDict, total=False):
        log: Annotated[list[str], operator.add]

    seen: list[Any] = []

    def end(state: State, config: Any) -> None:
        seen.append(config["metadata"]["langgraph_triggers"])

    builder = StateGraph(State).add_node("a", lambda _: None).add_node("b", lambda _: None)
    builder.add_node("end", end).add_edge(["a", "b"], "end")
    graph = builder.add_edge(START, "a").add_edge(START, "b").compile()
    parts = list(graph.stream({"log": []}, stream_mode="tasks"))
    (part,) = (part for part in parts if part["name"] == "end" and "triggers" in part)
    assert part["triggers"] == ("branch:to:end", "join:a+b:end")  # All that can trigger it.
    assert seen == [("join:a+b:end",)]
