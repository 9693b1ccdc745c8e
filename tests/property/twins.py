"""One planned graph, built for two libraries, with the same deterministic nodes.

`behave` does what a plan says with the `interrupt`, `Command` and `Send` of the library it is
given. Nothing here compares: see `test_against_langgraph.py`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import langgraph.config
import langgraph.errors
import langgraph.graph
import langgraph.runtime
import langgraph.types
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver

import orchestrator
from tests.property.plans import (
    END,
    LOG_MAX,
    SCHEMAS,
    BoomError,
    GraphPlan,
    In,
    NodePlan,
    Out,
    RouterPlan,
    Target,
)


class Ours:
    """This project's names."""

    StateGraph = orchestrator.StateGraph
    Command, Send, Overwrite = orchestrator.Command, orchestrator.Send, orchestrator.Overwrite
    RetryPolicy, NodeError = orchestrator.RetryPolicy, orchestrator.NodeError
    interrupt = staticmethod(orchestrator.interrupt)
    get_stream_writer = staticmethod(orchestrator.get_stream_writer)
    get_runtime = staticmethod(orchestrator.get_runtime)
    StateUpdate = orchestrator.StateUpdate
    checkpointer = orchestrator.MemoryCheckpointer


class Theirs:
    """LangGraph's."""

    StateGraph = langgraph.graph.StateGraph
    Command, Send, Overwrite = (
        langgraph.types.Command,
        langgraph.types.Send,
        langgraph.types.Overwrite,
    )
    RetryPolicy, NodeError = langgraph.types.RetryPolicy, langgraph.errors.NodeError
    interrupt = staticmethod(langgraph.types.interrupt)
    get_stream_writer = staticmethod(langgraph.config.get_stream_writer)
    get_runtime = staticmethod(langgraph.runtime.get_runtime)
    StateUpdate = langgraph.types.StateUpdate
    checkpointer = InMemorySaver


@dataclass
class World:
    """What the nodes of one library share: its names, and who has raised how often."""

    library: Any
    raised: Counter[str] = field(default_factory=Counter)

    def fail(self, who: str, times: int) -> None:
        """Raise the first few times."""
        if self.raised[who] < times:
            self.raised[who] += 1
            raise BoomError(who)


def read(state: Any, key: str, default: Any) -> Any:
    """Return a key of a state, whatever its type."""
    return state.get(key, default) if isinstance(state, dict) else getattr(state, key, default)


def behave(plan: NodePlan, state: Any, world: World, sub: Any, schema: str) -> Any:
    """Do what a node does."""
    library = world.library
    item = read(state, "item", 0)
    who = f"{plan.name}{item or ''}"
    for index in range(plan.says):
        library.get_stream_writer()(f"{who}!{index}")
    answers = [library.interrupt(f"{who}?{index}") for index in range(plan.asks)]
    if plan.attempts:  # Two that look the same must not count together.
        attempt = library.get_runtime().execution_info.node_attempt
        if attempt <= plan.fails:
            raise BoomError(who)
    else:
        world.fail(who, plan.fails)
    if plan.called:
        given = {"log": list(read(state, "log", []))[-1:]}
        for _ in range(plan.called):
            answers += (sub.invoke(given) or {}).get("log", [])[-2:]
    update = update_of(plan, who, answers)
    if plan.replaces:
        update["log"] = library.Overwrite([f"only {who}"])
    goto = targets_of(plan.goto, state, library)
    if plan.up is not None and len(read(state, "log", ())) < LOG_MAX:
        up = targets_of((plan.up,), state, library)
        return library.Command(graph=library.Command.PARENT, update=update, goto=up)
    if plan.shape == "list" and goto:
        return [update, library.Command(goto=goto)]
    if plan.shape == "command" or goto:
        return library.Command(update=update, goto=goto)
    return SCHEMAS[schema](**update) if plan.shape == "object" else update


def update_of(plan: NodePlan, who: str, answers: list[Any]) -> dict[str, Any]:
    """Return what a node writes."""
    values = {
        "log": [who, *map(str, answers)],
        "own": [who],
        "table": {plan.name: 1, "all": 1},
        "total": 1,
        "last": who,
    }
    return {key: values[key] for key in plan.keys}


def targets_of(targets: tuple[Target, ...], state: Any, library: Any) -> list[Any]:
    """Return where to go, or nowhere once the run is long or what was sent is used up."""
    item = read(state, "item", 0) or 3
    if len(read(state, "log", ())) >= LOG_MAX or item <= 1:
        return []
    return [library.Send(t.node, {"item": item - 1}) if t.item else t.node for t in targets]


def router(plan: RouterPlan, library: Any) -> Callable[[Any], Any]:
    """Return the function that a router plan stands for."""

    def path(state: Any) -> Any:
        choice = plan.choices[len(read(state, "log", ())) % len(plan.choices)]
        targets = targets_of(choice, state, library) or [END]
        if plan.mapped:
            targets = [f"to {t}" if isinstance(t, str) else t for t in targets]
        return targets if len(targets) > 1 else targets[0]

    path.__name__ = plan.name
    return path


def handler(plan: NodePlan, world: World) -> Callable[..., Any]:
    """Return the error handler of a node."""

    def handle(state: Any, error: Any) -> Any:
        kind = type(error.error).__name__
        update = {"log": [f"{plan.name} {kind}"]}
        goto = targets_of((plan.handler,), state, world.library) if plan.handler else []
        goto = [target for target in goto if target != END]
        return world.library.Command(update=update, goto=goto) if goto else update

    handle.__annotations__ = {"error": world.library.NodeError}
    return handle


def node(plan: NodePlan, world: World, schema: str) -> Any:
    """Return what is added to a graph as the node."""
    sub = build(plan.sub, world, plan.keeps) if plan.sub is not None else None
    if sub is not None and not plan.called:
        return sub

    def call(state: Any) -> Any:
        return behave(plan, state, world, sub, schema)

    return formed(plan.form, call)


def formed(form: str, call: Callable[[Any], Any]) -> Any:
    """Return a function in one of the forms in which a node may be given."""

    async def later(state: Any) -> Any:
        return call(state)

    def after(first: int, state: Any) -> Any:
        return call(state)

    class Node:
        def __call__(self, state: Any) -> Any:
            return call(state)

        def method(self, state: Any) -> Any:
            return call(state)

    forms: dict[str, Callable[[], Any]] = {
        "def": lambda: call,
        "async": lambda: later,
        "object": Node,
        "partial": lambda: functools.partial(after, 1),
        "method": lambda: Node().method,
        "runnable": lambda: RunnableLambda(call),
    }
    return forms[form]()


def build(plan: GraphPlan, world: World, keeps: Any = None) -> Any:
    """Build a plan with a world's library."""
    library = world.library
    schemas = {
        **({"input_schema": In} if plan.narrow_in else {}),
        **({"output_schema": Out} if plan.narrow_out else {}),
    }
    builder = library.StateGraph(SCHEMAS[plan.schema], **schemas)
    for each in plan.nodes:
        options: dict[str, Any] = {"defer": each.defer}
        if each.attempts:
            options["retry_policy"] = library.RetryPolicy(
                max_attempts=each.attempts, initial_interval=0, jitter=False, retry_on=BoomError
            )
        if each.handler:
            options["error_handler"] = handler(each, world)
        builder.add_node(each.name, node(each, world, plan.schema), **options)
    for source, end in plan.edges:
        builder.add_edge(source, end)
    for sources, end in plan.joins:
        builder.add_edge(list(sources), end)
    for each in plan.routers:
        names = [n.name for n in plan.nodes] + [END]
        ends = {f"to {name}": name for name in names} if each.mapped else None
        builder.add_conditional_edges(each.source, router(each, library), ends)
    stops = {"interrupt_before": plan.before, "interrupt_after": plan.after}
    return builder.compile(keeps, **{k: "*" if "*" in v else list(v) for k, v in stops.items()})


def ours(plan: GraphPlan) -> Any:
    """Build a plan with this project."""
    return build(plan, World(Ours), Ours.checkpointer())


def theirs(plan: GraphPlan) -> Any:
    """Build a plan with LangGraph."""
    return build(plan, World(Theirs), Theirs.checkpointer())
