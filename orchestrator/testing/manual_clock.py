"""A clock that only a test moves."""

from __future__ import annotations

import threading

START_MS = 1_763_000_000_000  # A day in 2025: ids minted from it are as long as real ones.


class ManualClock:
    """Time that belongs to the test; safe to use from several OS threads."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """Return the milliseconds of the clock."""
        return self._now_ms

    def monotonic_ms(self) -> float:
        """Return the same."""
        return self._now_ms

    def sleep(self, seconds: float) -> None:
        """Advance the clock at once."""
        with self._lock:
            self._now_ms += round(seconds * 1000)

    def set(self, now_ms: int) -> None:
        """Advance to `now_ms`; never move back."""
        with self._lock:
            self._now_ms = max(self._now_ms, now_ms)
