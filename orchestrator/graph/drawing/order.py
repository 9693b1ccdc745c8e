"""In which order the cells of a row stand: so that few links cross."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise

from orchestrator.graph.drawing.grid import Grid

__all__ = ["count_crossings", "order_rows"]

_SWEEPS_MAX = 12  # Down and up in turn; later ones hardly find anything,
_VISITS_MAX = 10_000  # and in a big picture they take long: so often at most a cell is looked at.
_EXCHANGE_CELLS_MAX = 600  # Over it neighbours are not tried the other way round.


def order_rows(grid: Grid) -> None:
    """Put the cells of every row into an order with few crossings."""
    _begin(grid)
    best = [list(row) for row in grid.rows]
    fewest = count_crossings(grid)
    for sweep in range(min(_SWEEPS_MAX, 2 + _VISITS_MAX // len(grid.cells))):
        if not fewest:
            break
        _sweep(grid, downwards=sweep % 2 == 0)
        if len(grid.cells) <= _EXCHANGE_CELLS_MAX:
            _exchange(grid)
        crossings = count_crossings(grid)
        if crossings < fewest:
            best, fewest = [list(row) for row in grid.rows], crossings
    grid.rows = best


def _begin(grid: Grid) -> None:
    """Put the cells into the order of a walk from the top into depth: branches stay together."""
    seen: dict[int, None] = {}
    todo = [number for row in reversed(grid.rows) for number in reversed(row)]
    while todo:
        number = todo.pop()
        if number not in seen:
            seen[number] = None
            todo += reversed(grid.below[number])
    for row in grid.rows:
        row.clear()
    for number in seen:
        grid.rows[grid.cells[number].row].append(number)


def _positions(row: Sequence[int]) -> dict[int, int]:
    return {number: position for position, number in enumerate(row)}


def _sweep(grid: Grid, *, downwards: bool) -> None:
    """Sort every row by the medians of what its cells are linked to in the row before."""
    rows = grid.rows if downwards else grid.rows[::-1]
    linked = grid.above if downwards else grid.below
    for before, row in pairwise(rows):
        place, own = _positions(before), _positions(row)
        wanted: dict[int, tuple[float, float]] = {}
        for number in row:
            near = sorted(place[other] for other in linked[number])
            if near:
                middle = (near[(len(near) - 1) // 2] + near[len(near) // 2]) / 2
                wanted[number] = (middle, sum(near) / len(near))
        free = iter(sorted(wanted, key=lambda number: (wanted[number], own[number])))
        row[:] = [next(free) if number in wanted else number for number in row]


def _exchange(grid: Grid) -> None:
    """Exchange neighbours as long as that saves crossings, a few rounds at most."""
    place = {n: p for row in grid.rows for p, n in enumerate(row)}
    sides = (grid.above, grid.below)
    for _ in range(4):
        changed = False
        for row in grid.rows:
            for i in range(len(row) - 1):
                one, other = row[i], row[i + 1]
                near = [[sorted(place[n] for n in side[c]) for c in (one, other)] for side in sides]
                saved = sum(_between(a, b) - _between(b, a) for a, b in near)
                if saved > 0:
                    row[i], row[i + 1] = other, one
                    place[one], place[other] = i + 1, i
                    changed = True
        if not changed:
            return


def _between(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many links of two neighbouring cells cross, by the places they lead to."""
    return sum(bisect_left(right, place) for place in left)


def count_crossings(grid: Grid) -> int:
    """Return how many pairs of links cross."""
    total = 0
    for row, after in pairwise(grid.rows):
        place, passed = _positions(after), list[int]()
        for number in row:
            ends = sorted(place[other] for other in grid.below[number])
            total += sum(len(passed) - bisect_right(passed, end) for end in ends)
            for end in ends:
                insort(passed, end)
    return total
