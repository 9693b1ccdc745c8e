"""Where a store keeps its rows: the seam between what a store means and what it is made of.

A shelf knows nothing of values, filters, indexes and time: it keeps bytes by place.

Rule 1: a session sees one instant, and what it changes is done together or not at all.
Rule 2: rows come in the order in which their namespace, then they themselves, first arrived. A row
        that is put again keeps its place in that order, and the time of its creation.
Rule 3: a namespace without rows is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from orchestrator.store.operations import Namespace

__all__ = ["Row", "Session", "Shelf"]


@dataclass(frozen=True, slots=True)
class Row:
    """One item as it is kept."""

    namespace: Namespace
    key: str
    value: bytes
    vectors: bytes  # Empty: the item is in no index.
    created_ms: int
    updated_ms: int
    ttl_ms: int | None  # How long it lives after each use.
    expires_ms: int | None

    def is_live(self, now_ms: int) -> bool:
        """Return whether its time has not come."""
        return self.expires_ms is None or self.expires_ms > now_ms


class Session(Protocol):
    """A shelf at one instant."""

    def get(self, namespace: Namespace, key: str) -> Row | None:
        """Return the row at a place; it may have expired."""
        ...

    def rows(self, prefix: Namespace) -> Iterable[Row]:
        """Return the rows whose namespaces begin so, in order; some may have expired."""
        ...

    def namespaces(self, now_ms: int) -> list[Namespace]:
        """Return the namespaces that hold live rows."""
        ...

    def put(self, row: Row) -> None:
        """Keep a row."""
        ...

    def remove(self, namespace: Namespace, key: str) -> None:
        """Remove the row at a place, if there is one."""
        ...

    def touch(self, namespace: Namespace, key: str, expires_ms: int) -> None:
        """Let a row that has an end live until then."""
        ...

    def forget(self, now_ms: int) -> None:
        """Remove what has expired."""
        ...


class Shelf(Protocol):
    """Something that keeps rows."""

    @property
    def blocks(self) -> bool:
        """Whether a session may wait for a disk or a network."""
        ...

    def session(self, *, writes: bool) -> AbstractContextManager[Session]:
        """Open a session; without `writes` it changes nothing."""
        ...
