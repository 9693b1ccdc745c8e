"""The text of a drawing for Mermaid, in LangGraph's form.

Rule 1: the text is valid for all names of nodes and labels.
Rule 2: two names never become one id.
Rule 3: where LangGraph's text is valid, it is the same.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from orchestrator.drawing.picture import (
    SIGNS,
    DrawnEdge,
    DrawnNode,
    Group,
    NodeState,
    last_name,
)
from orchestrator.graph.routing import END, START

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
_PLAIN_ID = re.compile(r"-?[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*-?\Z")
_ID_CHAR = re.compile(r"[A-Za-z0-9_]\Z")
_RESERVED = re.compile(  # Mermaid's own words, where an id begins.
    r"(end|graph|flowchart|subgraph|style|class|classDef|click|linkStyle|interpolate"
    r"|_self|_blank|_parent|_top)\b|(href|call)\Z"
)
# Of a cluster; also its id.
_TITLE = re.compile(r"(?!(end|default|click|call|href)\Z)\w+([ ./-]\w+)*\Z")
# Texts with marks, brackets or codes of Mermaid, which must be quoted and escaped.
_RISKY_TEXT = re.compile(r"^-|[\"\[\](){}<|@*`~\\]|[#&]\w+;|\$\$|(?<!\w)_.*_(?!\w)", re.DOTALL)
_RISKY_LABEL = re.compile(r"[\"<.]|[#&]\w+;")
_MARKED_UP = re.compile(r"[\"#&<>\[\](){}|\\`*~$@]|(?<![^\W_])_+|_+(?![^\W_])")
_BOLD = ("*", "_", "`")  # LangGraph writes a name in paragraph tags if it begins and ends so.
_ENTITIES = {ord(c): f"#{ord(c)};" for c in "#[](){}<>|"} | {ord('"'): "#quot;"}


def mermaid_text(
    picture: Group,
    edges: Iterable[DrawnEdge],
    *,
    ends: tuple[DrawnNode | None, DrawnNode | None],
    states: Mapping[str, NodeState],
    colors: Mapping[str, str] | None,
    words_max: int,
) -> str:
    """Return the flowchart: a line for each node, edge and class; only edges if no `colors`.

    Args:
        picture: the drawing as a tree.
        edges: its edges in their order; clusters are in the order of their first ones.
        ends: the first and the last node, which have a shape of their own.
        states: the states of nodes and clusters.
        colors: CSS by class; `None`: no styles.
        words_max: the most words of a label on a line.
    """
    places = {edge: place for place, edge in enumerate(edges)}
    kinds = {end.id: kind for end, kind in zip(ends, ("first", "last"), strict=True) if end}
    text = _Text(states, kinds, _ids(picture, states), places, colors is not None, words_max)
    lines = ["graph TD;", *(f"\t{line}" for line in text.inside(picture))]
    if colors is not None:
        lines += [f"\tclassDef {name} {style}" for name, style in {**COLORS, **colors}.items()]
        shown = [state for state in _STATE_COLORS if state in states.values()]
        lines += [f"\tclassDef {state} {_STATE_COLORS[state]}" for state in shown]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Text:
    """A writer of nodes and edges."""

    states: Mapping[str, NodeState]
    kinds: Mapping[str, str]  # Of nodes with a shape of their own, by id.
    ids: Mapping[str, str]
    places: Mapping[DrawnEdge, int]
    styled: bool
    words_max: int

    def inside(self, group: Group) -> Iterator[str]:
        """Iterate over the lines for nodes, edges, and the clusters in a group."""
        yield from (
            self.node(n) for n in group.nodes.values() if self.styled or n.id in self.states
        )
        last: list[tuple[int, Iterable[str]]] = []  # Loops and clusters, with their places.
        for edge in group.edges.values():
            if edge.source == edge.target:
                last.append((self.places[edge], [self.edge(edge)]))
            else:
                yield self.edge(edge)
        for inner in group.groups.values():
            first = min(map(self.places.__getitem__, inner.edges.values()), default=sys.maxsize)
            last.append((first, self.cluster(inner)))
        for _, lines in sorted(last, key=itemgetter(0)):
            yield from lines

    def cluster(self, group: Group) -> Iterator[str]:
        """Iterate over the lines for a cluster."""
        lines = list(self.inside(group))
        name, state, title = self.ids[group.id], self.states.get(group.id), last_name(group.id)
        if not (lines or self.styled or state):
            return
        sign = f"{SIGNS[state][0]} " if state else ""
        yield (
            f"subgraph {name}"
            if title == name and not state
            else (f'subgraph {name}["{sign}{escape(title)}"]')
        )
        yield from lines
        yield "end"
        if state is not None and self.styled:
            yield f"class {name} {state};"

    def node(self, node: DrawnNode) -> str:
        """Return the line for a node; only what Mermaid would misread is quoted and escaped."""
        name, state = last_name(node.name), self.states.get(node.id)
        about, kind = metadata_lines(node.metadata or {}), self.kinds.get(node.id, "")
        shape = "([{}])" if kind else "({})"
        if name in {START, END}:
            text = f"<p>{name}</p>"
        elif state is None and not _RISKY_TEXT.search(name):
            text = name
        elif state is None and _is_bold(name):
            text = f"<p>{name}</p>"
        else:
            text, shape = escape(name), '("{}")'
        if about:
            joined = ("<br/>" if '"' in shape else "\n").join(about)
            text += f"<hr/><small><em>{joined}</em></small>"
        if state is not None:
            text, kind = f"{SIGNS[state][0]} {text}", state
        mark = f":::{kind}" if kind and self.styled else ""
        return f"{self.ids[node.id]}{shape.format(text)}{mark}"

    def edge(self, edge: DrawnEdge) -> str:
        """Return the line for an edge; a label is quoted only if Mermaid would misread it."""
        source, target = self.ids[edge.source], self.ids[edge.target]
        if edge.data is None:
            return f"{source} {'-.->' if edge.conditional else '-->'} {target};"
        label = str(edge.data)
        words = label.split()
        rows = [words[i : i + self.words_max] for i in range(0, len(words), self.words_max)]
        if _RISKY_LABEL.search(label) or (not edge.conditional and "--" in label):
            shown = "&nbsp;<br/>&nbsp;".join(" ".join(map(escape, row)) for row in rows)
            label = f'"&nbsp;{shown}&nbsp;"'
        elif len(rows) > 1:
            label = f"&nbsp;{'&nbsp<br>&nbsp'.join(' '.join(row) for row in rows)}&nbsp;"
        else:
            label = f"&nbsp;{label}&nbsp;"
        return f"{source} {f'-. {label} .->' if edge.conditional else f'-- {label} -->'} {target};"


def _is_bold(name: str) -> bool:
    """Return whether a name is all marked up, by what a paragraph undoes."""
    return name.startswith(_BOLD) and name.endswith(_BOLD) and not set(name) & set('"[](){}<|@')


def _ids(picture: Group, states: Mapping[str, NodeState]) -> dict[str, str]:
    """Return the id of each node and cluster; no two are the same. That of a cluster is its title.

    Except where that is no id, another has it, or it is shown with a state.
    """
    written = {name: hex_id(name) for name in picture.all_nodes()}
    often = Counter(written.values())
    ids = {name: each if often[each] == 1 else safe_id(name) for name, each in written.items()}
    used, clusters = set(ids.values()), [group.id for group in picture.walk() if group.id]
    titles = Counter(map(last_name, clusters))
    for key in clusters:
        title = last_name(key)
        is_id = titles[title] == 1 and title not in used and _TITLE.match(title)
        own = f"{_digits(key[0])}{key[1:]}" if key == "default" else safe_id(key)
        ids[key] = title if is_id and key not in states else own
    return ids


def hex_id(name: str) -> str:
    """Return a name as LangGraph's id, if Mermaid reads it as one; rarely that of another name."""
    found = "".join(c if _ID_CHAR.match(c) or c == "-" else f"\\{ord(c):x}" for c in name)
    return safe_id(name) if "--" in found or _RESERVED.match(found) else found


def safe_id(name: str) -> str:
    """Return a name as an id: itself if it is one, else with code points in hexadecimal digits.

    Two digits follow a backslash; those of a greater code point are between two and one of them.
    So no two names have one id.
    """
    if _PLAIN_ID.match(name) and not _RESERVED.match(name):
        return name
    written = "".join(c if _ID_CHAR.match(c) else _digits(c) for c in name)
    return _digits(name[0]) + written[1:] if _RESERVED.match(written) else written


def _digits(char: str) -> str:
    point = ord(char)
    return f"\\{point:02x}" if point < 0x100 else f"\\\\{point:x}\\"


def escape(text: str) -> str:
    """Return text with its marks and brackets escaped, so that Mermaid shows it unchanged."""
    text = " ".join(text.split())
    return _MARKED_UP.sub(lambda found: "".join(f"#{ord(c)};" for c in found[0]), text)


def metadata_lines(metadata: Mapping[str, Any]) -> list[str]:
    """Return `key = value`, escaped, for values that are texts, numbers, or several of them."""
    lines = []
    for key, value in metadata.items():
        items = value if isinstance(value, (list, tuple, set)) else [value]
        if all(isinstance(item, (str, int, float)) for item in items):
            texts = [str(item) for item in items]
            shown = ", ".join(sorted(texts) if isinstance(value, set) else texts)
            lines.append(f"{key} = {shown}".translate(_ENTITIES).replace("@", "#64;"))
    return lines


def front_matter(config: Mapping[str, Any]) -> str:
    """Return the settings before the text, in YAML."""
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
