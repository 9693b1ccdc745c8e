"""Runs that wait in a thread's line on a fleet: nobody has to wait with them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orchestrator import Client, RunHandle
from orchestrator.client.calls import Calls
from orchestrator.errors import RunCancelledError, ThreadBusyError, UnserializableValueError
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Commit
from tests.semantics import graphs
from tests.semantics.places import MARKS, WAIT_S, Place

pytestmark = [*MARKS["fleet"], pytest.mark.parametrize("kind", ["fleet"])]


class Line:
    """A thread with a run at its gate, and what is submitted to it."""

    def __init__(self, place: Place, graph: str = "shift") -> None:
        self.place, self.graph = place, graph
        self.client: Client = place.fleet.client
        self.store = place.graph(graph).checkpointer
        self.first = self.submit("a")
        place.wait_until(lambda: self.ran("a") == 3 or graph != "shift", "the first is at its gate")

    def submit(self, name: str, strategy: Any = "reject", **options: Any) -> RunHandle:
        witness = f"{self.place.witness}-{name}"
        return self.client.submit(
            self.graph,
            {"witness": witness, "last": name},
            thread_id=self.place.thread,
            multitask_strategy=strategy,
            **options,
        )

    def ran(self, name: str) -> int:
        return len(graphs.ran(f"{self.place.witness}-{name}"))

    def open(self, *names: str) -> None:
        for name in names:
            graphs.gate_of(f"{self.place.witness}-{name}", "slow").touch()

    def types(self) -> list[str]:
        return [event.type for event in self.store.events(self.place.thread)]


def log_of(handle: RunHandle) -> list[str]:
    return handle.result(WAIT_S)["log"]


def whole(*names: str) -> list[str]:
    return [f"{name} {what}" for name in names for what in ("began", "quick", "slow")]


def test_runs_begin_in_the_order_in_which_they_were_submitted(place: Place) -> None:
    line = Line(place)
    others = {name: line.submit(name, "enqueue") for name in "bcd"}
    assert [other.status for other in others.values()] == [RunStatus.QUEUED] * 3
    assert [line.ran(name) for name in "bcd"] == [0, 0, 0]
    with pytest.raises(ThreadBusyError):
        line.submit("e")
    line.open(*"dcba")
    assert log_of(others["d"]) == whole(*"abcd")
    # Long after, each still knows what became of it.
    assert log_of(line.first) == whole("a")
    assert (log_of(others["b"]), others["b"].status) == (whole("a", "b"), RunStatus.SUCCEEDED)
    assert line.types().count("run_accepted") == 4
    assert line.store.load(place.thread).line == {}


def test_a_run_that_is_cancelled_while_it_waits_never_begins(place: Place) -> None:
    line = Line(place)
    second, third = (line.submit(name, "enqueue") for name in "bc")
    assert second.cancel()
    assert not second.cancel()
    line.open(*"abc")
    assert log_of(third) == whole("a", "c")
    with pytest.raises(RunCancelledError):
        second.result(WAIT_S)
    assert (line.ran("b"), second.status) == (0, RunStatus.CANCELLED)


def test_the_next_begins_when_the_run_is_cancelled(place: Place) -> None:
    line = Line(place)
    second = line.submit("b", "enqueue")
    assert line.first.cancel()
    line.open(*"ba")
    assert log_of(second) == ["a began", *whole("b")]
    with pytest.raises(RunCancelledError):
        line.first.result(WAIT_S)


def test_a_run_that_pauses_keeps_its_place(place: Place) -> None:
    line = Line(place, "asks_twice")
    place.wait_until(lambda: line.first.status == "paused", "it asks")
    second = line.submit("b", "enqueue")
    for answer in ("one", "two"):
        assert second.status == RunStatus.QUEUED
        line.client.resume(place.thread, answer)
        place.wait_until(lambda: line.first.status != "running", "it asks again, or ends")
    place.wait_until(lambda: second.status == "paused", "the next one asks")
    assert line.first.status == RunStatus.SUCCEEDED


def test_the_same_key_waits_once_and_stops_nothing(place: Place) -> None:
    line = Line(place)
    waiting = [line.submit("b", "enqueue", key="b").run_id for _ in range(3)]
    assert len(set(waiting)) == 1
    assert len(line.store.load(place.thread).line) == 1
    stopping = [line.submit("c", "interrupt", key="c").run_id for _ in range(3)]
    assert len(set(stopping)) == 1
    assert line.types().count("run_cancelled") == 1
    line.open(*"abc")
    place.wait_until(lambda: not line.store.load(place.thread).line, "the line is empty")
    assert line.client.result(place.thread, WAIT_S)["log"] == [
        *("a began", "a quick"),
        *whole("c", "b"),
    ]


def test_an_input_that_cannot_be_stored_stops_nothing(place: Place) -> None:
    line = Line(place)
    for strategy in ("enqueue", "interrupt", "rollback"):
        given = {"last": threading.Lock()}
        with pytest.raises(UnserializableValueError):
            line.client.submit("shift", given, thread_id=place.thread, multitask_strategy=strategy)
    assert line.store.load(place.thread).line == {}
    line.open("a")
    assert log_of(line.first) == whole("a")


def test_whoever_ended_a_run_and_died_leaves_the_next_to_the_sweeper(place: Place) -> None:
    line = Line(place)
    second = line.submit("b", "enqueue")
    Calls(line.store, line.client._plain).cancel(place.thread)  # And nobody begins the next.
    line.open(*"ba")
    assert log_of(second) == ["a began", *whole("b")]


def test_a_run_that_cannot_begin_leaves_the_line_and_says_why(place: Place) -> None:
    line = Line(place)
    line.store.commit(Commit(thread_id=place.thread, enqueue=("broken", b"\xc1")))
    third = line.submit("c", "enqueue")
    line.open(*"ac")
    assert log_of(third) == whole("a", "c")
    events = line.store.events(place.thread)
    (withdrawn,) = [event for event in events if event.type == "run_withdrawn"]
    assert withdrawn.fields["run"] == b"broken"
    assert withdrawn.fields["reason"]
