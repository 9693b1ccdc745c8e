"""A cache in one SQLite file, for processes of one machine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources

from orchestrator.cache.base import BaseCache, FullKey, Namespace
from orchestrator.clock import Clock, SystemClock
from orchestrator.sqlitefile import SqliteFile, statements

APPLICATION_ID = 1735619683  # "gstc"; marks the file as a cache.


class SqliteCache(BaseCache):
    """A cache in the file at `path`; writing removes expired entries."""

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock | None = None) -> None:
        """Open the file, or make it.

        Raises:
            GraphstalkError: if it cannot be opened or made.
            StateCorruptedError: if it is a database of something else.
        """
        schema = (
            resources.files(__package__).joinpath("sqlite_schema.sql").read_text(encoding="utf-8")
        )
        self._file = SqliteFile(path, schema, APPLICATION_ID)
        self._sql = statements(__package__, "sqlite_statements")
        self._clock = clock or SystemClock()

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, bytes]:
        """Return the values of those `keys` that are cached."""
        now_ms = self._clock.now_ms()
        found = {}
        with self._file.transaction(writes=False) as connection:
            for namespace, key in keys:
                place = _text(namespace), key, now_ms
                for (value,) in connection.execute(self._sql["get"], place):
                    found[tuple(namespace), key] = value
        return found

    def set(self, pairs: Mapping[FullKey, tuple[bytes, int | None]]) -> None:
        """Keep values, each with its time to live in seconds."""
        now_ms = self._clock.now_ms()
        with self._file.transaction(writes=True) as connection:
            for (namespace, key), (value, ttl_s) in pairs.items():
                end_ms = None if ttl_s is None else now_ms + ttl_s * 1000
                connection.execute(self._sql["set"], (_text(namespace), key, value, end_ms))
            connection.execute(self._sql["forget"], (now_ms,))

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget exactly these namespaces; without any, everything."""
        with self._file.transaction(writes=True) as connection:
            if namespaces is None:
                connection.execute(self._sql["clear_all"])
            for namespace in namespaces or ():
                connection.execute(self._sql["clear"], (_text(namespace),))

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._file.close()


def _text(namespace: Namespace) -> str:
    return json.dumps(list(namespace))
