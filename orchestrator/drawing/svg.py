"""A drawing as an SVG picture: one file, no scripts, nothing fetched, in light and in dark.

Rule 1: every name and label is escaped; nothing in a picture can act.
Rule 2: a line is interrupted by its label, so no text overlaps a line or a box.
Rule 3: widths of texts are estimates, rather too wide: a picture is drawn without a font.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from orchestrator.drawing.layout import (
    Box,
    Layout,
    Measures,
    Point,
    Route,
    Size,
    lay_out_group,
)
from orchestrator.drawing.picture import (
    NODES_MAX,
    DrawnEdge,
    DrawnNode,
    Group,
    Link,
    NodeState,
    clip,
    last_name,
    most_ends,
    shown_name,
    too_many,
)
from orchestrator.graph.routing import END, START

_FONT, _SOFT = 14, 12  # As in `STYLE`.
_NAME_CHARS_MAX, _LABEL_CHARS_MAX = 32, 28
_BOX_HEIGHT, _LABEL_HEIGHT = 36, 20
_BADGE = 22  # Room for a state's sign before a name.
_PORT_INSET, _PORT_GAP, _PORTS_MAX = 14, 12, 40  # The edges that a side of a box has room for.
_LOOP = 34  # Room beside a box for a link to itself.
_TIP = 8  # The length of an arrow's tip, as below.
_FRAME_TOP, _FRAME_SIDE = 34, 16  # From a cluster's border to what is in it; the top has a title.
_DOT = 6  # The radius of a dot where ways lead into a cluster or out of it.
_EDGE_OF_PICTURE = 20
_LEGEND_HEIGHT = 34
_SHRUNK_MAX = 1_600  # Wider pictures are scrolled, since their text could not be read if shrunk.
_ARROW = (
    '<defs><marker id="gs-tip" viewBox="0 0 8 8" refX="0.5" refY="4" markerWidth="8" '
    'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
    '<path class="gs-tip" d="M0 0.5L8 4L0 7.5Z"/></marker></defs>'
)
_EDGES_DESCRIBED_MAX = 60  # In the description for screen readers.


_NARROW: Final = frozenset("fijlrtI.,:;'|!()[]{}/\\ -`")
_WIDE: Final = frozenset("mwMW@%&")


def text_width(text: str, font_px: int) -> int:
    """Return the estimated width of a text in pixels."""
    return round(sum(_em(char) for char in text) * font_px + 0.5)


def _em(char: str) -> float:
    if char in _NARROW:
        return 0.36
    if char in _WIDE:
        return 0.95
    if unicodedata.combining(char):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.05
    return 0.72 if char.isupper() else 0.61


# Drawn around the middle of a badge, in pixels.
ICONS: Mapping[NodeState, str] = {
    "done": '<path class="gs-line" d="M-4 0.5L-1 3.5L4-3"/>',
    "running": '<path class="gs-full" d="M-2.5-4L4 0L-2.5 4Z"/>',
    "paused": '<path class="gs-line" d="M-2-3.5V3.5M2-3.5V3.5"/>',
    "failed": '<path class="gs-line" d="M-3-3L3 3M3-3L-3 3"/>',
    "next": '<circle class="gs-line" r="3"/>',
}

_LIGHT = {
    "ground": "#ffffff",
    "text": "#1c1f26",
    "soft": "#4d5461",
    "line": "#6b7280",
    "box": "#f3f4f9",
    "border": "#8f97ab",
    "pill": "#e3e6f1",
    "frame": "#fafbfd",
}
_LIGHT_STATES: Mapping[NodeState, tuple[str, str]] = {  # The box and its border.
    "done": ("#dcf5e4", "#1a7f42"),
    "running": ("#dceaff", "#1d5fc4"),
    "paused": ("#fff1cc", "#8f6100"),
    "failed": ("#fde0de", "#b3261e"),
    "next": ("#ffffff", "#5b6270"),
}
_DARK = {
    "ground": "#15171c",
    "text": "#eceef3",
    "soft": "#b6bcc9",
    "line": "#8b93a5",
    "box": "#242832",
    "border": "#69728a",
    "pill": "#343a49",
    "frame": "#1a1d24",
}
_DARK_STATES: Mapping[NodeState, tuple[str, str]] = {
    "done": ("#14351f", "#57c983"),
    "running": ("#13294a", "#6ea8ff"),
    "paused": ("#3b2d08", "#e6b33d"),
    "failed": ("#431714", "#ff8178"),
    "next": ("#15171c", "#9aa2b3"),
}


def _colors(scheme: Mapping[str, str], states: Mapping[NodeState, tuple[str, str]]) -> str:
    rules = [
        ".gs-ground{{fill:{ground}}}",
        ".gs-picture text{{fill:{text}}}",
        ".gs-picture .gs-soft{{fill:{soft}}}",
        ".gs-edge,.gs-ring{{stroke:{line}}}",
        ".gs-tip,.gs-dot{{fill:{line}}}",
        ".gs-box{{fill:{box};stroke:{border}}}",
        ".gs-pill{{fill:{pill};stroke:{border}}}",
        ".gs-frame{{fill:{frame};stroke:{border}}}",
    ]
    text = "".join(rule.format(**scheme) for rule in rules)
    for state, (fill, border) in states.items():
        text += f".gs-{state} .gs-box,.gs-{state} .gs-pill{{fill:{fill};stroke:{border}}}"
        text += f".gs-{state} .gs-frame{{stroke:{border}}}"
        text += f".gs-{state} .gs-badge,.gs-{state} .gs-full{{fill:{border}}}"
        text += f".gs-{state} .gs-line{{stroke:{scheme['ground']}}}"
        text += f".gs-{state} .gs-full{{fill:{scheme['ground']}}}"
    return text


STYLE: Final = (
    ".gs-picture text{font:14px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
    "text-anchor:middle}"
    ".gs-picture .gs-soft{font-size:12px}"
    ".gs-picture .gs-left{text-anchor:start}"
    ".gs-edge{fill:none;stroke-width:1.5}"
    ".gs-perhaps{stroke-dasharray:5 4}"
    ".gs-box,.gs-pill,.gs-frame{stroke-width:1.25}"
    ".gs-ring{fill:none;stroke-width:1.5}"
    ".gs-running .gs-box,.gs-failed .gs-box{stroke-width:2.5}"
    ".gs-next .gs-box,.gs-next .gs-frame{stroke-dasharray:4 3}"
    ".gs-line{fill:none;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}"
    + _colors(_LIGHT, _LIGHT_STATES)
    + "@media(prefers-color-scheme:dark){"
    + _colors(_DARK, _DARK_STATES)
    + "}"
)


def svg_text(name: str, picture: Group, states: Mapping[str, NodeState]) -> str:
    """Return the picture, or one that says that the graph is too big for a picture."""
    edges = picture.all_edges()
    layout = lay_out_svg(picture, states)
    if layout is None:
        return _note(name, too_many(len(picture.all_nodes()), len(edges)))
    groups = list(picture.walk())
    body = [_frame(group, layout.boxes[group.id], states.get(group.id)) for group in groups[1:]]
    for group in groups:
        body += [_edge(link, edge, layout) for link, edge in group.edges.items()]
        body += [_dot(dot, links, layout) for dot, links in group.dots.items()]
    nodes = picture.all_nodes()
    body += [_node(node, layout.boxes[key], states.get(key)) for key, node in nodes.items()]
    shown: list[NodeState] = [state for state in ICONS if state in states.values()]
    legend, legend_width = _legend(shown, layout.height + _LEGEND_HEIGHT // 2 + 6)
    width = max(layout.width, legend_width) + 2 * _EDGE_OF_PICTURE
    height = layout.height + (_LEGEND_HEIGHT if shown else 0) + 2 * _EDGE_OF_PICTURE
    return _picture(name, _description(edges), width, height, [*body, *legend])


def lay_out_svg(picture: Group, states: Mapping[str, NodeState]) -> Layout | None:
    """Return the layout in pixels, or `None` if the graph is too big."""
    nodes, edges = picture.all_nodes(), picture.all_edges()
    if len(nodes) > NODES_MAX:
        return None
    loops = {edge.source: edge.data for edge in edges if edge.source == edge.target}
    ends = most_ends(edges)
    sizes = {}
    for key, node in nodes.items():
        text = text_width(clip(shown_name(node), _NAME_CHARS_MAX), _FONT) + (
            _BADGE if key in states else 0
        )
        sides = 2 * _PORT_INSET + _PORT_GAP * (min(ends[key], _PORTS_MAX) - 1)
        half = (max(64, text + 32, sides) + 1) // 2
        beside = _LOOP if key in loops else 0
        if label := loops.get(key):
            beside += _label_width(label)
        sizes[key] = Size(half, half, _BOX_HEIGHT, beside)

    def around(group: Group, inside: Layout) -> Size:
        title = text_width(_title(group), _SOFT) + 32 + (_BADGE if group.id in states else 0)
        half = (max(inside.width + 2 * _FRAME_SIDE, title) + 1) // 2
        return Size(half, half, inside.height + _FRAME_TOP + _FRAME_SIDE)

    return lay_out_group(picture, sizes, _MEASURES, around)


def _label_size(edge: DrawnEdge) -> Size | None:
    if edge.data is None:
        return None
    half = _label_width(edge.data) // 2 + 2
    return Size(half, half, _LABEL_HEIGHT)


def _label_width(text: str) -> int:
    return text_width(clip(text, _LABEL_CHARS_MAX), _SOFT) + 8


def _row_gap(ends: Sequence[tuple[int, int]]) -> int:
    """Return more room where links go far to the side, so that they are not too flat."""
    return 34 + min(64, max((abs(a - b) for a, b in ends), default=0) // 9)


_MEASURES = Measures(
    box_margin=14,
    line_margin=9,
    port_gap=20,
    port_inset=_PORT_INSET,
    width_wanted=760,
    part_gap=36,
    row_gap=_row_gap,
    overlap=0,
    frame_top=_FRAME_TOP,
    dot=Size(_DOT, _DOT, 2 * _DOT),
    label=_label_size,
)


def _picture(name: str, description: str, width: int, height: int, body: Iterable[str]) -> str:
    title, inset = f"Graph {name}", _EDGE_OF_PICTURE
    size = f'width="{width}" height="{height}"'
    fitting = ' style="max-width:100%;height:auto"' if width <= _SHRUNK_MAX else ""
    root = f'class="gs-picture" role="img" aria-label={_quoted(title)} {size}{fitting}'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {root}>',
        f"<title>{_escaped(title)}</title>",
        f"<desc>{_escaped(description)}</desc>",
        f"<style>{STYLE}</style>",
        _ARROW,
        f'<rect class="gs-ground" {size} rx="8"/>',
        f'<g transform="translate({inset} {inset})">',
        *body,
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _note(name: str, text: str) -> str:
    lines = text.split("\n")
    body = [
        f'<text class="gs-left" x="0" y="{10 + 24 * row}" dy=".35em">{_escaped(line)}</text>'
        for row, line in enumerate(lines)
    ]
    width = max(text_width(line, _FONT) for line in lines)
    inset = 2 * _EDGE_OF_PICTURE
    return _picture(name, text, width + inset, 24 * len(lines) + inset, body)


def _description(edges: Sequence[DrawnEdge]) -> str:
    ways = []
    for edge in edges[:_EDGES_DESCRIBED_MAX]:
        when = f" if {edge.data}" if edge.data else " perhaps" if edge.conditional else ""
        ways.append(f"{edge.source} to {edge.target}{when}")
    more = len(edges) - len(ways)
    return "; ".join(ways) + (f"; and {more} more edges" if more else "") + "."


def _node(node: DrawnNode, box: Box, state: NodeState | None) -> str:
    pill = last_name(node.id) in {START, END}
    kind, radius = ("gs-pill", _BOX_HEIGHT // 2) if pill else ("gs-box", 8)
    x, y = (box.left + box.right) / 2 + (_BADGE / 2 if state else 0), box.middle[1]
    text = _escaped(clip(shown_name(node), _NAME_CHARS_MAX))
    pieces = [
        f'<g class="gs-node{f" gs-{state}" if state else ""}" data-node={_quoted(node.id)}>',
        _about(node, state),
        f'<rect class="{kind}" {_place(box)} rx="{radius}"/>',
        _badge(state, box.left + 20, y) if state else "",
        f'<text x="{x:g}" y="{y}" dy=".35em">{text}</text>',
        "</g>",
    ]
    return "".join(pieces)


def _frame(group: Group, box: Box, state: NodeState | None) -> str:
    assert group.node is not None
    x, y = box.left + 14 + (_BADGE if state else 0), box.top + _FRAME_TOP // 2
    title = _escaped(_title(group))
    pieces = [
        f'<g class="gs-cluster{f" gs-{state}" if state else ""}" data-node={_quoted(group.id)}>',
        _about(group.node, state),
        f'<rect class="gs-frame" {_place(box)} rx="10"/>',
        _badge(state, box.left + 20, y) if state else "",
        f'<text class="gs-soft gs-left" x="{x}" y="{y}" dy=".35em">{title}</text>',
        "</g>",
    ]
    return "".join(pieces)


def _title(group: Group) -> str:
    return clip(shown_name(group.node), _NAME_CHARS_MAX) if group.node else ""


def _about(node: DrawnNode, state: NodeState | None) -> str:
    """Return the text that appears when the pointer is over a node."""
    lines = [node.name if state is None else f"{node.name}: {state}"]
    lines += [f"{key} = {value}" for key, value in (node.metadata or {}).items()]
    return f"<title>{_escaped(chr(10).join(lines))}</title>"


def _place(box: Box) -> str:
    width, height = box.right - box.left, box.bottom - box.top
    return f'x="{box.left}" y="{box.top}" width="{width}" height="{height}"'


def _dot(dot: str, links: Sequence[Link], layout: Layout) -> str:
    """Return the dot of the ways into a cluster, or the dot in a ring of those out of it."""
    x, y = layout.boxes[dot].middle
    ways = ["".join(_path(layout.routes[link])) for link in links]
    lines = [f'<path class="gs-edge" marker-end="url(#gs-tip)" d="{way}"/>' for way in ways]
    if dot.endswith("::"):
        lines.append(f'<circle class="gs-ring" cx="{x}" cy="{y}" r="{_DOT}"/>')
    return "".join([*lines, f'<circle class="gs-dot" cx="{x}" cy="{y}" r="{_DOT - 2}"/>'])


def _badge(state: NodeState, x: int, y: int) -> str:
    circle = '<circle class="gs-badge" r="8.5"/>'
    return f'<g transform="translate({x} {y})">{circle}{ICONS[state]}</g>'


def _edge(link: Link, edge: DrawnEdge, layout: Layout) -> str:
    kind = "gs-edge gs-perhaps" if edge.conditional else "gs-edge"
    if link[0] == link[1]:
        path, label = _loop(layout.boxes[link[0]], edge.data)
    else:
        route = layout.routes[link]
        path, label = "".join(_path(route)), route.label
    lines = [
        f"<g data-source={_quoted(edge.source)} data-target={_quoted(edge.target)}>",
        f'<path class="{kind}" marker-end="url(#gs-tip)" d="{path}"/>',
    ]
    if label is not None and edge.data is not None:
        x, y = (label.left + label.right) / 2, label.middle[1]
        text = _escaped(clip(edge.data, _LABEL_CHARS_MAX))
        lines.append(f'<text class="gs-soft" x="{x:g}" y="{y}" dy=".35em">')
        lines += [f"<title>{_escaped(edge.data)}</title>", text, "</text>"]
    return "".join([*lines, "</g>"])


def _loop(box: Box, text: str | None) -> tuple[str, Box | None]:
    """Return the path of a link from a box to itself, on its right, and where its label is."""
    x, y = box.right, box.middle[1]
    path = f"M{x} {y - 9}C{x + 34} {y - 16} {x + 34} {y + 16} {x + _TIP - 1} {y + 9}"
    if text is None:
        return path, None
    left = x + _LOOP - 4
    return path, Box(left, y - 10, left + _label_width(text), y + 10)


def _path(route: Route) -> Iterator[str]:
    """Iterate over the pieces of a path: upright within rows, curved between them."""
    points = _with_room_for_tip(route.points)
    yield f"M{points[0][0]} {points[0][1]}"
    for index in range(1, len(points) - 1, 2):
        (x, y), (to_x, to_y) = points[index], points[index + 1]
        if points[index - 1] != (x, y):
            yield _upright(points[index - 1], (x, y), route.label)
        if x == to_x:
            yield f"V{to_y}"
        else:
            half = (y + to_y) / 2
            yield f"C{x} {half:g} {to_x} {half:g} {to_x} {to_y}"
    if points[-2] != points[-1]:
        yield f"V{points[-1][1]}"


def _upright(start: Point, end: Point, label: Box | None) -> str:
    """Return the way through a row, interrupted by the link's label."""
    if label is None or not min(start[1], end[1]) <= label.middle[1] <= max(start[1], end[1]):
        return f"V{end[1]}"
    first, last = sorted((label.top, label.bottom), reverse=start[1] > end[1])
    return f"V{first}M{end[0]} {last}V{end[1]}"


def _with_room_for_tip(points: tuple[Point, ...]) -> list[Point]:
    """Return the points of a way that ends a tip's length before its box."""
    *before, row, (x, y) = points
    down = before[-1][1] < y
    end = (x, y - _TIP if down else y + _TIP)
    near = abs(y - row[1]) < _TIP  # A box as high as its row, or nearly so, is reached at once.
    return [*before, end if near else row, end]


def _legend(states: Sequence[NodeState], y: int) -> tuple[list[str], int]:
    lines, x = [], 0
    for state in states:
        lines.append(
            f'<g class="gs-{state}">{_badge(state, x + 9, y)}'
            f'<text class="gs-soft gs-left" x="{x + 23}" y="{y}" dy=".35em">{state}</text></g>'
        )
        x += 23 + text_width(state, _SOFT) + 18
    return lines, max(0, x - 18)


def _escaped(text: str) -> str:
    return escape(_storable(text))


def _quoted(text: str) -> str:
    return quoteattr(_storable(text))


def _storable(text: str) -> str:
    """Return text with a question mark for each character that XML cannot hold."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
