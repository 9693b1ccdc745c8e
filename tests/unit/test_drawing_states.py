"""A thread drawn with its state: which nodes ran in its latest run, run, failed, come next."""

import threading
from typing import Any, TypedDict

import pytest

from orchestrator import END, START, Command, Send, StateGraph, entrypoint, interrupt
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.client import node_states


class State(TypedDict, total=False):
    key: str
    fail: bool


def act(state: State) -> State:
    return {}


def ask(state: State) -> State:
    interrupt("go on?")
    return {}


def chain(*names: str, checkpointer: Any = None, **actions: Any) -> Any:
    """A graph of nodes one after the other; `actions` are those that do something."""
    graph = StateGraph(State)
    for before, name in zip((START, *names), names, strict=False):
        graph.add_node(name, actions.get(name, act)).add_edge(before, name)
    return graph.compile(checkpointer=checkpointer)


def kept(*names: str, **actions: Any) -> Any:
    return chain(*names, checkpointer=MemoryCheckpointer(), **actions)


THREAD = {"configurable": {"thread_id": "t"}}


def test_a_finished_run_has_done_all_that_it_went_through():
    graph = StateGraph(State)
    for name in "abc":
        graph.add_node(name, act)
    graph.add_edge(START, "a").add_conditional_edges("a", lambda _: "b", ["b", "c"])
    graph = graph.compile(checkpointer=MemoryCheckpointer())
    graph.invoke({}, THREAD)
    states = graph.get_graph(THREAD).states
    assert states == {START: "done", "a": "done", "b": "done", END: "done"}


@pytest.mark.parametrize("config", [THREAD, {"thread_id": "t"}, "t"])
def test_every_form_of_a_config_names_the_thread(config):
    graph = kept("a", "b", "c", b=ask)
    graph.invoke({}, THREAD)
    assert graph.get_graph(config).states == {START: "done", "a": "done", "b": "paused"}


def test_a_question_pauses_its_node_and_an_answer_lets_the_run_go_on():
    graph = kept("a", "b", b=ask)
    graph.invoke({}, "t")
    assert graph.get_graph("t").states["b"] == "paused"
    graph.invoke(Command(resume=1), "t")
    assert graph.get_graph("t").states == dict.fromkeys([START, "a", "b", END], "done")


def test_a_node_before_which_a_run_stops_is_paused():
    graph = StateGraph(State).add_node("a", act).add_node("b", act)
    graph.add_edge(START, "a").add_edge("a", "b")
    graph = graph.compile(checkpointer=MemoryCheckpointer(), interrupt_before=["b"])
    graph.invoke({}, "t")
    assert graph.get_graph("t").states == {START: "done", "a": "done", "b": "paused"}


def test_a_node_that_pauses_the_run_itself_is_paused():
    def pause(state):
        raise InterruptedError("later")

    graph = kept("a", a=pause)
    with pytest.raises(Exception, match="later"):
        graph.invoke({}, "t")
    assert graph.get_graph("t").states["a"] == "paused"


def test_a_failed_node_is_failed_and_its_completed_neighbour_is_done():
    def fail(state):
        raise ValueError("broken")

    graph = StateGraph(State)
    for name, action in {"a": act, "b": fail, "c": act}.items():
        graph.add_node(name, action)
    graph.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "c")
    graph = graph.compile(checkpointer=MemoryCheckpointer())
    with pytest.raises(ValueError, match="broken"):
        graph.invoke({}, "t")
    assert graph.get_graph("t").states == {START: "done", "a": "done", "b": "failed"}


def test_what_two_nodes_wrote_that_does_not_fit_has_failed():
    graph = StateGraph(State)
    for name in "ab":
        graph.add_node(name, lambda _: {"key": "x"}).add_edge(START, name)
    graph = graph.compile(checkpointer=MemoryCheckpointer())
    with pytest.raises(Exception, match="key"):
        graph.invoke({}, "t")
    assert graph.get_graph("t").states == {START: "done", "a": "failed", "b": "failed"}


def test_a_node_that_runs_is_running():
    begun, go_on = threading.Event(), threading.Event()

    def wait(state):
        begun.set()
        assert go_on.wait(30)
        return {}

    graph = kept("a", "b", a=wait)
    runner = threading.Thread(target=graph.invoke, args=({}, "t"))
    runner.start()
    try:
        assert begun.wait(30)
        assert graph.get_graph("t").states == {START: "done", "a": "running"}
    finally:
        go_on.set()
        runner.join()


def test_only_the_latest_run_is_shown():
    graph = StateGraph(State)
    for name in "abc":
        graph.add_node(name, act)
    graph.add_conditional_edges(START, lambda s: s["key"], ["a", "b"]).add_edge("b", "c")
    graph = graph.compile(checkpointer=MemoryCheckpointer(), interrupt_before=["c"])
    graph.invoke({"key": "a"}, "t")
    graph.invoke({"key": "b"}, "t")
    assert graph.get_graph("t").states == {START: "done", "b": "done", "c": "paused"}


def test_a_checkpoint_shows_what_had_run_then_and_came_next():
    graph = kept("a", "b", "c")
    graph.invoke({}, "t")
    [at] = [s.config for s in graph.get_state_history("t") if s.next == ("b",)]
    assert graph.get_graph(at).states == {START: "done", "a": "done", "b": "next"}


def test_a_state_changed_by_hand_counts_as_run_and_what_was_given_up_does_not():
    graph = kept("a", "b", "c", b=ask)
    graph.invoke({}, "t")
    graph.update_state("t", {"key": "x"}, as_node="b")
    assert graph.get_graph("t").states == {
        **dict.fromkeys([START, "a", "b"], "done"),
        "c": "paused",
    }
    graph.update_state("t", {"key": "x"}, as_node=START)
    assert graph.get_graph("t").states["a"] == "paused"


def test_of_many_steps_of_a_node_the_one_that_needs_somebody_is_shown():
    def one(state):
        if state.get("fail"):
            raise ValueError("broken")
        return {}

    graph = StateGraph(State).add_node("one", one)
    graph.add_conditional_edges(
        START, lambda _: [Send("one", {"fail": n == 1}) for n in range(3)], ["one"]
    )
    graph = graph.compile(checkpointer=MemoryCheckpointer())
    with pytest.raises(ValueError, match="broken"):
        graph.invoke({}, "t")
    assert graph.get_graph("t").states == {START: "done", "one": "failed"}


def test_a_loop_is_looked_at_no_further_than_to_know_each_node(monkeypatch):
    graph = StateGraph(State)
    for name in "ab":
        graph.add_node(name, act)
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("b", "a")
    graph = graph.compile(checkpointer=MemoryCheckpointer())
    with pytest.raises(RecursionError):
        graph.invoke({}, {"thread_id": "t", "recursion_limit": 40})
    assert graph.get_graph("t").states == {START: "done", "a": "next", "b": "done"}
    monkeypatch.setattr(node_states, "_SUPERSTEPS_MAX", 10)
    assert graph.get_graph("t").states == {"a": "next", "b": "done"}


# ---- subgraphs ----------------------------------------------------------------------------


def test_a_subgraph_that_is_opened_shows_how_far_it_is():
    graph = kept("a", "sub", "z", sub=chain("x", "low", "y", low=chain("p", "q", q=ask)))
    graph.invoke({}, "t")
    assert graph.get_graph("t").states == {START: "done", "a": "done", "sub": "paused"}
    outer = {START: "done", "a": "done", "sub": "paused", "sub:x": "done", "sub:low": "paused"}
    assert graph.get_graph("t", xray=1).states == outer
    inner = {"sub:low:p": "done", "sub:low:q": "paused"}
    assert graph.get_graph("t", xray=True).states == outer | inner
    graph.invoke(Command(resume=1), "t")
    drawing = graph.get_graph("t", xray=True)
    assert drawing.states == dict.fromkeys([*drawing.nodes, "sub", "sub:low"], "done")


def test_a_subgraph_that_keeps_its_state_shows_its_latest_run():
    inner = chain("x", "y", y=ask, checkpointer=True)
    graph = kept("sub", sub=inner)
    graph.invoke({}, "t")
    states = graph.get_graph("t", xray=True).states
    assert states == {START: "done", "sub": "paused", "sub:x": "done", "sub:y": "paused"}


def test_a_subgraph_that_keeps_nothing_is_shown_as_a_whole():
    graph = kept("sub", sub=chain("x", checkpointer=False))
    graph.invoke({}, "t")
    assert graph.get_graph("t", xray=True).states == dict.fromkeys([START, "sub", END], "done")


def test_the_namespace_of_a_subgraph_draws_that_subgraph():
    graph = kept("a", "sub", sub=chain("x", "y", y=ask))
    graph.invoke({}, "t")
    [step] = graph.get_state("t").tasks
    drawing = graph.get_graph(step.state)
    assert list(drawing.nodes) == [START, "x", "y", END]
    assert drawing.states == {START: "done", "x": "done", "y": "paused"}


def test_an_entrypoint_is_shown_under_its_name():
    @entrypoint(checkpointer=MemoryCheckpointer())
    def work(value: int) -> int:
        return interrupt(value)

    work.invoke(1, "t")
    assert work.get_graph("t").states == {"work": "paused"}
    work.invoke(Command(resume=1), "t")
    assert work.get_graph("t").states == {"work": "done", END: "done"}


# ---- nothing to show ----------------------------------------------------------------------


def test_a_thread_that_does_not_exist_and_a_graph_without_threads_are_drawn_plain():
    assert kept("a").get_graph("nobody").states == {}
    assert chain("a").get_graph(THREAD).states == {}
    assert kept("a").get_graph({"recursion_limit": 3}).states == {}
    assert chain("a", checkpointer=False).get_graph("t").states == {}


def test_pictures_of_a_thread_show_its_states_unless_others_are_asked_for():
    graph = kept("a", "b", b=ask)
    graph.invoke({}, "t")
    drawing = graph.get_graph("t")
    assert "| [=] b |" in drawing.draw_ascii()
    assert drawing.draw_ascii().endswith("\n[+] done  [=] paused\n")
    assert 'b("‖ b"):::paused' in drawing.draw_mermaid()
    assert 'class="gs-node gs-paused" data-node="b"' in drawing.draw_svg()
    assert drawing.draw_svg(states={}) == graph.get_graph().draw_svg()
    assert drawing.draw_svg(states={}) != drawing.draw_svg()
