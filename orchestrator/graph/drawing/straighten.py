"""The last touch on places: links that are nearly upright become upright.

Cells that upright links connect are moved together, and only where that leaves fewer or shorter
bends and nothing comes too near to its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.graph.drawing.grid import Grid
from orchestrator.graph.drawing.place import Pull, Pulls

__all__ = ["straighten"]

_ROUNDS = 3
_CELLS_MAX = 1_500  # Over it nobody sees a bend, and looking for them takes long.


def straighten(
    grid: Grid, offsets: Sequence[Sequence[int]], pulls: Pulls, x: list[int], bend_cost: int
) -> None:
    """Move cells so that more links are upright.

    Args:
        grid: its rows are in order.
        offsets: those of the rows.
        pulls: what pulls at the cells.
        x: the places of the cells, which are changed.
        bend_cost: how much longer links may become to save one that is not upright.
    """
    if len(grid.cells) <= _CELLS_MAX:
        touch = _Straighten(grid, offsets, pulls, x, bend_cost)
        for _ in range(_ROUNDS):
            if not touch.round():
                return


class _Straighten:
    def __init__(
        self,
        grid: Grid,
        offsets: Sequence[Sequence[int]],
        pulls: Pulls,
        x: list[int],
        bend_cost: int,
    ) -> None:
        self.x = x
        self.bend_cost = bend_cost
        self.pulls = [[*up, *down] for up, down in zip(pulls.above, pulls.below, strict=True)]
        self.below = pulls.below
        self.beside: list[tuple[int | None, int | None]] = [(None, None)] * len(grid.cells)
        self.offset = [0] * len(grid.cells)
        for row, offset in zip(grid.rows, offsets, strict=True):
            around: list[int | None] = [None, *row, None]
            for place, (number, at) in enumerate(zip(row, offset, strict=True)):
                self.beside[number] = (around[place], around[place + 2])
                self.offset[number] = at

    def round(self) -> bool:
        """Try to make each step of each link upright; return whether anything was moved."""
        changed = False
        for number, steps in enumerate(self.below):
            for step in steps:
                lean = self._lean(number, step)
                if lean:
                    changed |= self._move(number, step.other, -lean) or self._move(
                        step.other, number, lean
                    )
        return changed

    def _lean(self, number: int, pull: Pull) -> int:
        """Return how far a cell is to the right of where the step would be upright."""
        return self.x[number] - self.x[pull.other] - pull.shift

    def _move(self, number: int, anchor: int, by: int) -> bool:
        """Move a cell and all that hangs upright on it, but not `anchor`, if that is better."""
        block = {number}
        todo = [number]
        while todo:
            one = todo.pop()
            for pull in self.pulls[one]:
                if pull.other not in block and not self._lean(one, pull):
                    block.add(pull.other)
                    todo.append(pull.other)
        if anchor in block or not all(self._has_room(one, by, block) for one in block):
            return False
        saved = 0.0
        for one in block:
            for pull in self.pulls[one]:
                if pull.other not in block:
                    lean = self._lean(one, pull)
                    saved += self._cost(lean, pull) - self._cost(lean + by, pull)
        if saved <= 0:
            return False
        for one in block:
            self.x[one] += by
        return True

    def _cost(self, lean: int, pull: Pull) -> float:
        return pull.weight * abs(lean) + (self.bend_cost if lean else 0)

    def _has_room(self, number: int, by: int, block: set[int]) -> bool:
        left, right = self.beside[number]
        other, side = (left, -1) if by < 0 else (right, 1)
        if other is None or other in block:
            return True
        room = (self.x[other] - self.x[number]) - (self.offset[other] - self.offset[number])
        return side * room >= abs(by)
