"""What is said of measured numbers: medians, spreads, percentiles, and ratios of one round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Summary", "percentile", "ratios", "summary"]


@dataclass(frozen=True, slots=True)
class Summary:
    """A row of numbers in short."""

    n: int
    median: float
    least: float
    greatest: float


def summary(values: Sequence[float]) -> Summary:
    """Return the numbers in short; there must be one at least."""
    return Summary(len(values), statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that `percent` of all do not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # Rounded up.
    return ordered[max(int(rank), 1) - 1]


def ratios(tops: Sequence[float], bottoms: Sequence[float]) -> list[float]:
    """Return the ratio of each round: the two of one round had the same machine.

    Rounds that only one of the two has are left out.
    """
    return [top / bottom for top, bottom in zip(tops, bottoms, strict=False)]
