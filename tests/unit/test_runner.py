"""The life of a step: claimed, run, committed; and everything that can come between."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator import START, RetryPolicy, StateGraph, interrupt
from orchestrator.client.thread_calls import Calls
from orchestrator.engine.accept import RunConfig
from orchestrator.errors import (
    CheckpointerUnavailableError,
    GraphMismatchError,
    InvalidUpdateError,
    UnserializableValueError,
    WorkerLostError,
)
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Refusal, Wait
from orchestrator.step.report import Report
from orchestrator.step.runner import run_step
from tests.fixtures.steps import State, World

# ---- committing -------------------------------------------------------------------------


def test_a_step_alone_commits_its_result_and_the_next_step_at_once() -> None:
    world = World(row=True)
    commits = len(world.events())
    report = world.run("a")
    assert [step.node for step in report.ready] == ["b"]
    assert world.events()[commits:] == ["step_committed", "superstep"]
    assert world.log == ["in", "a"]


def test_the_last_step_ends_the_run() -> None:
    world = World(row=True)
    (last,) = world.run("a").ready
    assert world.run(last) == Report()
    assert world.status is RunStatus.SUCCEEDED


def test_of_several_steps_the_one_that_completes_last_advances() -> None:
    world = World()
    assert world.run("b") == Report()
    assert world.status is RunStatus.RUNNING
    assert world.run("a") == Report()
    assert (world.status, world.log) == (RunStatus.SUCCEEDED, ["in", "a", "b"])


def test_whoever_advances_the_state_is_the_same() -> None:
    first, second = World(), World()
    for world, order in ((first, "ab"), (second, "ba")):
        for name, owner in zip(order, ("one", "two"), strict=True):
            world.run(name, world.process(owner))
    assert first.log == second.log


def test_a_step_goes_to_the_queue_that_its_node_names() -> None:
    world = World()
    runner = replace(world.runner, default_queue="usual")
    builder = StateGraph(State).add_node("a", world.node("a"), queue="gpu")
    builder.add_node("b", world.node("b")).add_edge(START, "a").add_edge(START, "b")
    graph = builder.compile(world.store, name="g")
    calls = Calls(world.store, graph.records, "usual", clock=world.clock)
    _, ready = calls.accept("other", "g", {}, RunConfig(run_id="r"))
    runner = replace(runner, spec=graph.spec)
    steps = run_step(runner, "other", ready[0].step_id).ready
    assert (ready[0].queue, [s.queue for s in steps]) == ("usual", ["gpu", "usual"])


# ---- claims and fences ------------------------------------------------------------------


@pytest.mark.parametrize("thread", ["t", "unknown"])
def test_what_is_not_ready_is_not_run(thread: str) -> None:
    world = World()
    assert run_step(world.runner, thread, "no such step").refused in {
        Refusal.UNKNOWN_STEP,
        Refusal.UNKNOWN_THREAD,
    }
    assert world.ran == []


def test_a_step_that_another_process_runs_is_left_to_it() -> None:
    world = World()
    world.acts["a"] = lambda: {"log": [world.run("a", world.process("other")).refused.value]}
    world.run("a")
    world.run("b")
    assert world.log == ["in", "claimed", "b"]


def test_a_step_runs_once_however_often_it_is_told_to() -> None:
    world = World()
    world.run("a")
    assert world.run("a").refused is Refusal.COMPLETED
    assert world.ran == ["a"]


def test_a_process_that_was_taken_for_dead_changes_nothing_when_it_wakes() -> None:
    world = World()

    def sleep() -> State:
        if world.ran.count("a") == 1:
            world.store.release("me")
            world.run("a", world.process("other"))
            return {"log": ["old"]}
        return {"log": ["new"]}

    world.acts["a"] = sleep
    assert world.run("a").refused is Refusal.COMPLETED
    world.run("b")
    assert world.log == ["in", "new", "b"]


def test_a_superstep_that_nobody_advanced_is_advanced_by_the_next_message_for_it() -> None:
    world = World()
    world.run("a")
    world.store.unread = 4
    with pytest.raises(CheckpointerUnavailableError):  # After the commit, before it advances.
        world.run("b")
    assert world.status is RunStatus.RUNNING
    assert world.run("a").refused is Refusal.COMPLETED
    assert world.status is RunStatus.SUCCEEDED


def test_advancing_before_all_have_completed_does_nothing() -> None:
    world = World()
    world.run("a")
    assert world.runner.advance("t") == Report()
    assert world.runner.advance("unknown") == Report()
    assert world.status is RunStatus.RUNNING


def test_a_graph_of_another_structure_does_not_advance_either() -> None:
    world = World()
    world.run("a")
    world.store.unread = 4
    with pytest.raises(CheckpointerUnavailableError):
        world.run("b")
    other = World(row=True).process("other")
    other.access = replace(other.access, checkpointer=world.store)
    world.run("a", other)
    assert world.status is RunStatus.RUNNING
    world.run("a")
    assert (world.status, world.log) == (RunStatus.SUCCEEDED, ["in", "a", "b"])


def test_a_graph_of_another_structure_runs_none_of_the_steps() -> None:
    world = World()
    other = World(row=True).process("other")
    other.access = replace(other.access, checkpointer=world.store)
    report = world.run("a", other)
    assert (type(report.error), world.ran) == (GraphMismatchError, [])
    world.run("b")
    assert world.status is RunStatus.FAILED
    Calls(world.store, world.graph.records, clock=world.clock).carry_on("t")
    world.run("a")
    assert (world.ran, world.status) == (["b", "a"], RunStatus.SUCCEEDED)


def test_no_two_steps_of_any_threads_share_an_idempotency_key_or_a_question() -> None:
    keys: list[str] = []

    def ask(state: State, ctx: Any) -> None:
        keys.append(ctx.idempotency_key)
        interrupt("sure?")

    world = World()
    builder = StateGraph(State).add_node("a", ask).add_edge(START, "a")
    graph = builder.compile(world.store, name="g")
    runner = replace(world.runner, spec=graph.spec)
    calls = Calls(world.store, graph.records, clock=world.clock)
    for thread in ("one", "two"):  # They begin at the same time.
        (step,) = calls.accept(thread, "g", {}, RunConfig(run_id=thread))[1]
        (step,) = run_step(runner, thread, step.step_id).ready
        run_step(runner, thread, step.step_id)
    questions = [graph.get_state(thread).interrupts[0].id for thread in ("one", "two")]
    assert (len(set(keys)), len(set(questions))) == (2, 2)


# ---- failures ---------------------------------------------------------------------------


def boom() -> None:
    raise ValueError("boom")


def test_a_failed_step_alone_ends_the_run() -> None:
    world = World(row=True)
    world.acts["a"] = boom
    report = world.run("a")
    assert isinstance(report.error, ValueError)
    assert (world.status, world.step("a").wait) == (RunStatus.FAILED, Wait.PERSON)


def test_a_failed_step_lets_its_siblings_complete_before_the_run_ends() -> None:
    world = World()
    world.acts["a"] = boom
    world.run("a")
    assert world.status is RunStatus.RUNNING
    world.run("b")
    assert world.status is RunStatus.FAILED
    error = world.graph.records.error(world.store.load("t").head.error)
    assert (error.type, error.node, error.worker) == ("ValueError", "a", "me")


def test_a_question_beside_a_failure_does_not_hide_it() -> None:
    world = World()
    world.acts = {"a": boom, "b": lambda: {"log": [interrupt("sure?")]}}
    world.run("a")
    world.run("b")
    assert world.status is RunStatus.FAILED
    assert len(world.graph.get_state("t").interrupts) == 1


@pytest.mark.parametrize("row", [True, False])
def test_a_question_pauses_the_run_once_nothing_else_is_left(row: bool) -> None:
    world = World(row=row)
    world.acts["a"] = lambda: {"log": [interrupt("sure?")]}
    world.run("a")
    if not row:
        assert world.status is RunStatus.RUNNING
        world.run("b")
    assert (world.status, world.step("a").wait) == (RunStatus.PAUSED, Wait.ANSWER)


def test_a_value_that_cannot_be_stored_fails_its_own_step_only() -> None:
    world = World()
    world.acts["a"] = lambda: {"log": [object()]}
    report = world.run("a")
    assert isinstance(report.error, UnserializableValueError)
    world.run("b")
    assert world.log == ["in", "b"]


@pytest.mark.parametrize(
    ("acts", "error", "message"),
    [
        (
            {"a": lambda: {"n": 1}, "b": lambda: {"n": 2}},
            InvalidUpdateError,
            "2 values for 'n'",
        ),
        ({"a": lambda: {"log": 5}}, TypeError, "can only concatenate list"),
    ],
)
def test_results_that_do_not_fit_together_fail_the_superstep_and_stay(
    acts: dict[str, Any], error: type[Exception], message: str
) -> None:
    world = World()
    world.acts = acts
    world.run("b")
    report = world.run("a")
    assert isinstance(report.error, error)
    assert message in str(report.error)
    assert world.status is RunStatus.FAILED
    assert all(step.completed for step in world.store.load("t").steps.values())
    assert world.log == ["in"]


def test_a_retry_waits_and_counts_and_ends() -> None:
    world = World(retry=RetryPolicy(max_attempts=2, jitter=False, retry_on=ValueError))
    world.acts["a"] = boom
    retried = world.run("a")
    assert retried == Report(retry_ms=500, raised=retried.raised)
    assert isinstance(retried.raised, ValueError)
    assert world.run("a").refused is Refusal.WAITING
    assert world.step("a").reason == "ValueError: boom"
    world.clock.sleep(0.5)
    assert isinstance(world.run("a").error, ValueError)
    assert (world.step("a").failures, world.step("a").attempt) == (2, 2)


def test_a_step_that_kills_its_workers_is_not_tried_for_ever() -> None:
    world = World(row=True)
    for death in range(3):
        owner = f"victim {death}"
        world.store.claim(
            "t", world.steps["a"].step_id, owner=owner, token=owner, known=(), sent_ms=0
        )
        world.store.release(owner)
    report = world.run("a")
    assert isinstance(report.error, WorkerLostError)
    assert "t:1:a lost its worker 3 times" in str(report.error)
    assert world.ran == []


def test_a_process_that_is_told_to_stop_hands_its_step_back() -> None:
    world = World()

    def stop() -> None:
        raise SystemExit

    world.acts["a"] = stop
    with pytest.raises(SystemExit):
        world.run("a")
    assert (world.step("a").owner, world.step("a").failures) == ("", 0)
    del world.acts["a"]
    world.run("a", world.process("other"))
    assert world.step("a").completed


# ---- a store that is away ---------------------------------------------------------------


@pytest.mark.parametrize("row", [True, False])
@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_store_that_comes_back_has_each_step_once(fault: str, row: bool) -> None:
    world = World(row=row)
    world.store.away = [fault, fault]
    world.run("a")
    for loaded in world.store.load("t").steps.values():
        world.run(loaded.step)
    assert (world.status, world.log) == (RunStatus.SUCCEEDED, ["in", "a", "b"])
    assert sorted(world.ran) == ["a", "b"]


def test_a_store_that_stays_away_is_an_error_in_the_end() -> None:
    world = World()
    world.store.away = ["before"] * 9
    with pytest.raises(CheckpointerUnavailableError):
        world.run("a")
    world.store.away = []
    world.store.release("me")
    world.run("a")
    assert world.step("a").completed
