"""A thread from which keys were deleted by hand can be deleted, with all that is left of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypedDict

import pytest

from orchestrator import START, RedisCheckpointer, StateGraph, interrupt
from orchestrator.cli import main
from orchestrator.config import Settings
from orchestrator.maintenance.auditor import Auditor
from tests.fixtures.own_server import own_server

pytestmark = [pytest.mark.server, pytest.mark.slow]

ONE = {"GRAPHSTALK_PARTITIONS": "1"}  # The keys of all threads stand side by side.


class State(TypedDict, total=False):
    big: str
    answer: str


def ask(state: State) -> State:
    return {"answer": interrupt("?")}


inner = StateGraph(State).add_node(ask).add_edge(START, "ask").compile()
graph = (
    StateGraph(State)
    .add_node("make", lambda _: {"big": "x" * 2000})
    .add_node("inner", inner)
    .add_edge(START, "make")
    .add_edge("make", "inner")
)


class World:
    """A server with two paused threads, "t:1" and "t:1:s", that each have a subgraph."""

    def __init__(self, store: RedisCheckpointer) -> None:
        self.redis, self.store = store.client, store
        self.graph = graph.compile(store)
        self.graph.invoke({}, "t:1")
        self.own: list[bytes] = sorted(self.redis.keys("*:t:t:1*"))
        self.graph.invoke({}, "t:1:s")
        self._kept = {key: self.redis.dump(key) for key in self.redis.keys("*")}

    def again(self) -> None:
        self.redis.flushall()
        for key, value in self._kept.items():
            self.redis.restore(key, 0, value)

    def left(self) -> list[bytes]:
        return [key for key in self.own if self.redis.exists(key)]

    def damages(self) -> list[str]:
        return [str(each.code) for each in Auditor(self.store, repair=False).all().found]


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with own_server(tmp_path_factory.mktemp("server"), []) as server:
        store = RedisCheckpointer(settings=Settings.from_env({**ONE, "REDIS_URL": server.url()}))
        yield World(store)
        store.close()


def assert_deletable(world: World, gone: tuple[bytes, ...]) -> None:
    world.again()
    world.redis.delete(*gone)
    assert world.store.delete("t:1") is None, gone
    assert world.left() == [], gone
    assert world.damages() == [], gone
    assert world.graph.get_state("t:1:s").next == ("inner",)


Choice = Callable[[World], list[tuple[bytes, ...]]]
CHOICES: dict[str, Choice] = {
    "one": lambda world: [(key,) for key in world.own],
    "all but one": lambda world: [tuple({*world.own} - {key}) for key in world.own],
    "all": lambda world: [tuple(world.own)],
    "heads": lambda world: [tuple(key for key in world.own if key.endswith(b":head"))],
}


@pytest.mark.parametrize("choice", list(CHOICES))
def test_whatever_keys_were_deleted_nothing_is_left_and_no_finding_stays(
    world: World, choice: str
) -> None:
    for gone in CHOICES[choice](world):
        assert_deletable(world, gone)


def test_the_doctor_names_the_command_that_removes_the_finding(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", world.store.settings.url)
    monkeypatch.delenv("GRAPHSTALK_NAMESPACE", raising=False)
    monkeypatch.setenv("GRAPHSTALK_PARTITIONS", "1")
    world.redis.delete(*world.own)
    for _ in range(2):  # A repair does not remove it.
        assert main(["doctor", "--threads", "--repair", "--json"]) == 1
        [found] = json.loads(capsys.readouterr().out)["findings"]
        assert (found["code"], found["thread_id"]) == ("HEAD_LOST", "t:1")
        assert "graphstalk threads delete t:1" in found["remedy"]
    assert main(["threads", "delete", "t:1", "--yes"]) == 0
    capsys.readouterr()
    assert main(["doctor", "--threads"]) == 0
    assert main(["threads", "delete", "t:1", "--yes"]) != 0  # There is nothing left.


def test_a_thread_whose_run_was_active_can_be_deleted_too(world: World) -> None:
    _, own = world.store.keys.of_thread("t:1")
    world.redis.hset(own + "head", mapping={"status": "running", "local": 0})
    world.redis.delete(own + "data")
    assert world.store.delete("t:1") is None
    assert (world.left(), world.damages()) == ([], [])
