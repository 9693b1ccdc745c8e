"""Threads that an earlier version stored are read, and their runs continue.

`python -m tests.conformance.test_earlier_threads URL` writes the files with the version that runs
it; a server of one's own must answer at URL.
"""

from __future__ import annotations

import itertools
import json
import operator
import sqlite3
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
import redis

from orchestrator import (
    END,
    START,
    Command,
    RedisCheckpointer,
    SqliteCheckpointer,
    StateGraph,
    interrupt,
)
from orchestrator.config import Settings

FILES = Path(__file__).parent.parent / "fixtures"
SQL, KEYS = FILES / "earlier_threads.sql", FILES / "earlier_threads.json"
NAMESPACE = "earlier"
ITEM = "x" * 400  # Long enough that lists are stored as tails, and records compressed.


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    size: int


def first(state: State) -> State:
    return {"log": [ITEM, f"first {len(state.get('log', []))}"]}


def ask(_: State) -> State:
    return {"log": [interrupt({"question": "who?"})]}


def fragile(state: State) -> State:
    if state.get("size", 0) == 0:
        raise RuntimeError("out of order")
    return {"log": ["repaired"]}


def last(state: State) -> State:
    return {"size": len(state["log"])}


def graph(middle: Any, store: Any) -> Any:
    builder = StateGraph(State)
    for node in (first, middle, last) if middle else (first, last):
        builder.add_node(node.__name__, node)
    names = ["first", *([middle.__name__] if middle else []), "last"]
    builder.add_edge(START, "first")
    for before, after in itertools.pairwise(names):
        builder.add_edge(before, after)
    builder.add_edge("last", END)
    return builder.compile(name="earlier", checkpointer=store)


def config(thread_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id}}


def stored(store: Any) -> None:
    """Store a thread in each state that lasts."""
    over = graph(None, store)
    for _ in range(8):
        over.invoke({"log": ["in"]}, config("over"))
    graph(ask, store).invoke({"log": ["in"]}, config("asking"))
    with pytest.raises(RuntimeError):
        graph(fragile, store).invoke({"log": ["in"]}, config("failed"))
    graph(None, store).invoke({"log": ["in"]}, config("paused"), interrupt_before=["last"])


def check(store: Any) -> None:
    """Read each thread, and continue its run."""
    over = graph(None, store)
    before = over.get_state(config("over")).values
    assert (len(before["log"]), before["size"]) == (24, 24)
    assert before["log"][-3:] == ["in", ITEM, "first 22"]
    assert len(list(over.get_state_history(config("over")))) == 8 * 4
    assert over.invoke({"log": ["in"]}, config("over"))["size"] == 27

    asking = graph(ask, store)
    [task] = asking.get_state(config("asking")).tasks
    assert [each.value for each in task.interrupts] == [{"question": "who?"}]
    ended = asking.invoke(Command(resume="me"), config("asking"))
    assert ended == {"log": ["in", ITEM, "first 1", "me"], "size": 4}

    failed = graph(fragile, store)
    assert "out of order" in str(failed.get_state(config("failed")).tasks[0].error)
    failed.update_state(config("failed"), {"size": 1}, as_node="first")
    assert failed.invoke(None, config("failed"))["log"] == ["in", ITEM, "first 1", "repaired"]

    paused = graph(None, store)
    assert paused.get_state(config("paused")).next == ("last",)
    assert paused.invoke(None, config("paused"))["size"] == 3


def test_sqlite_continues_threads_of_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(SQL.read_text("utf-8"))
    store = SqliteCheckpointer(path)
    check(store)
    store.close()


@pytest.mark.server
def test_redis_continues_threads_of_an_earlier_version(
    redis_client: redis.Redis, settings: Settings
) -> None:
    for key, (kind, content) in json.loads(KEYS.read_text("utf-8")).items():
        write(redis_client, settings.namespace + key, kind, content)
    store = RedisCheckpointer(settings=settings)
    check(store)
    store.close()


def write(client: redis.Redis, key: str, kind: str, content: Any) -> None:
    if kind == "string":
        client.set(key, text(content))
    elif kind == "hash":
        client.hset(key, mapping={text(name): text(value) for name, value in content})
    elif kind == "zset":
        client.zadd(key, {text(member): score for member, score in content})
    elif kind == "set":
        client.sadd(key, *map(text, content))
    else:
        for id_, fields in content:
            client.xadd(key, {text(name): text(value) for name, value in fields}, id=id_)


def text(stored: str) -> bytes:
    """Return bytes, which JSON holds as text of one byte a letter."""
    return stored.encode("latin-1")


def contents(client: redis.Redis, key: bytes, kind: str) -> Any:
    def shown(data: bytes) -> str:
        return data.decode("latin-1")

    if kind == "string":
        return shown(client.get(key))
    if kind == "hash":
        return [[shown(name), shown(value)] for name, value in client.hgetall(key).items()]
    if kind == "zset":
        return [[shown(name), score] for name, score in client.zrange(key, 0, -1, withscores=True)]
    if kind == "set":
        return sorted(map(shown, client.smembers(key)))
    assert kind == "stream", kind
    return [
        [shown(id_), [[shown(name), shown(value)] for name, value in fields.items()]]
        for id_, fields in client.xrange(key)
    ]


def main(url: str) -> None:
    """Write both files."""
    path = FILES / "earlier.db"
    local = SqliteCheckpointer(path)
    stored(local)
    local.close()
    with sqlite3.connect(path) as connection:
        pragmas = [
            f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
            for name in ("application_id", "user_version")
        ]
        SQL.write_text("\n".join([*connection.iterdump(), *pragmas]) + "\n", "utf-8")
    for each in FILES.glob("earlier.db*"):
        each.unlink()
    client = redis.Redis.from_url(url)
    stored(RedisCheckpointer(settings=Settings(url=url, namespace=NAMESPACE)))
    found = {}
    for key in sorted(client.scan_iter(f"{NAMESPACE}*")):
        kind = client.type(key).decode()
        name = key.decode("latin-1").removeprefix(NAMESPACE)
        if name.rpartition("}:")[2] not in {"leases", "sweep"}:
            found[name] = kind, contents(client, key, kind)
        client.delete(key)
    KEYS.write_text(json.dumps(found, indent=0) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
