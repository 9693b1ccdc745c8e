"""A node that sleeps holds no worker, and wakes on time whoever wakes it."""

from __future__ import annotations

import asyncio
import datetime as dt
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import (
    START,
    CompiledStateGraph,
    MemoryCheckpointer,
    RetryPolicy,
    SqliteCheckpointer,
    StateGraph,
    StepContext,
    interrupt,
)
from orchestrator.engine.settle import ASLEEP
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Wait
from tests.unit.test_runtime_of_workers import Fleet


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


class Seen:
    """What nodes did, however often they began."""

    def __init__(self) -> None:
        self.log: list[Any] = []


def graph_of(*nodes: Any, **options: Any) -> StateGraph[Any]:
    builder = StateGraph(State)
    for node in nodes:
        builder.add_node(node, **options).add_edge(START, node.__name__)
    return builder


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryCheckpointer() if request.param == "memory" else SqliteCheckpointer(tmp_path / "f")


def test_a_node_that_sleeps_runs_again_from_its_beginning_when_the_time_has_come(
    store: Any,
) -> None:
    seen = Seen()

    def naps(state: State, ctx: StepContext) -> State:
        number = ctx.random()
        seen.log.append(("begins", ctx.attempt, dt.datetime.now(dt.UTC), number))
        ctx.sleep(0.15)
        seen.log.append(("slept", ctx.attempt, dt.datetime.now(dt.UTC), number))
        ctx.sleep(dt.timedelta(seconds=0.15))
        return {"log": ["done"]}

    assert graph_of(naps).compile(store).invoke({}, "t") == {"log": ["done"]}
    events = [(what, attempt) for what, attempt, _, _ in seen.log]
    assert events == [("begins", 1), ("begins", 2), ("slept", 2), ("begins", 3), ("slept", 3)]
    assert len({number for *_, number in seen.log}) == 1
    times = [time for _, _, time, _ in seen.log]
    assert (times[1] - times[0]).total_seconds() >= 0.15
    assert (times[3] - times[2]).total_seconds() >= 0.15


def test_no_time_at_all_is_not_slept() -> None:
    seen = Seen()

    def naps(state: State, ctx: StepContext) -> State:
        seen.log.append(ctx.attempt)
        ctx.sleep(0)
        ctx.sleep(-1)
        return {}

    graph_of(naps).compile(MemoryCheckpointer()).invoke({}, "t")
    assert seen.log == [1]


def test_others_run_while_a_node_sleeps() -> None:
    seen = Seen()

    def naps(state: State, ctx: StepContext) -> State:
        ctx.sleep(0.2)
        seen.log.append("naps")
        return {"log": ["naps"]}

    def works(state: State) -> State:
        seen.log.append("works")
        return {"log": ["works"]}

    graph = graph_of(naps, works).compile(MemoryCheckpointer())
    assert graph.invoke({}, "t")["log"] == ["naps", "works"]
    assert seen.log == ["works", "naps"]


def test_an_async_node_sleeps_as_any_other() -> None:
    async def naps(state: State, ctx: StepContext) -> State:
        await asyncio.sleep(0)
        ctx.sleep(0.1)
        return {"log": [ctx.attempt]}

    graph = graph_of(naps).compile(MemoryCheckpointer())
    assert asyncio.run(graph.ainvoke({}, "t")) == {"log": [2]}


def test_a_sleep_is_no_failure_and_a_failure_keeps_it() -> None:
    seen = Seen()

    def naps(state: State, ctx: StepContext) -> State:
        seen.log.append(ctx.attempt)
        ctx.sleep(0.1)
        if ctx.attempt < 4:
            raise ConnectionError("again")
        return {"log": ["done"]}

    policy = RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False)
    graph = graph_of(naps, retry_policy=policy).compile(MemoryCheckpointer())
    assert graph.invoke({}, "t") == {"log": ["done"]}
    assert seen.log == [1, 2, 3, 4]  # It sleeps once, and fails twice.


def test_an_error_handler_may_sleep() -> None:
    def fails(state: State) -> State:
        raise ValueError("no")

    def handles(state: State, ctx: StepContext) -> State:
        ctx.sleep(0.1)
        return {"log": ["handled"]}

    builder = graph_of(fails, error_handler=handles)
    assert builder.compile(MemoryCheckpointer()).invoke({}, "t") == {"log": ["handled"]}


def test_a_node_with_a_timeout_may_sleep_for_longer() -> None:
    def naps(state: State, ctx: StepContext) -> State:
        ctx.sleep(0.4)
        return {"log": ["done"]}

    graph = graph_of(naps, timeout=0.2).compile(MemoryCheckpointer())
    assert graph.invoke({}, "t") == {"log": ["done"]}


def test_a_node_may_sleep_and_ask() -> None:
    def naps(state: State, ctx: StepContext) -> State:
        ctx.sleep(0.1)
        return {"log": [interrupt("sure?")]}

    from orchestrator import Command

    graph = graph_of(naps).compile(MemoryCheckpointer())
    assert graph.invoke({}, "t")["__interrupt__"][0].value == "sure?"
    assert graph.invoke(Command(resume="yes"), "t") == {"log": ["yes"]}


def sleeper() -> CompiledStateGraph:
    def naps(state: State, ctx: StepContext) -> State:
        ctx.sleep(3600)
        return {"log": ["done"]}

    return graph_of(naps).compile(name="g")


def test_on_a_fleet_nobody_is_held_and_whoever_is_there_wakes_it() -> None:
    fleet = Fleet(sleeper())
    fleet.start()
    fleet.work(fleet.process("1"))
    [asleep] = fleet.store.load("t").steps.values()
    assert (asleep.owner, asleep.wait, asleep.reason) == ("", Wait.TIMER, ASLEEP)
    assert (asleep.failures, asleep.deaths) == (0, 0)

    def due() -> int:
        return sum(len(fleet.store.sweep(p, leader="s").due) for p in range(fleet.store.partitions))

    fleet.clock.sleep(3599)
    assert due() == 0
    other = fleet.process("2")
    other.run("t", asleep.step.step_id, 0)  # A message that should not be.
    assert fleet.status is RunStatus.RUNNING
    fleet.clock.sleep(1)
    assert due() == 1
    other.run("t", asleep.step.step_id, 0)
    assert fleet.status is RunStatus.SUCCEEDED
    assert fleet.log("t") == ["done"]


def test_a_death_does_not_begin_the_time_anew() -> None:
    fleet = Fleet(sleeper())
    fleet.start()
    fleet.work(fleet.process("1"))
    [asleep] = fleet.store.load("t").steps.values()
    fleet.clock.sleep(3600)
    fleet.store.claim("t", asleep.step.step_id, owner="dies", token="x")
    fleet.store.release("dies")
    fleet.process("2").run("t", asleep.step.step_id, 0)
    assert fleet.status is RunStatus.SUCCEEDED
