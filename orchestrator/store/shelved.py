"""The one implementation of a store's meaning, over any shelf."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.clock import Clock, SystemClock
from orchestrator.serde.codec import Codec
from orchestrator.store.base import BaseStore, IndexConfig, TTLConfig, validate_op_namespace
from orchestrator.store.likeness import Embedder
from orchestrator.store.matching import matches
from orchestrator.store.operations import (
    GetOp,
    ListNamespacesOp,
    Namespace,
    Op,
    PutOp,
    Result,
    SearchOp,
)
from orchestrator.store.searching import item_of, search
from orchestrator.store.shelf import Row, Session, Shelf
from orchestrator.store.texts import get_text_at_path, tokenize_path

__all__ = ["ShelvedStore"]

_MS_PER_MINUTE = 60_000
Place = tuple[Namespace, str]


@dataclass(slots=True)
class _Work:
    """A batch, checked and encoded, before anything is looked at or changed."""

    ops: list[Op]
    puts: dict[Place, PutOp] = field(default_factory=dict)  # Of several to one place, the last.
    values: dict[Place, bytes] = field(default_factory=dict)
    texts: dict[Place, list[str]] = field(default_factory=dict)  # What an index is to look at.
    queries: list[str] = field(default_factory=list)
    vectors: dict[str, list[float]] = field(default_factory=dict)  # Of the texts.
    query_vectors: dict[str, list[float]] = field(default_factory=dict)

    def all_texts(self) -> list[str]:
        return list(dict.fromkeys(text for texts in self.texts.values() for text in texts))


class ShelvedStore(BaseStore):
    """A store over a shelf; what a value may be is what the codec can store."""

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
                raise TypeError(f"{op!r} is no operation of a store")
        for place, op in work.puts.items():
            if op.value is not None:
                work.values[place] = self._encoded(op)
                work.texts[place] = self._texts(op)
        return work

    def _encoded(self, op: PutOp) -> bytes:
        if not isinstance(op.value, Mapping) or not all(isinstance(key, str) for key in op.value):
            msg = f"a store keeps dicts with texts as keys; {op.key!r} in {op.namespace} is none"
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
        used: dict[Place, int] = {}  # Until when what was read lives.
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
        raise ValueError(f"limit={op.limit} and offset={op.offset} of a list are at least 0")
    found = {name[: op.max_depth] for name in namespaces if matches(name, op.match_conditions)}
    return sorted(found)[op.offset : op.offset + op.limit]
