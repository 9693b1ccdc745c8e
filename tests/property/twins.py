"""One graph as plain data, built for two libraries, with the same deterministic nodes.

A plan says what each node does; `behave` does it with whatever library's `interrupt`, `Command` and
`Send` it is given. Nothing here compares: see `test_against_langgraph.py`.
"""

from __future__ import annotations

import operator
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import langgraph.graph
import langgraph.types
from langgraph.checkpoint.memory import InMemorySaver

import orchestrator

START, END = "__start__", "__end__"
LOG_MAX = 14  # Routers and gotos stop leading on once the log is so long.


def merge(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Return both, adding up what is in both."""
    return {k: left.get(k, 0) + right.get(k, 0) for k in sorted({*left, *right})}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    table: Annotated[dict[str, int], merge]
    last: str
    item: int  # Never written by a node: only a `Send` brings one.


class BoomError(Exception):
    """What a failing node raises."""


@dataclass(frozen=True)
class Target:
    """A place to go: a node or END, or, with an item, something sent to a node."""

    node: str
    item: int = 0


@dataclass(frozen=True)
class NodePlan:
    name: str
    keys: tuple[str, ...] = ("log",)  # Which keys it writes.
    asks: int = 0  # How many questions it asks.
    fails: bool = False  # Whether its first call raises.
    replaces: bool = False  # Whether it replaces the log instead of adding to it.
    goto: tuple[Target, ...] = ()
    defer: bool = False


@dataclass(frozen=True)
class RouterPlan:
    source: str
    name: str
    choices: tuple[tuple[Target, ...], ...]  # One of them is taken, by the length of the log.
    mapped: bool = False  # Whether it returns labels that a path map translates.


@dataclass(frozen=True)
class GraphPlan:
    nodes: tuple[NodePlan, ...]
    edges: tuple[tuple[str, str], ...]
    joins: tuple[tuple[tuple[str, ...], str], ...] = ()
    routers: tuple[RouterPlan, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass
class World:
    """What the nodes of one library share: who has raised, and what was stored."""

    library: Any  # Has Command, Send, interrupt.
    expected: Mapping[int, int] = field(default_factory=dict)  # Superstep → how many do not raise.
    raised: dict[str, tuple[int, int]] = field(default_factory=dict)  # Who → call, superstep.
    calls: int = 0
    passed: Counter[int] = field(default_factory=Counter)
    stored: set[str] = field(default_factory=set)  # The steps of this superstep that were stored.
    changed: threading.Condition = field(default_factory=threading.Condition)

    def begin(self, expected: Mapping[int, int]) -> None:
        """Begin another call of the graph."""
        self.expected, self.passed = expected, Counter()
        self.calls += 1
        self.stored.clear()

    def arrive(self, number: int, who: str, *, fails: bool) -> None:
        """Note that a node runs; raise its first time if it is to fail.

        It waits for the others of its superstep to be stored first: LangGraph drops those that were
        not, and which ones those are would be a matter of luck.
        """
        with self.changed:
            now = self.calls, number  # Of two that look the same, both raise.
            if not fails or self.raised.setdefault(who, now) != now:
                self.passed[number] += 1
                return
            enough = self.expected.get(number, 0)
            assert self.changed.wait_for(lambda: len(self.stored) >= enough, timeout=5)
            raise BoomError(who)

    def store(self, step: str | None) -> None:
        """Note that a step was stored, or a checkpoint, with which a superstep begins."""
        with self.changed:
            if step is None:
                self.stored.clear()
            else:
                self.stored.add(step)
            self.changed.notify_all()


class Saver(InMemorySaver):
    """LangGraph's memory, telling a world what was stored."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def put(self, *args: Any) -> Any:
        self.world.store(None)
        return super().put(*args)

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        super().put_writes(config, writes, task_id, task_path)
        if any(channel != "__resume__" for channel, _ in writes):
            self.world.store(task_id)


def behave(plan: NodePlan, state: Mapping[str, Any], number: int, world: World) -> Any:
    """Do what a node does."""
    item = state.get("item", 0)
    who = f"{plan.name}{item or ''}"
    world.arrive(number, who, fails=plan.fails)
    answers = [world.library.interrupt(f"{who}?{index}") for index in range(plan.asks)]
    update: dict[str, Any] = {}
    if "log" in plan.keys:
        update["log"] = [who, *map(str, answers)]
    if "table" in plan.keys:
        update["table"] = {plan.name: 1, "all": 1}
    if "last" in plan.keys:
        update["last"] = who
    if plan.replaces:
        update["log"] = world.library.Overwrite([f"only {who}"])
    goto = targets_of(plan.goto, state, world.library)
    return world.library.Command(update=update, goto=goto) if goto else update


def targets_of(targets: tuple[Target, ...], state: Mapping[str, Any], library: Any) -> list[Any]:
    """Return where to go, or nowhere once the run is long or what was sent is used up."""
    item = state.get("item", 3)
    if len(state.get("log", ())) >= LOG_MAX or item <= 1:
        return []
    return [library.Send(t.node, {"item": item - 1}) if t.item else t.node for t in targets]


def router(plan: RouterPlan, library: Any) -> Callable[[Any], Any]:
    """Return the function that a router plan stands for."""

    def path(state: Any) -> Any:
        choice = plan.choices[len(state.get("log", ())) % len(plan.choices)]
        targets = targets_of(choice, state, library) or [END]
        if plan.mapped:
            targets = [f"to {t}" if isinstance(t, str) else t for t in targets]
        return targets if len(targets) > 1 else targets[0]

    path.__name__ = plan.name
    return path


def ours(plan: GraphPlan, world: World) -> Any:
    """Build the plan with this project."""

    def node(node_plan: NodePlan) -> Callable[..., Any]:
        return lambda state, ctx: behave(node_plan, state, ctx.number, world)

    builder = orchestrator.StateGraph(State)
    _wire(builder, plan, node, orchestrator)
    return builder.compile(
        orchestrator.MemoryCheckpointer(), interrupt_before=plan.before, interrupt_after=plan.after
    )


def theirs(plan: GraphPlan, world: World) -> Any:
    """Build the plan with LangGraph."""

    def node(node_plan: NodePlan) -> Callable[..., Any]:
        def call(state: Any, config: Any) -> Any:
            return behave(node_plan, state, config["metadata"]["langgraph_step"], world)

        call.__annotations__ = {"config": langgraph.types.RunnableConfig}
        return call

    builder = langgraph.graph.StateGraph(State)
    _wire(builder, plan, node, langgraph.types)
    return builder.compile(
        Saver(world),
        interrupt_before="*" if "*" in plan.before else list(plan.before),
        interrupt_after="*" if "*" in plan.after else list(plan.after),
    )


def _wire(builder: Any, plan: GraphPlan, node: Callable[..., Any], library: Any) -> None:
    for each in plan.nodes:
        builder.add_node(each.name, node(each), defer=each.defer)
    for source, end in plan.edges:
        builder.add_edge(source, end)
    for sources, end in plan.joins:
        builder.add_edge(list(sources), end)
    for each in plan.routers:
        names = [n.name for n in plan.nodes] + [END]
        ends = {f"to {name}": name for name in names} if each.mapped else None
        builder.add_conditional_edges(each.source, router(each, library), ends)
