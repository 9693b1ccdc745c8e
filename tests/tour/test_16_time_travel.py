"""Nothing is overwritten: run again from an earlier snapshot, go back to it, or begin elsewhere."""

import operator
from typing import Annotated, TypedDict

import pytest

from orchestrator import MemoryCheckpointer, StateGraph


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Weather:
    today = "rain"


def look(state: State):
    return {"log": [Weather.today]}


def go(state: State):
    return {"log": [f"out in the {state['log'][-1]}"]}


@pytest.fixture
def graph(monkeypatch):
    builder = StateGraph(State).add_sequence([look, go]).set_entry_point("look")
    graph = builder.compile(MemoryCheckpointer())
    monkeypatch.setattr(Weather, "today", "rain")
    graph.invoke({}, "t")
    monkeypatch.setattr(Weather, "today", "sun")
    return graph


def before(graph, node):
    """The snapshot in which `node` comes next."""
    return next(s for s in graph.get_state_history("t") if s.next == (node,))


def test_a_replay_is_a_branch_and_the_old_one_stays_readable(graph):
    old = graph.get_state("t").config
    assert graph.invoke(None, before(graph, "look").config)["log"] == ["sun", "out in the sun"]
    assert graph.get_state(old).values["log"] == ["rain", "out in the rain"]


def test_a_rollback_makes_an_earlier_snapshot_the_latest(graph):
    graph.rollback(before(graph, "go").config)
    assert graph.get_state("t").values["log"] == ["rain"]
    assert graph.get_state("t").next == ("go",)


def test_a_fork_is_a_thread_of_its_own(graph):
    graph.fork(before(graph, "go").config, thread_id="other")
    graph.update_state("other", {"log": ["snow"]}, as_node="look")

    assert graph.invoke(None, "other")["log"] == ["rain", "snow", "out in the snow"]
    assert graph.get_state("t").values["log"] == ["rain", "out in the rain"]
