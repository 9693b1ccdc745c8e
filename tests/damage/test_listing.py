"""One thread whose head cannot be read hides no other from who lists threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from tests.damage.stored import RedisCells, SqliteCells, Stored
from tests.damage.test_stored_bytes import builder

NAMES = {"other", "paused", "unreadable"}


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.server)])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    if request.param == "sqlite":
        made: Any = SqliteCells(tmp_path / "t.db")
    else:
        made = RedisCells(request.getfixturevalue("settings"))
    yield made
    made.store.close()


def garble_status(stored: Stored, thread: str) -> None:
    """Let the head of a thread have a status that there is not."""
    if isinstance(stored, RedisCells):
        key = f"{stored.store.keys.of_thread(thread)[1]}head"
        stored.client.hset(key, "status", "nonsense")
        return
    number = sorted(NAMES).index(thread) + 1  # SQLite counts threads.
    stored.write(("head.status", number), "nonsense")


def test_a_thread_that_cannot_be_read_is_told_and_hides_no_other(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    graph = builder.compile(stored.store)
    for thread in sorted(NAMES):
        graph.invoke({"log": ["in"]}, thread)
    garble_status(stored, "unreadable")
    assert {name for name, _ in stored.store.threads()} == NAMES - {"unreadable"}
    assert "the thread 'unreadable' is damaged" in caplog.text
    assert "graphstalk doctor --threads" in caplog.text


@pytest.mark.server
def test_the_command_lists_a_paused_thread_whose_questions_are_lost(
    settings: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = RedisCells(settings)
    monkeypatch.setenv("REDIS_URL", settings.url)
    monkeypatch.setenv("GRAPHSTALK_NAMESPACE", settings.namespace)
    builder.compile(stored.store).invoke({"log": ["in"]}, "paused")
    for cell in [cell for cell in stored.cells() if cell[0] == "ask:"]:
        stored.write(cell, b"\x01garbage of some length")
    assert main(["threads"]) == 0
    told = capsys.readouterr()
    assert "paused" in told.out
    assert "is damaged" in told.err
