"""LangGraph: the graph runs in the process that calls it; a saver keeps its checkpoints.

Every call has `durability="sync"`, so that a step is kept before the next one begins, as with all
the others. The savers are set up as their documentation says (SQLite in WAL mode, Postgres with
pipelines where the library is built with them).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from benchmarks.peers.contract import Order, run
from benchmarks.peers.graphruns import Side, workloads
from benchmarks.peers.graphs import Kit
from benchmarks.peers.measures import file_size, postgres_size


@contextmanager
def _store(order: Order) -> Iterator[Any]:
    if order.store == "memory":
        yield InMemorySaver()
    elif order.store == "sqlite":
        with SqliteSaver.from_conn_string(str(order.folder / "theirs.db")) as saver:
            yield saver
    else:
        with PostgresSaver.from_conn_string(order.where) as saver:
            saver.setup()
            yield saver


def _stored(order: Order, _: Any) -> dict[str, float]:
    if order.store == "sqlite":
        return {"stored_bytes": file_size(order.folder / "theirs.db")}
    if order.store == "postgres":
        return {"stored_bytes": postgres_size(order.where)}
    return {"stored_bytes": 0}


SIDE = Side(
    Kit(StateGraph, START, END, Send, interrupt),
    Command,
    "benchmarks.peers.langgraph",
    _store,
    lambda _: {"durability": "sync"},
    _stored,
)

if __name__ == "__main__":
    sys.exit(run(workloads(SIDE)))
