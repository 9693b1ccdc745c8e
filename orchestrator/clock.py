"""The clock, passed in so that tests and simulations own time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The time as components read it."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        ...

    def monotonic_ms(self) -> float:
        """Return milliseconds that only ever grow, since some instant."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        """Return the machine's uptime in milliseconds."""
        return time.monotonic() * 1000

    def sleep(self, seconds: float) -> None:
        """Block this OS thread."""
        time.sleep(seconds)
