"""From nodes and edges to boxes and routes, in whole numbers of whatever unit a picture has.

Rule 1: no two boxes overlap, and no label overlaps a box or another label.
Rule 2: a route touches its two boxes and no other: it bends between rows and is upright in them.
Rule 3: the same drawing has the same layout, always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.graph.drawing.grid import Chain, Grid, Size, build_grid
from orchestrator.graph.drawing.layers import Link, components
from orchestrator.graph.drawing.order import order_rows
from orchestrator.graph.drawing.place import place_cells, ports, pulls_of, row_offsets
from orchestrator.graph.drawing.straighten import straighten

__all__ = ["Box", "Layout", "Measures", "Point", "Route", "lay_out"]

Point = tuple[int, int]  # To the right, down.


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `left` to `right` and `top` to `bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def middle(self) -> Point:
        """Return the point in the middle."""
        return (self.left + self.right) // 2, (self.top + self.bottom) // 2

    def moved(self, x: int, y: int) -> Box:
        """Return the box elsewhere."""
        return Box(self.left + x, self.top + y, self.right + x, self.bottom + y)


@dataclass(frozen=True, slots=True)
class Route:
    """How a link is drawn, from source to target.

    The points come in pairs: from the second of one pair to the first of the next the route crosses
    the room between two rows, and within a pair it is upright.
    """

    points: tuple[Point, ...]
    label: Box | None = None

    def moved(self, x: int, y: int) -> Route:
        """Return the route elsewhere."""
        points = tuple((px + x, py + y) for px, py in self.points)
        return Route(points, self.label and self.label.moved(x, y))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is."""

    boxes: Mapping[str, Box]
    routes: Mapping[Link, Route]
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """How a kind of picture measures."""

    box_margin: int  # Room on each side of a box,
    line_margin: int  # and of a link or label.
    port_gap: int  # Between links that leave a box side by side, if there is room.
    port_inset: int  # From a box's corner to the first link.
    bend_cost: int  # How much longer links may become to save one that is not upright.
    width_wanted: int  # Up to where unconnected parts stand side by side.
    part_gap: int  # Between unconnected parts.
    # How high the room between two rows is, by where links enter and leave it.
    row_gap: Callable[[Sequence[tuple[int, int]]], int]
    overlap: int  # 1 where a box's borders belong to it (characters), else 0.


def lay_out(
    nodes: Mapping[str, Size],
    links: Iterable[Link],
    labels: Mapping[Link, Size],
    measures: Measures,
    cells_max: int,
) -> Layout | None:
    """Return the layout of a drawing, or `None` if it takes more than `cells_max` cells.

    Links from a node to itself are left out: `Size.beside` keeps the room for them.
    """
    place = {name: number for number, name in enumerate(nodes)}
    ways = [(source, target) for source, target in links if source != target]
    ways.sort(key=lambda link: (place[link[0]], place[link[1]]))
    parts: list[Layout] = []
    left = cells_max
    for names in components(list(nodes), ways):
        inside = set(names)
        own = [link for link in ways if link[0] in inside]
        line = Size(0, 0, 0)
        grid = build_grid({n: nodes[n] for n in names}, own, labels, line, left)
        if grid is None:
            return None
        left -= len(grid.cells)
        order_rows(grid)
        parts.append(_measure(grid, measures))
    return _pack(parts, measures)


def _measure(grid: Grid, measures: Measures) -> Layout:
    """Return the layout of a connected part, whose rows are in order."""
    leaving, reaching = ports(grid, measures.port_gap, measures.port_inset)
    pulls = pulls_of(grid, (leaving, reaching))
    margin = {True: measures.box_margin, False: measures.line_margin}
    offsets = [row_offsets(grid, row, margin) for row in grid.rows]
    x = place_cells(grid, offsets, pulls)
    straighten(grid, offsets, pulls, x, measures.bend_cost)
    x = _from_zero(grid, x)
    columns: list[list[int]] = []  # Where each chain passes its rows.
    for chain, leaves, reaches in zip(grid.chains, leaving, reaching, strict=True):
        columns.append([x[number] for number in chain.cells])
        columns[-1][0] += leaves
        columns[-1][-1] += reaches
    spans = _spans(grid, columns, measures)
    boxes = {c.node: _box(grid, n, x, spans) for n, c in enumerate(grid.cells) if c.node}
    routes = {}
    for chain, passes in zip(grid.chains, columns, strict=True):
        points = _points(grid, chain, passes, spans)
        label = None if chain.label is None else _box(grid, chain.label, x, spans)
        routes[chain.link] = Route(tuple(points[::-1] if chain.turned else points), label)
    right = max(x[n] + c.size.right + c.size.beside for n, c in enumerate(grid.cells))
    return Layout(boxes, routes, right + measures.overlap, spans[-1][1])


def _spans(
    grid: Grid, columns: Sequence[Sequence[int]], measures: Measures
) -> list[tuple[int, int]]:
    """Return where each row begins and ends."""
    crossing: list[list[tuple[int, int]]] = [[] for _ in grid.rows]
    for chain, passes in zip(grid.chains, columns, strict=True):
        first = grid.cells[chain.cells[0]].row
        for step, ends in enumerate(pairwise(passes)):
            crossing[first + step].append(ends)
    spans: list[tuple[int, int]] = []
    y = 0
    for row, ends_below in zip(grid.rows, crossing, strict=True):
        bottom = y + max(grid.cells[number].size.height for number in row)
        spans.append((y, bottom))
        y = bottom + measures.row_gap(ends_below)
    return spans


def _from_zero(grid: Grid, x: list[int]) -> list[int]:
    """Move everything so that the leftmost thing begins at 0."""
    left = min(at - cell.size.left for at, cell in zip(x, grid.cells, strict=True))
    return [at - left for at in x]


def _box(grid: Grid, number: int, x: Sequence[int], spans: Sequence[Point]) -> Box:
    size, (top, bottom) = grid.cells[number].size, spans[grid.cells[number].row]
    top += (bottom - top - size.height) // 2
    return Box(x[number] - size.left, top, x[number] + size.right, top + size.height)


def _points(grid: Grid, chain: Chain, passes: Sequence[int], spans: Sequence[Point]) -> list[Point]:
    """Return a link's way from its upper box to its lower one, in pairs of points."""
    points: list[Point] = []
    for number, x in zip(chain.cells, passes, strict=True):
        top, bottom = spans[grid.cells[number].row]
        points += [(x, top), (x, bottom)]
    first, last = grid.cells[chain.cells[0]].size.height, grid.cells[chain.cells[-1]].size.height
    (x, top), (_, bottom) = points[0], points[1]
    points[0] = (x, top + (bottom - top + first) // 2)
    (x, top), (_, bottom) = points[-2], points[-1]
    points[-1] = (x, top + (bottom - top - last) // 2)
    return points


def _pack(parts: Sequence[Layout], measures: Measures) -> Layout:
    """Put unconnected parts side by side, in lines that are as wide as the widest part."""
    width_max = max([measures.width_wanted, *(part.width for part in parts)])
    boxes: dict[str, Box] = {}
    routes: dict[Link, Route] = {}
    x = y = line_height = width = 0
    for part in parts:
        if x and x + part.width > width_max:
            x, y, line_height = 0, y + line_height + measures.part_gap, 0
        boxes |= {name: box.moved(x, y) for name, box in part.boxes.items()}
        routes |= {link: route.moved(x, y) for link, route in part.routes.items()}
        width, line_height = max(width, x + part.width), max(line_height, part.height)
        x += part.width + measures.part_gap
    return Layout(boxes, routes, width, y + line_height)
