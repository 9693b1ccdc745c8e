"""A caller's `Command(update=…, goto=…)`: a change of the state, and where the run goes from it."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import END, START, Command, Send, interrupt
from orchestrator.errors import (
    GraphstalkError,
    InvalidUpdateError,
    NoPendingInterruptError,
    UnknownInterruptError,
    UnserializableValueError,
)
from tests.fixtures.bench import Bench, asking, failed, finished, question

U = {"log": ["U"]}


def stopped() -> Bench:
    bench = Bench(stops=("end",))
    assert bench.call({"log": ["in"]})["log"] == ["in", "side", "work"]
    return bench


# ---- on a thread with nothing left ------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "log"),
    [
        (Command(update=U), ["U", "side", "work", "end"]),
        (Command(goto="other"), ["other", "side", "work", "end"]),
        (Command(update=U, goto="other"), ["U", "other", "side", "work", "end"]),
        (Command(goto=[Send("other", {})]), ["side", "work", "other", "end"]),
    ],
    ids=["update", "goto", "both", "send"],
)
def test_on_a_new_thread_it_is_an_input_that_also_leads_elsewhere(
    command: Command, log: list[str]
) -> None:
    assert Bench().call(command)["log"] == log


@pytest.mark.parametrize(
    ("command", "news"),
    [
        (Command(update=U), ["U"]),
        (Command(goto="other"), ["other"]),
        (Command(update=U, goto="other"), ["U", "other"]),
        (Command(goto=["end", "other", Send("other", {})]), ["end", "other", "other"]),
    ],
    ids=["update", "goto", "both", "several"],
)
def test_on_a_finished_thread_only_what_it_names_runs(command: Command, news: list[str]) -> None:
    bench = finished()
    assert bench.call(command)["log"] == ["in", "side", "work", "end", *news]
    assert bench.graph.get_state("t").next == ()


@pytest.mark.parametrize("bench", [Bench, finished, failed])
def test_its_update_may_write_a_key_twice_as_when_a_node_returns_it(
    bench: Callable[[], Bench],
) -> None:
    log = bench().call(Command(update=[("log", ["x"]), ("log", ["y"])]))["log"]
    assert [name for name in log if name in {"x", "y"}] == ["x", "y"]


def test_what_it_sends_reaches_the_node_as_it_is() -> None:
    bench, seen = finished(), []
    graph = bench.graph.builder.add_node("sees", seen.append).compile(bench.store)
    graph.invoke(Command(goto=Send("sees", {"any": [1, {"thing"}]})), "t")
    assert seen == [{"any": [1, {"thing"}]}]


# ---- on a thread with steps left --------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "log"),
    [
        (Command(update=U), ["in", "U", "side", "work", "end"]),
        (Command(goto="other"), ["in", "side", "other", "work", "end"]),
        (Command(update=U, goto="other"), ["in", "U", "side", "other", "work", "end"]),
        (Command(goto=Send("other", {})), ["in", "side", "work", "other", "end"]),
    ],
    ids=["update", "goto", "both", "send"],
)
def test_on_a_failed_thread_what_had_failed_goes_on_with_it(
    command: Command, log: list[str]
) -> None:
    bench = failed()
    assert bench.call(command)["log"] == log
    assert [bench.ran.count(name) for name in ("side", "work", "end")] == [1, 2, 1]


@pytest.mark.parametrize(
    ("command", "log"),
    [
        (Command(update=U), ["in", "side", "work", "U", "end"]),
        (Command(goto="other"), ["in", "side", "work", "end", "other"]),
    ],
    ids=["update", "goto"],
)
def test_on_a_thread_that_stopped_it_goes_on_past_the_stop(
    command: Command, log: list[str]
) -> None:
    assert stopped().call(command)["log"] == log


def test_an_open_question_is_asked_again_under_its_id() -> None:
    bench = asking("work")
    before = question(bench, "work")
    result = bench.call(Command(update=U, goto="other"))
    assert result["log"] == ["in", "U", "side", "other"]
    assert [i.id for i in result["__interrupt__"]] == [question(bench, "work")] == [before]
    assert bench.call(Command(resume="yes"))["log"] == ["in", "U", "side", "other", "yes", "end"]


def test_a_node_sees_the_change_before_it_runs_again() -> None:
    bench, seen = asking("work"), []
    bench.acts["work"] = lambda: seen.append(bench.graph.get_state("t").values["log"])
    bench.call(Command(update=U))
    assert seen == [["in", "U", "side"]]


def test_an_answer_may_come_with_a_change_and_a_way() -> None:
    bench = asking("work")
    log = bench.call(Command(resume="yes", update=U, goto="other"))["log"]
    assert log == ["in", "U", "side", "other", "yes", "end"]
    bench.refuses(Command(resume="no", update=U), NoPendingInterruptError, "asks nothing")


def test_of_two_questions_the_one_that_is_answered_goes_on_and_the_other_stays_open() -> None:
    bench = asking("work", "side")
    result = bench.call(Command(resume={question(bench, "side"): "s"}, update=U))
    assert result["log"] == ["in", "U", "s"]
    assert [i.value for i in result["__interrupt__"]] == ["work?"]
    assert bench.call(Command(resume="w"))["log"] == ["in", "U", "s", "w", "end"]


def test_answers_of_before_are_kept_when_a_node_asks_on() -> None:
    bench = asking("work")
    bench.acts["work"] = lambda: [interrupt("work?"), interrupt("sure?")]
    assert bench.call(Command(resume=1))["__interrupt__"][0].value == "sure?"
    for _ in range(2):
        assert bench.call(Command(update=U))["__interrupt__"][0].value == "sure?"
    assert bench.call(Command(resume=2))["log"] == ["in", "U", "side", "U", [1, 2], "end"]


def test_what_was_sent_goes_on_with_what_it_was_sent() -> None:
    bench = Bench()
    bench.acts["other"] = lambda: interrupt("other?")
    bench.call(Command(goto=[Send("other", {"n": 1}), Send("end", {})]))
    bench.acts.clear()
    log = bench.call(Command(update=U))["log"]
    assert sorted(log) == ["U", "end", "end", "other", "side", "work"]
    assert [bench.ran.count(name) for name in ("other", "side", "work", "end")] == [2, 1, 1, 2]


# ---- refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bench",
    [Bench, finished, failed, lambda: asking("work"), stopped],
    ids=["new", "finished", "failed", "asking", "stopped"],
)
@pytest.mark.parametrize(
    ("command", "error", "word"),
    [
        (Command(goto="nowhere"), InvalidUpdateError, "'nowhere', which is no node"),
        (Command(goto=Send("nowhere", 1)), InvalidUpdateError, "'nowhere', which is no node"),
        (Command(goto=START), InvalidUpdateError, "'__start__', which is no node"),
        (Command(goto=[5]), InvalidUpdateError, "5, which is no node"),
        (Command(update={"lgo": ["x"]}), InvalidUpdateError, "Did you mean 'log'?"),
        (Command(update=5), InvalidUpdateError, "no update of the state"),
        (Command(update={"log": [object()]}), UnserializableValueError, "value['log'][0]"),
        (Command(goto=Send("other", object())), UnserializableValueError, "builtins.object"),
    ],
    ids=["node", "send", "start", "number", "key", "no update", "value", "argument"],
)
def test_a_command_that_cannot_be_is_refused_and_what_was_left_stays(
    bench: Callable[[], Bench], command: Command, error: type[GraphstalkError], word: str
) -> None:
    bench().refuses(command, error, word)


@pytest.mark.parametrize(
    "bench", [finished, failed, lambda: asking("work")], ids=["finished", "failed", "asking"]
)
def test_a_way_to_the_end_leads_nowhere_as_when_a_node_returns_it(
    bench: Callable[[], Bench],
) -> None:
    made = bench()
    made.acts.clear()
    assert made.call(Command(goto=END))["log"] == ["in", "side", "work", "end"]


@pytest.mark.parametrize("bench", [Bench, finished, failed, stopped])
def test_an_answer_where_nothing_is_asked_is_refused_with_its_change(
    bench: Callable[[], Bench],
) -> None:
    command = Command(resume="yes", update=U, goto="other")
    bench().refuses(command, NoPendingInterruptError, "'t'", "asks nothing")


def test_an_answer_to_an_unknown_question_is_refused_with_its_change() -> None:
    bench = asking("work")
    command: Any = Command(resume={"f" * 32: "x"}, update=U)
    bench.refuses(command, UnknownInterruptError, "no open interrupt", question(bench, "work"))
