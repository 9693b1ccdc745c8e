"""The operations of a store and their results. The names are LangGraph's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

Namespace = tuple[str, ...]


class GetOp(NamedTuple):
    """Ask for one item.

    Attributes:
        namespace: its namespace.
        key: its name there.
        refresh_ttl: whether its time to live starts anew.
    """

    namespace: Namespace
    key: str
    refresh_ttl: bool = True


class SearchOp(NamedTuple):
    """Ask for the items under a namespace.

    Attributes:
        namespace_prefix: how their namespaces begin; `()`: all items.
        filter: what their values must hold, by key: a value, or comparisons such as `{"$gt": 3}`
            (`$eq $ne $gt $gte $lt $lte`).
        limit: how many at most.
        offset: how many of them to skip.
        query: a text to order them by likeness, where the store has an index.
        refresh_ttl: whether the time to live of found items starts anew.
    """

    namespace_prefix: Namespace
    filter: Mapping[str, Any] | None = None
    limit: int = 10
    offset: int = 0
    query: str | None = None
    refresh_ttl: bool = True


class PutOp(NamedTuple):
    """Store an item, or remove it.

    Attributes:
        namespace: its namespace.
        key: its name there.
        value: the value; `None` removes the item.
        index: the fields that a search by query compares; `None`: the store's; `False`: none.
        ttl: minutes until it is forgotten, counted anew when it is read; `None`: never.
    """

    namespace: Namespace
    key: str
    value: Mapping[str, Any] | None
    index: Literal[False] | list[str] | None = None  # type: ignore[assignment]  # Hides a method of tuples.
    ttl: float | None = None


class MatchCondition(NamedTuple):
    """How a namespace must begin or end.

    Attributes:
        match_type: `prefix` or `suffix`.
        path: the labels; `*` matches any one label.
    """

    match_type: Literal["prefix", "suffix"]
    path: Namespace


class ListNamespacesOp(NamedTuple):
    """Ask for the namespaces that hold items.

    Attributes:
        match_conditions: the conditions that they must all fulfil.
        max_depth: labels beyond this depth are cut off.
        limit: how many at most.
        offset: how many to skip.
    """

    match_conditions: tuple[MatchCondition, ...] | None = None
    max_depth: int | None = None
    limit: int = 100
    offset: int = 0


class Item:
    """A stored value with its place and its times."""

    __slots__ = ("created_at", "key", "namespace", "updated_at", "value")

    def __init__(
        self,
        *,
        value: dict[str, Any],
        key: str,
        namespace: Namespace,
        created_at: datetime | str,
        updated_at: datetime | str,
    ) -> None:
        self.value, self.key, self.namespace = value, key, tuple(namespace)
        self.created_at, self.updated_at = _time(created_at), _time(updated_at)

    def dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return {
            "namespace": list(self.namespace),
            "key": self.key,
            "value": self.value,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and all(
            getattr(self, name) == getattr(other, name) for name in Item.__slots__
        )

    def __hash__(self) -> int:
        return hash((self.namespace, self.key))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.dict().items())
        return f"{type(self).__name__}({fields})"


class SearchItem(Item):
    """An item that was found; `score` says how like the query it is."""

    __slots__ = ("score",)

    def __init__(
        self,
        namespace: Namespace,
        key: str,
        value: dict[str, Any],
        created_at: datetime | str,
        updated_at: datetime | str,
        score: float | None = None,
    ) -> None:
        super().__init__(
            value=value,
            key=key,
            namespace=namespace,
            created_at=created_at,
            updated_at=updated_at,
        )
        self.score = score

    def dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return {**super().dict(), "score": self.score}


Op = GetOp | SearchOp | PutOp | ListNamespacesOp
Result = Item | list[Item] | list[SearchItem] | list[Namespace] | None


def _time(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
