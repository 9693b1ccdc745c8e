"""Why a step waits is text that nodes raised: it is sealed where it is stored, as all they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from orchestrator import MemoryCheckpointer, RedisCheckpointer, SqliteCheckpointer
from orchestrator.model.commit import Commit, StepGuard, StepUpdate, Wait
from orchestrator.testing.contract import drafts

WHY = "ConnectionError: the bank does not answer"
Change = Callable[[Callable[[str], str]], None]
STEP = drafts.plan("t", drafts.FIRST, "a")[0]


def memory(_: Path) -> tuple[Any, Change]:
    store = MemoryCheckpointer()

    def change(alter: Callable[[str], str]) -> None:
        step = store._threads["t"].steps[STEP.step_id]
        step.reason = alter(step.reason)

    return store, change


def sqlite(folder: Path) -> tuple[Any, Change]:
    store = SqliteCheckpointer(folder / "threads.db")

    def change(alter: Callable[[str], str]) -> None:
        with store._database.writing() as connection:
            [[reason]] = connection.execute("SELECT reason FROM step").fetchall()
            connection.execute("UPDATE step SET reason = ?", (alter(reason),))

    return store, change


def redis(_: Path) -> tuple[Any, Change]:
    store = RedisCheckpointer(client=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    key = f"{store.keys.of_thread('t')[1]}s:{STEP.step_id}"

    def change(alter: Callable[[str], str]) -> None:
        reason = store.client.hget(key, "reason").decode()
        store.client.hset(key, "reason", alter(reason))

    return store, change


@pytest.fixture(params=[memory, sqlite, redis])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Change]]:
    store, change = request.param(tmp_path)
    store.commit(drafts.starting("t", "a"))
    claim = store.claim("t", STEP.step_id, owner="w", token="one")
    update = StepUpdate(step=STEP, wait=Wait.TIMER, reason=WHY, failed=True)
    guard = StepGuard(STEP.step_id, claim.fence)
    store.commit(Commit(thread_id="t", guard=guard, updates=(update,)))
    yield store, change
    store.close()


def reasons(store: Any) -> list[str]:
    """Return the reason as it is loaded, and as the next claim gets it."""
    loaded = store.load("t").steps[STEP.step_id].reason
    return [loaded, store.claim("t", STEP.step_id, owner="w", token="two").reason]


def test_a_reason_comes_back_as_it_was(place: tuple[Any, Change]) -> None:
    assert reasons(place[0]) == [WHY, WHY]


@pytest.mark.parametrize("at", [1, 10, -1])
def test_a_reason_that_was_altered_is_not_shown(place: tuple[Any, Change], at: int) -> None:
    store, change = place

    def alter(stored: str) -> str:
        at_ = at % len(stored)
        return f"{stored[:at_]}{'0' if stored[at_] != '0' else '1'}{stored[at_ + 1 :]}"

    change(alter)
    assert all("damaged" in reason and "bank" not in reason for reason in reasons(store))


def test_a_reason_of_an_earlier_version_is_shown(place: tuple[Any, Change]) -> None:
    store, change = place
    change(lambda _: WHY)
    assert reasons(store) == [WHY, WHY]
