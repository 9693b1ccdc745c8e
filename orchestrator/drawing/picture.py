"""A graph as it is drawn: its nodes and edges, read from the compiled graph, and its clusters.

No code of the graph is called. Edges and routers are read from the compiled graph, and a trial run
follows them; its rules are LangGraph's, so that both draw the same.

Rule 1: in a trial a node leads once to everything that its routers and commands name, and each time
to what its edges name. What no trial reaches has no edges.
Rule 2: between two nodes there is one edge. One that is always taken hides a conditional one; of
several labels the first in order of the alphabet is shown.
Rule 3: a deferred node that none of the last superstep's nodes leads to may follow each of them.
Rule 4: a path ends where no edge continues it, so END follows each such node that an edge leads to.
If there is none, and no router names END, the node that a trial stops at may end it.
Rule 5: the nodes of a subgraph replace the node that it is, if it has one way in and one way out.
Its START and END are left out where that loses nothing.
Rule 6: an edge belongs to the innermost cluster that holds both of its ends, or to the picture. An
end that is deeper is replaced by the cluster around it; inside, a dot is drawn for what leads in,
and another for what leads out.
Rule 7: a sign as well as a colour shows a state, so a picture can be read without colours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, get_args

from orchestrator.channels import MISSING, UNCHANGED
from orchestrator.errors import GraphstalkError
from orchestrator.graph.routing import END, START, branch_channel
from orchestrator.graph.spec import GraphSpec, NodeSpec

NODES_MAX: Final = 300  # A picture with more boxes cannot be read.
# The most nodes, and edges once for each row that they pass: these make a layout slow.
CELLS_MAX: Final = 6_000
_SUPERSTEPS_MAX: Final = 251  # Of a trial, which a cycle would never end; as many as LangGraph's.

NodeState = Literal["done", "running", "paused", "failed", "next"]
SIGNS: Final[Mapping[str, tuple[str, str]]] = {  # State → its sign, and its sign in ASCII.
    "done": ("✓", "[+]"),
    "running": ("▶", "[>]"),
    "paused": ("‖", "[=]"),
    "failed": ("✗", "[!]"),
    "next": ("○", "[.]"),
}
assert tuple(SIGNS) == get_args(NodeState)
Link = tuple[str, str]  # From one node, cluster or dot to another.


class DrawingError(GraphstalkError, ValueError):
    """A picture cannot be drawn as it was requested."""

    code = "DRAWING"


class DrawnNode(NamedTuple):
    """A node as a picture shows it; the fields are those of langchain's `Node`."""

    id: str
    name: str
    data: Any = None  # The node's function or graph; START and END have none.
    metadata: Mapping[str, Any] | None = None


class DrawnEdge(NamedTuple):
    """A way from one node to another; equal to langchain's `Edge` of the same fields."""

    source: str
    target: str
    data: str | None = None  # What the router returns to choose it, if not the node's name.
    conditional: bool = False  # Whether code decides at run time if it is taken.


def clip(text: str, chars_max: int) -> str:
    """Return `text` as one line, cut off with an ellipsis if it is longer than `chars_max`."""
    text = " ".join(text.split())
    return text if len(text) <= chars_max else text[: chars_max - 1].rstrip() + "…"


def last_name(name: str) -> str:
    """Return the name that a node has inside its own subgraph."""
    return name.rpartition(":")[2] or name


def shown_name(node: DrawnNode) -> str:
    """Return a node's name as a box shows it."""
    name = last_name(node.name)
    return {START: "START", END: "END"}.get(name, name)


def too_many(nodes: int, edges: int) -> str:
    """Return the text that replaces a picture too big to be read."""
    return (
        f"{nodes} nodes and {edges} edges are too many for one picture.\n"
        "draw_mermaid() returns them as text for a tool of your own, to_json() as data."
    )


def most_ends(edges: Iterable[DrawnEdge]) -> Counter[str]:
    """Return the number of edges on that side of each node that has more of them."""
    leaving, reaching = Counter[str](), Counter[str]()
    for edge in edges:
        leaving[edge.source] += 1
        reaching[edge.target] += 1
    return leaving | reaching


# ---- reading a compiled graph ---------------------------------------------------------------


class Read(NamedTuple):
    """The nodes and edges of a graph.

    Attributes:
        nodes: by id, in the order in which they were added; those of opened subgraphs last.
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
        opens: returns the graphs that nodes of a graph are.
        around: the ids of the graphs around this one, which are not opened again.
    """
    edges, around = _edges(spec), around | {id(spec)}
    read = Read(_nodes(spec, edges), edges, {})
    for name, subgraph in opens(spec).items() if depth else ():
        if id(subgraph) in around:
            continue
        inside = read_graph(subgraph, depth - 1, opens, around)
        if _has_one_way(inside):
            read = _opened(read, name, _trimmed(inside))
    return read


# ---- the nodes of one graph ----------------------------------------------------------------


def _nodes(spec: GraphSpec, edges: Iterable[DrawnEdge]) -> dict[str, DrawnNode]:
    nodes = [] if spec.start.action else [DrawnNode(START, START, _begin)]
    shared: list[DrawnNode] = []
    for node in spec.nodes.values():
        if (handler := node.options.handler) is not None:
            drawn = DrawnNode(handler.name, handler.name, handler.action)
            (shared if handler.shared else nodes).append(drawn)
        shown = spec.shown(node.name)
        if shown != START:
            data = node.action if node.subgraph is None else node.subgraph
            nodes.append(DrawnNode(shown, shown, data, _metadata(spec, node)))
    if spec.start.action:
        nodes.append(DrawnNode(START, START))
    if any(edge.target == END for edge in edges):
        shared.append(DrawnNode(END, END))
    return {node.id: node for node in (*nodes, *shared)}


def _begin(state: Any) -> Any:
    """Pass the input on, as START does."""
    return state


def _metadata(spec: GraphSpec, node: NodeSpec) -> dict[str, Any]:
    """Return a node's metadata and, under LangGraph's names, how it is run."""
    metadata = dict(node.options.metadata)
    if node.options.defer:
        metadata["defer"] = True
    if node.options.queue is not None:
        metadata["queue"] = node.options.queue
    stops = {"before": spec.interrupt_before, "after": spec.interrupt_after}
    if pauses := ",".join(when for when, names in stops.items() if node.name in names):
        metadata["__interrupt"] = pauses
    return metadata


# ---- the edges of one graph ----------------------------------------------------------------


def _edges(spec: GraphSpec) -> list[DrawnEdge]:
    if spec.start.action is not None:  # An entrypoint: a function that begins, and ends.
        name = spec.shown(START)
        return [DrawnEdge(START, name), DrawnEdge(name, END, conditional=True)]
    trial = _Trial(spec)
    trial.run()
    first: dict[tuple[str, str], DrawnEdge] = {}
    for edge in sorted(trial.edges, key=_order):
        label = None if edge.data == edge.target else edge.data
        first.setdefault(edge[:2], edge._replace(data=label))
    sources, targets = ({pair[side] for pair in first} for side in (0, 1))
    edges = list(first.values())
    if ends := targets - sources - {END}:
        edges += [DrawnEdge(name, END) for name in sorted(ends)]
    elif len(trial.ran) == 1 and END not in targets:
        edges.append(DrawnEdge(trial.ran[0], END, conditional=True))
    return edges


def _order(edge: DrawnEdge) -> tuple[str, str, bool, str]:
    return edge.source, edge.target, edge.conditional, edge.data or ""


class _Lead(NamedTuple):
    """A channel by which a node leads to others."""

    channel: str
    perhaps: bool = False
    label: str | None = None


class _Trial:
    """A run of a graph's edges alone.

    Attributes:
        edges: those that it followed.
        ran: the nodes of its last superstep.
    """

    def __init__(self, spec: GraphSpec) -> None:
        self.edges: set[DrawnEdge] = set()
        self.ran: list[str] = []
        self._spec = spec
        self._values: dict[str, Any] = {}  # Of the channels that trigger nodes.
        self._leads: dict[str, set[_Lead]] = {}  # By node: what it led to when it last ran.

    def run(self) -> None:
        """Follow the edges until no node is due, at most `_SUPERSTEPS_MAX` supersteps."""
        due = [START]
        for _ in range(_SUPERSTEPS_MAX):
            if not due:
                return
            self.ran = due
            writes: dict[str, list[Any]] = {}
            for name in due:
                for channel, value in self._run(self._spec.nodes[name]):
                    writes.setdefault(channel, []).append(value)
            updated = self._apply(writes)
            due = sorted({node for key in updated for node in self._spec.triggers.get(key, ())})
            self._follow(due)

    def _run(self, node: NodeSpec) -> list[tuple[str, Any]]:
        """Record the channels that a node leads to; return its writes."""
        perhaps = list(_perhaps(node))
        targets = [(branch_channel(to), label) for to, label in perhaps if to != END]
        may = [_Lead(channel, perhaps=True, label=label) for channel, label in targets]
        if node.name in self._leads:
            self._leads[node.name] = {*may, *(_Lead(channel) for channel, _ in node.writes)}
            return list(node.writes)
        ends = (label for to, label in perhaps if to == END)
        self.edges |= {DrawnEdge(node.name, END, label, conditional=True) for label in ends}
        named = {lead.channel: lead for lead in may}
        leads = (named.get(channel, _Lead(channel)) for channel, _ in node.writes)
        self._leads[node.name] = {*may, *leads}
        return [*node.writes, *((lead.channel, None) for lead in may)]

    def _apply(self, writes: Mapping[str, list[Any]]) -> set[str]:
        """Apply the writes of a superstep; return the channels that it made available."""
        channels, values = self._spec.channels, self._values
        for key in {key for name in self.ran for key in self._spec.nodes[name].triggers}:
            self._set(key, channels[key].consume(values.get(key, MISSING)))
        before = set(values)
        updated = {
            key
            for key, written in writes.items()
            if key in channels
            and self._set(key, channels[key].update(values.get(key, MISSING), written))
        }
        for key in before.difference(writes):
            if channels[key].transient:
                del values[key]
        if updated.isdisjoint(self._spec.triggers):
            for key in self._spec.finishing:
                if self._set(key, channels[key].finish(values.get(key, MISSING))):
                    updated.add(key)
        return updated

    def _set(self, key: str, value: Any) -> bool:
        """Set a channel's value; return whether it is available now."""
        if value is UNCHANGED:
            return False
        self._values.pop(key, None)
        if value is not MISSING:
            self._values[key] = value
        return self._spec.channels[key].get(value) is not MISSING

    def _follow(self, due: Iterable[str]) -> None:
        """Add the edges that lead to nodes which run next."""
        leading: dict[str, list[tuple[str, _Lead]]] = {}
        for source, leads in self._leads.items():
            for lead in leads:
                leading.setdefault(lead.channel, []).append((source, lead))
        for name in due:
            sources = set()
            for key in self._spec.nodes[name].triggers:
                for source, lead in leading.get(key, ()):
                    self.edges.add(DrawnEdge(source, name, lead.label, lead.perhaps))
                    sources.add(source)
            if sources.isdisjoint(self.ran):
                self.edges |= {DrawnEdge(source, name, conditional=True) for source in self.ran}


def _perhaps(node: NodeSpec) -> Iterator[tuple[str, str | None]]:
    """Yield the nodes that a returned `Command` and routers may lead to, with labels."""
    yield from node.options.destinations.items()
    for branch in node.branches:
        for label, target in (branch.ends or {}).items():
            yield target, str(label)


# ---- subgraphs ----------------------------------------------------------------------------


class _Inside(NamedTuple):
    """A subgraph in the graph around it."""

    read: Read
    first: str  # The node that a way into it leads to,
    last: str  # and the node that a way out of it begins at.


def _has_one_way(read: Read) -> bool:
    """Return whether one node has no way in, and one other no way out."""
    sides = ({edge[side] for edge in read.edges} for side in (0, 1))
    return len(read.nodes) > 1 and all(len(read.nodes.keys() - side) == 1 for side in sides)


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
    nodes = {key: node for key, node in read.nodes.items() if key != name}
    nodes |= _renamed(inside.nodes, within)
    clusters = {**read.clusters, name: read.nodes[name], **_renamed(inside.clusters, within)}
    return Read(nodes, edges, clusters)


def _edge(edge: DrawnEdge, sources: Mapping[str, str], targets: Mapping[str, str]) -> DrawnEdge:
    source = sources.get(edge.source, edge.source)
    return edge._replace(source=source, target=targets.get(edge.target, edge.target))


def _renamed(nodes: Mapping[str, DrawnNode], names: Mapping[str, str]) -> dict[str, DrawnNode]:
    return {names[key]: node._replace(id=names[key]) for key, node in nodes.items()}


# ---- clusters: the picture as a tree ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """The whole picture, or a cluster in it.

    Attributes:
        id: of the node that the cluster is; empty: the picture.
        node: that node.
        nodes: by id, in their order.
        groups: the clusters in it, by id, in the order of their nodes.
        edges: by what they connect here.
        entries: the names that edges from outside lead to.
        exits: the names that edges to the outside begin at.
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
        """Yield this group and all groups in it, from outside in."""
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
