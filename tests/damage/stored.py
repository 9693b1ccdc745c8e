"""The bytes that stores keep, each at its place, to be read and to be damaged."""

from __future__ import annotations

import contextlib
import copy
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from orchestrator import MemoryCheckpointer, RedisCheckpointer, SqliteCheckpointer
from tests.fixtures.checkpoints import joined, kind_of, parts_of

__all__ = ["Cell", "MemoryCells", "RedisCells", "SqliteCells", "Stored"]

Cell = tuple[Any, ...]  # Where bytes are kept; the first element is their kind.


class Stored(Protocol):
    """A store whose bytes can be seen."""

    store: Any

    def cells(self) -> dict[Cell, bytes]:
        """Return all bytes of all threads."""

    def write(self, cell: Cell, data: bytes) -> None:
        """Put other bytes in a place."""

    def saved(self) -> Any:
        """Return everything there is."""

    def restore(self, saved: Any) -> None:
        """Make everything as it was."""


class MemoryCells:
    """The memory checkpointer's."""

    def __init__(self) -> None:
        self.store = MemoryCheckpointer()

    def _each(self) -> Iterator[tuple[Cell, bytes, Any]]:
        """Give each place, its bytes, and what puts others there."""
        for name, thread in self.store._threads.items():
            for field in ("config", "error"):
                if data := getattr(thread.head, field):
                    yield (field, name), data, (thread, field)
            for id_, stored in thread.checkpoints.items():
                yield ("header", name, id_), stored.header, (thread.checkpoints, id_)
                yield ("plan", name, id_), stored.plan, (thread.checkpoints, id_)
            for kind in ("blobs", "outcomes", "line"):
                kept = getattr(thread, kind)
                yield from (((kind, name, key), data, kept) for key, data in kept.items())
            for step in thread.steps.values():
                if step.error:
                    yield ("failure", name, step.ready.node), step.error, step
                for kind in ("asks", "answers", "notes"):
                    kept = getattr(step, kind)
                    yield from (
                        ((kind, name, step.ready.node, key), data, kept)
                        for key, data in kept.items()
                    )

    def cells(self) -> dict[Cell, bytes]:
        return {cell: data for cell, data, _ in self._each()}

    def write(self, cell: Cell, data: bytes) -> None:
        (kept,) = [kept for each, _, kept in self._each() if each == cell]
        kind = cell[0]
        if kind in {"config", "error"}:
            thread, field = kept
            thread.head = replace(thread.head, **{field: data})
        elif kind in {"header", "plan"}:
            checkpoints, id_ = kept
            checkpoints[id_] = replace(checkpoints[id_], **{kind: data})
        elif kind == "failure":
            kept.error = data
        else:
            kept[cell[-1]] = data

    def saved(self) -> Any:
        return copy.deepcopy(self.store._threads)

    def restore(self, saved: Any) -> None:
        self.store._threads = copy.deepcopy(saved)


SEALED_COLUMNS = {
    "thread": ("config", "error"),
    "checkpoint": ("header", "plan"),
    "blob": ("value",),
    "step": ("error", "outcome"),
    "question": ("ask", "answer"),
    "note": ("value",),
    "line": ("begins",),
}


OTHER_COLUMNS = {
    "head": ("status", "checkpoint_id", "open", "graph", "fingerprint", "run_id", "stop", "seal"),
    "checkpoint": ("refs",),
    "step": ("ready", "queue", "wait", "place", "settled"),
    "event": ("type", "fields"),
}


class SqliteCells:
    """Those of a SQLite file, by table, column and row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = SqliteCheckpointer(path, synchronous="normal")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            yield connection

    def _keys(self, connection: sqlite3.Connection, table: str) -> list[str]:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        return [name for _, name, _, _, _, in_key in columns if in_key]

    def cells(self) -> dict[Cell, bytes]:
        return self._cells(SEALED_COLUMNS)

    def others(self) -> dict[Cell, Any]:
        """Return what is kept besides records that have a seal of their own."""
        return self._cells(OTHER_COLUMNS)

    def _cells(self, tables: Mapping[str, tuple[str, ...]]) -> dict[Cell, Any]:
        found: dict[Cell, Any] = {}
        with self._open() as connection:
            for table, columns in tables.items():
                keys = self._keys(connection, table)
                for column in columns:
                    rows = connection.execute(f"SELECT {', '.join(keys)}, {column} FROM {table}")
                    for *key, data in rows:
                        if data:
                            found[f"{table}.{column}", *key] = data
        return found

    def write(self, cell: Cell, data: Any) -> None:
        table, column = cell[0].split(".")
        with self._open() as connection:
            named = " AND ".join(f"{key} = ?" for key in self._keys(connection, table))
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {named}", (data, *cell[1:]))

    def saved(self) -> Any:
        with self._open() as connection:
            return connection.serialize()

    def restore(self, saved: Any) -> None:
        self.store.close()
        for name in ("", "-wal", "-shm"):
            Path(f"{self.path}{name}").unlink(missing_ok=True)
        self.path.write_bytes(saved)


class RedisCells:
    """Those of a server, by key and field, in the namespace of the test."""

    def __init__(self, settings: Any) -> None:
        self.store = RedisCheckpointer(settings=settings)
        self.client, self.pattern = self.store.client, f"{settings.namespace}*"

    def cells(self) -> dict[Cell, bytes]:
        return {cell: data for cell, data in self._each() if not cell[0].startswith("other")}

    def others(self) -> dict[Cell, bytes]:
        """Return what is kept besides records that have a seal of their own."""
        return {cell: data for cell, data in self._each() if cell[0].startswith("other")}

    def _each(self) -> Iterator[tuple[Cell, bytes]]:
        for key in self.client.scan_iter(self.pattern):
            if self.client.type(key) != b"hash":
                continue
            name = key.decode().rpartition(":")[2]
            for field, data in self.client.hgetall(key).items():
                if name == "data" and kind_of(field) == "checkpoint":
                    for part, inner in parts_of(data).items():
                        kind = part if part in {"header", "plan"} else f"other {part}"
                        if inner:
                            yield (kind, key, field, part), inner
                    continue
                kind = _sealed_kind(name, field.decode()) or f"other {field.decode()[-2:]}"
                if data and b":t:" in key:
                    yield (kind, key, field), data

    def write(self, cell: Cell, data: bytes) -> None:
        _, key, field, *part = cell
        if part:
            data = joined({**parts_of(self.client.hget(key, field)), part[0]: data})
        self.client.hset(key, field, data)

    def saved(self) -> Any:
        return {key: self.client.dump(key) for key in self.client.scan_iter(self.pattern)}

    def restore(self, saved: Any) -> None:
        pipe = self.client.pipeline(transaction=True)
        for key in self.client.scan_iter(self.pattern):
            pipe.delete(key)
        for key, data in saved.items():
            pipe.restore(key, 0, data)
        pipe.execute()


def _sealed_kind(name: str, field: str) -> str:
    """Return the kind of record in a field of a hash, empty if it has no seal of its own."""
    match name:
        case "data":
            return kind_of(field.encode())
        case "begins":
            return name
        case "head" if field in {"config", "error"}:
            return field
    for prefix in ("ask:", "ans:", "note:"):
        if field.startswith(prefix):
            return prefix
    return "failure" if field == "error" and len(name) == 32 else ""
