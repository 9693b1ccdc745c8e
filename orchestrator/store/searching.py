"""From rows to what a search returns: filtered, ordered by likeness, cut to a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from orchestrator.store.likeness import cosine_similarity
from orchestrator.store.matching import fits
from orchestrator.store.operations import Item, SearchItem, SearchOp
from orchestrator.store.shelf import Row

__all__ = ["item_of", "search"]

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
    """Return the page of rows that `op` asks for, with what the caller gets of them.

    With a `query` vector, what is most like it comes first and what is in no index last; an item
    with several vectors counts by the best. Without, the order is that of the rows.

    Raises:
        ValueError: if the page is less than nothing, or the filter cannot be understood.
    """
    if op.limit < 0 or op.offset < 0:
        msg = f"limit={op.limit} and offset={op.offset} of a search are at least 0"
        raise ValueError(msg)
    found = _fitting(op, rows, decode)
    if query is not None:
        scored = [(row, value, _score(row, decode, query)) for row, value, _ in found]
        # Nothing is as unlike as -2; sorting keeps the order of what is equally like.
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
