"""Two who want one thread at the same moment: exactly one of them wins, and the other is told.

Each race is run again and again. The two start from a barrier, and whoever wins is held at a gate
until the other has been told, so that it is the same moment for both.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from orchestrator import Command
from orchestrator.client.invocation import Invocation
from orchestrator.client.options import parse_config
from orchestrator.errors import NoPendingInterruptError, RunCancelledError, ThreadBusyError
from tests.semantics.elsewhere import ROOT
from tests.semantics.graphs import NAMES, BoomError
from tests.semantics.places import WAIT_S, Place, apart

RACES = 20
PATIENCE_S = 2.0  # How long a call may take to notice that its run is another's.

# Of several OS threads, as in a web server: it is also the first time that Celery is imported.
PROCESSES = 10
MAKING = """
import threading
from orchestrator import CeleryExecutor
barrier = threading.Barrier(8)
def make():
    barrier.wait()
    CeleryExecutor("redis://127.0.0.1:1/0")
    print("made\\n", end="", flush=True)
for thread in [threading.Thread(target=make) for _ in range(8)]:
    thread.start()
"""

Outcome = dict[str, Any]


@dataclass(slots=True)
class Racers:
    """Two callers with a connection each; on SQLite, two processes."""

    place: Place
    closing: ExitStack
    _others: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        if self.place.kind == "sqlite":
            self._others = [self.place.elsewhere() for _ in range(2)]
        else:
            self._others = [{n: self.place.graph(n) for n in NAMES} for _ in range(2)]

    def call(self, who: int, name: str, **call: Any) -> Outcome:
        """Make one call; return its outcome, as `Elsewhere` does."""
        other, thread = self._others[who], self.place.thread
        if self.place.kind == "sqlite":
            return other.call(name, thread, **call)
        graph = other[name]
        try:
            if "update" in call:
                return {"ok": graph.update_state(thread, call["update"], call["as_node"])}
            value = Command(resume=call["resume"]) if "resume" in call else call["value"]
            return {"ok": graph.invoke(value, thread)}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            return {"error": [type(error).__name__, str(error)]}


@pytest.fixture
def racers(place: Place) -> Iterator[Racers]:
    with ExitStack() as closing:
        yield Racers(place, closing)


def at_once(*calls: Callable[[], Any]) -> Iterator[tuple[int, Any]]:
    """Make calls from OS threads that start together; give (which, outcome) as they end."""
    barrier, ended = threading.Barrier(len(calls)), SimpleQueue()

    def run(which: int) -> None:
        barrier.wait(WAIT_S)
        ended.put((which, calls[which]()))

    threads = [threading.Thread(target=run, args=(which,)) for which in range(len(calls))]
    for thread in threads:
        thread.start()
    for _ in calls:
        yield ended.get(timeout=WAIT_S)
    for thread in threads:
        thread.join(WAIT_S)


def winner(place: Place, gate: str, *calls: Callable[[], Outcome], refusal: str) -> int:
    """Check that the first to end is refused; let the other one end well; return which it was."""
    outcomes = at_once(*calls)
    loser, refused = next(outcomes)
    place.open(gate)
    won, outcome = next(outcomes)
    assert refused.get("error", [""])[0] == refusal, refused
    assert next(outcomes, None) is None
    assert "ok" in outcome, outcome
    assert won == 1 - loser
    return won


def test_of_two_inputs_one_runs_and_the_other_is_refused(place: Place, racers: Racers) -> None:
    graph = place.graph("waits")
    for number in range(RACES):
        place.another()
        values = [{"log": [f"{number}-{who}"], "witness": place.witness} for who in (0, 1)]
        calls = [lambda w=w, v=v: racers.call(w, "waits", value=v) for w, v in enumerate(values)]
        won = winner(place, "work", *calls, refusal="ThreadBusyError")
        assert place.values(graph)["log"] == [f"{number}-{won}", "work", "after"]
        assert place.ran() == ["work", "after"]
        assert len(place.events(graph, "run_accepted")) == 1


def test_of_two_answers_one_is_stored_and_the_other_is_refused(
    place: Place, racers: Racers
) -> None:
    graph = place.graph("asks")
    for _ in range(RACES):
        place.another()
        place.call(graph, {})
        calls = [lambda w=w: racers.call(w, "asks", resume=f"answer {w}") for w in (0, 1)]
        won = winner(place, "work", *calls, refusal="NoPendingInterruptError")
        assert place.values(graph)["log"] == ["work", f"answer {won}", "work"]
        assert place.ran() == ["work", "ask", "ask", "work"]
        assert len(place.events(graph, "interrupt_answered")) == 1


@pytest.mark.parametrize("kind", apart("memory", "sqlite", "redis"))
def test_a_run_that_was_accepted_a_moment_ago_is_not_taken_for_abandoned(place: Place) -> None:
    graph, other = place.graph("plain"), place.graph("plain")
    call = Invocation.of(graph, parse_config(place.thread), {})
    call.begin({"log": ["first"], "witness": place.witness})
    with pytest.raises(ThreadBusyError):  # Its process lives, and is about to claim its step.
        place.call(other, {"log": ["second"]})
    assert place.ran() == []


def test_of_two_who_resume_a_failed_run_one_does_it(place: Place, racers: Racers) -> None:
    graph = place.graph("fails_then_waits")
    for _ in range(RACES):
        place.another()
        with place.failing(BoomError):
            place.call(graph, {})
        calls = [lambda w=w: racers.call(w, "fails_then_waits", value=None) for w in (0, 1)]
        winner(place, "work", *calls, refusal="ThreadBusyError")
        assert place.values(graph)["log"] == ["work", "after"]
        assert place.ran() == ["work", "work", "after"]


def test_an_edit_during_a_run_is_refused_and_the_run_is_what_it_was(
    place: Place, racers: Racers
) -> None:
    graph = place.graph("waits")
    for _ in range(RACES):
        place.another()
        value = {"log": ["in"], "witness": place.witness}

        def edit() -> Outcome:
            place.wait_ran("work")
            return racers.call(1, "waits", update={"log": ["edited"]}, as_node="work")

        calls = [lambda value=value: racers.call(0, "waits", value=value), edit]
        assert winner(place, "work", *calls, refusal="ThreadBusyError") == 0
        assert place.values(graph)["log"] == ["in", "work", "after"]


def test_an_edit_and_an_input_at_once_are_both_there_or_one_was_refused(
    place: Place, racers: Racers
) -> None:
    graph = place.graph("plain")
    for _ in range(RACES):
        place.another()
        place.call(graph, {})
        value = {"log": ["in"], "witness": place.witness}
        calls = (
            lambda value=value: racers.call(0, "plain", value=value),
            lambda: racers.call(1, "plain", update={"log": ["edited"]}, as_node="after"),
        )
        outcomes = dict(at_once(*calls))
        errors = {outcome["error"][0] for outcome in outcomes.values() if "error" in outcome}
        assert errors <= {"ThreadBusyError"}, outcomes
        log = place.values(graph)["log"]
        for who, word in ((0, "in"), (1, "edited")):
            assert log.count(word) == ("ok" in outcomes[who]), (log, outcomes)
        assert log.count("work") == len(place.ran("work"))


def test_a_run_is_cancelled_or_it_ends_but_not_both(place: Place) -> None:
    graph = place.graph("waits")
    seen = set()
    for number in range(RACES):
        place.another()

        def run() -> Any:
            try:
                return place.call(graph, {"log": ["in"]})
            except RunCancelledError as error:
                return error

        def end(number: int = number) -> bool:
            place.wait_ran("work")
            if number % 2:  # While the node runs; else about when it ends, or the last one.
                found = place.cancel(graph)
                place.open("work")
                return found
            place.open("work")
            if number % 4:
                place.wait_ran("after")
            return place.cancel(graph)

        outcomes = dict(at_once(run, end))
        was_cancelled = outcomes[1]
        assert isinstance(outcomes[0], RunCancelledError) == was_cancelled, outcomes
        log = place.values(graph)["log"]
        status = str(graph.checkpointer.load(place.thread).head.status)
        assert status == ("cancelled" if was_cancelled else "succeeded")
        if number % 2:
            assert (was_cancelled, log) == (True, ["in"])
        elif not was_cancelled:
            assert log == ["in", "work", "after"]
        assert not place.cancel(graph)  # It has ended, one way or the other.
        assert len(place.events(graph, "run_cancelled", "run_succeeded")) == 1
        seen.add(was_cancelled)
    assert True in seen


@pytest.mark.parametrize("kind", apart("fleet"))
def test_of_two_submitted_at_once_one_is_accepted(place: Place) -> None:
    client = place.fleet.client
    for _ in range(RACES):
        place.another()

        def submit(who: int) -> Any:
            value = {"log": [who], "witness": place.witness}
            try:
                return client.submit("waits", value, thread_id=place.thread).run_id
            except ThreadBusyError as error:
                return error

        outcomes = dict(at_once(lambda: submit(0), lambda: submit(1)))
        (won,) = [who for who, outcome in outcomes.items() if isinstance(outcome, str)]
        with pytest.raises(ThreadBusyError):  # And during the run.
            client.submit("waits", {"log": ["late"]}, thread_id=place.thread)
        place.open("work")
        assert client.result(place.thread, WAIT_S)["log"] == [won, "work", "after"]
        assert place.ran() == ["work", "after"]


@pytest.mark.parametrize("kind", apart("fleet"))
def test_what_is_submitted_twice_under_one_key_is_one_run(place: Place) -> None:
    client = place.fleet.client
    for _ in range(RACES):
        place.another()

        def submit() -> str:
            value = {"witness": place.witness}
            return client.submit("plain", value, thread_id=place.thread, key="k").run_id

        assert len(set(dict(at_once(submit, submit)).values())) == 1
        client.result(place.thread, WAIT_S)
        assert place.ran() == ["work", "after"]


@pytest.mark.parametrize("kind", apart("fleet"))
def test_of_two_answers_to_a_fleet_one_is_stored(place: Place) -> None:
    client, graph = place.fleet.client, place.graph("asks")
    for _ in range(RACES):
        place.another()
        place.open("work")
        place.call(graph, {})

        def answer(who: int) -> Any:
            try:
                return client.resume(place.thread, f"answer {who}")
            except NoPendingInterruptError as error:
                return error

        outcomes = dict(at_once(lambda: answer(0), lambda: answer(1)))
        (lost,) = [w for w, one in outcomes.items() if isinstance(one, NoPendingInterruptError)]
        log = client.result(place.thread, WAIT_S)["log"]
        assert log == ["work", f"answer {1 - lost}", "work"]


@pytest.mark.parametrize("kind", apart("memory", "sqlite", "redis"))
def test_a_call_whose_run_went_to_another_returns_no_half_of_it(place: Place) -> None:
    old, new = place.graph("overtaken"), place.graph("overtaken")
    outcomes: SimpleQueue[Any] = SimpleQueue()

    def call(graph: Any, value: Any) -> None:
        try:
            outcomes.put(place.call(graph, value))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            outcomes.put(error)

    first = threading.Thread(target=call, args=(old, {}))
    first.start()
    place.wait_ran("work")
    new.checkpointer.release(old.owner)  # As if its process had died; then somebody resumes.
    second = threading.Thread(target=call, args=(new, None))
    second.start()
    place.wait_ran("end")
    place.open("work")  # The first comes back, while the second is still at work.
    early = []
    with suppress(Empty):  # It may also wait for the end, as a fleet's caller does.
        early.append(outcomes.get(timeout=PATIENCE_S))
    place.open("end")
    for thread in (first, second):
        thread.join(WAIT_S)
    assert place.ran() == ["work", "work", "end"]
    for outcome in [*early, *(outcomes.get(timeout=WAIT_S) for _ in range(2 - len(early)))]:
        assert isinstance(outcome, ThreadBusyError) or outcome["log"] == ["work", "end"], outcome


@pytest.mark.slow
def test_executors_made_at_once_by_a_process_that_has_just_begun_are_all_made() -> None:
    made = [sys.executable, "-c", MAKING]
    for _ in range(PROCESSES):
        done = subprocess.run(made, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "made\n" * 8), done.stderr
