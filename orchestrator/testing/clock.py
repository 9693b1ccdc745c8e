"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading

__all__ = ["ManualClock"]

START_MS = 1_763_000_000_000  # Some day in 2025: ids minted from it are as long as real ones.


class ManualClock:
    """Time that belongs to the test; safe to use from several OS threads."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """Return the milliseconds at which the clock stands."""
        return self._now_ms

    def monotonic_ms(self) -> float:
        """Return the same."""
        return self._now_ms

    def sleep(self, seconds: float) -> None:
        """Move on at once by that much."""
        with self._lock:
            self._now_ms += round(seconds * 1000)

    def set(self, now_ms: int) -> None:
        """Move on to `now_ms`; never back."""
        with self._lock:
            self._now_ms = max(self._now_ms, now_ms)
