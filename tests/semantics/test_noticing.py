"""A node notices that its run was cancelled, or that another process has its step. (INV-3)"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator import START, NodeTimeoutError, StateGraph
from orchestrator.errors import GraphstalkError, RunCancelledError
from orchestrator.step.context import StepContext
from tests.semantics import heeding
from tests.semantics.places import WAIT_S, Place
from tests.semantics.witness import State

NOTICED_S = 3.0  # About a second, on a machine that does other things.
pytestmark = pytest.mark.usefixtures("no_hang")


HEEDING = [name for name in heeding.BUILDERS if name != "heeds_nothing"]


@pytest.mark.parametrize("name", HEEDING)
def test_a_node_of_a_cancelled_run_ends_within_about_a_second(place: Place, name: str) -> None:
    graph = place.graph(name)
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(place.call, graph, {})
        place.wait_ran("work")
        assert place.cancel(place.graph(name))
        began = time.monotonic()
        place.wait_ran("left")
        assert time.monotonic() - began < NOTICED_S
        assert isinstance(called.exception(WAIT_S), RunCancelledError)
    assert place.ran("caught") == []
    assert place.values(graph) == {}
    assert place.call(place.graph(name), {})["log"] == ["done"]  # The thread is free.


def test_a_step_of_a_subgraph_that_nothing_keeps_is_not_taken_for_a_lost_one(place: Place) -> None:
    assert place.call(place.graph("heeds_nothing"), {})["log"] == ["done"]
    assert place.ran() == ["work"]


@pytest.mark.parametrize("name", ["heeds_check", "heeds_await"])
def test_a_node_whose_run_was_rolled_back_ends_too(place: Place, name: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(place.call, place.graph(name), {})
        place.wait_ran("work")
        output = place.call(place.graph(name), {}, multitask_strategy="rollback")
        assert output["log"] == ["done"]
        place.wait_ran("left", 2)
        assert isinstance(called.exception(WAIT_S), GraphstalkError)


@pytest.mark.parametrize("kind", ["memory"])
def test_a_node_over_its_time_limit_is_cancelled(place: Place) -> None:
    left, caught = threading.Event(), []

    def slow(state: State, ctx: StepContext) -> State:
        assert not ctx.cancelled
        try:
            for _ in heeding.polls():
                ctx.check()
        except Exception as error:  # noqa: BLE001 - there should be none
            caught.append(error)
        finally:
            left.set()
        return {}

    builder = StateGraph(State).add_node("slow", slow, timeout=0.05).add_edge(START, "slow")
    with pytest.raises(NodeTimeoutError):
        place.compiled(builder).invoke({}, place.thread)
    assert left.wait(NOTICED_S)
    assert caught == []
