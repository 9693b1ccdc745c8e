"""On which line of characters between two rows an edge goes sideways."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

__all__ = ["Ends", "assign_tracks"]

Ends = tuple[int, int]  # The column in which an edge leaves a row, and that in which it arrives.


def assign_tracks(ends: Sequence[Ends]) -> dict[Ends, int]:
    """Return the line of each edge that goes sideways, from the top.

    No two edges share a part of a line. Where one edge arrives in the column in which another
    leaves, the other turns away above; only where two edges change places can they touch.
    """
    bent = sorted({e for e in ends if e[0] > e[1]})  # To the left: the leftmost at the top,
    bent += sorted({e for e in ends if e[0] < e[1]}, reverse=True)  # and the other way round.
    leaving = {e[0]: e for e in bent}
    tracks: dict[Ends, int] = {}
    lines: list[list[Ends]] = []  # What is on each line, from left to right.
    for first in bent:
        waiting: dict[Ends, None] = {}
        edge: Ends | None = first
        while edge is not None and edge not in tracks and edge not in waiting:
            waiting[edge] = None
            edge = leaving.get(edge[1])
        track = -1 if edge is None else tracks.get(edge, -1)
        for turning in reversed(waiting):
            span = (min(turning), max(turning))
            track += 1
            while track < len(lines) and _meets_any(span, lines[track]):
                track += 1
            if track == len(lines):
                lines.append([])
            insort(lines[track], span)
            tracks[turning] = track
    return tracks


def _meets_any(span: Ends, others: Sequence[Ends]) -> bool:
    """Return whether a span meets one of others that are sorted and do not meet each other."""
    place = bisect_left(others, span)
    after = place < len(others) and others[place][0] <= span[1]
    return after or (place > 0 and others[place - 1][1] >= span[0])
