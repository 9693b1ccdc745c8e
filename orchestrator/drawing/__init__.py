"""Drawings of a compiled graph: an SVG picture, text for Mermaid, characters, or data.

The interface of `Drawing` is that of LangGraph's `Graph`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NoReturn, get_args

from orchestrator.drawing.ascii import ascii_text
from orchestrator.drawing.mermaid import front_matter, mermaid_text
from orchestrator.drawing.picture import (
    DrawingError,
    DrawnEdge,
    DrawnNode,
    Group,
    NodeState,
    Opens,
    grouped,
    read_graph,
)
from orchestrator.drawing.svg import svg_text
from orchestrator.graph.spec import GraphSpec

__all__ = [
    "Drawing",
    "DrawingError",
    "DrawnEdge",
    "DrawnNode",
    "NodeState",
    "Opens",
    "drawing_of",
]

States = Mapping[str, NodeState]


@dataclass(frozen=True)
class Drawing:
    """A graph as nodes and edges, drawn on demand. Nothing is fetched, run or written to draw it.

    Attributes:
        nodes: by id, in the order in which they were added. The nodes of a subgraph that is shown
            come last, as `subgraph:node`.
        edges: in order of source and target, and last those that end a path; then those of
            subgraphs.
        name: the graph's.
        clusters: the subgraphs that are shown, by id: the nodes that they are.
        states: those of a thread's nodes and clusters; shown unless a call gives others.
    """

    nodes: dict[str, DrawnNode]
    edges: list[DrawnEdge]
    name: str = "graph"
    clusters: dict[str, DrawnNode] = field(default_factory=dict)
    states: States = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether there is anything to draw."""
        return bool(self.nodes)

    def first_node(self) -> DrawnNode | None:
        """Return the one node that no edge leads to, or `None` if it is not one."""
        return self._only({edge.target for edge in self.edges})

    def last_node(self) -> DrawnNode | None:
        """Return the one node that no edge leaves, or `None` if it is not one."""
        return self._only({edge.source for edge in self.edges})

    def _only(self, others: set[str]) -> DrawnNode | None:
        found = [node for key, node in self.nodes.items() if key not in others]
        return found[0] if len(found) == 1 else None

    def with_states(self, states: States) -> Drawing:
        """Return the drawing with the states of a thread, as far as their nodes are drawn."""
        drawn = {**self.nodes, **self.clusters}
        return replace(self, states={key: s for key, s in states.items() if key in drawn})

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return nodes and edges as plain data, in the form of LangGraph's `Graph.to_json`."""
        return {
            "nodes": [_node_json(node) for node in self.nodes.values()],
            "edges": [_edge_json(edge) for edge in self.edges],
        }

    def draw_mermaid(
        self,
        *,
        with_styles: bool = True,
        curve_style: Any = "linear",
        node_colors: Any = None,
        wrap_label_n_words: int = 9,
        frontmatter_config: Mapping[str, Any] | None = None,
        states: States | None = None,
    ) -> str:
        """Return the graph as text for Mermaid.

        Args:
            with_styles: whether to write settings, classes, and a line for each node; without,
                nodes that are in no edge are left out, unless they have a state.
            curve_style: how Mermaid bends edges: a name, or a member of LangChain's `CurveStyle`.
            node_colors: CSS instead of the usual for the classes `default`, `first` and `last`: a
                mapping, or LangChain's `NodeStyles`.
            wrap_label_n_words: after how many words a label continues on the next line.
            frontmatter_config: Mermaid's own settings, as `{"config": {"theme": "neutral"}}`.
            states: of nodes and clusters, shown by sign and colour: done, running, paused, failed
                or next; by default those of the drawing's thread.

        Raises:
            DrawingError: if `states` names an unknown node or state.
        """
        settings = dict(frontmatter_config or {})
        config = dict(settings.get("config", {}))
        curve = str(getattr(curve_style, "value", curve_style))
        config["flowchart"] = {**config.get("flowchart", {}), "curve": curve}
        colors = node_colors or {}
        text = mermaid_text(
            self._picture,
            self.edges,
            ends=(self.first_node(), self.last_node()),
            states=self._checked(states),
            colors=(colors if isinstance(colors, Mapping) else vars(colors))
            if with_styles
            else None,
            words_max=max(1, wrap_label_n_words),
        )
        return front_matter({**settings, "config": config}) + text if with_styles else text

    def draw_ascii(self, *, states: States | None = None) -> str:
        """Return the graph as a picture of characters.

        Args:
            states: of nodes and clusters, shown by a sign; as for `draw_mermaid`.

        Raises:
            DrawingError: if `states` names an unknown node or state.
        """
        return ascii_text(self._picture, self._checked(states))

    def draw_svg(self, *, states: States | None = None) -> str:
        """Return the graph as an SVG picture for light and dark screens.

        Args:
            states: of nodes and clusters, shown by sign and colour: done, running, paused, failed
                or next; by default those of the drawing's thread.

        Raises:
            DrawingError: if `states` names an unknown node or state.
        """
        return svg_text(self.name, self._picture, self._checked(states))

    def print_ascii(self) -> None:
        """Print the graph as a picture of characters."""
        print(self.draw_ascii(), end="")  # noqa: T201 - printing is its purpose

    def draw_png(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: a PNG needs another program or a web service.

        Raises:
            DrawingError: always; its text names what to use instead.
        """
        raise DrawingError(
            "a PNG is not drawn: it needs another program or a web service, and no service is "
            "called. Use draw_svg(), which notebooks and browsers show, or give its text to a "
            "converter: rsvg-convert graph.svg -o graph.png"
        )

    draw_mermaid_png = draw_png

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, str]:
        """Return the forms for a notebook: a picture, and characters where it shows none."""
        return {"image/svg+xml": self.draw_svg(), "text/plain": self.draw_ascii()}

    @cached_property
    def _picture(self) -> Group:
        return grouped(self.nodes, self.edges, self.clusters)

    def _checked(self, states: States | None) -> States:
        if states is None:
            return self.states
        for name, state in states.items():
            if name not in self.nodes and name not in self.clusters:
                msg = f"states names {name!r}, which is no node. The nodes are: {_names(self)}"
                raise DrawingError(msg)
            if state not in get_args(NodeState):
                known = ", ".join(get_args(NodeState))
                raise DrawingError(
                    f"{state!r} is no state of the node {name!r}; use one of {known}"
                )
        return states


def drawing_of(spec: GraphSpec, *, xray: int | bool = False, opens: Opens | None = None) -> Drawing:
    """Return the drawing of a compiled graph, with its subgraphs opened as deep as `xray` says.

    Args:
        spec: the graph.
        xray: how many levels of subgraphs are opened; `True`: all.
        opens: returns the graphs that nodes of a graph are; by default its subgraphs.
    """
    depth = -1 if xray is True else int(xray)
    read = read_graph(spec, depth, opens) if opens else read_graph(spec, depth)
    return Drawing(read.nodes, read.edges, spec.name, read.clusters)


def _names(drawing: Drawing) -> str:
    names = list(drawing.nodes)
    return ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")


# The ids in LangGraph's JSON: of the class that it wraps functions in, of its compiled graphs, of
# its entrypoints. Tools that read the JSON know them.
_FUNCTION = ["langgraph", "_internal", "_runnable", "RunnableCallable"]
_GRAPH = ["langgraph", "graph", "state", "CompiledStateGraph"]
_ENTRYPOINT = ["langgraph", "pregel", "main", "Pregel"]


def _node_json(node: DrawnNode) -> dict[str, Any]:
    found: dict[str, Any] = {"id": node.id}
    if node.data is not None:
        spec = getattr(node.data, "spec", None)
        kind = _FUNCTION if spec is None else _GRAPH if spec.start.action is None else _ENTRYPOINT
        found |= {"type": "runnable", "data": {"id": kind, "name": node.id}}
    if node.metadata:
        found["metadata"] = dict(node.metadata)
    return found


def _edge_json(edge: DrawnEdge) -> dict[str, Any]:
    found: dict[str, Any] = {"source": edge.source, "target": edge.target}
    if edge.data is not None:
        found["data"] = edge.data
    if edge.conditional:
        found["conditional"] = True
    return found
