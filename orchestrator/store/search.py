"""The comparisons of a store's search: filters, namespaces, vectors and the texts of values.

The language of paths and filters is LangGraph's. `a.b` goes into dicts, `a[0]`, `a[-1]` and `a[*]`
into lists, `*` into any value, `{a,b.c}` reads several fields, `$` is the whole value as JSON.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.store.operations import MatchCondition, Namespace

# ---- filters and namespaces -----------------------------------------------------------------


_EQUAL: dict[str, Callable[[Any, Any], bool]] = {"$eq": operator.eq, "$ne": operator.ne}
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def fits(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether a stored value holds all that is wanted of it.

    Raises:
        ValueError: if a comparison is unknown, or an order is asked of values without one.
    """
    return not wanted or all(_fits(value.get(key), part) for key, part in wanted.items())


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(isinstance(key, str) and key.startswith("$") for key in wanted):
            return all(_compares(value, name, limit) for name, limit in wanted.items())
        return isinstance(value, Mapping) and all(
            _fits(value.get(key), part) for key, part in wanted.items()
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(wanted)
            and all(map(_fits, value, wanted))
        )
    return bool(value == wanted)


def _compares(value: Any, name: str, limit: Any) -> bool:
    if name in _EQUAL:
        return _EQUAL[name](value, limit)
    if name not in _ORDER:
        known = ", ".join([*_EQUAL, *_ORDER])
        raise ValueError(f"a filter's comparison must be one of {known} ({name!r})")
    number = _number(value)
    bound = _number(limit)
    if bound is None:
        raise ValueError(f"a filter's {name} must compare with a number ({limit!r})")
    return number is not None and _ORDER[name](number, bound)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def matches(namespace: Namespace, conditions: Sequence[MatchCondition] | None) -> bool:
    """Return whether a namespace fulfils all conditions.

    Raises:
        ValueError: if a condition is neither about a prefix nor about a suffix.
    """
    return all(_matches(namespace, condition) for condition in conditions or ())


def _matches(namespace: Namespace, condition: MatchCondition) -> bool:
    path, count = condition.path, len(condition.path)
    if condition.match_type == "prefix":
        part = namespace[:count]
    elif condition.match_type == "suffix":
        part = namespace[max(0, len(namespace) - count) :]
    else:
        msg = f"match_type must be 'prefix' or 'suffix' ({condition.match_type!r})"
        raise ValueError(msg)
    return len(part) == count and all(
        wanted in {"*", label} for label, wanted in zip(part, path, strict=True)
    )


# ---- vectors --------------------------------------------------------------------------------


Vector = Sequence[float]


class Embedder:
    """Makes vectors of texts with the index's function or object."""

    def __init__(self, embed: Any, dims: int | None = None) -> None:
        """Use `embed`; with `dims`, refuse vectors of another length.

        Raises:
            ValueError: if it is neither a function nor an object that embeds.
        """
        is_object = hasattr(embed, "embed_documents") and hasattr(embed, "embed_query")
        if not (is_object or callable(embed)):
            msg = (
                f"embed={embed!r} cannot make vectors of texts: give a function of a list of texts "
                f"(sync or async), or an object with embed_documents and embed_query, such as what "
                f"langchain's init_embeddings returns for the name of a model"
            )
            raise ValueError(msg)
        self._embed, self._is_object, self._dims = embed, is_object, dims
        self._is_async = not is_object and (
            inspect.iscoroutinefunction(embed)
            or inspect.iscoroutinefunction(getattr(embed, "__call__", None))  # noqa: B004
        )

    def documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text that is stored.

        Raises:
            ValueError: if the function is async, or gives vectors of another shape.
        """
        if not texts:
            return []
        if self._is_object:
            return self._checked(self._embed.embed_documents(texts), texts)
        if self._is_async:
            msg = "the index's embed must not be async here: use the store's async methods"
            raise ValueError(msg)
        return self._checked(self._embed(texts), texts)

    def query(self, text: str) -> list[float]:
        """Return the vector of a text that is searched for."""
        if self._is_object:
            return self._checked([self._embed.embed_query(text)], [text])[0]
        return self.documents([text])[0]

    async def adocuments(self, texts: list[str]) -> list[list[float]]:
        """As `documents`, with async methods where the index has them."""
        if not texts:
            return []
        if self._is_object and hasattr(self._embed, "aembed_documents"):
            return self._checked(await self._embed.aembed_documents(texts), texts)
        if self._is_async:
            return self._checked(await self._embed(texts), texts)
        return await asyncio.to_thread(self.documents, texts)

    async def aquery(self, text: str) -> list[float]:
        """As `query`, with async methods where the index has them."""
        if self._is_object and hasattr(self._embed, "aembed_query"):
            return self._checked([await self._embed.aembed_query(text)], [text])[0]
        if self._is_async:
            return (await self.adocuments([text]))[0]
        return await asyncio.to_thread(self.query, text)

    def _checked(self, vectors: Any, texts: list[str]) -> list[list[float]]:
        plain = [[float(number) for number in vector] for vector in vectors]
        if len(plain) != len(texts):
            raise ValueError(f"embed must return a vector a text ({len(plain)} for {len(texts)})")
        for vector in plain:
            if self._dims is not None and len(vector) != self._dims:
                msg = f"a vector must have dims={self._dims} numbers ({len(vector)})"
                raise ValueError(msg)
        return plain


def cosine_similarity(one: Vector, other: Vector) -> float:
    """Return how like two vectors are, from -1 to 1; one without a direction is like none.

    Raises:
        ValueError: if one has more numbers than the other.
    """
    if len(one) != len(other):
        msg = (
            f"vectors must have the same length ({len(one)} and {len(other)}): embed changed, so "
            f"store the items again"
        )
        raise ValueError(msg)
    lengths = float(_dot(one, one) ** 0.5 * _dot(other, other) ** 0.5)
    return _dot(one, other) / lengths if lengths else 0.0


def _slow_dot(one: Vector, other: Vector) -> float:
    return float(sum(map(operator.mul, one, other)))


_dot: Callable[[Vector, Vector], float] = getattr(math, "sumprod", _slow_dot)  # Python 3.12.


# ---- texts ----------------------------------------------------------------------------------


_CLOSING = {"[": "]", "{": "}"}


def tokenize_path(path: str) -> list[str]:
    """Return the parts of a path; `[…]` and `{…}` are parts of their own."""
    tokens: list[str] = []
    place, word = 0, ""
    while place < len(path):
        character = path[place]
        if character in _CLOSING:
            end = _end(path, place)
            tokens += [word] if word else []
            tokens.append(path[place:end])
            place, word = end, ""
            continue
        if character == ".":
            tokens += [word] if word else []
            word = ""
        else:
            word += character
        place += 1
    return [*tokens, word] if word else tokens


def _end(path: str, start: int) -> int:
    """Return where the bracket that opens at `start` has been closed."""
    opening, closing = path[start], _CLOSING[path[start]]
    depth = 0
    for place in range(start, len(path)):
        depth += (path[place] == opening) - (path[place] == closing)
        if not depth:
            return place + 1
    return len(path)


def get_text_at_path(value: Any, path: str | Sequence[str]) -> list[str]:
    """Return the texts that a path, or its parts, leads to; none where it leads nowhere."""
    if not path or path == "$":
        return [_json(dict(value) if isinstance(value, Mapping) else value)]
    return list(_texts(value, tokenize_path(path) if isinstance(path, str) else path))


def _texts(value: Any, tokens: Sequence[str]) -> Iterator[str]:
    if not tokens:
        yield from _text(value)
        return
    token, rest = tokens[0], tokens[1:]
    if token.startswith("[") and token.endswith("]"):
        for item in _items(value, token[1:-1]):
            yield from _texts(item, rest)
    elif token.startswith("{") and token.endswith("}"):
        for field in token[1:-1].split(","):
            yield from _field(value, tokenize_path(field.strip()))
    elif token == "*":  # noqa: S105 - a part of a path
        children = value.values() if isinstance(value, dict) else value
        if isinstance(value, (dict, list)):
            for child in children:
                yield from _texts(child, rest)
    elif isinstance(value, dict) and token in value:
        yield from _texts(value[token], rest)


def _items(value: Any, index: str) -> Sequence[Any]:
    if not isinstance(value, list):
        return ()
    if index == "*":
        return value
    try:
        return (value[int(index)],)
    except (ValueError, IndexError):
        return ()


def _field(value: Any, tokens: Sequence[str]) -> Iterator[str]:
    if not tokens:
        return
    for token in tokens:
        if not isinstance(value, dict) or token not in value:
            return
        value = value[token]
    yield from _text(value)


def _text(value: Any) -> Iterator[str]:
    if isinstance(value, (str, int, float)):
        yield str(value)
    elif isinstance(value, (list, dict)):
        yield _json(value)


def _json(value: Any) -> str:
    # Values that JSON lacks, such as dates, are searched as texts.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
