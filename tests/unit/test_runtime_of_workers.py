"""What a worker's process does when others were there before it, or died before it came."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, CompiledStateGraph, MemoryCheckpointer, StateGraph, interrupt
from orchestrator.client.calls import Calls
from orchestrator.engine.accept import RunConfig
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.ids import CHILD
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Commit, ReadyStep
from orchestrator.step.access import Access
from orchestrator.testing.manual_clock import ManualClock
from workers.busy import Busy, sign_of, signs_in
from workers.runtime import Runtime


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


class KilledError(BaseException):
    """The process is gone."""


class Store(MemoryCheckpointer):
    """A store in which something happens just before a load or a commit, when a test says so."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.before_load: Callable[[str], None] = lambda _: None
        self.before_claim: Callable[[str], None] = lambda _: None
        self.before_commit: Callable[[Commit], None] = lambda _: None

    def load(self, thread_id: str, **options: Any) -> Any:
        self.before_load(thread_id)
        return super().load(thread_id, **options)

    def claim(self, thread_id: str, step_id: str, **options: Any) -> Any:
        self.before_claim(thread_id)
        return super().claim(thread_id, step_id, **options)

    def commit(self, commit: Commit, *args: Any) -> Any:
        self.before_commit(commit)
        return super().commit(commit, *args)


class Fleet:
    """Processes over one store, with a list for a broker."""

    def __init__(self, graph: CompiledStateGraph) -> None:
        self.graph, self.clock = graph, ManualClock()
        self.store = Store(self.clock)
        self.sent: deque[ReadyStep] = deque()
        self.calls = Calls(self.store, graph.records, "queue", clock=self.clock)

    def send(self, steps: Sequence[ReadyStep]) -> None:
        self.sent.extend(steps)

    def process(self, owner: str) -> Runtime:
        access = Access(self.store, f"host:{owner}:0", clock=self.clock)
        return Runtime(access, {"g": self.graph}, "queue", self.send, pushes=False)

    def start(self) -> None:
        self.send(self.calls.accept("t", "g", {}, RunConfig(run_id="run"))[1])

    def step(self, by: Runtime) -> None:
        step = self.sent.popleft()
        by.run(step.thread_id, step.step_id, 0)

    def work(self, by: Runtime) -> None:
        while self.sent:
            self.step(by)

    @property
    def status(self) -> RunStatus:
        return self.store.load("t", values=False).head.status

    def log(self, thread: str) -> list[Any]:
        loaded, records = self.store.load(thread), self.graph.records
        checkpoint = records.checkpoint(loaded.checkpoint.header)
        return records.values(checkpoint, loaded.blobs)["log"]

    def children(self) -> list[str]:
        return [thread for thread in self.store._threads if CHILD in thread]


def asking(name: str) -> Callable[[State], State]:
    def ask(state: State) -> State:
        return {"log": [name, interrupt(name)]}

    ask.__name__ = name
    return ask


def two_questions() -> CompiledStateGraph:
    builder = StateGraph(State).add_node(asking("a")).add_node(asking("b"))
    return builder.add_edge(START, "a").add_edge(START, "b").compile(name="g")


def nested() -> CompiledStateGraph:
    inner = StateGraph(State).add_node(asking("ask")).add_edge(START, "ask").compile()
    return StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile(name="g")


def plainly_nested() -> CompiledStateGraph:
    def plain(state: State) -> State:
        return {"log": ["plain"]}

    inner = StateGraph(State).add_node(plain).add_edge(START, "plain").compile()
    return StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile(name="g")


def test_a_superstep_of_questions_whose_last_asker_died_is_ended_by_the_next_message() -> None:
    fleet = Fleet(two_questions())
    fleet.start()
    dying, other = fleet.process("1"), fleet.process("2")
    fleet.step(dying)
    first, _ = fleet.sent
    fleet.step(dying)

    def die(_: str) -> None:
        raise KilledError

    fleet.store.before_load = die  # It has committed its question, and looks what is next.
    with pytest.raises(KilledError):
        fleet.step(dying)
    fleet.store.before_load = lambda _: None
    assert fleet.status is RunStatus.RUNNING
    other.run(first.thread_id, first.step_id, 0)  # What the sweeper sends for a stuck superstep.
    assert fleet.status is RunStatus.PAUSED


@pytest.mark.parametrize(("died", "reason"), [(True, "crash"), (False, "deploy")])
def test_a_step_that_a_process_had_to_leave_tells_why_it_is_resumed(
    died: bool,
    reason: str,
) -> None:
    fleet = Fleet(two_questions())
    fleet.start()
    fleet.step(fleet.process("1"))
    step, other = fleet.sent
    fleet.store.claim(step.thread_id, step.step_id, owner="2", token="t")
    fleet.clock.sleep(0.7)
    fleet.store.release("2", died=died)
    fleet.work(fleet.process("3"))
    [event] = [e for e in fleet.store.events("t") if e.type == "checkpoint_resume"]
    record = {name: value.decode() for name, value in event.fields.items()}
    loaded = fleet.store.load("t")
    assert record["reason"] == reason
    assert record["phase"].split() == [step.node, other.node]
    assert (record["run_id"], record["step"], record["age_ms"]) == ("run", "1", "700")
    assert int(record["checkpoint_id"], 16) == loaded.head.checkpoint_id
    assert fleet.status is RunStatus.PAUSED


def test_an_answer_reaches_a_subgraph_that_was_cancelled_before_it_got_it() -> None:
    fleet = Fleet(nested())
    fleet.start()
    worker = fleet.process("1")
    fleet.work(worker)
    assert fleet.status is RunStatus.PAUSED
    fleet.calls.answer("t", "yes")
    fleet.calls.cancel("t")
    fleet.send(fleet.calls.carry_on("t") or ())
    fleet.work(worker)
    assert fleet.status is RunStatus.SUCCEEDED


def test_two_attempts_that_begin_the_same_subgraph_begin_it_once() -> None:
    fleet = Fleet(nested())
    fleet.start()
    slow, fast = fleet.process("1"), fleet.process("2")
    fleet.step(slow)
    (step,) = fleet.sent

    def overtake(commit: Commit) -> None:
        if CHILD in commit.thread_id and commit.expect_new:
            fleet.store.before_commit = lambda _: None
            fleet.clock.sleep(10)  # The step is due again, since nobody has woken it.
            fast.run(step.thread_id, step.step_id, 0)

    fleet.store.before_commit = overtake
    fleet.step(slow)
    assert len(fleet.children()) == 1
    assert [each.node for each in fleet.sent] == ["__start__"]
    fleet.work(fast)
    assert fleet.status is RunStatus.PAUSED


def test_a_server_that_is_away_for_a_moment_does_not_fail_a_step_that_looks_at_its_subgraph() -> (
    None
):
    fleet = Fleet(nested())
    fleet.start()
    worker = fleet.process("1")
    fleet.step(worker)

    def away(thread_id: str) -> None:
        if CHILD in thread_id:
            fleet.store.before_load = lambda _: None
            raise CheckpointerUnavailableError("away")

    fleet.store.before_load = away
    fleet.step(worker)
    fleet.work(worker)
    assert fleet.status is RunStatus.PAUSED
    assert "step_failed" not in [event.type for event in fleet.store.events("t")]


def test_an_attempt_that_comes_late_does_not_run_a_subgraph_again_that_has_ended() -> None:
    fleet = Fleet(plainly_nested())
    fleet.start()
    slow, fast = fleet.process("1"), fleet.process("2")
    fleet.step(slow)
    (step,) = fleet.sent

    def overtake(commit: Commit) -> None:
        if CHILD in commit.thread_id and commit.expect_new:
            fleet.store.before_commit = lambda _: None
            fleet.clock.sleep(10)  # The step is due again, since nobody has woken it.
            fast.run(step.thread_id, step.step_id, 0)
            while CHILD in fleet.sent[0].thread_id:
                fleet.step(fast)

    fleet.store.before_commit = overtake
    fleet.sent.clear()
    slow.run(step.thread_id, step.step_id, 0)
    fleet.work(fast)
    assert fleet.status is RunStatus.SUCCEEDED
    (child,) = fleet.children()
    assert fleet.log("t") == fleet.log(child) == ["plain"]


def test_a_step_that_is_woken_late_still_hears_the_answer_to_what_it_has_asked() -> None:
    fleet = Fleet(nested())
    fleet.start()
    slow, fast = fleet.process("1"), fleet.process("2")
    fleet.step(slow)
    (step,) = fleet.sent
    fleet.step(slow)

    def overtake(commit: Commit) -> None:
        if commit.thread_id == "t" and commit.guard is None:  # It wakes the step.
            fleet.store.before_commit = lambda _: None
            fleet.clock.sleep(10)  # The step looks by itself.
            fast.run(step.thread_id, step.step_id, 0)
            assert fleet.status is RunStatus.PAUSED

    fleet.store.before_commit = overtake
    fleet.work(slow)
    fleet.send(fleet.calls.answer("t", "yes"))
    fleet.work(fast)
    assert fleet.status is RunStatus.SUCCEEDED


def test_the_ids_of_a_subgraph_follow_the_clock_that_was_passed_in() -> None:
    fleet = Fleet(nested())
    fleet.start()
    fleet.work(fleet.process("1"))
    (child,) = fleet.children()
    head = fleet.store.load(child, values=False).head
    assert abs(head.checkpoint_id // 1000 - fleet.clock.now_ms()) < 1000


@pytest.mark.parametrize("graph", [two_questions, nested])
def test_a_process_says_what_it_is_busy_with_from_before_a_claim_to_after_its_commit(
    tmp_path: Path, graph: Callable[[], CompiledStateGraph]
) -> None:
    fleet, path = Fleet(graph()), tmp_path / "1.busy"
    fleet.start()
    process = fleet.process("1")
    process.busy = Busy(path)
    said: list[Any] = []
    fleet.store.before_claim = lambda _: said.append(signs_in(path))
    fleet.store.before_commit = lambda _: said.append(signs_in(path))
    fleet.work(process)
    assert len(said) > 4
    assert set(said) == {frozenset({sign_of("t")})}
    assert signs_in(path) == {bytes(8)}


def test_a_process_is_not_busy_any_more_when_a_step_has_failed_it(tmp_path: Path) -> None:
    fleet, path = Fleet(two_questions()), tmp_path / "1.busy"
    fleet.start()
    process = fleet.process("1")
    process.busy = Busy(path)

    def kill(_: str) -> None:
        raise KilledError

    fleet.store.before_claim = kill
    with pytest.raises(KilledError):
        fleet.step(process)
    assert signs_in(path) == {bytes(8)}
