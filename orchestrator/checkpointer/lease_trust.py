"""When a sweeper may believe that a lease has run out.

A lease that nobody renewed means a dead owner only if the owner could have renewed it: after a
time in which the store did not answer (it stood still, or restarted), every lease looks expired at
once. So leases count only against time in which somebody could talk to the store.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAD_MS = 1000  # How long a leader leads that has stopped asking, at most a lease.


def silence_max_ms(lease_ms: int) -> int:
    """Return how long the store may go without a sweep before its leases are doubted."""
    return max(lease_ms // 2, 1000)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a partition remembers of its sweeps, in the store's time."""

    last_ms: int = 0  # The latest sweep.
    since_ms: int = 0  # Since when sweeps followed each other without silence.

    def seen(self, now: int, lease_ms: int) -> Trust:
        """Return the trust after a sweep at `now`."""
        silent = now - self.last_ms > silence_max_ms(lease_ms)
        return Trust(now, now if silent else self.since_ms)

    def expires(self, now: int, lease_ms: int) -> bool:
        """Return whether keepers have had a full lease to renew since the last silence."""
        return now - self.since_ms >= lease_ms
