"""The text that Mermaid draws; the look is LangGraph's.

Rule 1: the text is valid whatever nodes and labels are named.
Rule 2: two names never become one id.
Rule 3: where LangGraph's text is valid, it is the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.graph.drawing.grouping import Group
from orchestrator.graph.drawing.nodes_and_edges import (
    SIGNS,
    DrawnEdge,
    DrawnNode,
    NodeState,
    last_name,
)
from orchestrator.graph.routing import END, START

__all__ = ["COLORS", "front_matter", "mermaid_text"]

COLORS: Mapping[str, str] = {
    "default": "fill:#f2f0ff,line-height:1.2",
    "first": "fill-opacity:0",
    "last": "fill:#bfb6fc",
}
_STATE_COLORS: Mapping[NodeState, str] = {
    "done": "fill:#d3f2dc,stroke:#1f7a3d,color:#12401f",
    "running": "fill:#d6e6ff,stroke:#1d5fc4,color:#0d2f66,stroke-width:2px",
    "paused": "fill:#fdeec4,stroke:#946200,color:#4d3300",
    "failed": "fill:#fbd9d7,stroke:#b3261e,color:#5c110c,stroke-width:2px",
    "next": "fill:#ffffff,stroke:#5b6270,color:#2b2f36,stroke-dasharray:4 3",
}
_PLAIN_ID = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*\Z")
_ID_CHAR = re.compile(r"[A-Za-z0-9_]\Z")
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9]+([ _.-][A-Za-z0-9]+)*\Z")  # What needs no quotes.
_PLAIN_ABOUT = re.compile(r"_*[A-Za-z0-9]+(_[A-Za-z0-9]+)* = [A-Za-z0-9]+([ ,_.-]+[A-Za-z0-9]+)*\Z")
_RESERVED = re.compile(  # A word that Mermaid takes for its own where an id begins.
    r"(end|graph|flowchart|subgraph|style|class|classDef|click|(?:href|call)\Z|default|direction"
    r"|linkStyle|interpolate|_self|_blank|_parent|_top|v|BT|LR|RL|TB|TD)\b"
)
_MARKED_UP = re.compile(r"[\"#&<>\[\](){}|\\`*~$@]|(?<![^\W_])_+|_+(?![^\W_])")


def mermaid_text(
    picture: Group,
    *,
    states: Mapping[str, NodeState],
    colors: Mapping[str, str] | None,
    words_max: int,
) -> str:
    """Return the flowchart: a line for each node, edge and class; no classes if no `colors`."""
    text = _Text(states, colors is not None, words_max)
    lines = ["graph TD;", *(f"\t{line}" for line in text.inside(picture))]
    if colors is not None:
        lines += [f"\tclassDef {name} {style}" for name, style in {**COLORS, **colors}.items()]
        shown = [state for state in _STATE_COLORS if state in states.values()]
        lines += [f"\tclassDef {state} {_STATE_COLORS[state]}" for state in shown]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Text:
    """How nodes and edges are written."""

    states: Mapping[str, NodeState]
    styled: bool
    words_max: int

    def inside(self, group: Group) -> Iterator[str]:
        """Iterate over the lines for nodes, edges, and the clusters in a group."""
        edges = sorted(group.edges.values(), key=lambda edge: edge.source == edge.target)
        named = {end for edge in edges for end in edge[:2]}
        yield from (self.node(n) for n in group.nodes.values() if self._needs_line(n, named))
        yield from (_edge(edge, self.words_max) for edge in edges)
        for cluster in group.groups.values():
            yield from self.cluster(cluster)

    def cluster(self, group: Group) -> Iterator[str]:
        """Iterate over the lines for a cluster."""
        assert group.node is not None
        name, state = safe_id(group.id), self.states.get(group.id)
        title = escape(last_name(group.id))
        if state is not None:
            title = f"{SIGNS[state][0]} {title}"
        yield f"subgraph {name}" if title == name else f'subgraph {name}["{title}"]'
        yield from self.inside(group)
        yield "end"
        if state is not None and self.styled:
            yield f"class {name} {state};"

    def _needs_line(self, node: DrawnNode, named: Container[str]) -> bool:
        """Return whether a node has a line of its own: with styles, or if no edge names it."""
        return self.styled or node.id in self.states or node.id not in named

    def node(self, node: DrawnNode) -> str:
        """Return the line for a node; only what Mermaid would misread is quoted and escaped."""
        name, state = last_name(node.name), self.states.get(node.id)
        about, kind = metadata_lines(node.metadata or {}), ""
        is_plain = state is None and all(map(_PLAIN_ABOUT.match, about)) and len(about) < 2
        if name in {START, END}:
            kind = {START: "first", END: "last"}.get(node.id, "")
            shape = "([{}])" if kind else "({})"
            text = f"<p>{name}</p>"  # A paragraph, lest __x__ becomes bold.
        elif is_plain and _PLAIN_TEXT.match(name) and not _RESERVED.match(name):
            text, shape = name, "({})"
        else:
            text, shape, about = escape(name), '("{}")', [escape(line) for line in about]
        if about:
            text += f"<hr/><small><em>{'<br/>'.join(about)}</em></small>"
        if state is not None:
            text, kind = f"{SIGNS[state][0]} {text}", state
        mark = f":::{kind}" if kind and self.styled else ""
        return f"{safe_id(node.id)}{shape.format(text)}{mark}"


def _edge(edge: DrawnEdge, words_max: int) -> str:
    source, target = safe_id(edge.source), safe_id(edge.target)
    if edge.data is None:
        return f"{source} {'-.->' if edge.conditional else '-->'} {target};"
    words = str(edge.data).split()
    is_plain = all(map(_PLAIN_TEXT.match, words))
    rows = [words[i : i + words_max] for i in range(0, len(words), words_max)]
    if is_plain:
        label = f"&nbsp;{'&nbsp<br>&nbsp'.join(' '.join(row) for row in rows)}&nbsp;"
    else:
        shown = "&nbsp;<br/>&nbsp;".join(" ".join(map(escape, row)) for row in rows)
        label = f'"&nbsp;{shown}&nbsp;"'
    return f"{source} {f'-. {label} .->' if edge.conditional else f'-- {label} -->'} {target};"


def safe_id(name: str) -> str:
    """Return a name as an id: itself if it is one, else with code points in hexadecimal digits.

    Two digits follow a backslash; those of a greater code point stand between two and one of them.
    """
    if _PLAIN_ID.match(name) and not _RESERVED.match(name):
        return name
    written = "".join(c if _ID_CHAR.match(c) else _digits(c) for c in name)
    return _digits(name[0]) + written[1:] if _RESERVED.match(written) else written


def _digits(char: str) -> str:
    point = ord(char)
    return f"\\{point:02x}" if point < 0x100 else f"\\\\{point:x}\\"


def escape(text: str) -> str:
    """Return text that Mermaid shows as it is, instead of reading marks and brackets in it."""
    text = " ".join(text.split())
    return _MARKED_UP.sub(lambda found: "".join(f"#{ord(c)};" for c in found[0]), text)


def metadata_lines(metadata: Mapping[str, Any]) -> list[str]:
    """Return `key = value` for all that is plain."""
    lines = []
    for key, value in metadata.items():
        items = value if isinstance(value, (list, tuple)) else [value]
        if all(isinstance(item, (str, int, float)) for item in items):
            lines.append(f"{key} = {', '.join(map(str, items))}")
    return lines


def front_matter(config: Mapping[str, Any]) -> str:
    """Return the settings that stand before the text, as the YAML they must be in."""
    return "\n".join(["---", *_yaml(config, 0), "---", ""])


def _yaml(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key in sorted(value):
        item, name = value[key], _scalar(key)
        if isinstance(item, Mapping) and item:
            yield f"{'  ' * depth}{name}:"
            yield from _yaml(item, depth + 1)
        elif isinstance(item, Sequence | Mapping) and not isinstance(item, str):
            yield f"{'  ' * depth}{name}: {json.dumps(item)}"  # JSON is YAML on one line.
        else:
            yield f"{'  ' * depth}{name}: {_scalar(item)}"


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z-]{4,}", value)
    return str(value) if plain else json.dumps(value)
