"""A drawing as a tree: the whole picture, and in it a cluster for each subgraph that is shown.

Rule 1: an edge belongs to the innermost cluster that holds both of its ends, or to the picture.
Rule 2: there it connects two things that stand side by side: an end that lies deeper is told by the
cluster around it. Inside, a dot stands for what leads in, and another for what leads out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.graph.drawing.layers import Link
from orchestrator.graph.drawing.nodes_and_edges import DrawnEdge, DrawnNode, last_name
from orchestrator.graph.routing import END, START

__all__ = ["Group", "grouped"]


@dataclass(frozen=True, slots=True)
class Group:
    """The whole picture, or a cluster in it.

    Attributes:
        id: of the node that the cluster is; empty: the picture.
        node: that node.
        nodes: by id, in their order.
        groups: the clusters in it, by id, in the order of their nodes.
        edges: by what they connect here.
        entries: what edges from outside lead to.
        exits: what edges to the outside begin at.
    """

    id: str = ""
    node: DrawnNode | None = None
    nodes: dict[str, DrawnNode] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    edges: dict[Link, DrawnEdge] = field(default_factory=dict)
    entries: dict[str, None] = field(default_factory=dict)
    exits: dict[str, None] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)  # Of nodes and clusters.

    @property
    def dots(self) -> dict[str, list[Link]]:
        """Return the dots, first the way in and last the way out, and the links at them.

        No dot is needed at a START or END that is drawn. Their ids are none of a node: the name
        after the colon is empty.
        """
        way_in, way_out = f"{self.id}:", f"{self.id}::"
        entries = [(way_in, name) for name in self.entries if last_name(name) != START]
        exits = [(name, way_out) for name in self.exits if last_name(name) != END]
        return {dot: links for dot, links in ((way_in, entries), (way_out, exits)) if links}

    def walk(self) -> Iterator[Group]:
        """Iterate over this and all that is in it, from outside in."""
        yield self
        for group in self.groups.values():
            yield from group.walk()

    def all_nodes(self) -> dict[str, DrawnNode]:
        """Return the nodes here and in all clusters."""
        return {key: node for group in self.walk() for key, node in group.nodes.items()}

    def all_edges(self) -> list[DrawnEdge]:
        """Return the edges here and in all clusters."""
        return [edge for group in self.walk() for edge in group.edges.values()]


def grouped(
    nodes: Mapping[str, DrawnNode],
    edges: Iterable[DrawnEdge],
    clusters: Mapping[str, DrawnNode] | None = None,
) -> Group:
    """Return the tree of a drawing; `clusters` are the nodes whose insides `nodes` holds."""
    known = clusters or {}
    groups = {"": Group()}
    for name, node in nodes.items():
        around = _ways(name, known)[:-1]
        for above, key in zip(("", *around), around, strict=False):
            if key not in groups:
                groups[key] = groups[above].groups[key] = Group(key, known[key])
                groups[above].order.append(key)
        home = groups[around[-1] if around else ""]
        home.nodes[name] = node
        home.order.append(name)
    for edge in edges:
        _add(edge, groups, known)
    return groups[""]


def _add(edge: DrawnEdge, groups: Mapping[str, Group], known: Collection[str]) -> None:
    source, target = _ways(edge.source, known), _ways(edge.target, known)
    shared = 0
    while shared < min(len(source), len(target)) - 1 and source[shared] == target[shared]:
        shared += 1
    home = groups[source[shared - 1] if shared else ""]
    home.edges.setdefault((source[shared], target[shared]), edge)
    for above, key in zip(source[shared:], source[shared + 1 :], strict=False):
        groups[above].exits[key] = None
    for above, key in zip(target[shared:], target[shared + 1 :], strict=False):
        groups[above].entries[key] = None


def _ways(name: str, clusters: Collection[str]) -> list[str]:
    """Return the clusters around a node from outside in, and last the node itself."""
    found = [name]
    while (above := found[-1].rpartition(":")[0]) in clusters:
        found.append(above)
    return found[::-1]
