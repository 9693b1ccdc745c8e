"""The promises of a cache.

A cache keeps bytes by namespace and key. It knows nothing of nodes and their results.

Rule 1: an entry may be evicted at any time; a missing one is never an error.
Rule 2: a found value is the one set last, and has not expired.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

Namespace = tuple[str, ...]
FullKey = tuple[Namespace, str]


class BaseCache(ABC):
    """Bytes by namespace and key, each for a time."""

    @abstractmethod
    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, bytes]:
        """Return the values of those `keys` that are cached."""

    @abstractmethod
    def set(self, pairs: Mapping[FullKey, tuple[bytes, int | None]]) -> None:
        """Keep values, each with its time to live in seconds; `None`: for ever, 0: not at all."""

    @abstractmethod
    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget exactly these namespaces, not those below them; without any, everything."""

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, bytes]:
        """As `get`, without blocking the event loop."""
        return await asyncio.to_thread(self.get, keys)

    async def aset(self, pairs: Mapping[FullKey, tuple[bytes, int | None]]) -> None:
        """As `set`, without blocking the event loop."""
        await asyncio.to_thread(self.set, pairs)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As `clear`, without blocking the event loop."""
        await asyncio.to_thread(self.clear, namespaces)
