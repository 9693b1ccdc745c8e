"""A thread whose latest checkpoint is damaged goes on from the one before, and says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    START,
    Command,
    StateCorruptedError,
    StateGraph,
    StepFailedError,
)
from orchestrator.ids import checkpoint_text
from tests.damage.stored import Cell, MemoryCells, SqliteCells, Stored
from tests.damage.test_stored_bytes import State, builder

pytestmark = pytest.mark.usefixtures("small_tails")
GARBAGE = b"\x01garbage of some length"


@pytest.fixture(params=["memory", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    made: Any = MemoryCells() if request.param == "memory" else SqliteCells(tmp_path / "t.db")
    yield made
    made.store.close()


def damage(stored: Stored, wanted: Callable[[Cell], bool]) -> int:
    """Damage the records in these places; return how many there were."""
    cells = [cell for cell in stored.cells() if wanted(cell)]
    for cell in cells:
        stored.write(cell, GARBAGE)
    return len(cells)


def headers(stored: Stored, *ids: int) -> Callable[[Cell], bool]:
    return lambda cell: cell[0].endswith("header") and cell[-1] in ids


def events(stored: Stored, type_: str, thread: str = "t") -> list[dict[str, str]]:
    found = [e for e in stored.store.events(thread) if e.type == type_]
    return [{key: data.decode() for key, data in e.fields.items()} for e in found]


def test_the_damaged_checkpoint_is_set_aside_and_the_one_before_resumes(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    newest, before, *_ = stored.store.history("t")
    assert damage(stored, headers(stored, newest)) == 1
    with pytest.raises(StateCorruptedError, match=f"is damaged.*t header {newest:x}"):
        graph.get_state("t")
    with caplog.at_level(logging.ERROR):
        graph.invoke(None, "t")
    assert "event=checkpoint_set_aside thread_id=t" in caplog.text
    (aside,) = events(stored, "checkpoint_set_aside")
    assert "is damaged" in aside["reason"]
    # It asks again: the step that had asked was of the damaged checkpoint.
    assert graph.get_state("t").next == ("ask",)
    history = list(graph.get_state_history("t"))
    damaged = [snapshot for snapshot in history if snapshot.metadata["source"] == "damaged"]
    assert [one.config["configurable"]["checkpoint_id"] for one in damaged] == [aside["checkpoint"]]
    assert "is damaged" in damaged[0].metadata["error"]
    parents = {one.config["configurable"]["checkpoint_id"] for one in history}
    assert aside["back_to"] in parents
    assert before in stored.store.history("t")
    result = graph.invoke(Command(resume="yes"), "t")
    assert result["log"] == ["in", "begin", "charged text 1", "yes", "left 7", "last"]


def test_several_damaged_checkpoints_are_passed_over(stored: Stored) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    newest, second, first = stored.store.history("t")
    assert damage(stored, headers(stored, newest, second)) == 2
    graph.invoke(None, "t")
    assert graph.invoke(Command(resume="yes"), "t")["log"].count("begin") == 1
    (aside,) = events(stored, "checkpoint_set_aside")
    assert aside["back_to"] == checkpoint_text(first)


def test_an_answer_to_a_damaged_thread_is_refused_and_nothing_is_changed(stored: Stored) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    damage(stored, headers(stored, stored.store.history("t")[0]))
    with pytest.raises(StateCorruptedError):
        graph.invoke(Command(resume="yes"), "t")
    assert events(stored, "checkpoint_set_aside") == []


@pytest.mark.parametrize("what", ["header", "value"])
def test_a_thread_that_has_ended_and_rots_is_set_back_too(stored: Stored, what: str) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    expected = graph.invoke(Command(resume="yes"), "t")
    newest = stored.store.history("t")[0]
    at = f"{newest:x}"
    where = headers(stored, newest) if what == "header" else lambda c: str(c[-1]).endswith(at)
    assert damage(stored, where)
    with pytest.raises(StateCorruptedError):
        graph.get_state("t")
    assert graph.invoke(None, "t") == expected
    assert len(events(stored, "checkpoint_set_aside")) == 1


def test_a_new_input_begins_on_the_latest_checkpoint_that_is_whole(stored: Stored) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    graph.invoke(Command(resume="yes"), "t")
    damage(stored, headers(stored, stored.store.history("t")[0]))
    graph.invoke({"log": ["again"]}, "t")
    assert len(events(stored, "checkpoint_set_aside")) == 1
    assert graph.get_state("t").values["log"][-3:] == ["again", "begin", "left 7"]


def test_if_nothing_is_whole_the_error_says_what_to_do(stored: Stored) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    damage(stored, headers(stored, *stored.store.history("t")))
    for value in (None, {"log": ["new"]}):
        with pytest.raises(
            StateCorruptedError, match=r"no checkpoint is whole.*on_corrupt='restart'"
        ):
            graph.invoke(value, "t")
    # A fresh start only where the caller asks for it; what was there stays there.
    before = stored.store.history("t")
    graph.invoke({"log": ["new"]}, "t", on_corrupt="restart")
    assert graph.get_state("t").values["log"] == ["new", "begin", "left 7"]
    assert set(before) < set(stored.store.history("t"))


def test_if_no_checkpoint_has_its_values_a_run_begins_anew_where_that_was_asked_for(
    stored: Stored,
) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    assert damage(stored, headers(stored, stored.store.history("t")[-1]))
    assert damage(stored, lambda cell: cell[0].startswith("blob"))
    with pytest.raises((StateCorruptedError, StepFailedError), match="is damaged"):
        graph.invoke({"log": ["new"]}, "t")
    graph.invoke({"log": ["new"]}, "t", on_corrupt="restart")
    assert graph.get_state("t").values["log"] == ["new", "begin", "left 7"]


def test_a_run_whose_damaged_input_is_set_aside_does_nothing_of_an_earlier_one(
    stored: Stored,
) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    assert graph.get_state("t").next == ("ask",)
    newest = stored.store.history("t")[0]
    graph.invoke({"log": ["again"]}, "t", interrupt_before=["begin"])
    assert damage(stored, headers(stored, *(i for i in stored.store.history("t") if i > newest)))
    with pytest.raises(StepFailedError, match=r"StateCorruptedError.*Give it again"):
        graph.invoke(None, "t")
    after = graph.get_state("t")
    assert (after.values["log"], after.next) == (["in", "begin"], ())


def test_a_restart_is_none_as_long_as_something_is_whole(stored: Stored) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["in"]}, "t")
    damage(stored, headers(stored, stored.store.history("t")[0]))
    graph.invoke({"log": ["new"]}, "t", on_corrupt="restart")
    assert graph.get_state("t").values["log"] == ["in", "new", "begin", "left 7"]


@dataclass
class Saboteur:
    """Damages the thread's own records while its steps run, once."""

    stored: Stored
    wanted: str = ""
    ran: list[str] = field(default_factory=list)

    def graph(self) -> Any:
        made = StateGraph(State)
        for name in ("begin", "left", "right", "last"):
            made.add_node(name, self.node(name))
        made.add_edge(START, "begin").add_edge("begin", "left").add_edge("begin", "right")
        return made.add_edge(["left", "right"], "last").compile(self.stored.store)

    def node(self, name: str) -> Callable[[State], State]:
        def run(state: State) -> State:
            self.ran.append(name)
            if name == "right" and self.ran.count("right") == 1:
                self.strike()
            return {"log": [name]}

        run.__name__ = name
        return run

    def strike(self) -> None:
        newest = self.stored.store.history("t")[0]
        if self.wanted == "header":
            assert damage(self.stored, headers(self.stored, newest))
        elif self.wanted == "outcome":
            plan = self.stored.store.load("t").steps
            done = {i for i, step in plan.items() if step.completed}
            assert damage(
                self.stored,
                lambda c: "outcome" in c[0] and any(i in map(str, _flat(c)) for i in done),
            )


def _flat(cell: Cell) -> list[Any]:
    return [one for part in cell for one in (part if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize("wanted", ["header", "outcome"])
def test_a_run_under_way_sets_its_own_damage_aside_and_goes_on(
    stored: Stored, wanted: str, caplog: pytest.LogCaptureFixture
) -> None:
    saboteur = Saboteur(stored, wanted)
    config = {"configurable": {"thread_id": "t"}, "max_concurrency": 1}
    result = saboteur.graph().invoke({"log": ["in"]}, config)
    assert result["log"] == ["in", "begin", "left", "right", "last"]
    assert len(events(stored, "checkpoint_set_aside")) == 1
    assert saboteur.ran.count("right") == 2
    assert saboteur.ran.count("last") == 1


def test_a_run_whose_input_is_damaged_fails_and_says_so(stored: Stored) -> None:
    ran: list[str] = []

    def spoil(state: State) -> State:
        ran.append("spoil")
        if len(ran) == 1:
            damage(stored, headers(stored, *stored.store.history("t")))
        return {"log": ["spoiled"]}

    made = StateGraph(State).add_node("spoil", spoil).add_node("after", lambda _: {})
    made.add_edge(START, "spoil").add_edge(START, "after")
    config = {"configurable": {"thread_id": "t"}, "max_concurrency": 1}
    with pytest.raises((StepFailedError, StateCorruptedError), match="damaged"):
        made.compile(stored.store).invoke({"log": ["in"]}, config)
