"""Where a row's cells stand from left to right: under what they are linked to, and never too near.

Each cell wants its links to be upright. Of all places that keep the row's order and distances, the
row takes those nearest to its cells' wishes (least squares); rows are settled over and over until
they hardly move. Places are whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.graph.drawing.grid import Grid

__all__ = ["Pull", "Pulls", "place_cells", "ports", "pulls_of", "row_offsets"]

_SWEEPS_MAX = 24
_VISITS_MAX = 20_000  # In a big picture sweeps take long: so often at most a cell is moved.
_STRAIGHT = 8.0  # How much more a link's own bends pull at each other than boxes do.

Ports = tuple[
    list[int], list[int]
]  # Of each chain: where it leaves its upper box, reaches its lower.


@dataclass(frozen=True, slots=True)
class Pull:
    """A step of a link from a row to the next, as one of its ends feels it."""

    other: int  # The cell at the other end.
    shift: int  # This cell's place less that of the other, if the step is upright.
    weight: float


@dataclass(frozen=True, slots=True)
class Pulls:
    """What pulls at each cell, from above and from below."""

    above: list[list[Pull]]
    below: list[list[Pull]]


def ports(grid: Grid, gap_wanted: int, inset: int) -> Ports:
    """Return where links touch the lower and upper sides of boxes, from the middle of the box.

    Args:
        grid: its rows are in order, and so are then the links at a box.
        gap_wanted: between links that touch a box side by side, if there is room.
        inset: from a box's corner to the first link.
    """
    place = {number: at for row in grid.rows for at, number in enumerate(row)}
    found: Ports = ([0] * len(grid.chains), [0] * len(grid.chains))
    for side, (own, near) in enumerate(((0, 1), (-1, -2))):
        touching: dict[int, list[tuple[int, int]]] = {}
        for index, chain in enumerate(grid.chains):
            ends = touching.setdefault(chain.cells[own], [])
            ends.append((place[chain.cells[near]], index))
        for number, ends in touching.items():
            size = grid.cells[number].size
            room = max(0, size.left + size.right - 2 * inset)
            gap = min(gap_wanted, room / max(1, len(ends) - 1))
            for at, (_, index) in enumerate(sorted(ends)):
                found[side][index] = round((at - (len(ends) - 1) / 2) * gap)
    return found


def pulls_of(grid: Grid, found: Ports) -> Pulls:
    """Return what pulls at each cell when links touch boxes at these ports."""
    pulls = Pulls([[] for _ in grid.cells], [[] for _ in grid.cells])
    for index, chain in enumerate(grid.chains):
        last = len(chain.cells) - 2
        for step, (one, other) in enumerate(pairwise(chain.cells)):
            leaves = found[0][index] if step == 0 else 0
            reaches = found[1][index] if step == last else 0
            weight = 1.0 if step in {0, last} else _STRAIGHT
            pulls.below[one].append(Pull(other, reaches - leaves, weight))
            pulls.above[other].append(Pull(one, leaves - reaches, weight))
    return pulls


def row_offsets(grid: Grid, row: Sequence[int], margin: Mapping[bool, int]) -> list[int]:
    """Return where the cells of a row stand if they are as near as they may be."""
    found: list[int] = []
    room = 0  # Right of the middle of the cell before.
    for number in row:
        cell = grid.cells[number]
        space = margin[cell.node is not None]
        found.append(found[-1] + room + cell.size.left + space if found else 0)
        room = cell.size.right + cell.size.beside + space
    return found


def place_cells(grid: Grid, offsets: Sequence[Sequence[int]], pulls: Pulls) -> list[int]:
    """Return the middle of each cell; `offsets` are those of the rows."""
    x = [0.0] * len(grid.cells)
    for row, offset in zip(grid.rows, offsets, strict=True):
        for number, at in zip(row, offset, strict=True):
            x[number] = at - offset[-1] / 2
    both = [[*up, *down] for up, down in zip(pulls.above, pulls.below, strict=True)]
    order = range(len(grid.rows))
    for sweep in range(min(_SWEEPS_MAX, 4 + _VISITS_MAX // len(grid.cells))):
        felt = both if sweep > 3 else pulls.below if sweep % 2 else pulls.above
        for r in order if sweep % 2 == 0 else reversed(order):
            _settle(grid.rows[r], offsets[r], felt, x)
    placed = [0] * len(x)
    for row, offset in zip(grid.rows, offsets, strict=True):
        for number, at in zip(row, offset, strict=True):
            placed[number] = round(x[number] - at) + at  # Monotone, so no two come too near.
    return placed


def _settle(
    row: Sequence[int], offset: Sequence[int], felt: Sequence[Sequence[Pull]], x: list[float]
) -> None:
    """Move a row's cells to the allowed places that are nearest to where they want to be.

    Without its offset, a cell may be anywhere right of the one before; where wishes are in the
    wrong order, the cells form a block that stands at their mean (isotonic regression).
    """
    blocks: list[tuple[float, float, int]] = []  # Mean, weight, how many cells.
    for number, at in zip(row, offset, strict=True):
        total, weight = 0.001 * x[number], 0.001  # What nothing pulls at stays.
        for pull in felt[number]:
            total += pull.weight * (x[pull.other] + pull.shift)
            weight += pull.weight
        block = (total / weight - at, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, heavy, count = blocks.pop()
            weight = heavy + block[1]
            block = ((mean * heavy + block[0] * block[1]) / weight, weight, count + block[2])
        blocks.append(block)
    means = [mean for mean, _, count in blocks for _ in range(count)]
    for number, at, mean in zip(row, offset, means, strict=True):
        x[number] = mean + at
