"""Vectors of texts, and how like two of them are."""

from __future__ import annotations

import asyncio
import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Embedder", "cosine_similarity"]

Vector = Sequence[float]


class Embedder:
    """Makes vectors of texts with whatever the index was given: a function or an object."""

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
            msg = "the index's embed function is async: use the store's async methods, or give both"
            raise ValueError(msg)
        return self._checked(self._embed(texts), texts)

    def query(self, text: str) -> list[float]:
        """Return the vector of a text that is searched for."""
        if self._is_object:
            return self._checked([self._embed.embed_query(text)], [text])[0]
        return self.documents([text])[0]

    async def adocuments(self, texts: list[str]) -> list[list[float]]:
        """As `documents`, with whatever is async where there is something."""
        if not texts:
            return []
        if self._is_object and hasattr(self._embed, "aembed_documents"):
            return self._checked(await self._embed.aembed_documents(texts), texts)
        if self._is_async:
            return self._checked(await self._embed(texts), texts)
        return await asyncio.to_thread(self.documents, texts)

    async def aquery(self, text: str) -> list[float]:
        """As `query`, with whatever is async where there is something."""
        if self._is_object and hasattr(self._embed, "aembed_query"):
            return self._checked([await self._embed.aembed_query(text)], [text])[0]
        if self._is_async:
            return (await self.adocuments([text]))[0]
        return await asyncio.to_thread(self.query, text)

    def _checked(self, vectors: Any, texts: list[str]) -> list[list[float]]:
        plain = [[float(number) for number in vector] for vector in vectors]
        if len(plain) != len(texts):
            raise ValueError(f"{len(plain)} vectors for {len(texts)} texts: embed gives one each")
        for vector in plain:
            if self._dims is not None and len(vector) != self._dims:
                msg = f"a vector of {len(vector)} numbers, where the index has dims={self._dims}"
                raise ValueError(msg)
        return plain


def cosine_similarity(one: Vector, other: Vector) -> float:
    """Return how like two vectors are, from -1 to 1; one without a direction is like none.

    Raises:
        ValueError: if one has more numbers than the other.
    """
    if len(one) != len(other):
        msg = f"vectors of {len(one)} and {len(other)} numbers: embed changed; store the items anew"
        raise ValueError(msg)
    lengths = float(_dot(one, one) ** 0.5 * _dot(other, other) ** 0.5)
    return _dot(one, other) / lengths if lengths else 0.0


def _slow_dot(one: Vector, other: Vector) -> float:
    return float(sum(map(operator.mul, one, other)))


_dot: Callable[[Vector, Vector], float] = getattr(math, "sumprod", _slow_dot)  # Python 3.12.
