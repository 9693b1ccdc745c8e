"""A value that SQLite does not take fails its step with a remedy; the thread stays in order."""

import sqlite3
from pathlib import Path
from typing import TypedDict

import pytest

from orchestrator import START, SqliteCheckpointer, StateGraph
from orchestrator.errors import ValueTooLargeError


class State(TypedDict, total=False):
    blob: bytes


def test_a_value_that_sqlite_does_not_take_fails_its_step(tmp_path: Path) -> None:
    store = SqliteCheckpointer(tmp_path / "file")
    builder = StateGraph(State).add_node("big", lambda _: {"blob": bytes(range(256)) * 4_000})
    graph = builder.add_edge(START, "big").compile(store)
    with store._database.reading() as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 500_000)
    with pytest.raises(ValueTooLargeError, match=r"smaller than SQLite takes.*object store"):
        graph.invoke({}, "t")
    snapshot = graph.get_state("t")
    assert "smaller than SQLite takes" in str(snapshot.tasks[0].error)
    store.close()
