"""That LangGraph, as it is installed, has the defects that `test_defects.py` is about.

Each function shows one in this process and returns whether it is there. What a newer version has
mended goes to `MENDED`: then it is a table that has to change, not a test.
"""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.base import id as ids
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError, InvalidUpdateError
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

CONFIG: Any = {"configurable": {"thread_id": "t"}}
MENDED: Mapping[str, str] = {
    "d16": "1.2.22: a question's id holds its number within the task",
}  # Since when, or which version was the first seen without it.
WAIT_S = 20.0


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    last: Any


class BoomError(Exception):
    """What nodes raise."""


class Ran(list[str]):
    """What ran, in order."""

    def first(self, name: str) -> bool:
        """Note a node; whether it runs for the first time."""
        self.append(name)
        return self.count(name) == 1

    def says(self, name: str) -> Callable[[State], State]:
        """Return a node that only leaves its name."""
        return lambda _: self.append(name) or {"log": [name]}


def row(saver: Any = None, **nodes: Callable[..., Any]) -> Any:
    """Return nodes one after the other, compiled."""
    builder, before = StateGraph(State), START
    for name, action in nodes.items():
        builder.add_node(name, action).add_edge(before, name)
        before = name
    return builder.compile(saver or InMemorySaver())


def boom_once(ran: Ran, name: str, found: Callable[[], Any]) -> Callable[[State], State]:
    """Return a node that raises the first time."""

    def run(state: State) -> State:
        if ran.first(name):
            raise BoomError(name)
        return {"log": [found()]}

    return run


def fails(graph: Any, value: Any, error: type[Exception] = BoomError) -> None:
    with pytest.raises(error):
        graph.invoke(value, CONFIG)


def ask_twice(state: State) -> State:
    return {"log": [[interrupt("first?"), interrupt("second?")]]}


def d01() -> bool:
    """A stale answer answers a later question."""
    graph = row(ask=ask_twice)
    graph.invoke({}, CONFIG)
    graph.invoke(Command(resume="one"), CONFIG)
    return graph.invoke(None, CONFIG)["log"] == [["one", "one"]]


def d02() -> bool:
    """An answer to a failed thread is used for the question that it asks later."""
    graph = row(ask=boom_once(Ran(), "ask", lambda: interrupt("really?")))
    fails(graph, {})
    return graph.invoke(Command(resume="early"), CONFIG)["log"] == ["early"]


def d03() -> bool:
    """A node has an answer that is not stored, although durability is "sync"."""
    got, stored, seen = threading.Event(), threading.Event(), []

    class Slow(InMemorySaver):
        """A saver that takes its time to store an answer."""

        def put_writes(self, config: Any, writes: Any, *args: Any, **more: Any) -> None:
            writes = list(writes)
            if any(channel == "__resume__" for channel, _ in writes):
                got.wait(5)  # Whoever waits for the answer to be stored waits so long.
                super().put_writes(config, writes, *args, **more)
                stored.set()
            else:
                super().put_writes(config, writes, *args, **more)

    def ask(state: State) -> State:
        answer = interrupt("yes?")
        seen.append(stored.is_set())
        got.set()
        return {"log": [answer]}

    graph = row(Slow(), ask=ask)
    graph.invoke({}, CONFIG)
    graph.invoke(Command(resume="yes"), CONFIG, durability="sync")
    return seen == [False]


def d04() -> bool:
    """After a router that raised, a resumed run ends without routing."""
    ran = Ran()

    def route(state: State) -> str:
        if ran.first("route"):
            raise BoomError("route")
        return "after"

    builder = StateGraph(State).add_node("work", ran.says("work"))
    builder.add_node("after", ran.says("after")).add_edge(START, "work")
    graph = builder.add_conditional_edges("work", route, ["after"]).compile(InMemorySaver())
    fails(graph, {})
    return graph.invoke(None, CONFIG)["log"] == ["work"] and graph.get_state(CONFIG).next == ()


def d05() -> bool:
    """Two values for one channel make the thread unreadable."""
    builder = StateGraph(State).add_node("left", lambda _: {"last": 1})
    builder.add_node("right", lambda _: {"last": 2}).add_edge(START, "left")
    graph = builder.add_edge(START, "right").compile(InMemorySaver())
    fails(graph, {}, InvalidUpdateError)
    fails(graph, None, InvalidUpdateError)
    try:
        graph.get_state(CONFIG)
    except InvalidUpdateError:
        return True
    return False


def d06() -> bool:
    """The writes of two attempts at one task are mixed."""
    saver = InMemorySaver()
    graph = row(saver, work=lambda _: {})
    graph.invoke({}, CONFIG)
    config = saver.get_tuple(CONFIG).config
    saver.put_writes(config, [("log", "a0"), ("log", "a1")], "task")
    saver.put_writes(config, [("log", "b0"), ("log", "b1"), ("log", "b2")], "task")
    return [write[2] for write in saver.get_tuple(config).pending_writes] == ["a0", "a1", "b2"]


def d07() -> bool:
    """Of two runs at once on a thread, both succeed and one is lost."""
    both = threading.Barrier(2)
    graph = row(work=lambda _: {})
    find = graph.checkpointer.get_tuple

    def get_tuple(config: Any) -> Any:
        found = find(config)
        both.wait(WAIT_S)  # Neither has written anything yet.
        return found

    with ThreadPoolExecutor(2) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph.checkpointer, "get_tuple", get_tuple)
        runs = [pool.submit(graph.invoke, {"log": [who]}, CONFIG) for who in ("a", "b")]
        logs = [run.result(WAIT_S)["log"] for run in runs]
    return logs == [["a"], ["b"]] and len(graph.get_state(CONFIG).values["log"]) == 1


def d08() -> bool:
    """What a host commits whose clock is behind never becomes the latest."""
    graph = row(work=lambda _: {})
    graph.invoke({"log": ["here"]}, CONFIG)
    with pytest.MonkeyPatch.context() as patch:  # Another host: its own clock and its own past.
        behind = SimpleNamespace(time_ns=lambda: time.time_ns() - 3_600_000_000_000)
        patch.setattr(ids, "time", behind)
        patch.setattr(ids, "_last_v6_timestamp", None)
        behind_log = graph.invoke({"log": ["behind"]}, CONFIG)["log"]
    return (behind_log, graph.get_state(CONFIG).values["log"]) == (["here", "behind"], ["here"])


def d09() -> bool:
    """An update as the first input is applied twice."""
    graph = row(work=lambda _: {})
    return graph.invoke(Command(update={"log": ["first"]}), CONFIG)["log"] == ["first", "first"]


def d10() -> bool:
    """What is asked after a goto cannot be seen."""
    builder = StateGraph(State).add_node("work", lambda _: {}).add_node("ask", ask_twice)
    graph = builder.add_edge(START, "work").compile(InMemorySaver())
    graph.invoke({}, CONFIG)
    assert "__interrupt__" in graph.invoke(Command(goto="ask"), CONFIG)
    snapshot = graph.get_state(CONFIG)
    return (snapshot.next, snapshot.tasks, snapshot.interrupts) == ((), (), ())


def d11_values() -> bool:
    """Some values are no answers: `None` is an error of Python's, `{}` is ignored."""
    graph = row(ask=lambda _: {"log": [interrupt("?")]})
    graph.invoke({}, CONFIG)
    fails(graph, Command(resume=None), UnboundLocalError)
    return "__interrupt__" in graph.invoke(Command(resume={}), CONFIG)


def d11_targets() -> bool:
    """Answers that answer nothing are taken without a word."""
    graph = row(ask=lambda _: {"log": [interrupt("?")]})
    graph.invoke({}, CONFIG)
    ignored = "__interrupt__" in graph.invoke(Command(resume={"f" * 32: "yes"}), CONFIG)
    graph.invoke(Command(resume="yes"), CONFIG)
    return ignored and graph.invoke(Command(resume="again"), CONFIG)["log"] == ["yes"]


def d12() -> bool:
    """A new input drops what a completed sibling wrote and `get_state` had shown."""
    ran = Ran()
    builder = StateGraph(State).add_node("side", ran.says("side")).add_edge(START, "side")
    builder.add_node("work", boom_once(ran, "work", lambda: "work")).add_edge(START, "work")
    graph = builder.compile(InMemorySaver())
    fails(graph, {"log": ["in"]})
    shown = graph.get_state(CONFIG).values["log"]
    log = graph.invoke({"log": ["new"]}, CONFIG)["log"]
    return shown == ["in", "side"] and log == ["in", "new", "side", "work"]


def d13() -> bool:
    """A value that cannot be stored is reported after the nodes behind it have run."""
    ran = Ran()
    graph = row(make=lambda _: {"last": {"deep": [object()]}}, after=ran.says("after"))
    fails(graph, {}, TypeError)
    return ran == ["after"]


def d14() -> bool:
    """A resumed run may take two supersteps more than a new one."""
    ran, taken = Ran(), []
    builder = StateGraph(State).add_node("loop", ran.says("loop")).add_edge(START, "loop")
    graph = builder.add_conditional_edges("loop", lambda _: "loop").compile(InMemorySaver())
    for value in ({}, None):
        before = len(ran)
        with pytest.raises(GraphRecursionError):
            graph.invoke(value, {**CONFIG, "recursion_limit": 4})
        taken.append(len(ran) - before)
    return taken == [4, 6]


def d15() -> bool:
    """Of an error nothing is stored but its repr."""
    graph = row(work=boom_once(Ran(), "work", lambda: None))
    fails(graph, {})
    return graph.get_state(CONFIG).tasks[0].error == "BoomError('work')"


def d16() -> bool:
    """All questions of a task have one id."""
    graph = row(ask=ask_twice)
    (first,) = graph.invoke({}, CONFIG)["__interrupt__"]
    (second,) = graph.invoke(Command(resume="one"), CONFIG)["__interrupt__"]
    return (first.value, second.value, first.id == second.id) == ("first?", "second?", True)


DEFECTS = (
    d01, d02, d03, d04, d05, d06, d07, d08, d09, d10, d11_values, d11_targets, d12, d13, d14, d15,
    d16,
)  # fmt: skip


@pytest.mark.parametrize("shows", DEFECTS, ids=lambda shows: shows.__name__)
def test_langgraph_has_the_defect(shows: Callable[[], bool]) -> None:
    assert shows() == (shows.__name__ not in MENDED), shows.__doc__
