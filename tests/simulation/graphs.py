"""Graphs drawn from a number: rows, fans, sends, loops, routers, subgraphs; nodes that misbehave.

What a node writes depends on what it sees, on answers and on its name, never on time, on who runs
it, or on how often it was tried. So a graph that is run undisturbed says what every run must give.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from orchestrator import (
    END,
    START,
    Command,
    CompiledStateGraph,
    RetryPolicy,
    Send,
    StateGraph,
    interrupt,
)
from tests.simulation.world import here

__all__ = ["SCRIBBLE", "Graph", "NotYetError", "draw_graph"]

SCRIBBLE = "scribble"  # What nodes write into what they were given, where nobody may see it.
_RETRY = RetryPolicy(initial_interval=0.2, max_attempts=6, jitter=True)
_BEHAVIOURS = (
    *["plain"] * 16,
    *["slow", "asks", "effect"] * 3,
    *["asks twice", "broken", "flaky", "handled", "pauses"],
)
_MODULO = 100_003


class NotYetError(Exception):
    """What a node raises until somebody has seen to it."""


def _merge(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in sorted({*left, *right})}


def _add(left: int, right: int) -> int:
    return (left * 31 + right) % _MODULO  # In another order it is another number.


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    count: Annotated[dict[str, int], _merge]
    total: Annotated[int, _add]
    last: str
    item: int


class Inner(TypedDict, total=False):
    """A subgraph's state: what it shares with the graph around it is what it adds."""

    seen: Annotated[list[str], operator.add]
    total: int
    item: int
    log: list[str]


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph, and what may be asked of it."""

    compiled: CompiledStateGraph
    first: str  # A node as which the state can be changed.


def node_of(name: str, behaviour: str, key: str = "log") -> Callable[..., Any]:
    """Return a node that writes what it saw, after it has done what it is to do first."""

    def node(state: dict[str, Any], ctx: Any, runtime: Any) -> dict[str, Any]:
        process = here()
        seen = len(state.get(key, ()))
        state.setdefault(key, []).append(SCRIBBLE)
        state.setdefault("count", {})[SCRIBBLE] = 1
        process.point("node")
        said = _behave(name, behaviour, ctx, runtime)
        if behaviour == "slow":
            process.sleep_ms(3_000)  # Longer than a lease.
        process.point("node")
        written = {key: [f"{name}:{seen}{said}{state.get('item', '')}"]}
        if key == "log":
            return {**written, "count": {name: 1}, "total": state.get("total", 0) + seen}
        return written

    node.__name__ = name
    return node


def _behave(name: str, behaviour: str, ctx: Any, runtime: Any) -> str:
    """Do what a node does before it writes; return what becomes part of that."""
    world = here().world
    if behaviour in {"asks", "asks twice"}:
        answers = [interrupt(f"{name}?")]
        if behaviour == "asks twice":
            answers.append(interrupt(f"{name}, after {answers[0]}?"))
        return "/".join(answers)
    if behaviour == "flaky" and runtime.execution_info.node_attempt < 3:
        raise ConnectionError(name)
    if behaviour == "handled":
        raise NotYetError(name)
    if behaviour in {"broken", "pauses"} and not world.granted(ctx.thread_id, name):
        raise NotYetError(name) if behaviour == "broken" else InterruptedError(name)
    if behaviour == "effect":
        return str(
            ctx.once("pay", lambda: world.pay(ctx.idempotency_key), reconcile=lambda: "paid")
        )
    return ""


def _handler(name: str) -> Callable[..., Any]:
    def handle(state: dict[str, Any], error: Any) -> dict[str, Any]:
        here().point("node")
        return {"log": [f"{name} handled"], "total": 7}

    return handle


class _Drawing:
    """A graph while it is drawn: parts one after the other."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.builder: Any = StateGraph(State)
        self.before = START
        self.names = 0

    def name(self, what: str) -> str:
        self.names += 1
        return f"{what}{self.names}"

    def node(self, what: str, behaviours: tuple[str, ...] = _BEHAVIOURS, goto: str = "") -> str:
        """Add a node that nothing leads to yet; return its name."""
        name, chance = self.name(what), self.chance
        behaviour = chance.choice(behaviours)
        settings: dict[str, Any] = {"queue": chance.choice([None, None, None, "others"])}
        if behaviour == "flaky":
            settings["retry_policy"] = _RETRY
        if behaviour == "handled":
            settings["error_handler"] = _handler(name)
        action = node_of(name, behaviour)
        if goto:
            inner = action

            def action(state: State, ctx: Any, runtime: Any) -> Command[Any]:
                return Command(update=inner(state, ctx, runtime), goto=goto)

            settings["destinations"] = [goto]
        self.builder.add_node(name, action, **settings)
        return name

    def follow(self, name: str) -> None:
        """Let a node follow what there is."""
        self.builder.add_edge(self.before, name)
        self.before = name

    # ---- parts ----------------------------------------------------------------------------

    def row(self) -> None:
        for _ in range(self.chance.randint(1, 4)):
            self.follow(self.node("row"))

    def fan(self) -> None:
        self.follow(self.node("split", ("plain",)))
        sides = [self.node("side") for _ in range(self.chance.randint(2, 5))]
        join = self.node("join", ("plain", "asks"))
        for side in sides:
            self.builder.add_edge(self.before, side)
        self.builder.add_edge(sides, join)
        self.before = join

    def sends(self) -> None:
        self.follow(self.node("deal", ("plain",)))
        worker = self.node("piece", ("plain", "plain", "flaky", "asks", "slow", "pauses"))
        gather = self.node("gather", ("plain",))
        count = self.chance.randint(1, 6)

        def route(state: State) -> list[Send]:
            return [Send(worker, {"item": i, "log": []}) for i in range(count)]

        self.builder.add_conditional_edges(self.before, route, [worker])
        self.builder.add_edge(worker, gather)
        self.before = gather

    def loop(self) -> None:
        self.follow(self.node("round", ("plain", "plain", "slow", "effect", "asks")))
        again, after, times = self.before, self.node("out", ("plain",)), self.chance.randint(2, 5)

        def route(state: State) -> str:
            return again if state.get("count", {}).get(again, 0) < times else after

        self.builder.add_conditional_edges(again, route, [again, after])
        self.before = after

    def router(self) -> None:
        self.follow(self.node("ask", ("plain",)))
        ways = [self.node("way"), self.node("way")]
        meet = self.node("meet", ("plain",))

        def route(state: State) -> str:
            return ways[state.get("total", 0) % 2]

        self.builder.add_conditional_edges(self.before, route, ways)
        for way in ways:
            self.builder.add_edge(way, meet)
        self.before = meet

    def leap(self) -> None:
        target = self.node("landed")
        self.follow(self.node("leap", ("plain", "asks", "effect"), goto=target))
        self.before = target

    def nested(self) -> None:
        name = self.name("nested")
        inner = _draw_inner(self.chance, name, self.chance.randint(0, 1))
        self.builder.add_node(name, inner)
        self.follow(name)
        taker = self.node("taker", ("plain",))
        self.follow(taker)


def _draw_inner(chance: random.Random, prefix: str, depth: int) -> CompiledStateGraph:
    """Draw a subgraph."""
    builder: Any = StateGraph(Inner)
    before = START
    if depth:
        inner = _draw_inner(chance, f"{prefix}_in", 0)
        builder.add_node(f"{prefix}_deep", inner)
        builder.add_edge(before, f"{prefix}_deep")
        before = f"{prefix}_deep"
    wide = chance.random() < 0.4
    names = [f"{prefix}_{i}" for i in range(chance.randint(1, 3))]
    for name in names:
        behaviour = chance.choice(("plain", "plain", "asks", "slow", "flaky", "broken"))
        policy = _RETRY if behaviour == "flaky" else None
        builder.add_node(name, node_of(name, behaviour, "seen"), retry_policy=policy)
        builder.add_edge(before, name)
        before = before if wide else name
    builder.add_node(f"{prefix}_end", _sum_up)
    builder.add_edge(names if wide and len(names) > 1 else names[-1], f"{prefix}_end")
    return builder.compile()


def _sum_up(state: Inner) -> dict[str, Any]:
    here().point("node")
    return {"log": ["(" + " ".join(state["seen"]) + ")"], "total": len(state["seen"])}


def draw_graph(number: int) -> Graph:
    """Return the graph of a number: the same at every call."""
    chance = random.Random(number)
    drawing = _Drawing(chance)
    drawing.follow(first := drawing.node("first", ("plain",)))
    parts = (
        *[drawing.row, drawing.fan, drawing.sends, drawing.loop, drawing.router, drawing.leap],
        drawing.nested,
    )
    for part in [chance.choice(parts) for _ in range(chance.randint(2, 5))]:
        part()
    last = drawing.before
    drawing.builder.add_edge(last, END)
    stops = [last] if chance.random() < 0.2 else []
    if chance.random() < 0.15:
        drawing.builder.on_resume(_hook)
    return Graph(drawing.builder.compile(name=f"graph{number}", interrupt_before=stops), first)


def _hook(state: State, reason: str) -> None:
    here().point("node")
