"""A store in one SQLite file, for processes of one machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

from orchestrator.clock import Clock
from orchestrator.serde.codec import Codec
from orchestrator.sqlitefile import SqliteFile, statements
from orchestrator.store.base import IndexConfig, TTLConfig
from orchestrator.store.operations import Namespace
from orchestrator.store.shelf import Row, ShelvedStore

APPLICATION_ID = 1735619692  # "gstl"; marks the file as a store.


class SqliteStore(ShelvedStore):
    """Long-term memory in the file at `path`, which any process of this machine may use."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        codec: Codec | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Open the file, or make it; the other arguments are those of `ShelvedStore`.

        Raises:
            GraphstalkError: if it cannot be opened or made.
            StateCorruptedError: if it is a database of something else.
        """
        schema = (
            resources.files(__package__).joinpath("sqlite_schema.sql").read_text(encoding="utf-8")
        )
        self._file = SqliteFile(path, schema, APPLICATION_ID)
        super().__init__(_SqliteShelf(self._file), index=index, ttl=ttl, codec=codec, clock=clock)

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._file.close()


class _SqliteShelf:
    blocks = True

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._sql = statements(__package__, "sqlite_statements")

    @contextmanager
    def session(self, *, writes: bool) -> Iterator[_SqliteSession]:
        with self._file.transaction(writes=writes) as connection:
            yield _SqliteSession(connection, self._sql)


class _SqliteSession:
    def __init__(self, connection: sqlite3.Connection, sql: Any) -> None:
        self._connection, self._sql = connection, sql

    def _run(self, name: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(self._sql[name], values)

    def get(self, namespace: Namespace, key: str) -> Row | None:
        found = self._run("get", _path(namespace), key).fetchone()
        return _row(found) if found else None

    def rows(self, prefix: Namespace) -> Iterator[Row]:
        path = _path(prefix)
        found = self._run("rows", path, path, path) if prefix else self._run("all_rows")
        return map(_row, found)

    def namespaces(self, now_ms: int) -> list[Namespace]:
        return [_labels(path) for (path,) in self._run("namespaces", now_ms)]

    def put(self, row: Row) -> None:
        path = _path(row.namespace)
        self._run("add_namespace", path)
        times = row.created_ms, row.updated_ms, row.ttl_ms, row.expires_ms
        self._run("put", row.key, row.value, row.vectors, *times, path)

    def remove(self, namespace: Namespace, key: str) -> None:
        path = _path(namespace)
        self._run("remove", path, key)
        self._run("remove_empty_namespace", path)

    def touch(self, namespace: Namespace, key: str, expires_ms: int) -> None:
        self._run("touch", expires_ms, _path(namespace), key)

    def forget(self, now_ms: int) -> None:
        if self._run("forget", now_ms).rowcount:
            self._run("remove_empty_namespaces")


def _path(namespace: Namespace) -> str:
    return ".".join(namespace)


def _labels(path: str) -> Namespace:
    return tuple(path.split(".")) if path else ()


def _row(found: tuple[Any, ...]) -> Row:
    return Row(_labels(found[0]), *found[1:])
