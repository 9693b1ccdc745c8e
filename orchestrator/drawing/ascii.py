"""A drawing in characters, for a terminal or a log.

`|` and `-` are edges that are always taken, `:` and `.` conditional ones; `v` and `^` are their
ends. Between two rows are as many lines as their edges need to pass each other.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence

from orchestrator.drawing.layout import Box, Layout, Measures, Point, Size, lay_out_group
from orchestrator.drawing.picture import (
    NODES_MAX,
    SIGNS,
    DrawnEdge,
    DrawnNode,
    Group,
    Link,
    NodeState,
    clip,
    most_ends,
    shown_name,
    too_many,
)

_TEXT_CHARS_MAX = 30
_COLUMNS_MAX = 500  # Wider pictures are not drawn.
_PORTS_MAX = 40  # Edges at one side of a box before some share a place.
_LOOP = 4  # Columns beside a box for an edge to itself.

Ends = tuple[int, int]  # The column in which an edge leaves a row, and that in which it arrives.


def ascii_text(picture: Group, states: Mapping[str, NodeState]) -> str:
    """Return the picture as lines, or a note that the graph is too big for one."""
    layout = lay_out_ascii(picture, states)
    nodes = picture.all_nodes()
    if layout is None or layout.width > _COLUMNS_MAX:
        return too_many(len(nodes), len(picture.all_edges())) + "\n"
    canvas = _Canvas()
    groups = list(picture.walk())
    for group in groups[1:]:
        _draw_frame(canvas, layout.boxes[group.id], _title(group, states))
    _draw_edges(canvas, groups, layout)
    for key, node in nodes.items():
        _draw_box(canvas, layout.boxes[key], _box_text(node, states.get(key)))
    for group in groups:
        for (source, target), edge in group.edges.items():
            if source == target:
                _draw_loop(canvas, layout.boxes[source], edge)
        for dot in group.dots:
            canvas.write(layout.boxes[dot].left, layout.boxes[dot].top, "o")
    shown = [f"{sign} {state}" for state, (_, sign) in SIGNS.items() if state in states.values()]
    return canvas.text() + (f"\n{'  '.join(shown)}\n" if shown else "")


def lay_out_ascii(picture: Group, states: Mapping[str, NodeState]) -> Layout | None:
    """Return the layout in columns and lines, or `None` if the graph is too big."""
    nodes, edges = picture.all_nodes(), picture.all_edges()
    if len(nodes) > NODES_MAX:
        return None
    loops = {edge.source: edge for edge in edges if edge.source == edge.target}
    ends = most_ends(edges)
    sizes = {}
    for key, node in nodes.items():
        beside = _LOOP + _columns(_label(loops[key])) if key in loops else 0
        columns = _columns(_box_text(node, states.get(key))) + 4
        sizes[key] = _size(max(columns, 2 * min(ends[key], _PORTS_MAX) + 1), 3, beside)

    def around(group: Group, inside: Layout) -> Size:
        return _size(max(inside.width + 4, _columns(_title(group, states)) + 6), inside.height + 2)

    return lay_out_group(picture, sizes, _MEASURES, around)


def _row_gap(ends: Sequence[Ends]) -> int:
    return 2 + max((track + 1 for track in assign_tracks(ends).values()), default=0)


def assign_tracks(ends: Sequence[Ends]) -> dict[Ends, int]:
    """Return the line, below the first, on which each edge goes sideways between two rows.

    No two edges share a part of a line. Where one edge arrives in the column in which another
    leaves, the other turns away above; only where two edges change places can they touch.
    """
    bent = sorted({e for e in ends if e[0] > e[1]})  # To the left: the leftmost at the top,
    bent += sorted({e for e in ends if e[0] < e[1]}, reverse=True)  # and the other way round.
    leaving = {e[0]: e for e in bent}
    tracks: dict[Ends, int] = {}
    lines: list[list[Ends]] = []  # The spans on each line, from left to right.
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


def _label_size(edge: DrawnEdge) -> Size | None:
    return None if edge.data is None else _size(max(1, _columns(_label(edge))), 1)


def _size(columns: int, lines: int, beside: int = 0) -> Size:
    """Return the size of a thing around its middle column, which belongs to it."""
    return Size(columns // 2, columns - 1 - columns // 2, lines, beside)


_MEASURES = Measures(
    box_margin=2,
    line_margin=1,
    port_gap=4,
    port_inset=1,
    width_wanted=78,
    part_gap=4,
    row_gap=_row_gap,
    overlap=1,
    frame_top=1,
    dot=_size(1, 1),
    label=_label_size,
)


def _box_text(node: DrawnNode, state: NodeState | None) -> str:
    sign = f"{SIGNS[state][1]} " if state is not None else ""
    return sign + clip(shown_name(node), _TEXT_CHARS_MAX)


def _title(group: Group, states: Mapping[str, NodeState]) -> str:
    return _box_text(group.node, states.get(group.id)) if group.node else ""


def _label(edge: DrawnEdge) -> str:
    return clip(edge.data or "", _TEXT_CHARS_MAX)


def _columns(text: str) -> int:
    return sum(_char_columns(char) for char in text)


def _char_columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class _Canvas:
    """Characters by place; it grows with what is drawn."""

    def __init__(self) -> None:
        self._lines: list[list[str]] = []

    def put(self, x: int, y: int, char: str, *, over: str = " ") -> None:
        """Draw a character over a blank, or over one of those in `over`."""
        while len(self._lines) <= y:
            self._lines.append([])
        line = self._lines[y]
        line.extend(" " * (x + 1 - len(line)))
        if line[x] == " " or line[x] in over:
            line[x] = char

    def write(self, x: int, y: int, text: str) -> None:
        """Write text over all other characters."""
        for char in text:
            wide = _char_columns(char)
            if not wide:
                self._lines[y][x - 1] += char
                continue
            for column, part in enumerate((char, "")[:wide]):
                self.put(x + column, y, " ")
                self._lines[y][x + column] = part
            x += wide

    def text(self) -> str:
        """Return all lines, without blanks at their ends."""
        return "".join("".join(line).rstrip() + "\n" for line in self._lines)


def _draw_box(canvas: _Canvas, box: Box, text: str) -> None:
    border = "+" + "-" * (box.right - box.left - 1) + "+"
    for y in (box.top, box.bottom - 1):
        canvas.write(box.left, y, border)
    canvas.write(box.left, box.top + 1, f"|{' ' * (box.right - box.left - 1)}|")
    canvas.write(box.left + (box.right - box.left - _columns(text) + 1) // 2, box.top + 1, text)


def _draw_frame(canvas: _Canvas, box: Box, title: str) -> None:
    width = box.right - box.left - 1
    for y in range(box.top + 1, box.bottom - 1):
        canvas.write(box.left, y, "|")
        canvas.write(box.right, y, "|")
    canvas.write(box.left, box.top, f"+-{f' {title} '}{'-' * (width - _columns(title) - 3)}+")
    canvas.write(box.left, box.bottom - 1, f"+{'-' * width}+")


def _draw_loop(canvas: _Canvas, box: Box, edge: DrawnEdge) -> None:
    across, along = (".", ":") if edge.conditional else ("-", "|")
    x, y = box.right + 1, box.top
    canvas.write(x, y, f"{across * 2}+")
    canvas.write(x + 2, y + 1, f"{along} {_label(edge)}".rstrip())
    canvas.write(x, y + 2, f"<{across}+")


def _links(groups: Sequence[Group]) -> dict[Link, DrawnEdge]:
    """Return all edges that do not loop, and those from and to dots."""
    found: dict[Link, DrawnEdge] = {}
    for group in groups:
        found |= {link: edge for link, edge in group.edges.items() if link[0] != link[1]}
        found |= {link: DrawnEdge(*link) for links in group.dots.values() for link in links}
    return found


def _draw_edges(canvas: _Canvas, groups: Sequence[Group], layout: Layout) -> None:
    """Draw all edges between boxes, and last their labels."""
    links = _links(groups)
    ways: list[tuple[DrawnEdge, list[Point]]] = []  # From the upper end to the lower one.
    rows: dict[int, list[Ends]] = {}  # The edges below each row, by the row's lower end.
    for link, edge in links.items():
        points = sorted(layout.routes[link].points, key=lambda point: point[1])
        ways.append((edge, points))
        for (x, y), (to_x, _) in _gaps(points):
            rows.setdefault(y, []).append((x, to_x))
    tracks = {y: assign_tracks(ends) for y, ends in rows.items()}
    for edge, points in ways:
        for (x, y), (to_x, to_y) in _gaps(points):
            _draw_step(canvas, edge, (x, y), (to_x, to_y), tracks[y].get((x, to_x)))
        for (x, y), (_, to_y) in zip(points[::2], points[1::2], strict=True):
            for line in range(y, to_y):
                canvas.put(x, line, ":" if edge.conditional else "|", over="-.")
    for link, edge in links.items():
        route = layout.routes[link]
        x, y = route.points[-1]
        upwards = route.points[0][1] > y
        canvas.write(x, y if upwards else y - 1, "^" if upwards else "v")
        if route.label is not None:
            canvas.write(route.label.left, route.label.top, _label(edge))


def _gaps(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Return the parts of a way that cross the room between two rows."""
    return list(zip(points[1:-1:2], points[2::2], strict=True))


def _draw_step(
    canvas: _Canvas, edge: DrawnEdge, start: Point, end: Point, track: int | None
) -> None:
    """Draw an edge from one row to the next: down, to the side, and down again."""
    across, along = (".", ":") if edge.conditional else ("-", "|")
    (x, y), (to_x, to_y) = start, end
    turn = y + 1 + (track or 0)
    for line in range(y, turn):
        canvas.put(x, line, along, over="-.")
    for line in range(turn + 1, to_y):
        canvas.put(to_x, line, along, over="-.")
    if track is None:
        canvas.put(x, turn, along, over="-.")
        return
    for column in range(min(x, to_x) + 1, max(x, to_x)):
        canvas.put(column, turn, across)
    canvas.put(x, turn, "+", over="-.|:")
    canvas.put(to_x, turn, "+", over="-.|:")
