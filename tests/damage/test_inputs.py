"""On Redis an input that was taken in names the values of the state that it brought."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, Command, StateCorruptedError, StateGraph, interrupt
from orchestrator.errors import StepFailedError
from tests.damage.stored import Cell, RedisCells

pytestmark = pytest.mark.server
GARBAGE = b"\x01garbage of some length"


class State(TypedDict, total=False):
    note: str
    log: Annotated[list[str], operator.add]
    answer: str


def work(state: State) -> State:
    return {"log": [state["note"][:4]]}


def gate(state: State) -> State:
    return {"answer": interrupt("go on?")}


def drop(_: State) -> State:
    return {"note": "gone", "log": ["dropped"]}


builder = StateGraph(State).add_sequence([work, gate, drop]).add_edge(START, "work")


def given(number: int) -> State:
    return {"note": f"{number:04}" * 100, "log": [f"in {number}" * 100]}


@pytest.fixture
def stored(settings: Any) -> Iterator[RedisCells]:
    made = RedisCells(settings)
    yield made
    made.store.close()


@pytest.fixture
def graph(stored: RedisCells) -> Any:
    compiled = builder.compile(stored.store)
    compiled.invoke(given(1), "t")
    return compiled


def values_of(stored: RedisCells, key: str) -> list[Cell]:
    """Return where the values of a key are kept, by their versions."""
    return sorted(
        cell
        for cell in stored.cells()
        if cell[0] == "value" and f"\x1f{key}\x1f".encode() in cell[2]
    )


def test_what_came_with_an_input_is_stored_once(stored: RedisCells, graph: Any) -> None:
    kept = b"".join(stored.cells().values())
    assert kept.count(given(1)["note"].encode()) == 1
    assert kept.count(given(1)["log"][0].encode()) == 1


def test_the_history_shows_it_and_a_thread_can_be_replayed_from_it(graph: Any) -> None:
    first = list(graph.get_state_history("t"))[-1]
    assert (first.metadata["source"], first.next) == ("input", (START,))
    [task] = first.tasks
    assert task.result == given(1)
    again = graph.invoke(None, first.config)
    assert again["log"] == [*given(1)["log"], "0001"]
    assert graph.invoke(Command(resume="yes"), "t")["log"][1:] == ["0001", "dropped"]
    graph.fork(first.config, "other")
    assert graph.invoke(None, "other")["note"] == given(1)["note"]


def test_a_value_that_nothing_needs_any_more_hinders_nobody(stored: RedisCells, graph: Any) -> None:
    graph.invoke(Command(resume="yes"), "t")
    first, *_ = values_of(stored, "note")
    stored.write(first, GARBAGE)
    assert graph.invoke(given(2), "t")["log"][-1] == "0002"
    damaged = [s for s in graph.get_state_history("t") if s.metadata["source"] == "damaged"]
    assert len(damaged) == 4  # The input, and the three checkpoints with the value.


def test_without_a_value_that_came_with_the_only_input_nothing_is_whole(
    stored: RedisCells, graph: Any
) -> None:
    for cell in values_of(stored, "note"):
        stored.write(cell, GARBAGE)
    with pytest.raises(StateCorruptedError, match=r"is damaged.*note"):
        graph.invoke(None, "t")
    assert graph.invoke(given(2), "t", on_corrupt="restart")["log"][-1] == "0002"


def test_a_run_that_lost_a_value_of_its_input_does_nothing_of_an_earlier_one(
    stored: RedisCells, graph: Any
) -> None:
    before = graph.get_state("t")
    assert before.next == ("gate",)
    graph.invoke(given(2), "t", interrupt_before=["work"])
    stored.write(values_of(stored, "note")[-1], GARBAGE)
    with pytest.raises(StepFailedError, match=r"StateCorruptedError.*Give it again"):
        graph.invoke(None, "t")
    after = graph.get_state("t")
    assert (after.values, after.next) == (before.values, ())
    assert graph.invoke(given(3), "t")["log"][-1] == "0003"
