"""A drawing in characters, for a terminal or a log.

`|` and `-` are edges that are always taken, `:` and `.` those that something decides on; `v` and
`^` are their ends. Between two rows are as many lines as their edges need to pass each other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from orchestrator.graph.drawing.grid import Size
from orchestrator.graph.drawing.layers import Link
from orchestrator.graph.drawing.layout import Box, Layout, Measures, Point, lay_out
from orchestrator.graph.drawing.model import (
    CELLS_MAX,
    NODES_MAX,
    SIGNS,
    DrawnEdge,
    DrawnNode,
    NodeState,
    clip,
    most_ends,
    shown_name,
    too_many,
)
from orchestrator.graph.drawing.tracks import Ends, assign_tracks

__all__ = ["ascii_text", "lay_out_ascii"]

_TEXT_CHARS_MAX = 30
_COLUMNS_MAX = 500  # Wider pictures are not drawn.
_PORTS_MAX = 40  # Edges at one side of a box before some share a place.
_LOOP = 4  # Columns beside a box for an edge to itself.


def _row_gap(ends: Sequence[Ends]) -> int:
    return 2 + max((track + 1 for track in assign_tracks(ends).values()), default=0)


_MEASURES = Measures(
    box_margin=2,
    line_margin=1,
    port_gap=4,
    port_inset=1,
    bend_cost=6,
    width_wanted=78,
    part_gap=4,
    row_gap=_row_gap,
    overlap=1,
)


def ascii_text(
    nodes: Mapping[str, DrawnNode],
    edges: Sequence[DrawnEdge],
    states: Mapping[str, NodeState],
) -> str:
    """Return the picture as lines, or a note that the graph is too big for one."""
    layout = lay_out_ascii(nodes, edges, states)
    if layout is None or layout.width > _COLUMNS_MAX:
        return too_many(len(nodes), len(edges)) + "\n"
    canvas = _Canvas()
    _draw_edges(canvas, edges, layout)
    for key, node in nodes.items():
        _draw_box(canvas, layout.boxes[key], _box_text(node, states.get(key)))
    for edge in edges:
        if edge.source == edge.target:
            _draw_loop(canvas, layout.boxes[edge.source], edge)
    shown = [f"{sign} {state}" for state, (_, sign) in SIGNS.items() if state in states.values()]
    return canvas.text() + (f"\n{'  '.join(shown)}\n" if shown else "")


def lay_out_ascii(
    nodes: Mapping[str, DrawnNode], edges: Sequence[DrawnEdge], states: Mapping[str, NodeState]
) -> Layout | None:
    """Return where everything is in columns and lines, or `None` if the graph is too big."""
    if len(nodes) > NODES_MAX:
        return None
    loops = {edge.source: edge for edge in edges if edge.source == edge.target}
    ends = most_ends(edges)
    sizes = {}
    for key, node in nodes.items():
        beside = _LOOP + _columns(_label(loops[key])) if key in loops else 0
        columns = _columns(_box_text(node, states.get(key))) + 4
        sizes[key] = _size(max(columns, 2 * min(ends[key], _PORTS_MAX) + 1), 3, beside)
    links = [(edge.source, edge.target) for edge in edges]
    labels: dict[Link, Size] = {
        (edge.source, edge.target): _size(max(1, _columns(_label(edge))), 1)
        for edge in edges
        if edge.data is not None
    }
    return lay_out(sizes, links, labels, _MEASURES, CELLS_MAX)


def _size(columns: int, lines: int, beside: int = 0) -> Size:
    """Return the size of something that has a middle column, which it covers as well."""
    return Size(columns // 2, columns - 1 - columns // 2, lines, beside)


def _box_text(node: DrawnNode, state: NodeState | None) -> str:
    sign = f"{SIGNS[state][1]} " if state is not None else ""
    return sign + clip(shown_name(node), _TEXT_CHARS_MAX)


def _label(edge: DrawnEdge) -> str:
    return clip(edge.data or "", _TEXT_CHARS_MAX)


def _columns(text: str) -> int:
    return sum(_char_columns(char) for char in text)


def _char_columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class _Canvas:
    """Characters by place; it grows as it is drawn on."""

    def __init__(self) -> None:
        self._lines: list[list[str]] = []

    def put(self, x: int, y: int, char: str, *, over: str = " ") -> None:
        """Draw a character where there is nothing, or one of those in `over`."""
        while len(self._lines) <= y:
            self._lines.append([])
        line = self._lines[y]
        line.extend(" " * (x + 1 - len(line)))
        if line[x] == " " or line[x] in over:
            line[x] = char

    def write(self, x: int, y: int, text: str) -> None:
        """Write over whatever is there."""
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


def _draw_loop(canvas: _Canvas, box: Box, edge: DrawnEdge) -> None:
    across, along = (".", ":") if edge.conditional else ("-", "|")
    x, y = box.right + 1, box.top
    canvas.write(x, y, f"{across * 2}+")
    canvas.write(x + 2, y + 1, f"{along} {_label(edge)}".rstrip())
    canvas.write(x, y + 2, f"<{across}+")


def _draw_edges(canvas: _Canvas, edges: Sequence[DrawnEdge], layout: Layout) -> None:
    """Draw all edges between boxes, and last their labels."""
    ways: list[tuple[DrawnEdge, list[Point]]] = []
    rows: dict[int, list[Ends]] = {}  # What passes below each row, by the row's lower end.
    for edge in edges:
        if edge.source != edge.target:
            points = list(layout.routes[edge.source, edge.target].points)
            if points[0][1] > points[-1][1]:
                points.reverse()
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
        route = layout.routes[edge.source, edge.target].points
        upwards = route[0][1] > route[-1][1]
        x, y = route[-1]
        canvas.write(x, y if upwards else y - 1, "^" if upwards else "v")
    for edge, _ in ways:
        label = layout.routes[edge.source, edge.target].label
        if label is not None:
            canvas.write(label.left, label.top, _label(edge))


def _gaps(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Return where a way goes from one row to the next."""
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
