"""From a compiled graph to what is drawn: which nodes there are, and which way may lead where.

Nothing is run to find out: edges and routers are read from the compiled graph.

Rule 1: what is unknown is drawn as possible. A router that does not say where it leads may lead to
every other node, or end the path.
Rule 2: between two nodes there is one edge. An edge that is always taken hides a conditional one.
Rule 3: ways of routers to the same node share an edge, and its label names them all.
Rule 4: a path ends where no edge leads on, so END follows each such node that an edge leads to.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from orchestrator.graph.drawing.model import DrawnEdge, DrawnNode
from orchestrator.graph.routing import END, START, Command
from orchestrator.graph.spec import Branch, GraphSpec, NodeSpec

__all__ = ["command_destinations", "read_edges", "read_nodes"]


def command_destinations(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names in `Command[Literal[...]]`, if a node's function is annotated to return it.

    The `Command` may be one of a union; hints that cannot be resolved tell nothing.
    """
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        returned = get_type_hints(target).get("return")
    except (
        NameError,
        TypeError,
        SyntaxError,
        AttributeError,
    ):  # Whatever a hint can be written as.
        return ()
    union = get_origin(returned) in {Union, types.UnionType}
    found: dict[str, None] = {}
    for hint in get_args(returned) if union else (returned,):
        origin = get_origin(hint)
        if isinstance(origin, type) and issubclass(origin, Command):
            for names in get_args(hint):
                if get_origin(names) is Literal:
                    found.update(dict.fromkeys(map(str, get_args(names))))
    return tuple(found)


def read_nodes(spec: GraphSpec, edges: list[DrawnEdge]) -> dict[str, DrawnNode]:
    """Return START, the nodes in the order in which they were added, and END if a path ends."""
    nodes = {START: DrawnNode(START, START)}
    for name, node in spec.nodes.items():
        if name != START:
            nodes[name] = DrawnNode(name, name, node.action, _metadata(spec, node))
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
    stops = {"before": spec.interrupt_before, "after": spec.interrupt_after}
    if said := ",".join(when for when, names in stops.items() if node.name in names):
        metadata["__interrupt"] = said
    return metadata


def read_edges(spec: GraphSpec) -> list[DrawnEdge]:
    """Return the edges in order of source and target, and last those that end a path."""
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
    if node.action is not None:
        for target in node.options.destinations or command_destinations(node.action):
            yield target, target


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
