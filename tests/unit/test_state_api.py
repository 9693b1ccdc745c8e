"""Looking at a thread, its history, and changing it by hand."""

import datetime as dt
import operator
from dataclasses import replace
from typing import Annotated, TypedDict

import pytest

from orchestrator import END, START, Command, MemoryCheckpointer, StateGraph, interrupt
from orchestrator.errors import (
    InvalidUpdateError,
    NoPendingInterruptError,
    UnknownInterruptError,
    UnserializableValueError,
)
from orchestrator.model.checkpoint import Interrupt


class State(TypedDict, total=False):
    x: int
    log: Annotated[list, operator.add]


def says(name):
    return lambda state: {"log": [name]}


def chain(*, fail=(), ran=None, **options):
    """START → a → b → c; the nodes named in `fail` fail while they are in it."""

    def node(name):
        def run(state):
            if ran is not None:
                ran.append(name)
            if name in fail:
                raise ConnectionError(name)
            return {"log": [name]}

        return run

    builder = StateGraph(State).add_sequence([(name, node(name)) for name in "abc"])
    return builder.set_entry_point("a").compile(MemoryCheckpointer(), **options)


def fan(**nodes):
    """START → a, b side by side."""
    builder = StateGraph(State)
    for name, action in nodes.items():
        builder.add_node(name, action).add_edge(START, name)
    return builder.compile(MemoryCheckpointer())


def test_a_thread_that_is_not_there_has_an_empty_snapshot():
    snapshot = chain().get_state("t")
    assert (snapshot.values, snapshot.next, snapshot.tasks) == ({}, (), ())
    assert snapshot.config == {"configurable": {"thread_id": "t"}}
    assert list(chain().get_state_history("t")) == []


def test_all_forms_of_a_config_show_the_same():
    graph = chain()
    graph.invoke({"x": 1}, "t")
    long = {"configurable": {"thread_id": "t"}}
    assert graph.get_state("t") == graph.get_state({"thread_id": "t"}) == graph.get_state(long)


def test_history_is_newest_first_each_pointing_to_its_parent():
    graph = chain()
    graph.invoke({"x": 1}, {"thread_id": "t", "metadata": {"who": "me"}})
    history = list(graph.get_state_history("t"))
    assert [one.next for one in history] == [(), ("c",), ("b",), ("a",), (START,)]
    assert [one.metadata["step"] for one in history] == [3, 2, 1, 0, -1]
    assert [one.metadata["source"] for one in history] == ["loop"] * 4 + ["input"]
    assert all(one.metadata["who"] == "me" for one in history)
    parents = [one.parent_config for one in history]
    assert parents == [one.config for one in history[1:]] + [None]
    assert dt.datetime.fromisoformat(history[0].created_at).tzinfo is not None


def test_every_snapshot_can_be_loaded_by_its_config():
    graph = chain()
    graph.invoke({"x": 1}, "t")
    for snapshot in graph.get_state_history("t"):
        assert graph.get_state(snapshot.config).values == snapshot.values


def test_history_may_be_limited_and_begin_before_a_checkpoint():
    graph = chain()
    graph.invoke({"x": 1}, "t")
    full = list(graph.get_state_history("t"))
    assert list(graph.get_state_history("t", limit=2)) == full[:2]
    assert list(graph.get_state_history("t", limit=0)) == []
    assert list(graph.get_state_history("t", before=full[1].config)) == full[2:]


def test_history_longer_than_a_page_is_whole():
    builder = StateGraph(State).add_node("a", lambda state: {"x": state["x"] + 1})
    builder.set_entry_point("a").add_conditional_edges("a", lambda s: "a" if s["x"] < 120 else END)
    graph = builder.compile(MemoryCheckpointer())
    graph.invoke({"x": 0}, "t")
    assert len(list(graph.get_state_history("t"))) == 122
    assert len(list(graph.get_state_history("t", limit=110))) == 110


def test_old_snapshots_show_what_their_steps_wrote():
    graph = chain()
    graph.invoke({"x": 1}, "t")
    (task,) = list(graph.get_state_history("t"))[2].tasks
    assert (task.name, task.path) == ("b", ("__pregel_pull", "b"))
    assert task.result == {"log": ["b"]}


# ---- failures and questions -----------------------------------------------------------------


def test_a_failed_step_shows_its_error_and_stays_next():
    graph = chain(fail=["b"])
    with pytest.raises(ConnectionError):
        graph.invoke({"x": 1}, "t")
    snapshot = graph.get_state("t")
    assert (snapshot.values, snapshot.next) == ({"x": 1, "log": ["a"]}, ("b",))
    (task,) = snapshot.tasks
    assert (task.error.type, task.error.message, task.error.node) == ("ConnectionError", "b", "b")
    assert "raise ConnectionError(name)" in task.error.traceback


def test_completed_siblings_of_a_failed_step_show_their_writes_and_are_not_repeated():
    ran, fail = [], [True]

    def flaky(state):
        if fail:
            raise ConnectionError
        return {"log": ["b"]}

    graph = fan(a=lambda state: ran.append("a") or {"log": ["a"]}, b=flaky)
    with pytest.raises(ConnectionError):
        graph.invoke({"x": 1}, "t")
    snapshot = graph.get_state("t")
    assert (snapshot.values, snapshot.next) == ({"x": 1, "log": ["a"]}, ("b",))
    fail.clear()
    assert graph.invoke(None, "t") == {"x": 1, "log": ["a", "b"]}
    assert ran == ["a"]


def test_open_questions_are_shown_with_the_step_that_asks():
    graph = fan(a=lambda state: {"log": [interrupt("sure?", key="k")]}, b=says("b"))
    result = graph.invoke({"x": 1}, "t")
    snapshot = graph.get_state("t")
    (question,) = snapshot.interrupts
    assert isinstance(question, Interrupt)
    assert (question.value, question.key) == ("sure?", "k")
    assert result == {"x": 1, "log": ["b"], "__interrupt__": [question]}
    assert [task.interrupts for task in snapshot.tasks] == [(question,), ()]
    graph.invoke(Command(resume={question.id: "yes"}), "t")
    assert graph.get_state("t").interrupts == ()


@pytest.mark.parametrize("answer", [None, {}, False, 0, "", [], {"key": "value"}])
def test_every_value_is_stored_as_an_answer(answer):
    graph = fan(a=lambda state: {"log": [interrupt("?")]})
    graph.invoke({}, "t")
    assert graph.invoke(Command(resume=answer), "t") == {"log": [answer]}


@pytest.mark.parametrize(
    ("when", "stops"),
    [
        ({"interrupt_before": ["b"]}, [("b",)]),
        ({"interrupt_after": ["b"]}, [("c",)]),
        ({"interrupt_before": "*"}, [("a",), ("b",), ("c",)]),
        ({"interrupt_before": ["b"], "interrupt_after": ["b"]}, [("b",), ("c",)]),
    ],
)
def test_a_run_rests_where_it_was_told_to_and_goes_on_with_none(when, stops):
    ran = []
    graph = chain(ran=ran, **when)
    given = {"x": 1}
    for stop in stops:
        graph.invoke(given, "t")
        assert graph.get_state("t").next == stop
        given = None
    assert graph.invoke(None, "t") == {"x": 1, "log": ["a", "b", "c"]}
    assert ran == ["a", "b", "c"]


# ---- editing --------------------------------------------------------------------------------


def test_an_edit_counts_as_the_return_of_the_node_that_ran_last():
    graph = chain(interrupt_before=["b"])
    graph.invoke({"x": 1}, "t")
    config = graph.update_state("t", {"x": 2, "log": ["edit"]})
    snapshot = graph.get_state("t")
    assert (snapshot.values, snapshot.next) == ({"x": 2, "log": ["a", "edit"]}, ("b",))
    assert snapshot.config == config
    assert snapshot.metadata["source"] == "update"
    assert graph.invoke(None, "t")["log"] == ["a", "edit", "b", "c"]


def test_an_edit_as_a_node_leads_where_its_edges_lead():
    ran = []
    graph = chain(fail=["b"], ran=ran)
    with pytest.raises(ConnectionError):
        graph.invoke({"x": 1}, "t")
    graph.update_state("t", {"log": ["b by hand"]}, as_node="b")
    assert graph.get_state("t").next == ("c",)
    assert graph.invoke(None, "t")["log"] == ["a", "b by hand", "c"]
    assert ran == ["a", "b", "c"]


def test_an_edit_as_the_last_node_ends_the_run():
    graph = chain(fail=["b"])
    with pytest.raises(ConnectionError):
        graph.invoke({"x": 1}, "t")
    graph.update_state("t", None, as_node="c")
    assert graph.get_state("t").next == ()
    assert graph.invoke(None, "t") == {"x": 1, "log": ["a"]}


def test_an_edit_may_begin_a_thread():
    graph = chain()
    graph.update_state("t", {"x": 5})
    assert graph.get_state("t").next == ("a",)
    assert graph.get_state("t").parent_config is None
    assert graph.invoke(None, "t") == {"x": 5, "log": ["a", "b", "c"]}


def test_an_edit_stands_on_what_was_and_erases_nothing():
    graph = chain()
    graph.invoke({"x": 1}, "t")
    before = list(graph.get_state_history("t"))
    graph.update_state("t", {"x": 9})
    assert list(graph.get_state_history("t"))[1:] == before


# ---- several runs on a thread ---------------------------------------------------------------


def test_a_second_run_begins_on_top_of_the_state():
    graph = chain()
    graph.invoke({"x": 1}, "t")
    assert graph.invoke({"x": 2}, "t") == {"x": 2, "log": ["a", "b", "c"] * 2}


def test_a_new_input_on_a_failed_thread_begins_anew_and_notes_what_was_left():
    fail = ["b"]
    graph = chain(fail=fail)
    with pytest.raises(ConnectionError):
        graph.invoke({"x": 1}, "t")
    fail.clear()
    assert graph.invoke({"x": 2}, "t") == {"x": 2, "log": ["a", "a", "b", "c"]}
    accepted = [e for e in graph.checkpointer.events("t") if e.type == "run_accepted"]
    assert accepted[-1].fields["abandoned"] == b"b"


def test_another_graph_of_the_same_structure_goes_on_with_a_thread():
    fail = ["b"]
    first = chain(fail=fail)
    with pytest.raises(ConnectionError):
        first.invoke({"x": 1}, "t")
    other = StateGraph(State).add_sequence([(name, says(name)) for name in "abc"])
    other = other.set_entry_point("a").compile(first.checkpointer)
    assert other.invoke(None, "t")["log"] == ["a", "b", "c"]


# ---- wrong answers --------------------------------------------------------------------------


def refused(graph, error, call, *texts):
    """Check that the call raises, says these things, and changes nothing."""
    before = graph.get_state("t"), graph.checkpointer.load("t"), graph.checkpointer.events("t")
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) is error
    assert all(text in str(raised.value) for text in texts)
    loaded = replace(graph.checkpointer.load("t"), now_ms=before[1].now_ms)
    assert (graph.get_state("t"), loaded, graph.checkpointer.events("t")) == before
    return raised.value


def asks(name):
    def node(state):
        return {"log": [interrupt(f"{name}?")]}

    return node


def asking(*names):
    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, asks(name)).add_edge(START, name)
    graph = builder.compile(MemoryCheckpointer())
    return graph, [one.id for one in graph.invoke({"x": 1}, "t")["__interrupt__"]]


def test_several_open_questions_and_none_named_lists_them():
    graph, ids = asking("a", "b")
    call = lambda: graph.invoke(Command(resume="yes"), "t")  # noqa: E731 - given to be called
    texts = ["'t' asks 2 questions. When there are multiple", f"{ids[0]} (a)", f"{ids[1]} (b)"]
    error = refused(graph, UnknownInterruptError, call, *texts)
    assert error.code == "UNKNOWN_INTERRUPT"
    result = graph.invoke(Command(resume={ids[1]: "B", ids[0]: "A"}), "t")
    assert result == {"x": 1, "log": ["A", "B"]}


def test_an_unknown_question_stores_none_of_the_answers():
    graph, (first, second) = asking("a", "b")
    answers = {first: "A", "0" * 32: "?"}
    call = lambda: graph.invoke(Command(resume=answers), "t")  # noqa: E731 - given to be called
    refused(graph, UnknownInterruptError, call, f"no open interrupt '{'0' * 32}'", first, second)


def test_a_question_is_answered_once():
    graph, (first, _) = asking("a", "b")
    graph.invoke(Command(resume={first: "A"}), "t")
    call = lambda: graph.invoke(Command(resume={first: "again"}), "t")  # noqa: E731 - as above
    refused(graph, UnknownInterruptError, call, f"no open interrupt {first!r}")
    assert graph.invoke(Command(resume="B"), "t") == {"x": 1, "log": ["A", "B"]}


def test_an_answer_after_the_last_question_is_refused():
    graph, _ = asking("a")
    graph.invoke(Command(resume="A"), "t")
    call = lambda: graph.invoke(Command(resume="again"), "t")  # noqa: E731 - as above
    error = refused(graph, NoPendingInterruptError, call, "asks nothing", "Nothing was stored")
    assert error.code == "NO_PENDING_INTERRUPT"


def test_an_answer_to_a_failed_thread_is_refused():
    graph = chain(fail=["a"])
    with pytest.raises(ConnectionError):
        graph.invoke({"x": 1}, "t")
    call = lambda: graph.invoke(Command(resume=1), "t")  # noqa: E731 - as above
    refused(graph, NoPendingInterruptError, call, "(failed) asks nothing")


def test_an_answer_that_cannot_be_stored_leaves_the_question_open():
    graph, _ = asking("a")
    call = lambda: graph.invoke(Command(resume=[object()]), "t")  # noqa: E731 - as above
    refused(graph, UnserializableValueError, call, "value[0] is a builtins.object")
    assert graph.invoke(Command(resume="fine"), "t")["log"] == ["fine"]


def test_an_update_before_any_node_ran_names_the_ways_to_give_any_key():
    class Input(TypedDict):
        x: int

    builder = StateGraph(State, input_schema=Input).add_node("a", says("a")).add_edge(START, "a")
    graph = builder.compile(MemoryCheckpointer())
    with pytest.raises(InvalidUpdateError) as raised:
        graph.update_state("t", {"log": ["by hand"]})
    for text in ("'log', which is no key of the input", "as_node=…", "invoke(Command(update=…)"):
        assert text in str(raised.value)
    assert graph.get_state("t").values == {}
    graph.update_state("t", {"log": ["by hand"]}, as_node="a")
    assert graph.get_state("t").values["log"] == ["by hand"]
    assert graph.invoke(Command(update={"log": ["first"]}), "other")["log"] == ["first", "a"]


@pytest.mark.parametrize(
    ("supersteps", "text"), [([], "No supersteps provided"), ([[]], "No updates provided")]
)
def test_a_bulk_update_of_nothing_is_a_value_error(supersteps, text):
    with pytest.raises(ValueError, match=text) as raised:
        chain().bulk_update_state("t", supersteps)
    assert raised.value.code == "INVALID_UPDATE"


def test_a_command_begins_a_thread_with_any_key_of_the_state():
    class Input(TypedDict):
        x: int

    class Whole(TypedDict, total=False):
        x: int
        log: Annotated[list, operator.add]

    builder = StateGraph(Whole, input_schema=Input).add_node("a", lambda s: {"log": ["a"]})
    graph = builder.add_edge(START, "a").compile(MemoryCheckpointer())
    assert graph.invoke(Command(update={"log": ["u"]}), "t") == {"log": ["u", "a"]}
    assert graph.invoke(Command(update={"log": ["u"]}, goto="a"), "to") == {"log": ["u", "a"]}
    with pytest.raises(InvalidUpdateError, match="'gol', which is no key"):
        graph.invoke(Command(update={"gol": ["u"]}), "wrong")
    with pytest.raises(InvalidUpdateError, match="no key of the input"):
        graph.invoke({"log": ["u"]}, "plain")
    assert graph.get_state("wrong").values == graph.get_state("plain").values == {}
