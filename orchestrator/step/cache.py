"""The encoded values that this process has seen, so that a claim brings only what is new.

Bytes, never objects: what a node gets is decoded for it alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from orchestrator.model.tails import Encoded

__all__ = ["BlobCache"]


_NOTHING: tuple[int, Mapping[str, Encoded]] = (0, {})


class BlobCache:
    """The latest known blobs of the threads used last, bounded in bytes but for the last one."""

    def __init__(self, bytes_max: int = 64 * 1024 * 1024) -> None:
        """Start empty."""
        self._bytes_max = bytes_max
        self._bytes = 0
        # Thread → how many bytes its blobs have, and the blobs.
        self._threads: OrderedDict[str, tuple[int, Mapping[str, Encoded]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, thread_id: str) -> Mapping[str, Encoded]:
        """Return what is known of a thread; the caller may keep it."""
        with self._lock:
            return self._threads.get(thread_id, _NOTHING)[1]

    def put(self, thread_id: str, blobs: Mapping[str, Encoded]) -> None:
        """Remember the blobs of a thread's checkpoint, and forget older ones of that thread."""
        size = sum(map(len, blobs.values()))
        with self._lock:
            self._bytes += size - self._threads.pop(thread_id, _NOTHING)[0]
            self._threads[thread_id] = size, blobs
            while self._bytes > self._bytes_max and len(self._threads) > 1:
                self._bytes -= self._threads.popitem(last=False)[1][0]
