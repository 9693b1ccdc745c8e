"""A graph that succeeds another takes its threads over: their state, and what they wait for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import (
    START,
    Command,
    MemoryCheckpointer,
    Send,
    SqliteCheckpointer,
    StateGraph,
    interrupt,
)
from orchestrator.errors import GraphMismatchError, InvalidGraphError, InvalidUpdateError


class First(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    name: str
    old: int


class Second(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    first_name: str
    last_name: str


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: Any = (
        MemoryCheckpointer()
        if request.param == "memory"
        else SqliteCheckpointer(tmp_path / "threads.db")
    )
    yield made
    made.close()


def says(name: str) -> Callable[[Any], Any]:
    return lambda state: {"log": [f"{name} {sorted(k for k in state if k != 'log')}"]}


def ask(state: Any) -> Any:
    return {"log": [interrupt("sure?")]}


def first(store: Any) -> Any:
    builder = StateGraph(First).add_node("ask", ask).add_node("after", says("after"))
    return builder.add_edge(START, "ask").add_edge("ask", "after").compile(store)


def split(state: dict[str, Any]) -> dict[str, Any]:
    one, _, two = state.pop("name").partition(" ")
    state.pop("old", None)
    return {**state, "first_name": one, "last_name": two}


def second(store: Any, **rename: str) -> Any:
    """The same with a split name and another node on the way."""
    builder = StateGraph(Second, state_version=2).migrate(1, split)
    asks = rename.get("ask", "ask")
    builder.add_node(asks, ask).add_node("check", says("check")).add_node("after", says("after"))
    for old, new in rename.items():
        builder.rename(old, new)
    builder.add_edge(START, asks).add_edge(asks, "check").add_edge("check", "after")
    return builder.compile(store)


def begun(store: Any) -> None:
    first(store).invoke({"name": "Ada Lovelace", "log": ["in"], "old": 1}, "t")


MIGRATED = {"log": ["in"], "first_name": "Ada", "last_name": "Lovelace"}


def test_an_old_thread_is_seen_as_the_new_version_and_left_as_it_is(store: Any) -> None:
    begun(store)
    before = store.load("t")
    assert second(store).get_state("t").values == MIGRATED
    after = store.load("t")
    assert (after.checkpoint, after.blobs, after.head) == (
        before.checkpoint,
        before.blobs,
        before.head,
    )
    assert first(store).get_state("t").values["name"] == "Ada Lovelace"


def test_an_old_thread_goes_on_and_is_stored_migrated_with_its_next_checkpoint(store: Any) -> None:
    begun(store)
    result = second(store).invoke(Command(resume="yes"), "t")
    keys = "['first_name', 'last_name']"
    log = ["in", "yes", f"check {keys}", f"after {keys}"]
    assert result == {**MIGRATED, "log": log}
    # Stored, not migrated again: a graph that would fail to migrate reads it.
    again = StateGraph(Second, state_version=2).migrate(1, lambda _: 1 / 0)
    again.add_node("ask", ask).add_edge(START, "ask")
    assert again.compile(store).get_state("t").values == result
    # What was before stays what it was.
    history = list(first(store).get_state_history("t"))
    assert history[-2].values == {"name": "Ada Lovelace", "log": ["in"], "old": 1}


def test_an_old_version_may_not_go_on_with_a_newer_thread(store: Any) -> None:
    second(store).invoke({"first_name": "Ada", "log": []}, "t")
    with pytest.raises(GraphMismatchError, match="by a process that has version 2 of the graph"):
        first(store).invoke(Command(resume="yes"), "t")


def test_another_structure_of_the_same_version_says_how_to_take_over(store: Any) -> None:
    begun(store)
    builder = StateGraph(First).add_node("ask", ask).add_node("else", says("else"))
    other = builder.add_edge(START, "ask").add_edge("ask", "else").compile(store)
    with pytest.raises(GraphMismatchError, match="state_version=2"):
        other.invoke(Command(resume="yes"), "t")


def test_a_thread_that_waits_in_a_node_that_is_gone_is_stalled_with_the_remedy(store: Any) -> None:
    begun(store)
    builder = StateGraph(Second, state_version=2).migrate(1, split)
    graph = builder.add_node("approve", ask).add_edge(START, "approve").compile(store)
    with pytest.raises(GraphMismatchError, match=r"run 'ask', .*builder.rename\('ask', "):
        graph.invoke(Command(resume="yes"), "t")
    assert store.load("t").head.status == "paused"


def test_a_renamed_node_goes_on_under_its_new_name(store: Any) -> None:
    begun(store)
    graph = second(store, ask="approve")
    state = graph.get_state("t")
    assert (state.next, [i.value for i in state.interrupts]) == (("approve",), ["sure?"])
    result = graph.invoke(Command(resume="yes"), "t")
    assert [line.split()[0] for line in result["log"]] == ["in", "yes", "check", "after"]


def test_what_a_renamed_node_sends_and_joins_is_kept(store: Any) -> None:
    def piece(arg: Any) -> Any:
        return {"log": [interrupt(f"piece {arg}?")]}

    def graph(version: int, names: dict[str, str]) -> Any:
        n = {name: names.get(name, name) for name in ("left", "right", "piece", "join")}
        builder = StateGraph(First, state_version=version)
        builder.add_node(n["left"], says("left")).add_node(n["right"], ask)
        builder.add_node(n["piece"], piece).add_node(n["join"], says("join"))
        builder.add_edge(START, n["left"]).add_edge(START, n["right"])
        builder.add_conditional_edges(START, lambda _: [Send(n["piece"], 1), Send(n["piece"], 2)])
        builder.add_edge([n["left"], n["right"]], n["join"])
        for old, new in names.items():
            builder.rename(old, new)
        return builder.compile(store)

    graph(1, {}).invoke({"log": ["in"]}, "t")
    names = {"left": "links", "right": "rechts", "piece": "teil", "join": "ende"}
    renamed = graph(2, names)
    asked = renamed.get_state("t").interrupts
    assert len(asked) == 3
    result = renamed.invoke(Command(resume={i.id: f"yes to {i.value}" for i in asked}), "t")
    log = [line.split(" [")[0] for line in result["log"]]
    assert log == ["in", "left", "yes to sure?", "yes to piece 1?", "yes to piece 2?", "join"]


def test_migrations_lead_through_every_version_in_between(store: Any) -> None:
    StateGraph(First).add_node("a", says("a")).add_edge(START, "a").compile(store).invoke(
        {"name": "x", "log": []}, "t"
    )
    builder = StateGraph(First, state_version=4)
    for version in (1, 3):
        builder.migrate(version, lambda s, v=version: {**s, "name": f"{s['name']} {v}"})
    graph = builder.add_node("a", says("a")).add_edge(START, "a").compile(store)
    assert graph.get_state("t").values["name"] == "x 1 3"


def test_a_migration_that_fails_fails_the_call_and_loses_nothing(store: Any) -> None:
    begun(store)
    builder = StateGraph(Second, state_version=2).migrate(1, lambda s: s["nothing"])
    broken = builder.add_node("ask", ask).add_edge(START, "ask").compile(store)
    with pytest.raises(KeyError, match="nothing"):
        broken.get_state("t")
    with pytest.raises(KeyError, match="nothing"):
        broken.invoke(Command(resume="yes"), "t")
    assert second(store).invoke(None, "t")["log"][1] == "yes"


def test_a_migration_that_returns_no_state_is_told(store: Any) -> None:
    begun(store)
    builder = StateGraph(Second, state_version=2).migrate(1, lambda s: None)
    broken = builder.add_node("ask", ask).add_edge(START, "ask").compile(store)
    with pytest.raises(
        InvalidUpdateError, match=r"from version 1 must return .*\(returned: NoneType\)"
    ):
        broken.get_state("t")


def test_a_new_run_on_an_old_thread_begins_on_the_migrated_state(store: Any) -> None:
    begun(store)
    first(store).invoke(Command(resume="yes"), "t")
    state = second(store).invoke({"log": ["again"]}, "t")
    assert (state["first_name"], "name" in state) == ("Ada", False)
    assert state["log"][-1] == "again"


@pytest.mark.parametrize(
    ("make", "says_"),
    [
        (lambda: StateGraph(First, state_version=0), "must be 1 or a greater integer"),
        (lambda: StateGraph(First).migrate(1, split), "migrations lead from 1 to 0"),
        (
            lambda: StateGraph(First, state_version=2).migrate(1, split).migrate(1, split),
            "a migration from version 1 already",
        ),
        (lambda: second(None, ask="ask"), "there is still a node 'ask'"),
        (lambda: second(None, gone="nowhere"), "there is no node 'nowhere'"),
    ],
)
def test_mistakes_are_told_when_the_graph_is_made(make: Callable[[], Any], says_: str) -> None:
    with pytest.raises(InvalidGraphError, match=says_):
        make()
