"""A list in many parts: what it takes, what branches share, what happens if a part is damaged."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import END, START, Overwrite, StateCorruptedError, StateGraph, StepFailedError
from orchestrator.model.checkpoint import blob_key
from orchestrator.serde.codec import Codec
from tests.damage.stored import Cell, MemoryCells, RedisCells, SqliteCells, Stored

STEPS, ITEM_BYTES = 30, 10_000
GARBAGE = b"\x02garbage\n\nof some length"


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    number: int


def item(number: int) -> str:
    return f"{number:04}" * (ITEM_BYTES // 4)


def grow(state: State) -> State:
    number = state["number"]
    state["log"].append("what a node does to what it was given is nobody's business")
    return {"log": [item(number)], "number": number + 1}


def more(state: State) -> str:
    if not state["number"] % STEPS:
        return END
    state["log"].clear()
    return "grow"


builder = StateGraph(State).add_node("grow", grow).add_edge(START, "grow")
builder.add_conditional_edges("grow", more, ["grow", END])


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.server)])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    if request.param == "memory":
        made: Any = MemoryCells()
    elif request.param == "sqlite":
        made = SqliteCells(tmp_path / "t.db")
    else:
        made = RedisCells(request.getfixturevalue("settings"))
    yield made
    made.store.close()


@pytest.fixture
def graph(stored: Stored) -> Any:
    compiled = builder.compile(stored.store)
    compiled.invoke({"log": [], "number": 0}, "t")
    return compiled


def size(stored: Stored) -> int:
    """Return how many bytes all records of all threads have."""
    return sum(map(len, stored.cells().values()))


def values_of(stored: Stored, thread: str) -> dict[str, Cell]:
    """Return where the values of a thread are kept, by their names."""
    names = {thread, {"t": 1, "other": 2}[thread]}  # SQLite counts threads.
    found = {}
    for cell in stored.cells():
        kind, where, *name = cell
        is_key = isinstance(where, bytes)
        mine = where.endswith(f"t:{thread}:data".encode()) if is_key else where in names
        if kind.startswith(("blob", "value")) and mine:
            found[name[0].decode() if isinstance(name[0], bytes) else name[0]] = cell
    return found


def tail_at(stored: Stored, graph: Any, number: int) -> Cell:
    """Return where the part of the list is kept by which it got its n-th item."""
    version = int(at(graph, number).config["configurable"]["checkpoint_id"], 16)
    return values_of(stored, "t")[blob_key("", "log", version)]


def at(graph: Any, number: int) -> Any:
    """Return the snapshot in which the list has so many items."""
    return next(s for s in graph.get_state_history("t") if len(s.values.get("log", ())) == number)


def test_a_thread_takes_about_what_its_last_state_takes(stored: Stored, graph: Any) -> None:
    final = Codec().encode(graph.get_state("t").values)
    assert len(final) > STEPS * ITEM_BYTES
    assert size(stored) < 1.2 * len(final)


def test_each_snapshot_has_its_part_and_what_its_step_wrote(graph: Any) -> None:
    history = list(graph.get_state_history("t"))[::-1]
    for number, snapshot in enumerate(history[1:]):
        assert snapshot.values["log"] == [item(n) for n in range(number)]
        for task in snapshot.tasks:
            assert task.result == {"log": [item(number)], "number": number + 1}
    assert len(history) == STEPS + 2


def changes(graph: Any) -> dict[str, Callable[[], Any]]:
    early, late = at(graph, 10).config, at(graph, 20).config
    return {
        "update": lambda: graph.update_state("t", {"log": ["u"]}, as_node="grow"),
        "update from earlier": lambda: graph.update_state(early, {"log": ["e"]}, as_node="grow"),
        "another branch there": lambda: graph.update_state(early, {"log": ["f"]}, as_node="grow"),
        "roll back": lambda: graph.rollback(late),
        "update after that": lambda: graph.update_state("t", {"log": ["b"]}, as_node="grow"),
        "input": lambda: graph.invoke({"log": ["in"], "number": STEPS * 2 - 1}, "t"),
    }


def test_whatever_goes_on_shares_what_it_did_not_change(stored: Stored, graph: Any) -> None:
    ten, twenty = [item(n) for n in range(10)], [item(n) for n in range(20)]
    for what, do in changes(graph).items():
        before = size(stored)
        do()
        assert size(stored) - before < 2 * ITEM_BYTES, what
    logs = [s.values["log"] for s in graph.get_state_history("t")]
    assert logs[0] == [*twenty, "b", "in", item(STEPS * 2 - 1)]
    assert [*ten, "e"] in logs
    assert [*ten, "f"] in logs
    assert twenty in logs
    assert [*(item(n) for n in range(STEPS)), "u"] in logs


def test_a_fork_is_a_thread_of_its_own(stored: Stored, graph: Any) -> None:
    graph.fork(at(graph, 10).config, "other")
    forked = stored.store.load("other")
    assert graph.records.checkpoint(forked.checkpoint.header).tails == {}
    graph.update_state("other", {"log": ["o"]}, as_node="grow")
    graph.update_state("other", {"log": ["p"]}, as_node="grow")
    expected = [*(item(n) for n in range(10)), "o", "p"]
    for cell in values_of(stored, "t").values():
        stored.write(cell, GARBAGE)
    assert graph.get_state("other").values["log"] == expected


def test_a_list_that_is_replaced_begins_anew(stored: Stored, graph: Any) -> None:
    graph.update_state("t", {"log": Overwrite(["anew" * 100])}, as_node="grow")
    before = size(stored)
    graph.update_state("t", {"log": ["more"]}, as_node="grow")
    assert graph.get_state("t").values["log"] == ["anew" * 100, "more"]
    assert size(stored) - before < ITEM_BYTES
    assert len(at(graph, STEPS).values["log"]) == STEPS


# ---- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [STEPS, STEPS - 1, 15, 1])
def test_without_a_part_a_thread_goes_on_from_where_it_was_not_needed(
    stored: Stored, graph: Any, number: int
) -> None:
    expected = graph.get_state("t").values
    before = at(graph, number - 1).config["configurable"]["checkpoint_id"]
    cell = tail_at(stored, graph, number)
    stored.write(cell, GARBAGE)
    with pytest.raises(StateCorruptedError, match=r"is damaged.*log"):
        graph.get_state("t")
    shown = list(graph.get_state_history("t"))
    damaged = [s for s in shown if s.metadata["source"] == "damaged"]
    assert len(damaged) == STEPS - number + 1
    whole = [s for s in shown if s not in damaged]
    assert [len(s.values.get("log", ())) for s in whole[:2]] == [number - 1, max(number - 2, 0)]
    # What the step wrote that the part is from is gone with it, and the snapshot says so.
    [task] = whole[0].tasks
    assert task.result is None
    assert task.error is not None
    assert task.error.type == "StateCorruptedError"
    assert graph.invoke(None, "t") == expected
    [aside] = [e for e in stored.store.events("t") if e.type == "checkpoint_set_aside"]
    assert aside.fields["back_to"].decode() == before
    assert graph.get_state("t").values == expected


def test_checkpoints_that_do_not_need_a_damaged_part_stay_as_they_were(
    stored: Stored, graph: Any
) -> None:
    graph.update_state(at(graph, 10).config, {"log": ["branch"]}, as_node="grow")
    stored.write(tail_at(stored, graph, 12), GARBAGE)
    assert graph.get_state("t").values["log"] == [*(item(n) for n in range(10)), "branch"]


def test_a_run_that_has_lost_its_input_fails_and_does_nothing_of_an_earlier_one(
    stored: Stored, graph: Any
) -> None:
    graph.invoke({"log": ["in"], "number": STEPS + 1}, "t", interrupt_before=["grow"])
    stored.write(tail_at(stored, graph, 12), GARBAGE)
    with pytest.raises(StepFailedError, match=r"StateCorruptedError.*Give it again"):
        graph.invoke(None, "t")
    snapshot = graph.get_state("t")
    assert (len(snapshot.values["log"]), snapshot.next) == (11, ())
    graph.invoke({"log": ["in"], "number": 2 * STEPS - 1}, "t")
    assert graph.get_state("t").values["log"][10:] == [item(10), "in", item(2 * STEPS - 1)]


def test_a_run_whose_values_are_damaged_when_it_begins_can_be_given_again(
    stored: Stored, graph: Any
) -> None:
    stored.write(tail_at(stored, graph, 12), GARBAGE)
    given = {"log": ["in"], "number": 2 * STEPS - 1}
    with pytest.raises(StepFailedError, match=r"StateCorruptedError.*Give it again"):
        graph.invoke(given, "t")
    graph.invoke(given, "t")
    assert graph.get_state("t").values["log"][10:] == [item(10), "in", item(2 * STEPS - 1)]
