"""What happens if a thread gets an input while its run has not ended: `multitask_strategy`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator import Command
from orchestrator.client.options import OptionError
from orchestrator.dispatch.await_run import run_of
from orchestrator.errors import (
    InvalidUpdateError,
    RunCancelledError,
    ThreadBusyError,
    UnknownRunError,
)
from tests.semantics import graphs
from tests.semantics.places import WAIT_S, Place, apart

STRATEGIES = ("enqueue", "interrupt", "rollback")


@dataclass(slots=True)
class Shifts:
    """Runs of one thread, each called from an OS thread and a graph of its own."""

    place: Place
    pool: ThreadPoolExecutor

    def witness(self, name: str) -> str:
        return f"{self.place.witness}-{name}"

    def given(self, name: str) -> dict[str, Any]:
        return {"witness": self.witness(name), "last": name}

    def call(self, name: str, **options: Any) -> Future[list[str]]:
        """Call a run; its outcome is the log, as the call returned it."""
        graph, thread = self.place.graph("shift"), self.place.thread
        return self.pool.submit(lambda: graph.invoke(self.given(name), thread, **options)["log"])

    def started(self, name: str, **options: Any) -> Future[list[str]]:
        """Call a run, and wait until it is at its gate with its quick half done."""
        called = self.call(name, **options)
        witness, thread, graph = self.witness(name), self.place.thread, self.place.graph("shift")
        self.place.wait_until(lambda: "slow" in graphs.ran(witness), f"{name} is at its gate")
        self.place.wait_until(
            lambda: any(s.completed for s in graph.checkpointer.load(thread).steps.values()),
            f"the quick half of {name} is done",
        )
        return called

    def open(self, name: str) -> None:
        graphs.gate_of(self.witness(name), "slow").touch()

    def log(self) -> list[str]:
        return self.place.graph("shift").get_state(self.place.thread).values["log"]


@pytest.fixture
def shifts(place: Place) -> Iterator[Shifts]:
    with ThreadPoolExecutor(4) as pool:
        made = Shifts(place, pool)
        try:
            yield made
        finally:
            for name in "abcd":
                made.open(name)


def whole(*names: str) -> list[str]:
    return [f"{name} {what}" for name in names for what in ("began", "quick", "slow")]


def test_by_default_it_is_refused(shifts: Shifts) -> None:
    first = shifts.started("a")
    with pytest.raises(ThreadBusyError):
        shifts.call("b").result(WAIT_S)
    with pytest.raises(ThreadBusyError):
        shifts.call("b", multitask_strategy="reject").result(WAIT_S)
    shifts.open("a")
    assert first.result(WAIT_S) == shifts.log() == whole("a")


def test_enqueue_lets_it_begin_when_the_run_has_ended(shifts: Shifts) -> None:
    first = shifts.started("a")
    second = shifts.call("b", multitask_strategy="enqueue")
    shifts.open("b")
    with pytest.raises(TimeoutError):
        second.result(0.3)
    assert graphs.ran(shifts.witness("b")) == []
    shifts.open("a")
    # Each is told its own result, also the first, though another run has the thread by then.
    assert first.result(WAIT_S) == whole("a")
    assert second.result(WAIT_S) == shifts.log() == whole("a", "b")


def test_all_that_wait_get_their_turn(shifts: Shifts) -> None:
    first = shifts.started("a")
    others = {name: shifts.call(name, multitask_strategy="enqueue") for name in "bcd"}
    for name in "bcda":
        shifts.open(name)
    assert first.result(WAIT_S) == whole("a")
    results = sorted((other.result(WAIT_S) for other in others.values()), key=len)
    order = [results[-1][n].split()[0] for n in (3, 6, 9)]
    assert sorted(order) == list("bcd")
    assert results == [whole("a", *order[: n + 1]) for n in range(3)]
    for name in "abcd":
        assert sorted(graphs.ran(shifts.witness(name))) == ["begin", "quick", "slow"]


@pytest.mark.parametrize("kind", apart("memory", "sqlite", "redis"))
def test_a_run_that_failed_has_ended(place: Place) -> None:
    graph, other = place.graph("fails_then_waits"), place.graph("fails_then_waits")
    with pytest.raises(graphs.BoomError):
        place.call(graph, {})
    place.open("work")
    assert place.call(other, {}, multitask_strategy="enqueue")["log"] == ["work", "after"]


def test_interrupt_stops_the_run_and_keeps_what_it_has_done(shifts: Shifts) -> None:
    first = shifts.started("a")
    second = shifts.started("b", multitask_strategy="interrupt")
    shifts.open("a")
    with pytest.raises(RunCancelledError):
        first.result(WAIT_S)
    shifts.open("b")
    expected = ["a began", "a quick", *whole("b")]
    assert second.result(WAIT_S) == shifts.log() == expected
    assert graphs.ran(shifts.witness("a"), "slow") == ["slow"]


def test_rollback_stops_the_run_and_takes_back_what_it_has_done(shifts: Shifts) -> None:
    for name in "ac":
        shifts.open(name)
    assert shifts.call("a").result(WAIT_S) == whole("a")
    stopped = shifts.started("b")
    after = shifts.call("c", multitask_strategy="rollback")
    assert after.result(WAIT_S) == shifts.log() == whole("a", "c")
    shifts.open("b")
    with pytest.raises(RunCancelledError):
        stopped.result(WAIT_S)
    history = shifts.place.graph("shift").get_state_history(shifts.place.thread)
    assert any("b began" in snapshot.values["log"] for snapshot in history)


def test_rollback_of_the_first_run_leaves_nothing_of_it(shifts: Shifts) -> None:
    stopped = shifts.started("a")
    shifts.open("b")
    second = shifts.call("b", multitask_strategy="rollback")
    assert second.result(WAIT_S) == shifts.log() == whole("b")
    shifts.open("a")
    with pytest.raises(RunCancelledError):
        stopped.result(WAIT_S)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_on_a_free_thread_it_begins_at_once(shifts: Shifts, strategy: str) -> None:
    for name in "ab":
        shifts.open(name)
    assert shifts.call("a", multitask_strategy=strategy).result(WAIT_S) == whole("a")
    assert shifts.call("b", multitask_strategy=strategy).result(WAIT_S) == whole("a", "b")


def test_a_stream_shows_its_own_run_only(shifts: Shifts) -> None:
    first = shifts.started("a")
    graph, thread = shifts.place.graph("shift"), shifts.place.thread
    options: Any = {"stream_mode": "updates", "multitask_strategy": "enqueue"}
    parts = shifts.pool.submit(lambda: list(graph.stream(shifts.given("b"), thread, **options)))
    for name in "ba":
        shifts.open(name)
    first.result(WAIT_S)
    shown = [one for part in parts.result(WAIT_S) for one in part.values()]
    assert sorted(line for one in shown for line in one["log"]) == sorted(whole("b"))


def test_what_cannot_wait_is_refused_and_changes_nothing(shifts: Shifts) -> None:
    first = shifts.started("a")
    graph, thread = shifts.place.graph("shift"), shifts.place.thread
    enqueue: Any = {"multitask_strategy": "enqueue"}
    with pytest.raises(InvalidUpdateError, match="wait for the run"):
        graph.invoke(Command(update={"log": ["x"]}), thread, **enqueue)
    with pytest.raises(InvalidUpdateError, match="on_pending='reject'"):
        graph.invoke(shifts.given("b"), thread, on_pending="reject", **enqueue)
    with pytest.raises(OptionError, match="multitask_strategy='queue' is not one of 'reject'"):
        graph.invoke(shifts.given("b"), thread, multitask_strategy="queue")
    shifts.open("a")
    assert first.result(WAIT_S) == shifts.log() == whole("a")


def test_a_run_that_there_is_not_is_told_as_such(shifts: Shifts) -> None:
    shifts.open("a")
    shifts.call("a").result(WAIT_S)
    store = shifts.place.graph("shift").checkpointer
    with pytest.raises(UnknownRunError, match="has no run 'nobody'"):
        run_of(store, shifts.place.thread, "nobody")
