"""From a compiled graph to what is drawn: which nodes there are, and which way may lead where.

Nothing is run to find out: edges and routers are read from the compiled graph.

Rule 1: what is unknown is drawn as possible. A router that does not say where it leads may lead to
every other node, or end the path.
Rule 2: between two nodes there is one edge. An edge that is always taken hides a conditional one.
Rule 3: ways of routers to the same node share an edge, and its label names them all.
Rule 4: a path ends where no edge leads on, so END follows each such node that an edge leads to.
Rule 5: the nodes of a subgraph stand for the node that it is, unless it never ends: then nothing in
it is where the way goes on. Its START and END are left out where that loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from orchestrator.graph.drawing.nodes_and_edges import DrawnEdge, DrawnNode
from orchestrator.graph.routing import END, START
from orchestrator.graph.spec import Branch, GraphSpec, NodeSpec

__all__ = ["Opens", "Read", "read_graph"]


class Read(NamedTuple):
    """What was read of a graph.

    Attributes:
        nodes: by id; START first and END, if a path ends, last.
        edges: in order of source and target, and last those that end a path.
        clusters: the nodes whose insides are shown instead of them.
    """

    nodes: dict[str, DrawnNode]
    edges: list[DrawnEdge]
    clusters: dict[str, DrawnNode]


Opens = Callable[[GraphSpec], Mapping[str, GraphSpec]]


def _nodes_that_are_graphs(spec: GraphSpec) -> Mapping[str, GraphSpec]:
    return {name: subgraph.spec for name, subgraph in spec.subgraphs.items()}


def read_graph(
    spec: GraphSpec,
    depth: int = 0,
    opens: Opens = _nodes_that_are_graphs,
    around: frozenset[int] = frozenset(),
) -> Read:
    """Read a graph, and its subgraphs down to `depth`; below 0: all of them.

    Args:
        spec: the graph.
        depth: how many levels of subgraphs are opened.
        opens: returns the graphs that nodes of a graph stand for.
        around: the ids of the graphs around this one, which are not opened again.
    """
    edges, around = _edges(spec), around | {id(spec)}
    read = Read(_nodes(spec, edges), edges, {})
    for name, subgraph in opens(spec).items() if depth else ():
        if id(subgraph) in around:
            continue
        inside = read_graph(subgraph, depth - 1, opens, around)
        if END in inside.nodes:
            read = _opened(read, name, _trimmed(inside))
    return read


# ---- one graph ----------------------------------------------------------------------------


def _nodes(spec: GraphSpec, edges: Iterable[DrawnEdge]) -> dict[str, DrawnNode]:
    nodes = {START: DrawnNode(START, START)}
    for name, node in spec.nodes.items():
        shown = spec.shown(name)
        if shown != START:
            data = node.action if node.subgraph is None else node.subgraph
            nodes[shown] = DrawnNode(shown, shown, data, _metadata(spec, node))
    if any(edge.target == END for edge in edges):
        nodes[END] = DrawnNode(END, END)
    return nodes


def _metadata(spec: GraphSpec, node: NodeSpec) -> dict[str, Any]:
    """Return what its author said of a node and, under LangGraph's names, how it is run."""
    metadata = dict(node.options.metadata)
    if node.options.defer:
        metadata["defer"] = True
    if node.options.queue is not None:
        metadata["queue"] = node.options.queue
    if (handler := node.options.handler) is not None:
        action = handler.action
        metadata["error_handler"] = getattr(action, "__name__", type(action).__name__)
    stops = {"before": spec.interrupt_before, "after": spec.interrupt_after}
    if said := ",".join(when for when, names in stops.items() if node.name in names):
        metadata["__interrupt"] = said
    return metadata


def _edges(spec: GraphSpec) -> list[DrawnEdge]:
    if spec.start.action is not None:  # An entrypoint: a function that begins, and ends.
        name = spec.shown(START)
        return [DrawnEdge(START, name), DrawnEdge(name, END)]
    static = {(s.name, target) for s in spec.nodes.values() for target in _always(spec, s)}
    labels: dict[tuple[str, str], list[str]] = {}
    for node in spec.nodes.values():
        for target, label in _perhaps(spec, node):
            if target in spec.nodes or target == END:  # Nobody checks destinations before.
                labels.setdefault((node.name, target), []).append(label)
    led_to = {target for _, target in (*static, *labels)}
    leading = {source for source, _ in (*static, *labels)}
    static |= {(name, END) for name in led_to - leading - {END}}
    edges = [DrawnEdge(source, target) for source, target in static]
    edges += [
        DrawnEdge(*pair, data=_label(pair[1], names), conditional=True)
        for pair, names in labels.items()
        if pair not in static
    ]
    return sorted(edges, key=_order)


def _order(edge: DrawnEdge) -> tuple[bool, str, str]:
    return edge.target == END and not edge.conditional, edge.source, edge.target


def _always(spec: GraphSpec, node: NodeSpec) -> Iterator[str]:
    """Iterate over where edges and joins lead."""
    for channel, _ in node.writes:
        yield from spec.triggers.get(channel, ())


def _perhaps(spec: GraphSpec, node: NodeSpec) -> Iterator[tuple[str, str]]:
    """Iterate over where routers and a returned `Command` may lead, with the router's words."""
    for branch in node.branches:
        yield from _ways(spec, node, branch)
    for target, label in node.options.destinations.items():
        yield target, label or target


def _ways(spec: GraphSpec, node: NodeSpec, branch: Branch) -> Iterator[tuple[str, str]]:
    if branch.ends is not None:
        yield from ((target, str(said)) for said, target in branch.ends.items())
        return
    for other in (*spec.nodes, END):
        if other not in {node.name, START}:
            yield other, other


def _label(target: str, names: list[str]) -> str | None:
    """Return what is said to go to `target`, or `None` if that is only its name."""
    said = list(dict.fromkeys(names))
    return None if said == [target] else ", ".join(said)


# ---- subgraphs ----------------------------------------------------------------------------


class _Inside(NamedTuple):
    """A subgraph as it stands in the graph around it."""

    read: Read
    first: str  # The node that a way into it leads to,
    last: str  # and that from which a way on begins.


def _trimmed(read: Read) -> _Inside:
    """Return a subgraph without START and END where a single node does for them."""
    edges, first, last = read.edges, START, END
    begins = [edge for edge in edges if edge.source == START]
    if len(begins) == 1 and begins[0].target != END and _is_only(edges, begins[0], "target"):
        edges, first = [edge for edge in edges if edge is not begins[0]], begins[0].target
    ends = [edge for edge in edges if edge.target == END]
    if len(ends) == 1 and ends[0].source != START and _is_only(edges, ends[0], "source"):
        edges, last = [edge for edge in edges if edge is not ends[0]], ends[0].source
    left_out = {START, END} - {first, last}
    nodes = {name: node for name, node in read.nodes.items() if name not in left_out}
    return _Inside(Read(nodes, edges, read.clusters), first, last)


def _is_only(edges: Iterable[DrawnEdge], edge: DrawnEdge, side: str) -> bool:
    """Return whether an edge is the only one with that source, or that target."""
    return not any(e is not edge and getattr(e, side) == getattr(edge, side) for e in edges)


def _opened(read: Read, name: str, subgraph: _Inside) -> Read:
    """Return a graph that shows the nodes of a subgraph instead of the node `name`."""
    inside = subgraph.read
    within = {key: f"{name}:{key}" for key in (*inside.nodes, *inside.clusters)}
    sources, targets = {name: within[subgraph.last]}, {name: within[subgraph.first]}
    edges = [_edge(edge, sources, targets) for edge in read.edges]
    edges += [_edge(edge, within, within) for edge in inside.edges]
    nodes: dict[str, DrawnNode] = {}
    for key, node in read.nodes.items():
        nodes |= _renamed(inside.nodes, within) if key == name else {key: node}
    clusters = {**read.clusters, name: read.nodes[name], **_renamed(inside.clusters, within)}
    return Read(nodes, edges, clusters)


def _edge(edge: DrawnEdge, sources: Mapping[str, str], targets: Mapping[str, str]) -> DrawnEdge:
    source = sources.get(edge.source, edge.source)
    return edge._replace(source=source, target=targets.get(edge.target, edge.target))


def _renamed(nodes: Mapping[str, DrawnNode], names: Mapping[str, str]) -> dict[str, DrawnNode]:
    return {
        names[key]: node._replace(id=names[key], name=names[key]) for key, node in nodes.items()
    }
