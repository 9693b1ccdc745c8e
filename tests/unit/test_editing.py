"""What an edit changes, keeps, and shows in history."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import (
    END,
    START,
    Command,
    MemoryCheckpointer,
    Send,
    StateGraph,
    StateUpdate,
    interrupt,
)
from orchestrator.errors import InvalidUpdateError


class State(TypedDict, total=False):
    x: Annotated[list[Any], operator.add]


def ask(state: State) -> State:
    return {"x": [interrupt("sure?")]}


def says(name: str) -> Any:
    return lambda state: {"x": [name]}


def led(result: Any, *more: tuple[str, str], router: Any = None) -> Any:
    """A graph whose node `a` returns `result`, which leads to `ask`, and is at rest there."""
    builder = StateGraph(State).add_node("a", lambda state: result).add_node("ask", ask)
    builder.add_node("other", says("other")).add_edge(START, "a")
    for start, end in more:
        builder.add_edge(start, end)
    if router:
        builder.add_conditional_edges("a", router, ["ask", "other"])
    graph = builder.compile(MemoryCheckpointer())
    graph.invoke({"x": []}, "t")
    return graph


def facts(graph: Any, count: int) -> list[tuple[Any, ...]]:
    """The latest snapshots: source, step, next, and what their steps wrote."""
    return [
        (s.metadata["source"], s.metadata["step"], s.next, [t.result for t in s.tasks])
        for s in list(graph.get_state_history("t"))[:count]
    ]


# ---- the way that a command had chosen ----------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [Command(goto="ask", update={"x": ["a"]}), [{"x": ["a"]}, Command(goto=["ask"])]],
)
@pytest.mark.parametrize("more", [(), (("a", "other"),)])
def test_an_edit_that_names_no_node_keeps_where_a_command_had_led(
    result: Any, more: tuple[Any, ...]
) -> None:
    graph = led(result, *more)
    for value in ("edit", "again"):
        graph.update_state("t", {"x": [value]})
    assert graph.get_state("t").next == (("ask", "other") if more else ("ask",))
    assert graph.invoke(None, "t")["__interrupt__"][0].value == "sure?"
    log = graph.invoke(Command(resume="yes"), "t")["x"]
    assert sorted(log) == sorted(["a", "edit", "again", "yes", *["other"] * len(more)])


def test_an_edit_drops_what_a_command_had_sent_and_keeps_where_it_led_beside() -> None:
    graph = led(Command(goto=[Send("ask", {"x": [1]}), "other"]))
    graph.update_state("t", {"x": ["edit"]})
    assert graph.get_state("t").next == ("other",)
    assert graph.invoke(None, "t")["x"] == ["edit", "other"]


def test_an_edit_keeps_where_a_caller_had_led_the_thread() -> None:
    graph = led({"x": ["a"]})
    graph.invoke(Command(goto="ask"), "t")
    for value in ("edit", "again"):
        graph.update_state("t", {"x": [value]})
        assert graph.get_state("t").next == ("ask",)
    graph.invoke(None, "t")
    assert graph.invoke(Command(resume="yes"), "t")["x"] == ["a", "edit", "again", "yes"]


def test_an_edit_that_leads_elsewhere_or_names_its_node_plans_anew() -> None:
    graph = led(Command(goto="ask"))
    graph.update_state("t", Command(goto="other"))
    assert graph.get_state("t").next == ("other",)
    graph = led(Command(goto="ask"))
    graph.update_state("t", {"x": []}, as_node="a")
    assert graph.get_state("t").next == ()


def test_a_router_chooses_anew_from_the_edited_state() -> None:
    graph = led({"x": ["a"]}, router=lambda s: "other" if "edit" in s["x"] else "ask")
    assert graph.get_state("t").next == ("ask",)
    graph.update_state("t", {"x": ["edit"]})
    assert graph.get_state("t").next == ("other",)


# ---- inputs by hand -----------------------------------------------------------------------


def row() -> Any:
    builder = StateGraph(State).add_node("a", says("a")).add_node("b", says("b"))
    return builder.add_edge(START, "a").add_edge("a", "b").compile(MemoryCheckpointer())


def test_a_history_can_be_made_again_step_by_step() -> None:
    ran, made = row(), row()
    ran.invoke({"x": ["in"]}, "t")
    made.bulk_update_state(
        "t",
        [
            [StateUpdate({"x": ["in"]}, "__input__")],
            [StateUpdate({"x": ["in"]}, START)],
            [StateUpdate({"x": ["a"]}, "a")],
            [StateUpdate({"x": ["b"]}, "b")],
        ],
    )
    same = [(s.values, s.next, s.metadata["step"]) for s in ran.get_state_history("t")]
    assert [(s.values, s.next, s.metadata["step"]) for s in made.get_state_history("t")] == same
    assert [result for *_, result in facts(made, 9)] == [result for *_, result in facts(ran, 9)]
    assert [source for source, *_ in facts(made, 9)] == ["update"] * 3 + ["input"]


def test_an_input_by_hand_waits_at_start() -> None:
    graph = row()
    graph.update_state("t", {"x": ["in"]}, as_node="__input__")
    assert (graph.get_state("t").next, graph.get_state("t").values) == ((START,), {"x": []})
    assert graph.invoke(None, "t") == {"x": ["in", "a", "b"]}
    graph.update_state("t", {"x": ["more"]}, as_node="__input__")
    assert facts(graph, 1) == [("input", 3, (START,), [None])]
    assert graph.invoke(None, "t")["x"][3:] == ["more", "a", "b"]


@pytest.mark.parametrize("value", [None, {"y": 1}, 7])
def test_what_is_no_input_is_refused_as_one(value: Any) -> None:
    graph = row()
    with pytest.raises(InvalidUpdateError, match="input"):
        graph.update_state("t", value, as_node="__input__")
    assert list(graph.get_state_history("t")) == []


# ---- in the place of steps ------------------------------------------------------------------


def test_history_shows_an_edit_as_the_result_of_the_step_it_stands_in_for() -> None:
    graph = led({"x": ["a"]}, ("a", "ask"))
    question = graph.get_state("t").interrupts
    graph.update_state("t", {"x": ["by hand"]}, as_node="ask")
    assert facts(graph, 2) == [("update", 2, (), []), ("loop", 1, ("ask",), [{"x": ["by hand"]}])]
    (step,) = list(graph.get_state_history("t"))[1].tasks
    assert step.interrupts == question
    assert graph.invoke(None, "t") == {"x": ["a", "by hand"]}


def test_an_edit_in_the_place_of_a_step_that_failed_keeps_how_it_failed() -> None:
    def fail(state: State) -> State:
        raise ValueError("no")

    graph = StateGraph(State).add_node("a", fail).add_edge(START, "a").compile(MemoryCheckpointer())
    with pytest.raises(ValueError, match="no"):
        graph.invoke({}, "t")
    graph.update_state("t", {"x": ["by hand"]}, as_node="a")
    (step,) = list(graph.get_state_history("t"))[1].tasks
    assert (step.error.message, step.result) == ("no", {"x": ["by hand"]})


def test_what_completed_keeps_its_result_whatever_is_edited() -> None:
    graph = row()
    graph.invoke({"x": ["in"]}, "t")
    before = next(s for s in graph.get_state_history("t") if s.next == ("a",))
    graph.update_state(before.config, {"x": ["by hand"]}, as_node="a")
    assert graph.get_state(before.config).tasks == before.tasks
    assert facts(graph, 1) == [("update", 1, ("b",), [None])]


def test_edits_stand_in_for_steps_of_one_node_in_their_order() -> None:
    builder = StateGraph(State).add_node("one", says("one")).add_edge("one", END)
    builder.add_conditional_edges(START, lambda state: [Send("one", n) for n in range(2)])
    graph = builder.compile(MemoryCheckpointer(), interrupt_before=["one"])
    graph.invoke({}, "t")
    graph.bulk_update_state("t", [[StateUpdate({"x": [n]}, "one") for n in range(3)]])
    assert facts(graph, 2)[1][3] == [{"x": [0]}, {"x": [1]}]
    assert graph.get_state("t").values == {"x": [0, 1, 2]}


def test_a_copy_with_updates_is_a_copy_and_what_follows_it() -> None:
    graph = row()
    graph.invoke({"x": ["in"]}, "t")
    first = list(graph.get_state_history("t"))[-1]
    graph.update_state(first.config, [({"x": ["by hand"]}, START)], as_node="__copy__")
    assert facts(graph, 2) == [
        ("update", 1, ("a",), [None]),
        ("fork", 0, (START,), [{"x": ["by hand"]}]),
    ]
    assert list(graph.get_state_history("t"))[1].parent_config is None
    assert graph.invoke(None, "t") == {"x": ["by hand", "a", "b"]}


@pytest.mark.parametrize("value", [7, [7], [({"x": []}, "gone")]])
def test_a_copy_with_what_are_no_updates_is_refused_whole(value: Any) -> None:
    graph = row()
    graph.invoke({"x": ["in"]}, "t")
    before = list(graph.get_state_history("t"))
    with pytest.raises(InvalidUpdateError, match=r"__copy__|'gone'"):
        graph.update_state(before[-1].config, value, as_node="__copy__")
    assert list(graph.get_state_history("t")) == before


# ---- what had failed ------------------------------------------------------------------------


def test_history_keeps_how_a_step_had_failed_that_was_resumed() -> None:
    tries: list[int] = []

    def work(state: State) -> State:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError(f"the {len(tries)}th time")
        return {"x": ["done"]}

    builder = StateGraph(State).add_node("work", work).add_node("side", says("side"))
    graph = builder.add_edge(START, "work").add_edge(START, "side").compile(MemoryCheckpointer())
    for value in ({}, None):
        with pytest.raises(RuntimeError):
            graph.invoke(value, "t")
    assert graph.invoke(None, "t") == {"x": ["side", "done"]}
    worked, side = list(graph.get_state_history("t"))[1].tasks
    assert (worked.name, worked.error.message, worked.result) == (
        "work",
        "the 2th time",
        {"x": ["done"]},
    )
    assert side.error is None


@pytest.mark.parametrize("value", [{"x": ["new"]}, "edit", "replay"])
def test_history_keeps_what_steps_asked_and_how_they_failed_that_were_left(value: Any) -> None:
    def fail(state: State) -> State:
        raise RuntimeError("no")

    builder = StateGraph(State).add_node("ask", ask).add_node("fail", fail)
    graph = builder.add_edge(START, "ask").add_edge(START, "fail").compile(MemoryCheckpointer())
    with pytest.raises(RuntimeError):
        graph.invoke({"x": []}, "t")
    left = graph.get_state("t")
    question = left.interrupts
    if value == "edit":
        graph.update_state("t", {"x": ["by hand"]}, as_node="fail")
    else:
        with pytest.raises(RuntimeError):
            graph.invoke(None if value == "replay" else value, first(graph, value))
    asked, failed = graph.get_state(left.config).tasks
    assert (asked.name, asked.interrupts, asked.result) == ("ask", question, None)
    assert failed.error.message == "no"
    assert failed.result == ({"x": ["by hand"]} if value == "edit" else None)
    with pytest.raises(RuntimeError):
        graph.invoke(Command(resume="late"), left.config)


def first(graph: Any, value: Any) -> Any:
    """The thread, or its first checkpoint for a replay."""
    return list(graph.get_state_history("t"))[-1].config if value == "replay" else "t"


def test_a_run_that_is_stored_when_it_ends_keeps_what_it_has_left() -> None:
    tries: list[int] = []

    def work(state: State) -> State:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("no")
        return {"x": ["done"]}

    builder = StateGraph(State).add_node("work", work).add_edge(START, "work")
    graph = builder.compile(MemoryCheckpointer())
    with pytest.raises(RuntimeError):
        graph.invoke({"x": []}, "t", durability="exit")
    assert graph.invoke({"x": ["new"]}, "t", durability="exit")["x"] == ["new", "done"]
    assert [[str(t.error) for t in s.tasks] for s in graph.get_state_history("t")] == [
        [],
        ["RuntimeError('no')"],
    ]


def test_an_edit_without_values_leaves_the_step_without_a_result() -> None:
    def ask(state: State) -> State:
        return {"x": [interrupt("who?")]}

    builder = StateGraph(State).add_node("ask", ask).add_node("side", says("side"))
    graph = builder.add_edge(START, "ask").add_edge("ask", "side").compile(MemoryCheckpointer())
    graph.invoke({}, "t")
    graph.update_state("t", None, "ask")
    (asked,) = list(graph.get_state_history("t"))[1].tasks
    assert (asked.result, [i.value for i in asked.interrupts]) == (None, ["who?"])
    assert graph.invoke(None, "t") == {"x": ["side"]}


def test_a_config_that_holds_for_all_calls_holds_for_edits_and_snapshots() -> None:
    builder = StateGraph(State).add_node("side", says("side")).add_edge(START, "side")
    bound = builder.compile(MemoryCheckpointer()).with_config(
        configurable={"thread_id": "t", "tenant": "acme"}, metadata={"n": 1}
    )
    bound.invoke({})
    bound.update_state(None, {"x": ["edit"]})
    assert bound.get_state(None).values == {"x": ["side", "edit"]}
    found = bound.get_state_history({"metadata": {"ignored": True}}, filter={"tenant": "acme"})
    assert [snapshot.metadata["n"] for snapshot in found] == [1, 1, 1, 1]


def test_a_copy_has_no_metadata_of_the_call_that_makes_it() -> None:
    builder = StateGraph(State).add_node("side", says("side")).add_edge(START, "side")
    graph = builder.compile(MemoryCheckpointer())
    graph.invoke({}, {"thread_id": "t", "metadata": {"n": 1}})
    graph.update_state({"thread_id": "t", "metadata": {"m": 2}}, None, "__copy__")
    assert set(graph.get_state("t").metadata) == {"source", "step", "parents"}
