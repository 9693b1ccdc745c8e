"""Drawing a compiled graph: as an SVG picture, as text for Mermaid, in characters, as data."""

from orchestrator.graph.drawing.drawing import Drawing, drawing_of
from orchestrator.graph.drawing.nodes_and_edges import DrawingError, DrawnEdge, DrawnNode, NodeState
from orchestrator.graph.drawing.reading import Opens

__all__ = [
    "Drawing",
    "DrawingError",
    "DrawnEdge",
    "DrawnNode",
    "NodeState",
    "Opens",
    "drawing_of",
]
