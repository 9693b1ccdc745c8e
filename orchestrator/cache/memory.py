"""A cache in the memory of this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from orchestrator.cache.base import BaseCache, FullKey, Namespace
from orchestrator.clock import Clock, SystemClock

_BYTES_MAX = 64 * 1024 * 1024


class InMemoryCache(BaseCache):
    """A bounded cache of this process; the entry used least recently is evicted first."""

    def __init__(self, *, bytes_max: int = _BYTES_MAX, clock: Clock | None = None) -> None:
        """Start empty; `bytes_max` bounds the values it holds together."""
        self._bytes_max, self._clock = bytes_max, clock or SystemClock()
        self._lock = threading.Lock()
        self._bytes = 0
        # Values with the time in milliseconds at which they end, the one used least lately first.
        self._entries: OrderedDict[FullKey, tuple[bytes, int | None]] = OrderedDict()

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, bytes]:
        """Return the values of those `keys` that are cached."""
        now_ms = self._clock.now_ms()
        found = {}
        with self._lock:
            for namespace, name in keys:
                key = tuple(namespace), name
                value, end_ms = self._entries.get(key, (b"", 0))
                if end_ms is None or now_ms < end_ms:
                    self._entries.move_to_end(key)
                    found[key] = value
                else:
                    self._drop(key)
        return found

    def set(self, pairs: Mapping[FullKey, tuple[bytes, int | None]]) -> None:
        """Keep values; a single one beyond the bound is not kept."""
        now_ms = self._clock.now_ms()
        with self._lock:
            for (namespace, name), (value, ttl_s) in pairs.items():
                key = tuple(namespace), name
                self._drop(key)
                if ttl_s is None or ttl_s > 0:
                    end_ms = None if ttl_s is None else now_ms + ttl_s * 1000
                    self._entries[key] = value, end_ms
                    self._bytes += len(value)
            while self._bytes > self._bytes_max:
                self._drop(next(iter(self._entries)))

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget exactly these namespaces; without any, everything."""
        wanted = None if namespaces is None else {tuple(namespace) for namespace in namespaces}
        with self._lock:
            for key in [key for key in self._entries if wanted is None or key[0] in wanted]:
                self._drop(key)

    def _drop(self, key: FullKey) -> None:
        value, _ = self._entries.pop(key, (b"", 0))
        self._bytes -= len(value)
