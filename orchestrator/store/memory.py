"""A store in the memory of this process: the specification of the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from orchestrator.clock import Clock
from orchestrator.serde.codec import Codec
from orchestrator.store.base import IndexConfig, TTLConfig
from orchestrator.store.operations import Namespace
from orchestrator.store.shelf import Row, ShelvedStore


class InMemoryStore(ShelvedStore):
    """Long-term memory of this process; it ends with it."""

    def __init__(
        self,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        codec: Codec | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start empty; the arguments are those of `ShelvedStore`."""
        super().__init__(_MemoryShelf(), index=index, ttl=ttl, codec=codec, clock=clock)


class _MemoryShelf:
    blocks = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[Namespace, dict[str, Row]] = {}
        self._next_end_ms: int | None = None  # No row ends before.

    @contextmanager
    def session(self, *, writes: bool) -> Iterator[_MemoryShelf]:
        del writes
        with self._lock:
            yield self

    def get(self, namespace: Namespace, key: str) -> Row | None:
        return self._rows.get(namespace, {}).get(key)

    def rows(self, prefix: Namespace) -> Iterator[Row]:
        for namespace, rows in self._rows.items():
            if namespace[: len(prefix)] == prefix:
                yield from rows.values()

    def namespaces(self, now_ms: int) -> list[Namespace]:
        return [
            namespace
            for namespace, rows in self._rows.items()
            if any(row.is_live(now_ms) for row in rows.values())
        ]

    def put(self, row: Row) -> None:
        rows = self._rows.setdefault(row.namespace, {})
        before = rows.get(row.key)
        rows[row.key] = replace(row, created_ms=before.created_ms) if before else row
        self._ends(row.expires_ms)

    def remove(self, namespace: Namespace, key: str) -> None:
        rows = self._rows.get(namespace, {})
        rows.pop(key, None)
        if not rows:
            self._rows.pop(namespace, None)

    def touch(self, namespace: Namespace, key: str, expires_ms: int) -> None:
        row = self.get(namespace, key)
        if row is not None and row.expires_ms is not None:
            self._rows[namespace][key] = replace(row, expires_ms=expires_ms)
            self._ends(expires_ms)

    def forget(self, now_ms: int) -> None:
        if self._next_end_ms is None or now_ms < self._next_end_ms:
            return
        rows = [row for rows in self._rows.values() for row in rows.values()]
        self._next_end_ms = None
        for row in rows:
            if row.is_live(now_ms):
                self._ends(row.expires_ms)
            else:
                self.remove(row.namespace, row.key)

    def _ends(self, expires_ms: int | None) -> None:
        if expires_ms is not None:
            known = self._next_end_ms
            self._next_end_ms = expires_ms if known is None else min(known, expires_ms)
