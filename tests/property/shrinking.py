"""Making a graph that shows a difference smaller, until nothing can be left out.

Hypothesis shrinks what it drew, byte by byte, which takes minutes; this knows what a graph is made
of and takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from tests.property.plans import END, GraphPlan, NodePlan
from tests.property.views import Do

Case = tuple[GraphPlan, list[Do]]


def smallest(case: Case, fails: Callable[[Case], bool], tries_max: int = 800) -> Case:
    """Return a case that still fails, of which nothing can be left out."""
    tries, found = 0, True
    while found and tries < tries_max:
        found = False
        for smaller in _smaller(case):
            tries += 1
            if fails(smaller):
                case, found = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    plan, todo = case
    for index in range(1, len(todo)):
        yield plan, [*todo[:index], *todo[index + 1 :]]
    for smaller in smaller_graphs(plan):
        names = {node.name for node in smaller.nodes}
        yield smaller, [replace(do, goto=tuple(g for g in do.goto if g in names)) for do in todo]
    for index, do in enumerate(todo):
        for simple in _plainer(do):
            yield plan, [*todo[:index], simple, *todo[index + 1 :]]


def smaller_graphs(plan: GraphPlan) -> Iterator[GraphPlan]:
    for node in plan.nodes:
        if len(plan.nodes) > 1:
            yield _without(plan, node.name)
    for part in ("edges", "joins", "routers", "before", "after"):
        held = getattr(plan, part)
        for index in range(len(held)):
            yield replace(plan, **{part: (*held[:index], *held[index + 1 :])})
    for index, router in enumerate(plan.routers):
        for at in range(len(router.choices) if len(router.choices) > 1 else 0):
            choices = (*router.choices[:at], *router.choices[at + 1 :])
            routers = [*plan.routers]
            routers[index] = replace(router, choices=choices)
            yield replace(plan, routers=tuple(routers))
    for index, node in enumerate(plan.nodes):
        for simple in _nodes(node):
            yield replace(plan, nodes=(*plan.nodes[:index], simple, *plan.nodes[index + 1 :]))
    yield from _plainer(plan, skip=("nodes", "edges", "joins", "routers", "before", "after"))


def _nodes(node: NodePlan) -> Iterator[NodePlan]:
    yield from _plainer(node)
    if node.sub is not None:
        for sub in smaller_graphs(node.sub):
            yield replace(node, sub=sub)


def _plainer(thing: Any, skip: tuple[str, ...] = ()) -> Iterator[Any]:
    """Return a thing with one field less."""
    for each in fields(thing):
        held = getattr(thing, each.name)
        if each.name in {"name", "nodes", "values", *skip} or held == each.default or not held:
            continue
        if isinstance(each.default, (str, int, tuple, type(None))):
            yield replace(thing, **{each.name: each.default})
        if isinstance(held, tuple) and len(held) > 1:
            yield replace(thing, **{each.name: held[:1]})
            yield replace(thing, **{each.name: held[1:]})
        if isinstance(held, int) and held > 1:
            yield replace(thing, **{each.name: held - 1})


def _without(plan: GraphPlan, name: str) -> GraphPlan:
    """Return the graph without a node; what led to it leads to the end."""
    nodes = tuple(
        replace(
            n,
            goto=tuple(t for t in n.goto if t.node != name),
            handler=None if n.handler and n.handler.node == name else n.handler,
        )
        for n in plan.nodes
        if n.name != name
    )
    routers = tuple(
        replace(r, choices=tuple(tuple(t for t in c if t.node != name) for c in r.choices))
        for r in plan.routers
        if r.source != name
    )
    edges = tuple((s, END if e == name else e) for s, e in plan.edges if s != name)
    return replace(
        plan,
        nodes=nodes,
        routers=routers,
        edges=tuple(dict.fromkeys(edges)),
        joins=tuple((s, e) for s, e in plan.joins if name not in {*s, e}),
        before=tuple(n for n in plan.before if n != name),
        after=tuple(n for n in plan.after if n != name),
    )
