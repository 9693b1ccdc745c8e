"""The seam between a store's meaning and its rows, and the one store over any shelf.

A shelf knows nothing of values, filters, indexes and time: it keeps bytes by place.

Rule 1: a session sees one instant, and its changes are done together or not at all.
Rule 2: rows come in the order in which their namespace, then they themselves, first arrived. A row
        that is put again keeps its place in that order, and the time of its creation.
Rule 3: a namespace without rows is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Protocol

from orchestrator.clock import Clock, SystemClock
from orchestrator.serde.codec import Codec
from orchestrator.store.base import BaseStore, IndexConfig, TTLConfig, validate_op_namespace
from orchestrator.store.operations import (
    GetOp,
    Item,
    ListNamespacesOp,
    Namespace,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)
from orchestrator.store.search import (
    Embedder,
    cosine_similarity,
    fits,
    get_text_at_path,
    matches,
    tokenize_path,
)


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
        """Return the rows whose namespaces begin with `prefix`, in order, also expired ones."""
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
        """Remove expired rows."""
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


# ---- a store over any shelf -----------------------------------------------------------------


_MS_PER_MINUTE = 60_000
Place = tuple[Namespace, str]


@dataclass(slots=True)
class _Work:
    """A batch, checked and encoded, before anything is read or changed."""

    ops: list[Op]
    puts: dict[Place, PutOp] = field(default_factory=dict)  # Of several to one place, the last.
    values: dict[Place, bytes] = field(default_factory=dict)
    texts: dict[Place, list[str]] = field(default_factory=dict)  # The texts to index.
    queries: list[str] = field(default_factory=list)
    vectors: dict[str, list[float]] = field(default_factory=dict)  # Of the texts.
    query_vectors: dict[str, list[float]] = field(default_factory=dict)

    def all_texts(self) -> list[str]:
        return list(dict.fromkeys(text for texts in self.texts.values() for text in texts))


class ShelvedStore(BaseStore):
    """A store over a shelf, of values that the codec can store."""

    supports_ttl = True

    def __init__(
        self,
        shelf: Shelf,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        codec: Codec | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Keep items on `shelf`.

        Args:
            shelf: what keeps the rows.
            index: how items are found by likeness; without it a `query` is ignored.
            ttl: how long items live.
            codec: turns values into bytes; the default knows plain data and the standard library.
            clock: the time.

        Raises:
            ValueError: if the index cannot make vectors.
        """
        self.index_config = index
        self.ttl_config = ttl
        self._shelf, self._codec, self._clock = shelf, codec or Codec(), clock or SystemClock()
        self._embedder = Embedder(index.get("embed"), index.get("dims")) if index else None
        fields = (index or {}).get("fields") or ["$"]
        self._paths = [_path(name) for name in fields]

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all operations; they see the store as it was before."""
        work = self._prepared(ops)
        if self._embedder is not None:
            texts = work.all_texts()
            work.vectors = dict(zip(texts, self._embedder.documents(texts), strict=True))
            work.query_vectors = {text: self._embedder.query(text) for text in work.queries}
        return self._done(work)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all operations without blocking the event loop."""
        work = self._prepared(ops)
        if self._embedder is not None:
            texts = work.all_texts()
            vectors = await self._embedder.adocuments(texts)
            work.vectors = dict(zip(texts, vectors, strict=True))
            queries = await asyncio.gather(*map(self._embedder.aquery, work.queries))
            work.query_vectors = dict(zip(work.queries, queries, strict=True))
        if self._shelf.blocks:
            return await asyncio.to_thread(self._done, work)
        return self._done(work)

    # ---- before ---------------------------------------------------------------------------

    def _prepared(self, ops: Iterable[Op]) -> _Work:
        work = _Work(list(ops))
        for op in work.ops:
            validate_op_namespace(op)
            if isinstance(op, PutOp):
                work.puts[tuple(op.namespace), op.key] = op
            elif isinstance(op, SearchOp):
                if op.query and self._embedder is not None and op.query not in work.queries:
                    work.queries.append(op.query)
            elif not isinstance(op, (GetOp, ListNamespacesOp)):
                raise TypeError(f"an operation must be one of a store's ({op!r})")
        for place, op in work.puts.items():
            if op.value is not None:
                work.values[place] = self._encoded(op)
                work.texts[place] = self._texts(op)
        return work

    def _encoded(self, op: PutOp) -> bytes:
        if not isinstance(op.value, Mapping) or not all(isinstance(key, str) for key in op.value):
            msg = f"a value must be a dict with texts as keys ({op.key!r} in {op.namespace})"
            raise TypeError(msg)
        return self._codec.encode(dict(op.value))

    def _texts(self, op: PutOp) -> list[str]:
        if self._embedder is None or op.index is False:
            return []
        paths = self._paths if op.index is None else [_path(name) for name in op.index]
        return [text for path in paths for text in get_text_at_path(op.value, path)]

    # ---- the shelf ------------------------------------------------------------------------

    def _done(self, work: _Work) -> list[Result]:
        now_ms = self._clock.now_ms()
        used: dict[Place, int] = {}  # Until when read rows live.
        results: list[Result] = [None] * len(work.ops)
        if len(work.puts) < len(work.ops):
            with self._shelf.session(writes=False) as session:
                for number, op in enumerate(work.ops):
                    results[number] = self._answer(op, session, work, now_ms, used)
        if work.puts or used:
            with self._shelf.session(writes=True) as session:
                session.forget(now_ms)
                for (namespace, key), expires_ms in used.items():
                    session.touch(namespace, key, expires_ms)
                for place, op in work.puts.items():
                    self._put(place, op, session, work, now_ms)
        return results

    def _answer(
        self, op: Op, session: Session, work: _Work, now_ms: int, used: dict[Place, int]
    ) -> Result:
        decode = self._codec.decode
        if isinstance(op, GetOp):
            row = session.get(tuple(op.namespace), op.key)
            if row is None or not row.is_live(now_ms):
                return None
            if op.refresh_ttl:
                _use(row, now_ms, used)
            return item_of(row, decode)
        if isinstance(op, SearchOp):
            prefix = tuple(op.namespace_prefix)
            live = (row for row in session.rows(prefix) if row.is_live(now_ms))
            found = search(op, live, decode, work.query_vectors.get(op.query or ""))
            if op.refresh_ttl:
                for row, _ in found:
                    _use(row, now_ms, used)
            return [item for _, item in found]
        if isinstance(op, ListNamespacesOp):
            return _listed(op, session.namespaces(now_ms))
        return None

    def _put(self, place: Place, op: PutOp, session: Session, work: _Work, now_ms: int) -> None:
        if op.value is None:
            session.remove(*place)
            return
        vectors = [work.vectors[text] for text in work.texts[place]]
        ttl_ms = None if op.ttl is None else round(op.ttl * _MS_PER_MINUTE)
        row = Row(
            *place,
            value=work.values[place],
            vectors=self._codec.encode(vectors) if vectors else b"",
            created_ms=now_ms,
            updated_ms=now_ms,
            ttl_ms=ttl_ms,
            expires_ms=None if ttl_ms is None else now_ms + ttl_ms,
        )
        session.put(row)


def _path(name: str) -> str | list[str]:
    return name if name == "$" else tokenize_path(name)


def _use(row: Row, now_ms: int, used: dict[Place, int]) -> None:
    if row.ttl_ms is not None:
        used[row.namespace, row.key] = now_ms + row.ttl_ms


def _listed(op: ListNamespacesOp, namespaces: Iterable[Namespace]) -> list[Namespace]:
    if op.limit < 0 or op.offset < 0:
        raise ValueError(
            f"limit and offset must be at least 0 (limit={op.limit}, offset={op.offset})"
        )
    found = {name[: op.max_depth] for name in namespaces if matches(name, op.match_conditions)}
    return sorted(found)[op.offset : op.offset + op.limit]


# ---- search ---------------------------------------------------------------------------------


Decode = Callable[[bytes], Any]


def item_of(row: Row, decode: Decode) -> Item:
    """Return the item that a row keeps."""
    return Item(
        value=decode(row.value),
        key=row.key,
        namespace=row.namespace,
        created_at=_time(row.created_ms),
        updated_at=_time(row.updated_ms),
    )


def search(
    op: SearchOp, rows: Iterable[Row], decode: Decode, query: Sequence[float] | None
) -> list[tuple[Row, SearchItem]]:
    """Return the page of rows that `op` asks for, each with its item.

    With a `query` vector, the items most like it come first and those in no index last; an item
    with several vectors counts by the best. Without, the order is that of the rows.

    Raises:
        ValueError: if limit or offset is negative, or the filter is invalid.
    """
    if op.limit < 0 or op.offset < 0:
        raise ValueError(
            f"limit and offset must be at least 0 (limit={op.limit}, offset={op.offset})"
        )
    found = _fitting(op, rows, decode)
    if query is not None:
        scored = [(row, value, _score(row, decode, query)) for row, value, _ in found]
        # No likeness is below -1; sorting keeps the order of equal scores.
        scored.sort(key=lambda each: -2.0 if each[2] is None else each[2], reverse=True)
        found = iter(scored)
    page = islice(found, op.offset, op.offset + op.limit)
    return [(row, _item(row, value, score)) for row, value, score in page]


def _fitting(
    op: SearchOp, rows: Iterable[Row], decode: Decode
) -> Iterator[tuple[Row, dict[str, Any], float | None]]:
    for row in rows:
        value = decode(row.value)
        if fits(value, op.filter):
            yield row, value, None


def _score(row: Row, decode: Decode, query: Sequence[float]) -> float | None:
    if not row.vectors:
        return None
    return max(cosine_similarity(query, vector) for vector in decode(row.vectors))


def _item(row: Row, value: dict[str, Any], score: float | None) -> SearchItem:
    times = _time(row.created_ms), _time(row.updated_ms)
    return SearchItem(row.namespace, row.key, value, *times, score)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
