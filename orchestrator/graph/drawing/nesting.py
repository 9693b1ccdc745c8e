"""The layout of a picture with clusters: each is laid out by itself, and then stands as a box."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.graph.drawing.grid import Size
from orchestrator.graph.drawing.grouping import Group
from orchestrator.graph.drawing.layers import Link
from orchestrator.graph.drawing.layout import Box, Layout, Measures, Route, lay_out
from orchestrator.graph.drawing.nodes_and_edges import DrawnEdge

__all__ = ["Frame", "lay_out_group"]


@dataclass(frozen=True, slots=True)
class Frame:
    """How a kind of picture draws what is not a node."""

    measures: Measures
    cells_max: int  # Of the picture, and of each cluster.
    around: Callable[[Group, Layout], Size]  # How big a cluster is whose inside has this layout.
    top: int  # From the upper side of a cluster to its inside.
    dot: Size
    label: Callable[[DrawnEdge], Size | None]


def lay_out_group(group: Group, nodes: Mapping[str, Size], frame: Frame) -> Layout | None:
    """Return where everything is, or `None` if the picture or a cluster takes too many cells.

    Boxes are those of nodes, clusters and dots; routes those that `Group.edges` and `Group.dots`
    name.
    """
    inside: dict[str, Layout] = {}
    for key, inner in group.groups.items():
        laid = lay_out_group(inner, nodes, frame)
        if laid is None:
            return None
        inside[key] = laid
    dots = group.dots
    names = [n for n in dots if not n.endswith("::")] + group.order
    names += [n for n in dots if n.endswith("::")]
    sizes = {}
    for name in names:
        if name in inside:
            sizes[name] = frame.around(group.groups[name], inside[name])
        else:
            sizes[name] = frame.dot if name in dots else nodes[name]
    labels = {link: frame.label(edge) for link, edge in group.edges.items()}
    links = [*group.edges, *(link for links in dots.values() for link in links)]
    shown = {link: size for link, size in labels.items() if size is not None}
    layout = lay_out(sizes, links, shown, frame.measures, frame.cells_max)
    return layout and _with_insides(layout, inside, frame)


def _with_insides(layout: Layout, inside: Mapping[str, Layout], frame: Frame) -> Layout:
    """Return a layout with those of its clusters in their places."""
    boxes: dict[str, Box] = dict(layout.boxes)
    routes: dict[Link, Route] = dict(layout.routes)
    for key, inner in inside.items():
        box = layout.boxes[key]
        room = box.right - box.left + frame.measures.overlap - inner.width
        x, y = box.left + room // 2, box.top + frame.top
        boxes |= {name: each.moved(x, y) for name, each in inner.boxes.items()}
        routes |= {link: route.moved(x, y) for link, route in inner.routes.items()}
    return Layout(boxes, routes, layout.width, layout.height)
