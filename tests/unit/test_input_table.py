"""What a call with this input does on a thread in that state: the semantics' table, row by row.

Whatever is refused changes nothing: the state, what is next, what is asked, and the history are
those of before.
"""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import Command, get_config, interrupt
from orchestrator.client.thread_calls import Calls
from orchestrator.errors import (
    EmptyInputError,
    GraphstalkError,
    InvalidUpdateError,
    NoPendingInterruptError,
    RunCancelledError,
    ThreadBusyError,
    UnknownInterruptError,
    UnserializableValueError,
)
from tests.fixtures.bench import Bench, asking, boom, cancelled, failed, finished, question

# ---- a new input ------------------------------------------------------------------------


def test_an_input_begins_a_run_on_a_new_thread() -> None:
    assert Bench().call({"log": ["in"]})["log"] == ["in", "side", "work", "end"]


def test_an_input_begins_another_run_on_top_of_a_finished_one() -> None:
    log = finished().call({"log": ["more"]})["log"]
    assert log == ["in", "side", "work", "end", "more", "side", "work", "end"]


@pytest.mark.parametrize("bench", [failed, lambda: asking("work"), cancelled])
def test_an_input_begins_anew_where_a_run_was_left(bench: Callable[[], Bench]) -> None:
    made = bench()
    made.acts.clear()
    log = made.call({"log": ["more"]})["log"]
    assert log == ["in", "more", "side", "work", "end"]
    (event,) = [e for e in made.store.events("t") if e.type == "run_accepted"][1:]
    assert event.fields["abandoned"] == b"work"


def test_an_input_begins_anew_where_a_run_stopped() -> None:
    bench = Bench(stops=("end",))
    bench.call({"log": ["in"]})
    assert bench.call({"log": ["more"]})["log"] == ["in", "side", "work", "more", "side", "work"]
    assert bench.call(None)["log"][-1] == "end"


@pytest.mark.parametrize("bench", [Bench, failed, lambda: asking("work"), finished])
@pytest.mark.parametrize(
    ("value", "error", "word"),
    [
        ({"lgo": ["x"]}, InvalidUpdateError, "Did you mean 'log'?"),
        ("text", InvalidUpdateError, "the input is no update of the state"),
        (["log"], InvalidUpdateError, "the input is no update of the state"),
        ({"log": [object()]}, UnserializableValueError, "the input: value['log'][0] is a"),
    ],
)
def test_an_input_that_is_none_is_refused_and_what_was_left_stays(
    bench: Callable[[], Bench], value: Any, error: type[GraphstalkError], word: str
) -> None:
    bench().refuses(value, error, word)


def test_what_of_the_config_cannot_be_stored_serves_this_call_only() -> None:
    bench, seen = Bench(), []

    def look() -> str:
        seen.append(get_config()["configurable"].get("llm"))
        return str(interrupt("work?"))

    bench.acts["work"] = look
    bench.graph.invoke(
        {},
        {"configurable": {"thread_id": "t", "llm": print, "user": 7}, "metadata": {"by": object()}},
    )
    bench.graph.invoke(Command(resume="yes"), "t")
    assert seen == [print, None]
    loaded = bench.store.load("t")
    assert bench.graph.records.decode(loaded.head.config)["configurable"] == {"user": 7}


def test_an_input_that_only_fits_alone_is_refused_too() -> None:
    value: Any = []
    for _ in range(1021):  # With the checkpoint around it, it is nested too deep.
        value = [value]
    Bench().refuses({"log": value}, UnserializableValueError, "nested deeper than 400 levels")


# ---- no input ---------------------------------------------------------------------------


def test_none_runs_what_had_failed_and_only_that() -> None:
    bench = failed()
    assert bench.call(None)["log"] == ["in", "side", "work", "end"]
    assert sorted(bench.ran) == ["end", "side", "work", "work"]


def test_none_asks_an_open_question_again() -> None:
    bench = asking("work")
    before = question(bench, "work")
    assert bench.call(None)["__interrupt__"][0].id == before
    assert bench.ran.count("side") == 1


def test_none_goes_on_where_a_run_stopped_once() -> None:
    bench = Bench(stops=("end",))
    assert bench.call({"log": ["in"]})["log"] == ["in", "side", "work"]
    assert bench.call(None)["log"] == ["in", "side", "work", "end"]


def test_none_goes_on_with_a_cancelled_run() -> None:
    bench = cancelled()
    bench.acts.clear()
    assert bench.call(None)["log"] == ["in", "side", "work", "end"]


def test_none_on_a_finished_run_returns_its_state_and_runs_nothing() -> None:
    bench = finished()
    before = bench.facts()
    assert bench.call(None) == {"log": ["in", "side", "work", "end"]}
    assert (bench.facts(), len(bench.ran)) == (before, 3)


def test_none_on_a_thread_that_does_not_exist_is_refused() -> None:
    Bench().refuses(None, EmptyInputError, "no thread 't'", "give it an input")


# ---- an answer --------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["yes", None, False, 0, {}, [], {"a": 1}, {"f" * 31: 1}])
def test_any_value_answers_the_one_open_question(answer: Any) -> None:
    bench = asking("work")
    assert bench.call(Command(resume=answer))["log"] == ["in", "side", answer, "end"]


def test_answers_by_id_each_go_to_their_own_question() -> None:
    bench = asking("work", "side")
    ids = {question(bench, "work"): "w", question(bench, "side"): "s"}
    assert bench.call(Command(resume=ids))["log"] == ["in", "s", "w", "end"]


def test_one_of_two_questions_may_be_answered_first() -> None:
    bench = asking("work", "side")
    first = bench.call(Command(resume={question(bench, "side"): "s"}))
    assert first["log"] == ["in", "s"]
    assert [i.value for i in first["__interrupt__"]] == ["work?"]
    assert bench.call(Command(resume="w"))["log"] == ["in", "s", "w", "end"]


def test_an_answer_keeps_its_question_when_the_next_one_fails() -> None:
    bench = asking("work")
    bench.acts["work"] = lambda: (interrupt("work?"), boom())
    with pytest.raises(ValueError, match="boom"):
        bench.call(Command(resume="yes"))
    bench.acts["work"] = lambda: interrupt("work?")
    assert bench.call(None)["log"] == ["in", "side", "yes", "end"]


def test_an_answer_to_the_first_question_is_not_one_to_the_second() -> None:
    bench = asking("work")
    bench.acts["work"] = lambda: [interrupt("work?"), interrupt("sure?")]
    assert bench.call(Command(resume="yes"))["__interrupt__"][0].value == "sure?"
    assert bench.call(None)["__interrupt__"][0].value == "sure?"
    assert bench.call(Command(resume="no"))["log"] == ["in", "side", ["yes", "no"], "end"]


def test_an_answer_may_be_given_to_one_question_by_its_name() -> None:
    bench = asking("work", "side")
    calls = Calls(bench.store, bench.graph.records)
    answered = question(bench, "side")
    (ready,) = calls.answer("t", {"f" * 32: "taken as it is"}, to=answered)
    assert ready.node == "side"
    with pytest.raises(UnknownInterruptError, match="no open interrupt"):
        calls.answer("t", "again", to=answered)


def test_several_questions_and_no_name_are_refused_with_the_list() -> None:
    bench = asking("work", "side")
    ids = [question(bench, name) for name in ("work", "side")]
    bench.refuses(Command(resume="yes"), UnknownInterruptError, "2 questions", *ids, "(work)")


@pytest.mark.parametrize("unknown", ["f" * 32, "0" * 32])
def test_an_unknown_question_is_refused_and_no_answer_stored(unknown: str) -> None:
    bench = asking("work", "side")
    known = question(bench, "work")
    answers = {known: "w", unknown: "x"}
    bench.refuses(Command(resume=answers), UnknownInterruptError, unknown, "Open:", known)
    assert question(bench, "work") == known


@pytest.mark.parametrize("bench", [Bench, failed, finished, cancelled])
def test_an_answer_where_nothing_is_asked_is_refused(bench: Callable[[], Bench]) -> None:
    bench().refuses(Command(resume="yes"), NoPendingInterruptError, "'t'", "asks nothing")


def test_a_second_answer_is_refused() -> None:
    bench = asking("work")
    bench.call(Command(resume="yes"))
    bench.refuses(Command(resume="no"), NoPendingInterruptError, "asks nothing")


def test_an_answer_that_cannot_be_stored_is_refused_and_the_question_stays() -> None:
    bench = asking("work")
    bench.refuses(Command(resume=[object()]), UnserializableValueError, "value[0]")
    assert bench.call(Command(resume="yes"))["log"][-1] == "end"


@pytest.mark.parametrize(
    ("command", "error", "word"),
    [
        (Command(), EmptyInputError, "the Command is empty"),
        (Command(graph=Command.PARENT, resume="yes"), InvalidUpdateError, "no graph around"),
        (Command(graph="other", goto="work"), InvalidUpdateError, "leave out graph="),
    ],
)
def test_a_command_that_says_nothing_for_this_graph_is_refused(
    command: Command, error: type[GraphstalkError], word: str
) -> None:
    asking("work").refuses(command, error, word)


# ---- any input --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{"log": ["x"]}, None])
def test_a_busy_thread_takes_no_second_run(value: Any) -> None:
    bench = Bench()
    caught: list[BaseException] = []

    def intrude() -> str:
        try:
            bench.call(value)
        except ThreadBusyError as error:
            caught.append(error)
        return "work"

    bench.acts["work"] = intrude
    assert bench.call({"log": ["in"]})["log"] == ["in", "side", "work", "end"]
    assert "'t' is busy: its run" in str(caught[0])


def test_a_cancelled_run_is_told_as_such() -> None:
    bench = Bench()

    def cancel() -> str:
        Calls(bench.store, bench.graph.records).cancel("t")
        return "work"

    bench.acts["work"] = cancel
    with pytest.raises(RunCancelledError, match="of thread 't' was cancelled"):
        bench.call({"log": ["in"]})
    assert "work" not in bench.graph.get_state("t").values["log"]


def test_a_run_that_has_ended_cannot_be_cancelled() -> None:
    bench = finished()
    before = bench.facts()
    assert not Calls(bench.store, bench.graph.records).cancel("t")
    assert bench.facts() == before


@pytest.mark.parametrize("value", [{"log": ["x"]}, None, Command(resume="yes")])
def test_the_latest_checkpoint_may_be_named_to_go_on_from(value: Any) -> None:
    bench = asking("work")
    now = bench.graph.get_state("t")
    bench.acts.clear()
    assert bench.graph.invoke(value, now.config)["log"][-1] == "end"
    assert "fork" not in {one.metadata["source"] for one in bench.graph.get_state_history("t")}
