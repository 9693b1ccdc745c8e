"""The defects D1 … D16 of LangGraph, as claims of what happens here instead, at every place.

Each test has the number of its defect in its name; `test_langgraph_defects.py` shows that LangGraph
has it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Command, StateUpdate
from orchestrator.errors import (
    EmptyInputError,
    GraphRecursionError,
    InvalidUpdateError,
    NoPendingInterruptError,
    StepFailedError,
    ThreadBusyError,
    UnknownInterruptError,
    UnserializableValueError,
)
from tests.semantics.graphs import BoomError
from tests.semantics.places import Place, apart

HOUR_S = 3600


def asked(output: dict[str, Any]) -> list[Any]:
    """Return what an output asks."""
    return [question.value for question in output["__interrupt__"]]


def facts(place: Place, graph: Any) -> Any:
    """Return all that a refused call must leave as it is."""
    history = list(graph.get_state_history(place.thread))
    return graph.get_state(place.thread), history, place.ran(), len(place.events(graph))


def test_d01_an_answer_is_used_once_and_the_next_question_is_asked(place: Place) -> None:
    graph = place.graph("asks_twice")
    assert asked(place.call(graph, {})) == ["first?"]
    assert asked(place.call(graph, Command(resume="one"))) == ["second?"]
    assert asked(place.call(graph, None)) == ["second?"]
    assert place.call(graph, Command(resume="two"))["log"] == [["one", "two"]]


def test_d02_an_answer_to_a_failed_thread_is_refused_and_not_kept_for_later(place: Place) -> None:
    graph = place.graph("fails_then_asks")
    with place.failing(BoomError, "the first time"):
        place.call(graph, {})
    before = facts(place, graph)
    with pytest.raises(NoPendingInterruptError, match="asks nothing"):
        place.call(graph, Command(resume="early"))
    assert facts(place, graph) == before
    assert asked(place.call(graph, None)) == ["really?"]
    assert place.call(graph, Command(resume="in time"))["log"] == ["in time"]


def test_d03_an_answer_outlives_the_attempt_that_got_it(place: Place) -> None:
    graph = place.graph("takes_answer")
    assert asked(place.call(graph, {"last": "raise"})) == ["yes?"]
    with place.failing(BoomError, "with the answer in hand"):
        place.call(graph, Command(resume="yes"))
    assert place.call(place.graph("takes_answer"), None)["log"] == ["yes", "after"]
    assert place.ran() == ["ask", "ask", "answered", "ask", "answered", "after"]


@pytest.mark.parametrize("kind", apart("sqlite", "redis", "fleet"))
def test_d03_an_answer_outlives_the_process_that_got_it(place: Place) -> None:
    graph = place.graph("takes_answer")
    assert asked(place.call(graph, {"last": "die"})) == ["yes?"]
    if place.kind == "fleet":  # A worker's process dies; the fleet goes on by itself.
        assert place.call(graph, Command(resume="yes"))["log"] == ["yes", "after"]
    else:
        other = place.elsewhere()
        assert other.death("takes_answer", place.thread, resume="yes") == signal.SIGKILL
        assert place.call(graph, None)["log"] == ["yes", "after"]
    assert place.ran() == ["ask", "ask", "answered", "ask", "answered", "after"]


def test_d04_a_router_that_raises_fails_its_node_and_routes_when_resumed(place: Place) -> None:
    graph = place.graph("routes")
    with place.failing(BoomError, "the router"):
        place.call(graph, {})
    snapshot = graph.get_state(place.thread)
    assert (snapshot.next, snapshot.values["log"]) == (("work",), [])
    assert place.call(graph, None)["log"] == ["work", "after"]
    assert place.ran() == ["work", "route", "work", "route", "after"]


def test_d05_two_values_for_one_channel_fail_the_superstep_not_the_thread(place: Place) -> None:
    graph = place.graph("collides")
    for value in ({}, None):
        with place.failing(InvalidUpdateError, "2 values for 'last'"):
            place.call(graph, value)
        snapshot = graph.get_state(place.thread)
        assert (snapshot.next, snapshot.values["log"]) == (("left", "right"), [])
    assert sorted(place.ran()) == ["left", "right"]  # Both had completed: there is no more to run.
    mended = [StateUpdate({"last": "left"}, "left"), StateUpdate({"log": ["mended"]}, "right")]
    graph.bulk_update_state(place.thread, [mended])
    assert place.call(graph, None) == {"last": "left", "log": ["mended", "join"]}


def in_background(call: Any, *args: Any) -> Future[Any]:
    """Run a call beside the test; its outcome is the future's."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call, *args)
    pool.shutdown(wait=False)
    return future


def test_d06_of_two_attempts_at_a_step_one_commits_all_and_the_other_nothing(place: Place) -> None:
    old, new = place.graph("torn"), place.graph("torn")
    result = in_background(place.call, old, {})
    told = Path(f"{place.witness}.1.pid")
    pid = int(place.wait_until(lambda: told.exists() and told.read_text("utf-8"), "it runs"))
    if place.kind == "fleet":  # Its process stands still, so its lease runs out.
        os.kill(pid, signal.SIGSTOP)
    else:  # Its claim is taken away, as from a process that is dead.
        new.checkpointer.release(old.owner)
        result = in_background(place.call, new, None)
    place.wait_ran("work", 2)
    place.open("attempt 1")  # The first one comes back, while the second one is at it.
    if place.kind == "fleet":
        os.kill(pid, signal.SIGCONT)
    place.wait_until(lambda: place.events(new, "commit_refused"), "the late commit is refused")
    assert place.values(new) == {"log": []}
    place.open("attempt 2")
    assert result.result(40) == {"log": ["new", "after"], "count": 2}
    assert place.values(new) == {"log": ["new", "after"], "count": 2}
    assert len(place.events(new, "commit_refused")) == 1
    assert place.ran() == ["work", "work", "after"]


def test_d07_a_thread_whose_run_is_active_takes_no_other_writer(place: Place) -> None:
    graph, other = place.graph("waits"), place.graph("waits")
    running = in_background(place.call, graph, {"log": ["in"]})
    place.wait_ran("work")
    for call in (
        lambda: place.call(other, {"log": ["second"]}),
        lambda: place.call(other, None),
        lambda: other.update_state(place.thread, {"log": ["edited"]}, as_node="work"),
    ):
        with pytest.raises(ThreadBusyError, match=place.thread):
            call()
    with pytest.raises(NoPendingInterruptError):
        place.call(other, Command(resume="yes"))
    place.open("work")
    assert running.result(40)["log"] == ["in", "work", "after"]
    assert place.values(other)["log"] == ["in", "work", "after"]
    assert place.ran() == ["work", "after"]


def assert_in_order(place: Place, graph: Any) -> None:
    """Check that each checkpoint of the thread follows the one that its id is next after."""
    history = list(graph.get_state_history(place.thread))
    ids = [one.config["configurable"]["checkpoint_id"] for one in history]
    assert ids == sorted(ids, reverse=True)
    assert [one.parent_config for one in history[:-1]] == [one.config for one in history[1:]]


@pytest.mark.parametrize("kind", apart("sqlite", "redis", "fleet"))
def test_d08_what_a_host_commits_whose_clock_is_behind_becomes_the_latest(place: Place) -> None:
    graph, other = place.graph("plain"), place.elsewhere(behind_s=HOUR_S)
    log: list[str] = []
    for number in range(3):
        log += [f"here {number}", "work", "after"]
        assert place.call(graph, {"log": [f"here {number}"]})["log"] == log
        log += [f"behind {number}", "work", "after"]
        value = {"log": [f"behind {number}"], "witness": place.witness}
        found = other.call("plain", place.thread, value=value)
        assert found["ok"]["log"] == log
        assert place.values(graph)["log"] == log
    assert_in_order(place, graph)


@pytest.mark.parametrize("kind", ["memory"])
def test_d08_a_clock_that_is_set_back_changes_no_order(place: Place) -> None:
    graph, log = place.graph("plain"), []
    real = graph.checkpointer._clock
    for number in range(3):
        log += [str(number), "work", "after"]
        place.call(graph, {"log": [str(number)]})
        assert place.values(graph)["log"] == log
        graph.checkpointer._clock = Behind(real, HOUR_S * (number + 1))
    assert_in_order(place, graph)


class Behind:
    """A clock that is behind another one."""

    def __init__(self, real: Any, by_s: int) -> None:
        self._real, self._by_ms = real, by_s * 1000

    def now_ms(self) -> int:
        return self._real.now_ms() - self._by_ms


def test_d09_an_update_as_the_first_input_is_applied_once(place: Place) -> None:
    graph = place.graph("plain")
    command = Command(update={"log": ["first"], "witness": place.witness})
    assert place.call(graph, command)["log"] == ["first", "work", "after"]
    assert place.ran() == ["work", "after"]


def test_d10_what_is_asked_after_a_goto_can_be_seen(place: Place) -> None:
    graph = place.graph("asks_late")
    assert place.call(graph, {})["log"] == ["work"]
    assert asked(place.call(graph, Command(goto="ask"))) == ["go on?"]
    snapshot = graph.get_state(place.thread)
    assert snapshot.next == ("ask",)
    assert [i.value for i in snapshot.interrupts] == ["go on?"]
    assert [(task.name, len(task.interrupts)) for task in snapshot.tasks] == [("ask", 1)]
    assert place.call(graph, Command(resume="yes"))["log"] == ["work", "yes"]


@pytest.mark.parametrize("answer", [None, False, 0, "", {}, [], {"a": {"b": 1}}, "text"])
def test_d11_any_json_value_is_an_answer(place: Place, answer: Any) -> None:
    graph = place.graph("fails_then_asks")
    with place.failing(BoomError):
        place.call(graph, {})
    place.call(graph, None)
    assert place.call(graph, Command(resume=answer))["log"] == [answer]


def test_d11_an_answer_that_answers_nothing_is_refused_and_changes_nothing(place: Place) -> None:
    graph = place.graph("asks_twice")
    with pytest.raises(NoPendingInterruptError, match="does not exist"):
        place.call(graph, Command(resume="yes"))
    place.call(graph, {})
    refusals = [
        (Command(), EmptyInputError),
        (Command(resume={"f" * 32: "yes"}), UnknownInterruptError),
    ]
    for command, error in refusals:
        before = facts(place, graph)
        with pytest.raises(error):
            place.call(graph, command)
        assert facts(place, graph) == before
    for answer in ("one", "two"):
        place.call(graph, Command(resume=answer))
    before = facts(place, graph)
    with pytest.raises(NoPendingInterruptError, match="asks nothing"):
        place.call(graph, Command(resume="again"))
    assert facts(place, graph) == before


def left_siblings(place: Place) -> Any:
    """Leave a thread where `side` completed and `work` failed; return its graph."""
    graph = place.graph("siblings")
    with place.failing(BoomError):
        place.call(graph, {"log": ["in"]})
    snapshot = graph.get_state(place.thread)
    assert (snapshot.next, snapshot.values["log"]) == (("work",), ["in", "side"])
    return graph


def test_d12_a_new_input_drops_what_was_left_and_an_event_says_so(place: Place) -> None:
    graph = left_siblings(place)
    log = ["in", "new", "side", "work", "end"]
    assert place.call(graph, {"log": ["new"]})["log"] == log
    assert place.events(graph, "run_accepted")[-1].fields["abandoned"] == b"work"


def test_d12_a_new_input_keeps_what_completed_if_asked_to(place: Place) -> None:
    graph = left_siblings(place)
    # With the input, in one superstep: ordered as its steps are, the input's first.
    log = ["in", "new", "side", "side", "work", "end"]
    assert place.call(graph, {"log": ["new"]}, on_pending="apply")["log"] == log


def test_d12_a_new_input_is_refused_if_asked_to(place: Place) -> None:
    graph = left_siblings(place)
    before = facts(place, graph)
    with pytest.raises(ThreadBusyError, match="steps left in 'work'"):
        place.call(graph, {"log": ["new"]}, on_pending="reject")
    assert facts(place, graph) == before
    assert place.call(graph, None)["log"] == ["in", "side", "work", "end"]
    assert sorted(place.ran()) == ["end", "side", "work", "work"]


def test_d13_a_value_that_cannot_be_stored_fails_its_own_node_before_others_run(
    place: Place,
) -> None:
    graph = place.graph("opaque")
    with place.failing(UnserializableValueError, "value['deep'][0]"):
        place.call(graph, {})
    assert place.ran() == ["make"]
    snapshot = graph.get_state(place.thread)
    assert (snapshot.next, snapshot.values["log"]) == (("make",), [])
    assert place.call(graph, None) == {"last": {"deep": ["plain"]}, "log": ["after"]}


def called(mode: str, sync: Any, async_: Any, *args: Any) -> Any:
    """Call the one face or the other."""
    return sync(*args) if mode == "sync" else asyncio.run(async_(*args))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_d14_a_resumed_run_may_take_as_many_supersteps_as_a_new_one(
    place: Place, mode: str
) -> None:
    graph = place.graph("loops")
    config = {"thread_id": place.thread, "recursion_limit": 4}
    for count, value in ((4, {"witness": place.witness}), (8, None), (12, None)):
        with pytest.raises(GraphRecursionError):
            called(mode, graph.invoke, graph.ainvoke, value, config)
        assert place.values(graph)["count"] == len(place.ran("loop")) == count


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("state", ["new", "waiting", "ended"])
def test_d14_whose_update_it_is_is_told_alike_by_both_faces(
    place: Place, mode: str, state: str
) -> None:
    graph = place.graph("asks_late" if state == "ended" else "asks")
    if state != "new":
        place.call(graph, {})
    # The last node that ran: nothing; `work`, before the question; `work`, at the end.
    called(mode, graph.update_state, graph.aupdate_state, place.thread, {"log": ["edited"]})
    expected = {"new": ("work",), "waiting": ("ask",), "ended": ()}
    assert graph.get_state(place.thread).next == expected[state]


def test_d15_an_error_is_stored_with_all_that_is_known_of_it(place: Place) -> None:
    graph = place.graph("raises")
    with place.failing(BoomError, "always"):
        place.call(graph, {})
    (task,) = place.graph("raises").get_state(place.thread).tasks
    error = task.error
    known = ("BoomError", "tests.semantics.notes", "always", "boom", 1)
    assert (error.type, error.module, error.message, error.node, error.attempt) == known
    assert 'raise BoomError("always")' in error.traceback
    if place.kind == "fleet":
        with pytest.raises(StepFailedError) as caught:
            place.call(graph, None)
        assert caught.value.record["traceback"].startswith("Traceback")


def test_d15_a_handler_gets_what_its_node_raised(place: Place) -> None:
    graph = place.graph("handles")
    assert place.call(graph, {}) == {"log": ["BoomError"], "last": None}


@pytest.mark.parametrize("kind", apart("sqlite", "redis", "fleet"))
def test_d15_a_handler_in_another_process_gets_the_record_of_it(place: Place) -> None:
    graph = place.graph("handles")
    if place.kind == "fleet":
        output = place.call(graph, {"last": "die"})
    else:
        value = {"last": "die", "witness": place.witness}
        assert place.elsewhere().death("handles", place.thread, value=value) == signal.SIGKILL
        output = place.call(graph, None)
    assert place.ran() == ["boom", "handler", "handler"]
    assert output["log"] == ["StepFailedError"]
    record = output["last"]
    assert (record["type"], record["message"]) == ("BoomError", "always")
    assert record["module"] == "tests.semantics.notes"
    assert 'raise BoomError("always")' in record["traceback"]


def test_d16_each_question_has_an_id_of_its_own(place: Place) -> None:
    graph = place.graph("asks_side_by_side")
    first = place.call(graph, {})["__interrupt__"]
    assert [i.value for i in first] == ["0a?", "1a?", "2a?"]
    second = place.call(graph, Command(resume={i.id: i.value[:-1] for i in first}))["__interrupt__"]
    assert [i.value for i in second] == ["0b?", "1b?", "2b?"]
    assert len({i.id for i in (*first, *second)}) == 6
    with pytest.raises(UnknownInterruptError):
        place.call(graph, Command(resume={first[0].id: "late"}))
    # In another order, to show that it is the id that counts.
    answers = {i.id: i.value[:-1] for i in reversed(second)}
    log = [("0a", "0b"), ("1a", "1b"), ("2a", "2b")]
    assert place.call(graph, Command(resume=answers))["log"] == log
