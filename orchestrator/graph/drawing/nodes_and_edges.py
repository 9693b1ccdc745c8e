"""What a drawing is made of: nodes, edges, the states a node can be shown in.

Rule 1: a state is told by a sign as well as by a colour, so a picture can be read without colours.
Rule 2: what is too big to be read is not drawn; the picture says so instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

from orchestrator.errors import GraphstalkError
from orchestrator.graph.routing import END, START

__all__ = [
    "CELLS_MAX",
    "NODES_MAX",
    "SIGNS",
    "DrawingError",
    "DrawnEdge",
    "DrawnNode",
    "NodeState",
    "clip",
    "last_name",
    "most_ends",
    "shown_name",
    "too_many",
]

NODES_MAX: Final = 300  # More boxes than this nobody can read in one picture.
# Nodes, and edges once for each row that they pass: what a layout takes long for.
CELLS_MAX: Final = 6_000

NodeState = Literal["done", "running", "paused", "failed", "next"]
SIGNS: Final[Mapping[str, tuple[str, str]]] = {  # State → its sign, and its sign in ASCII.
    "done": ("✓", "[+]"),
    "running": ("▶", "[>]"),
    "paused": ("‖", "[=]"),
    "failed": ("✗", "[!]"),
    "next": ("○", "[.]"),
}
assert tuple(SIGNS) == get_args(NodeState)


class DrawingError(GraphstalkError, ValueError):
    """A picture that cannot be drawn as it was asked for."""

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
    data: str | None = None  # What the router returns to go this way, if not the node's name.
    conditional: bool = False  # Whether something decides at run time if it is taken.


def clip(text: str, chars_max: int) -> str:
    """Return `text` as one line, cut off with an ellipsis if it is longer than `chars_max`."""
    text = " ".join(text.split())
    return text if len(text) <= chars_max else text[: chars_max - 1].rstrip() + "…"


def last_name(name: str) -> str:
    """Return the name of a node inside the subgraph that it is a node of."""
    return name.rpartition(":")[2] or name


def shown_name(node: DrawnNode) -> str:
    """Return a node's name as it stands in a box."""
    name = last_name(node.name)
    return {START: "START", END: "END"}.get(name, name)


def too_many(nodes: int, edges: int) -> str:
    """Return what a picture says that nobody could read."""
    return (
        f"{nodes} nodes and {edges} edges are too many for one picture.\n"
        "draw_mermaid() returns them as text for a tool of your own, to_json() as data."
    )


def most_ends(edges: Iterable[DrawnEdge]) -> Counter[str]:
    """Return how many edges there are on that side of each node where there are more."""
    leaving, reaching = Counter[str](), Counter[str]()
    for edge in edges:
        leaving[edge.source] += 1
        reaching[edge.target] += 1
    return leaving | reaching
