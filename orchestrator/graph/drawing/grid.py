"""A picture as rows of cells: a cell for each node, and for each link one in every row it crosses.

So links only lead from a row to the next, and keep away from boxes as boxes do from each other. A
labelled link has its label in a cell as well, in a row of labels next to where the link begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from orchestrator.graph.drawing.layers import Link, assign_layers, closing_links

__all__ = ["Cell", "Chain", "Grid", "Size", "build_grid"]


@dataclass(frozen=True, slots=True)
class Size:
    """How much room something takes around the middle of its upper edge, in a picture's unit."""

    left: int
    right: int
    height: int
    beside: int = 0  # More room on the right, for a link from a node to itself.


@dataclass(frozen=True, slots=True)
class Cell:
    """One place in a row."""

    row: int
    size: Size
    node: str | None = None  # The node that stands here; `None`: a link passes.


@dataclass(frozen=True, slots=True)
class Chain:
    """A link as the cells it goes through, from the upper node to the lower one."""

    link: Link
    cells: tuple[int, ...]
    turned: bool  # Whether the link leads up.
    label: int | None = None  # The cell that holds its label.


@dataclass(slots=True)
class Grid:
    """All cells of a picture, by number, and the rows they stand in."""

    cells: list[Cell] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    above: list[list[int]] = field(default_factory=list)  # Cell → the cells linked to it.
    below: list[list[int]] = field(default_factory=list)

    def add(self, cell: Cell) -> int:
        """Put a cell at the end of its row; return its number."""
        self.cells.append(cell)
        self.above.append([])
        self.below.append([])
        self.rows[cell.row].append(len(self.cells) - 1)
        return len(self.cells) - 1


def build_grid(
    nodes: Mapping[str, Size],
    links: Sequence[Link],
    labels: Mapping[Link, Size],
    line: Size,
    cells_max: int,
) -> Grid | None:
    """Return the grid of a connected picture without links from a node to itself.

    Args:
        nodes: the nodes, by size.
        links: no two are the same.
        labels: the links that have a label, by its size.
        line: the size of a link where it passes a row.
        cells_max: `None` is returned instead of more cells.
    """
    names = list(nodes)
    turned = closing_links(names, links)
    down = [(t, s) if (s, t) in turned else (s, t) for s, t in links]
    layer = assign_layers(names, list(dict.fromkeys(down)))
    label_at = {}  # In halves, so that a row of labels fits between two layers.
    for link, (upper, lower) in zip(links, down, strict=True):
        if link in labels:
            label_at[link] = 2 * layer[lower] - 1 if link in turned else 2 * layer[upper] + 1
    halves = sorted({2 * number for number in layer.values()} | set(label_at.values()))
    row_of = {half: row for row, half in enumerate(halves)}
    top = {name: row_of[2 * number] for name, number in layer.items()}
    if len(nodes) + sum(top[low] - top[high] - 1 for high, low in down) > cells_max:
        return None
    grid = Grid(rows=[[] for _ in halves])
    at = {name: grid.add(Cell(top[name], size, name)) for name, size in nodes.items()}
    for link, (upper, lower) in zip(links, down, strict=True):
        label_row = row_of[label_at[link]] if link in labels else None
        numbers, label = [at[upper]], None
        for row in range(top[upper] + 1, top[lower]):
            number = grid.add(Cell(row, labels[link] if row == label_row else line))
            label = number if row == label_row else label
            numbers.append(number)
        numbers.append(at[lower])
        for one, other in pairwise(numbers):
            grid.below[one].append(other)
            grid.above[other].append(one)
        grid.chains.append(Chain(link, tuple(numbers), link in turned, label))
    return grid
