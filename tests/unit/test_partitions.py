"""The number of partitions is written in the store once, and compared by every process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fakeredis
import pytest

from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.config import Settings
from orchestrator.errors import PartitionsDifferError
from orchestrator.model.commit import Commit
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts

CALLS: dict[str, Callable[[RedisCheckpointer], object]] = {
    "commit": lambda store: store.commit(drafts.starting("new", "a")),
    "claim": lambda store: store.claim("t", "0" * 32, owner="w", token="x"),
    "load": lambda store: store.load("t"),
    "history": lambda store: store.history("t"),
    "threads": lambda store: store.threads(),
    "events": lambda store: store.events("t"),
    "renew": lambda store: store.renew(["w"], ttl_s=5),
    "release": lambda store: store.release("w"),
    "sweep": lambda store: store.sweep(0, leader="me"),
    "mark_sent": lambda store: store.mark_sent(()),
    "children": lambda store: store.children("t"),
    "delete": lambda store: store.delete("t"),
    "prune": lambda store: store.delete("t", keep_head=True),
    "now_ms": lambda store: store.now_ms(),
}


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def connect(server: fakeredis.FakeServer) -> Callable[..., RedisCheckpointer]:
    def connect(partitions: int, namespace: str = "graphstalk") -> RedisCheckpointer:
        settings = replace(Settings(), partitions=partitions, namespace=namespace)
        return RedisCheckpointer(settings=settings, client=fakeredis.FakeRedis(server=server))

    return connect


def contents(store: RedisCheckpointer) -> dict[Any, Any]:
    return {key: store.client.dump(key) for key in store.client.scan_iter()}


@pytest.mark.parametrize("call", CALLS)
def test_another_number_is_refused_before_anything_is_done(connect: Any, call: str) -> None:
    mine, other = connect(4), connect(8)
    mine.commit(drafts.starting("t", "a"))
    before = contents(mine)
    for _ in range(2):
        with pytest.raises(PartitionsDifferError, match="GRAPHSTALK_PARTITIONS=4") as caught:
            CALLS[call](other)
    assert "partitions=8" in str(caught.value)
    assert contents(mine) == before


def test_the_same_number_is_accepted_and_written_once(connect: Any) -> None:
    connect(3).check()
    again = connect(3)
    again.commit(drafts.starting("t", "a"))
    assert again.client.get("graphstalk:partitions") == b"3"


def test_each_namespace_has_its_own_number(connect: Any) -> None:
    connect(4).check()
    other = connect(8, "other")
    other.commit(drafts.starting("t", "a"))
    with pytest.raises(PartitionsDifferError, match="'other'"):
        connect(4, "other").check()


@pytest.mark.parametrize("wrong", [1, 2, 3, 5, 8])
def test_a_store_of_an_earlier_version_is_not_taken_for_another(connect: Any, wrong: int) -> None:
    earlier = connect(4)
    for n in range(12):
        earlier.commit(drafts.starting(f"thread-{n}", "a"))
    earlier.client.delete("graphstalk:partitions")
    with pytest.raises(PartitionsDifferError, match="GRAPHSTALK_PARTITIONS=4"):
        connect(wrong).check()
    assert earlier.client.get("graphstalk:partitions") is None
    connect(4).check()
    assert earlier.client.get("graphstalk:partitions") == b"4"


def test_of_several_that_connect_first_one_number_wins(connect: Any) -> None:
    stores = [connect(n) for n in (2, 3, 4, 5)]

    def check(store: RedisCheckpointer) -> bool:
        try:
            store.commit(Commit(thread_id="nobody"))
        except PartitionsDifferError:
            return False
        return True

    accepted = race([lambda store=store: check(store) for store in stores * 3])
    winners = {s.partitions for s, ok in zip(stores * 3, accepted, strict=True) if ok}
    assert len(winners) == 1
    assert stores[0].client.get("graphstalk:partitions") == str(winners.pop()).encode()
