"""Graphs as plain data: what is drawn at random, before any library builds it."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel

START, END = "__start__", "__end__"
LOG_MAX = 14  # Routers and gotos stop leading on once the log is so long.


class BoomError(Exception):
    """What a failing node raises."""


def merge(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Return both, adding up what is in both."""
    return {k: (left.get(k, 0) + right.get(k, 0)) % 1000 for k in sorted({*left, *right})}


def around(left: int, right: int) -> int:
    """Add up without end: what subgraphs give back doubles each time."""
    return (left + right) % 1000


def last_ones(left: list[str], right: list[str]) -> list[str]:
    """Add to a list that stays short: a subgraph gives back all of what it was given."""
    return [*left, *right][-24:]


Log = Annotated[list[str], operator.add]
Short = Annotated[list[str], last_ones]
Table = Annotated[dict[str, int], merge]
Total = Annotated[int, operator.add]
Round = Annotated[int, around]


class Full(TypedDict, total=False):
    log: Log
    table: Table
    total: Total
    last: str
    item: int  # Never written by a node: only a `Send` brings one.


class Bounded(TypedDict, total=False):
    log: Short
    table: Table
    total: Round
    last: str
    item: int


class Inner(TypedDict, total=False):
    log: Short
    own: Short
    last: str
    item: int


class Model(BaseModel):
    log: Short = []
    table: Table = {}
    total: Round = 0
    last: str = ""
    item: int = 0


@dataclass
class Record:
    log: Short = field(default_factory=list)
    table: Table = field(default_factory=dict)
    total: Round = 0
    last: str = ""
    item: int = 0


class In(TypedDict, total=False):
    log: Short
    last: str


class Out(TypedDict, total=False):
    log: Short


SCHEMAS: dict[str, Any] = {
    "full": Full,
    "bounded": Bounded,
    "inner": Inner,
    "model": Model,
    "record": Record,
}
KEYS = {
    kind: ("log", "own", "last") if kind == "inner" else ("log", "table", "total", "last")
    for kind in SCHEMAS
}


class Brief:
    """Shows only what is not as usual."""

    def __repr__(self) -> str:
        shown = [(f, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        plain = (f"{f.name}={v!r}" for f, v in shown if f.default is MISSING or f.default != v)
        return f"{type(self).__name__}({', '.join(plain)})"


@dataclass(frozen=True, repr=False)
class Target(Brief):
    """A place to go: a node or END, or, with an item, something sent to a node."""

    node: str
    item: int = 0


@dataclass(frozen=True, repr=False)
class NodePlan(Brief):
    """What a node does, in this order: say, ask, fail, write, go."""

    name: str
    keys: tuple[str, ...] = ("log",)  # Which keys it writes.
    says: int = 0  # How much it writes to the stream.
    asks: int = 0  # How many questions it asks.
    fails: int = 0  # How often it raises before it works.
    attempts: int = 0  # How often its retry policy tries; 0: it has none.
    handler: Target | None = None  # Where its error handler leads; END: nowhere.
    replaces: bool = False  # Whether it replaces the log instead of adding to it.
    goto: tuple[Target, ...] = ()
    up: Target | None = None  # Where it leads in the graph around.
    shape: str = "dict"  # How it returns its update: dict | command | list | object.
    defer: bool = False
    sub: GraphPlan | None = None  # The subgraph that it is, or calls.
    keeps: bool | None = None  # The checkpointer of the subgraph.
    called: int = 0  # How often it calls the subgraph; 0: it is the subgraph.
    form: str = "def"  # What it is: def | async | object | partial | method | runnable.


@dataclass(frozen=True, repr=False)
class RouterPlan(Brief):
    source: str
    name: str
    choices: tuple[tuple[Target, ...], ...]  # One of them is taken, by the length of the log.
    mapped: bool = False  # Whether it returns labels that a path map translates.


@dataclass(frozen=True, repr=False)
class GraphPlan(Brief):
    nodes: tuple[NodePlan, ...]
    edges: tuple[tuple[str, str], ...]
    joins: tuple[tuple[tuple[str, ...], str], ...] = ()
    routers: tuple[RouterPlan, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    schema: str = "full"
    narrow_in: bool = False  # Whether it takes only some of its keys.
    narrow_out: bool = False  # Whether it gives only some of them.

    def graphs(self, depth: int = 0) -> Iterator[tuple[int, GraphPlan]]:
        """Return this graph and all below, with their depths."""
        yield depth, self
        for node in self.nodes:
            if node.sub is not None:
                yield from node.sub.graphs(depth + 1)

    def every(self) -> Iterator[NodePlan]:
        """Return all nodes at any depth."""
        for _, plan in self.graphs():
            yield from plan.nodes

    def features(self) -> Counter[str]:
        """Return what the graph shows, to be counted."""
        nodes, plans = list(self.every()), [plan for _, plan in self.graphs()]
        depth = max(depth for depth, _ in self.graphs())
        goes = [*(n.goto for n in nodes), *(c for p in plans for r in p.routers for c in r.choices)]
        has = {
            "asks": any(n.asks for n in nodes),
            "asks twice": any(n.asks > 1 for n in nodes),
            "breaks": any(p.before or p.after for p in plans),
            "called subgraph": any(n.called for n in nodes),
            "command": any(n.goto or n.shape == "command" for n in nodes),
            "command up": any(n.up for n in nodes),
            "custom stream": any(n.says for n in nodes),
            "defer": any(n.defer for n in nodes),
            "error handler": any(n.handler for n in nodes),
            "fails": any(n.fails for n in nodes),
            "join": any(p.joins for p in plans),
            "narrow schema": any(p.narrow_in or p.narrow_out for p in plans),
            "overwrite": any(n.replaces for n in nodes),
            "path map": any(r.mapped for p in plans for r in p.routers),
            "retry": any(n.attempts for n in nodes),
            "router": any(p.routers for p in plans),
            "send": any(target.item for targets in goes for target in targets),
            f"schema {self.schema}": True,
            f"subgraphs {depth} deep": depth > 0,
            **{
                f"subgraph keeps {keeps}": any(n.sub and n.keeps is keeps for n in nodes)
                for keeps in (True, False)
            },
        }
        return Counter(name for name, shows in has.items() if shows)
