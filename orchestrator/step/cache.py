"""The encoded values that this process has seen, so that a claim brings only what is new.

Bytes, never objects: what a node gets is decoded for it alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from orchestrator.checkpoint.tails import Encoded

__all__ = ["BlobCache"]


class BlobCache:
    """The latest known blobs of the threads used last, bounded in bytes but for the last one."""

    def __init__(self, bytes_max: int = 64 * 1024 * 1024) -> None:
        """Start empty."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._threads: OrderedDict[str, Mapping[str, Encoded]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, thread_id: str) -> Mapping[str, Encoded]:
        """Return what is known of a thread; the caller may keep it."""
        with self._lock:
            return self._threads.get(thread_id, {})

    def put(self, thread_id: str, blobs: Mapping[str, Encoded]) -> None:
        """Remember the blobs of a thread's checkpoint, and forget older ones of that thread."""
        with self._lock:
            self._bytes -= _size(self._threads.pop(thread_id, {}))
            self._threads[thread_id] = blobs
            self._bytes += _size(blobs)
            while self._bytes > self._bytes_max and len(self._threads) > 1:
                self._bytes -= _size(self._threads.popitem(last=False)[1])


def _size(blobs: Mapping[str, Encoded]) -> int:
    return sum(map(len, blobs.values()))
