"""Which node stands in which layer of a picture.

Layers are numbered from the top. Every link leads down at least one layer, except the few that are
turned round because they close a cycle. Nodes and links are plain names and pairs here, in the
order that decides between equals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Link", "assign_layers", "closing_links", "components"]

Link = tuple[str, str]  # From one node to another.


def components(nodes: Sequence[str], links: Iterable[Link]) -> list[list[str]]:
    """Return the nodes in groups that no link connects; groups and members keep their order."""
    near: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in links:
        near[source].append(target)
        near[target].append(source)
    group_of: dict[str, int] = {}
    for number, first in enumerate(nodes):
        todo = [] if first in group_of else [first]
        while todo:
            name = todo.pop()
            if name not in group_of:
                group_of[name] = number
                todo += near[name]
    groups: dict[int, list[str]] = {}
    for name in nodes:
        groups.setdefault(group_of[name], []).append(name)
    return list(groups.values())


def closing_links(nodes: Sequence[str], links: Iterable[Link]) -> set[Link]:
    """Return links without which there is no cycle: those that lead back on a walk into depth.

    The walk begins at the first node, so what closes a cycle is what leads back towards it.
    """
    following = _following(nodes, links)
    closing: set[Link] = set()
    open_nodes: set[str] = set()  # On the walk's present path.
    seen: set[str] = set()
    for first in nodes:
        walk = [] if first in seen else [(first, iter(following[first]))]
        open_nodes.update(name for name, _ in walk)
        while walk:
            name, rest = walk[-1]
            seen.add(name)
            target = next(rest, None)
            if target is None:
                open_nodes.discard(name)
                walk.pop()
            elif target in open_nodes:
                closing.add((name, target))
            elif target not in seen:
                open_nodes.add(target)
                walk.append((target, iter(following[target])))
    return closing


def assign_layers(nodes: Sequence[str], links: Sequence[Link]) -> dict[str, int]:
    """Return the layer of each node; the links have no cycle.

    A node stands as high as the links to it allow. Then those that more links leave than reach are
    moved down to what follows them, which makes the links shorter.
    """
    following = _following(nodes, links)
    missing = dict.fromkeys(nodes, 0)
    for _, target in links:
        missing[target] += 1
    reached = dict(missing)
    layer = dict.fromkeys(nodes, 0)
    ordered = [name for name in nodes if not missing[name]]
    for name in ordered:  # It grows while it is walked.
        for target in following[name]:
            layer[target] = max(layer[target], layer[name] + 1)
            missing[target] -= 1
            if not missing[target]:
                ordered.append(target)
    assert len(ordered) == len(nodes), "a cycle was left"
    for name in reversed(ordered):
        if len(following[name]) > reached[name] and name != nodes[0]:
            layer[name] = min(layer[target] for target in following[name]) - 1
    return layer


def _following(nodes: Sequence[str], links: Iterable[Link]) -> Mapping[str, list[str]]:
    place = {name: number for number, name in enumerate(nodes)}
    found: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in links:
        found[source].append(target)
    for targets in found.values():
        targets.sort(key=place.__getitem__)
    return found
