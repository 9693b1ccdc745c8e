"""Where the boxes and routes of a drawing are, in whole numbers of the picture's unit.

The layout is in layers: links that close a cycle are reversed, each node gets a row, a link gets a
cell in every row that it crosses, rows are ordered for few crossings, and cells are placed for
upright links. A labelled link has its label in a cell of a row of labels, next to where it begins.

Rule 1: no two boxes overlap, and no label overlaps a box or another label.
Rule 2: a route touches its two boxes and no other: it bends between rows and is upright in them.
Rule 3: equal drawings have equal layouts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from orchestrator.drawing.picture import CELLS_MAX, DrawnEdge, Group, Link

Point = tuple[int, int]  # To the right, down.

# In a big picture a sweep takes long, so the number of cells that all sweeps visit is limited.
_ORDER_SWEEPS_MAX, _ORDER_VISITS_MAX = 12, 10_000
_EXCHANGE_CELLS_MAX = 600  # Of a picture in which neighbours are also tried the other way round.
_PLACE_SWEEPS_MAX, _PLACE_VISITS_MAX = 24, 20_000
_STRAIGHT = 8  # The weight of a bend within a link; a bend at a box weighs 1.


@dataclass(frozen=True, slots=True)
class Size:
    """The room that a thing needs around the middle of its upper edge, in the picture's unit."""

    left: int
    right: int
    height: int
    beside: int = 0  # More room on the right, for a link from a node to itself.


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: `left` to `right`, and `top` to `bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def middle(self) -> Point:
        """Return the point in the middle."""
        return (self.left + self.right) // 2, (self.top + self.bottom) // 2

    def moved(self, x: int, y: int) -> Box:
        """Return the box moved by `x` and `y`."""
        return Box(self.left + x, self.top + y, self.right + x, self.bottom + y)


@dataclass(frozen=True, slots=True)
class Route:
    """The points of a link, from source to target.

    They come in pairs: the route is upright within a pair, and crosses the room between two rows
    from the second point of one pair to the first of the next.
    """

    points: tuple[Point, ...]
    label: Box | None = None

    def moved(self, x: int, y: int) -> Route:
        """Return the route moved by `x` and `y`."""
        points = tuple((px + x, py + y) for px, py in self.points)
        return Route(points, self.label and self.label.moved(x, y))


@dataclass(frozen=True, slots=True)
class Layout:
    """The boxes of nodes, clusters and dots, and the routes of the links between them."""

    boxes: dict[str, Box]
    routes: dict[Link, Route]
    width: int
    height: int

    def add(self, other: Layout, x: int, y: int) -> None:
        """Add the boxes and routes of another layout, moved by `x` and `y`."""
        self.boxes.update((name, box.moved(x, y)) for name, box in other.boxes.items())
        self.routes.update((link, route.moved(x, y)) for link, route in other.routes.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The sizes and distances of one kind of picture."""

    box_margin: int  # Room on each side of a box,
    line_margin: int  # and of a link or label.
    port_gap: int  # Between links that leave a box side by side, if there is room.
    port_inset: int  # From a box's corner to the first link.
    width_wanted: int  # The width up to which unconnected parts are put side by side.
    part_gap: int  # Between unconnected parts.
    # The height of the room between two rows, by where links enter and leave it.
    row_gap: Callable[[Sequence[tuple[int, int]]], int]
    overlap: int  # 1 where a box's borders belong to it (characters), else 0.
    frame_top: int  # From the upper side of a cluster to its inside.
    dot: Size
    label: Callable[[DrawnEdge], Size | None]


def lay_out_group(
    group: Group,
    nodes: Mapping[str, Size],
    measures: Measures,
    around: Callable[[Group, Layout], Size],
) -> Layout | None:
    """Return the layout of a picture; each cluster is laid out alone and is a box in its group.

    Args:
        group: the picture; routes are those that `Group.edges` and `Group.dots` name.
        nodes: the nodes, by size.
        measures: of this kind of picture.
        around: returns the size of a cluster whose inside has a layout.

    Returns:
        `None` if the picture or a cluster needs more than `CELLS_MAX` cells.
    """
    dots, inside, sizes = group.dots, dict[str, Layout](), dict[str, Size]()
    first, last = ([n for n in dots if n.endswith("::") is is_last] for is_last in (False, True))
    for name in (*first, *group.order, *last):
        if name in group.groups:
            laid = lay_out_group(group.groups[name], nodes, measures, around)
            if laid is None:
                return None
            inside[name] = laid
            sizes[name] = around(group.groups[name], laid)
        else:
            sizes[name] = measures.dot if name in dots else nodes[name]
    labels = {link: size for link, e in group.edges.items() if (size := measures.label(e))}
    links = [*group.edges, *(link for links in dots.values() for link in links)]
    layout = _lay_out(sizes, links, labels, measures)
    if layout is None:
        return None
    for name, inner in inside.items():
        box = layout.boxes[name]
        room = box.right - box.left + measures.overlap - inner.width
        layout.add(inner, box.left + room // 2, box.top + measures.frame_top)
    return layout


def _lay_out(
    nodes: Mapping[str, Size],
    links: Iterable[Link],
    labels: Mapping[Link, Size],
    measures: Measures,
) -> Layout | None:
    """Return the layout of a group: unconnected parts side by side, in lines of limited width.

    Links from a node to itself are left out: `Size.beside` keeps the room for them.
    """
    number = {name: n for n, name in enumerate(nodes)}
    ways = [link for link in links if link[0] != link[1]]
    ways.sort(key=lambda link: (number[link[0]], number[link[1]]))
    parts: list[Layout] = []
    cells_left = CELLS_MAX
    for names in components(list(nodes), ways):
        inside = set(names)
        own = [link for link in ways if link[0] in inside]
        grid = build_grid({n: nodes[n] for n in names}, own, labels, cells_left)
        if grid is None:
            return None
        cells_left -= len(grid.cells)
        order_rows(grid)
        parts.append(_measure(grid, measures))
    width_max = max([measures.width_wanted, *(part.width for part in parts)])
    boxes, routes = dict[str, Box](), dict[Link, Route]()
    x = y = height = width = 0
    packed = Layout(boxes, routes, 0, 0)
    for part in parts:
        if x and x + part.width > width_max:
            x, y, height = 0, y + height + measures.part_gap, 0
        packed.add(part, x, y)
        width, height = max(width, x + part.width), max(height, part.height)
        x += part.width + measures.part_gap
    return Layout(boxes, routes, width, y + height)


# ---- layers: every link leads down at least one, except those that close a cycle ------------


def components(nodes: Sequence[str], links: Iterable[Link]) -> list[list[str]]:
    """Return the nodes in groups that no link connects; groups and members keep their order."""
    group_of = {name: [name] for name in nodes}
    for source, target in links:
        one, other = group_of[source], group_of[target]
        if one is not other:
            one += other
            group_of.update(dict.fromkeys(other, one))
    place = {name: number for number, name in enumerate(nodes)}
    groups = {id(group): sorted(group, key=place.__getitem__) for group in group_of.values()}
    return list(groups.values())


def closing_links(nodes: Sequence[str], links: Iterable[Link]) -> set[Link]:
    """Return links without which there is no cycle: those that lead back on a walk into depth.

    The walk begins at the first node, so what closes a cycle is what leads back towards it.
    """
    following = _following(nodes, links)
    closing: set[Link] = set()
    open_nodes: set[str] = set()  # On the walk's present path.
    seen: set[str] = set()
    for first in nodes:
        walk = [] if first in seen else [(first, iter(following[first]))]
        open_nodes.update(name for name, _ in walk)
        while walk:
            name, ahead = walk[-1]
            seen.add(name)
            target = next(ahead, None)
            if target is None:
                open_nodes.discard(name)
                walk.pop()
            elif target in open_nodes:
                closing.add((name, target))
            elif target not in seen:
                open_nodes.add(target)
                walk.append((target, iter(following[target])))
    return closing


def assign_layers(nodes: Sequence[str], links: Sequence[Link]) -> dict[str, int]:
    """Return the layer of each node, counted from the top; the links have no cycle.

    A node is as high as the links to it allow. Then those that more links leave than reach are
    moved down to what follows them, which makes the links shorter.
    """
    following = _following(nodes, links)
    missing = dict.fromkeys(nodes, 0)
    for _, target in links:
        missing[target] += 1
    reached = dict(missing)
    layer = dict.fromkeys(nodes, 0)
    ordered = [name for name in nodes if not missing[name]]
    for name in ordered:  # It grows while it is walked.
        for target in following[name]:
            layer[target] = max(layer[target], layer[name] + 1)
            missing[target] -= 1
            if not missing[target]:
                ordered.append(target)
    assert len(ordered) == len(nodes), "a cycle was left"
    for name in reversed(ordered):
        if len(following[name]) > reached[name] and name != nodes[0]:
            layer[name] = min(layer[target] for target in following[name]) - 1
    return layer


def _following(nodes: Sequence[str], links: Iterable[Link]) -> Mapping[str, list[str]]:
    place = {name: number for number, name in enumerate(nodes)}
    found: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in links:
        found[source].append(target)
    for targets in found.values():
        targets.sort(key=place.__getitem__)
    return found


# ---- the grid: a cell for each node, and for each link one in every row that it crosses -------


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in a row."""

    row: int
    size: Size
    node: str | None = None  # `None`: a link passes, or has its label here.


@dataclass(frozen=True, slots=True)
class Chain:
    """A link as the cells that it passes, from the upper node to the lower one."""

    link: Link
    cells: tuple[int, ...]
    turned: bool  # Whether the link leads up.
    label: int | None = None  # The cell that holds its label.


@dataclass(slots=True)
class Grid:
    """The cells of a connected picture, by number, and the rows of their numbers."""

    rows: list[list[int]]
    cells: list[Cell] = field(default_factory=list)
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
    cells_max: int,
) -> Grid | None:
    """Return the grid of a connected picture without links from a node to itself.

    Args:
        nodes: the nodes, by size.
        links: no two are the same.
        labels: the links that have a label, by its size.
        cells_max: `None` is returned instead of more cells.
    """
    names = list(nodes)
    turned = closing_links(names, links)
    down = [(t, s) if (s, t) in turned else (s, t) for s, t in links]
    layer = assign_layers(names, list(dict.fromkeys(down)))
    label_at = {  # In halves, so that a row of labels fits between two layers.
        link: 2 * layer[lower] - 1 if link in turned else 2 * layer[upper] + 1
        for link, (upper, lower) in zip(links, down, strict=True)
        if link in labels
    }
    halves = sorted({2 * number for number in layer.values()} | set(label_at.values()))
    row_of = {half: row for row, half in enumerate(halves)}
    top = {name: row_of[2 * number] for name, number in layer.items()}
    if len(nodes) + sum(top[low] - top[high] - 1 for high, low in down) > cells_max:
        return None
    grid = Grid([[] for _ in halves])
    at = {name: grid.add(Cell(top[name], size, name)) for name, size in nodes.items()}
    line = Size(0, 0, 0)
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


# ---- the order of a row's cells: few links cross --------------------------------------------


def order_rows(grid: Grid) -> None:
    """Put the cells of every row into an order with few crossings."""
    _order_by_walk(grid)
    best, fewest = [list(row) for row in grid.rows], count_crossings(grid)
    for sweep in range(min(_ORDER_SWEEPS_MAX, 2 + _ORDER_VISITS_MAX // len(grid.cells))):
        if not fewest:
            break
        _sort_by_medians(grid, downwards=sweep % 2 == 0)
        if len(grid.cells) <= _EXCHANGE_CELLS_MAX:
            _exchange(grid)
        crossings = count_crossings(grid)
        if crossings < fewest:
            best, fewest = [list(row) for row in grid.rows], crossings
    grid.rows = best


def _order_by_walk(grid: Grid) -> None:
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


def _sort_by_medians(grid: Grid, *, downwards: bool) -> None:
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
    for _ in range(4):
        changed = False
        for row in grid.rows:
            for i in range(len(row) - 1):
                one, other = row[i], row[i + 1]
                saved = 0
                for side in (grid.above, grid.below):
                    a, b = (sorted(place[n] for n in side[cell]) for cell in (one, other))
                    saved += sum(bisect_left(b, p) for p in a) - sum(bisect_left(a, p) for p in b)
                if saved > 0:
                    row[i], row[i + 1] = other, one
                    place[one], place[other] = i + 1, i
                    changed = True
        if not changed:
            return


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


# ---- the places of a row's cells: under what they are linked to, and never too near -----------

Ports = tuple[list[int], list[int]]  # Of each chain: at its upper box, and at its lower one.
Pull = tuple[int, int, int]  # A cell at the other end, how far from it to be, and the weight.


def _ports(grid: Grid, measures: Measures) -> Ports:
    """Return where links touch the lower and upper sides of boxes, from the middle of the box."""
    place = {number: at for row in grid.rows for at, number in enumerate(row)}
    found: Ports = ([0] * len(grid.chains), [0] * len(grid.chains))
    for side, (own, near) in enumerate(((0, 1), (-1, -2))):
        touching: dict[int, list[tuple[int, int]]] = {}
        for index, chain in enumerate(grid.chains):
            ends = touching.setdefault(chain.cells[own], [])
            ends.append((place[chain.cells[near]], index))
        for number, ends in touching.items():
            size = grid.cells[number].size
            room = max(0, size.left + size.right - 2 * measures.port_inset)
            gap = min(measures.port_gap, room / max(1, len(ends) - 1))
            for at, (_, index) in enumerate(sorted(ends)):
                found[side][index] = round((at - (len(ends) - 1) / 2) * gap)
    return found


def _place_cells(grid: Grid, measures: Measures, ports: Ports) -> list[int]:
    """Return the middle of each cell; the leftmost cell begins at 0."""
    above, below = ([list[Pull]() for _ in grid.cells] for _ in range(2))
    for index, chain in enumerate(grid.chains):
        last = len(chain.cells) - 2
        for step, (one, other) in enumerate(pairwise(chain.cells)):
            shift = (ports[1][index] if step == last else 0) - (0 if step else ports[0][index])
            weight = 1 if step in {0, last} else _STRAIGHT
            below[one].append((other, shift, weight))
            above[other].append((one, -shift, weight))
    both = [[*up, *down] for up, down in zip(above, below, strict=True)]
    offsets = [_offsets(grid, row, measures) for row in grid.rows]
    x = [0] * len(grid.cells)
    for row, offset in zip(grid.rows, offsets, strict=True):
        for number, at in zip(row, offset, strict=True):
            x[number] = at - offset[-1] // 2
    order = range(len(grid.rows))
    for sweep in range(min(_PLACE_SWEEPS_MAX, 4 + _PLACE_VISITS_MAX // len(grid.cells))):
        felt = both if sweep > 3 else below if sweep % 2 else above
        for r in order if sweep % 2 == 0 else reversed(order):
            _settle(grid.rows[r], offsets[r], felt, x)
    left = min(at - cell.size.left for at, cell in zip(x, grid.cells, strict=True))
    return [at - left for at in x]


def _offsets(grid: Grid, row: Sequence[int], measures: Measures) -> list[int]:
    """Return the places of a row's cells if they are as near as they may be."""
    found: list[int] = []
    room = 0  # Right of the middle of the cell before.
    for number in row:
        cell = grid.cells[number]
        margin = measures.line_margin if cell.node is None else measures.box_margin
        found.append(found[-1] + room + cell.size.left + margin if found else 0)
        room = cell.size.right + cell.size.beside + margin
    return found


def _settle(
    row: Sequence[int], offset: Sequence[int], felt: Sequence[Sequence[Pull]], x: list[int]
) -> None:
    """Move a row's cells to the allowed places that are nearest to where they are pulled.

    Without its offset, a cell may be anywhere right of the one before. Where wishes are in the
    wrong order, cells form a block at the median of their wishes, where most links are upright.
    """
    blocks: list[tuple[list[tuple[int, int]], int, int]] = []  # Wishes, the median, how many cells.
    for number, at in zip(row, offset, strict=True):
        present = x[number] - at
        wishes = sorted((x[other] + shift - at, weight) for other, shift, weight in felt[number])
        block = (wishes, _median(wishes, present), 1)
        while blocks and blocks[-1][1] > block[1]:
            before, present, count = blocks.pop()
            wishes = sorted(before + block[0])
            block = (wishes, _median(wishes, present), count + block[2])
        blocks.append(block)
    medians = [median for _, median, count in blocks for _ in range(count)]
    for number, at, median in zip(row, offset, medians, strict=True):
        x[number] = median + at


def _median(wishes: Sequence[tuple[int, int]], present: int) -> int:
    """Return the median of sorted places by their weights; of two, the nearer to `present`."""
    half, passed, first = sum(weight for _, weight in wishes) / 2, 0, present
    for place, weight in wishes:
        if passed == half:
            return first if 2 * present <= first + place else place
        passed += weight
        first = place
        if passed > half:
            return place
    return present


# ---- from places to boxes and routes ----------------------------------------------------------


def _measure(grid: Grid, measures: Measures) -> Layout:
    """Return the layout of a connected part, whose rows are in order."""
    ports = _ports(grid, measures)
    x = _place_cells(grid, measures, ports)
    columns: list[list[int]] = []  # Where each chain passes its rows.
    for chain, leaves, reaches in zip(grid.chains, *ports, strict=True):
        columns.append([x[number] for number in chain.cells])
        columns[-1][0] += leaves
        columns[-1][-1] += reaches
    spans = _spans(grid, columns, measures)

    def box(number: int) -> Box:
        size, (top, bottom) = grid.cells[number].size, spans[grid.cells[number].row]
        top += (bottom - top - size.height) // 2
        return Box(x[number] - size.left, top, x[number] + size.right, top + size.height)

    routes = {}
    for chain, passes in zip(grid.chains, columns, strict=True):
        points: list[Point] = []
        for number, column in zip(chain.cells, passes, strict=True):
            points += ((column, y) for y in spans[grid.cells[number].row])
        points[0] = (points[0][0], box(chain.cells[0]).bottom)
        points[-1] = (points[-1][0], box(chain.cells[-1]).top)
        label = None if chain.label is None else box(chain.label)
        routes[chain.link] = Route(tuple(points[::-1] if chain.turned else points), label)
    boxes = {cell.node: box(number) for number, cell in enumerate(grid.cells) if cell.node}
    right = max(x[n] + c.size.right + c.size.beside for n, c in enumerate(grid.cells))
    return Layout(boxes, routes, right + measures.overlap, spans[-1][1])


def _spans(grid: Grid, columns: Sequence[Sequence[int]], measures: Measures) -> list[Point]:
    """Return where each row begins and ends."""
    crossing: list[list[tuple[int, int]]] = [[] for _ in grid.rows]
    for chain, passes in zip(grid.chains, columns, strict=True):
        first = grid.cells[chain.cells[0]].row
        for step, ends in enumerate(pairwise(passes)):
            crossing[first + step].append(ends)
    spans: list[Point] = []
    y = 0
    for row, ends_below in zip(grid.rows, crossing, strict=True):
        bottom = y + max(grid.cells[number].size.height for number in row)
        spans.append((y, bottom))
        y = bottom + measures.row_gap(ends_below)
    return spans
