"""When a sweeper may conclude from an expired lease that its owner is dead.

An owner that could not reach the store could not renew: after a time in which the store did not
answer (it was stopped, or restarted), every lease is expired at once. So leases run out only by
time in which processes could reach the store.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAD_MS = 1000  # How long a silent leader keeps the lead; at most a lease.


def silence_max_ms(lease_ms: int) -> int:
    """Return how long the store may be without a sweep before its leases are in doubt."""
    return max(lease_ms // 2, 1000)


@dataclass(frozen=True, slots=True)
class Trust:
    """The sweeps of a partition so far, in the store's time."""

    last_ms: int = 0  # The latest sweep.
    since_ms: int = 0  # Since when sweeps followed each other without silence.

    def seen(self, now: int, lease_ms: int) -> Trust:
        """Return the trust after a sweep at `now`."""
        silent = now - self.last_ms > silence_max_ms(lease_ms)
        return Trust(now, now if silent else self.since_ms)

    def expires(self, now: int, lease_ms: int) -> bool:
        """Return whether keepers have had a full lease to renew since the last silence."""
        return now - self.since_ms >= lease_ms
