"""Graphs in all of the graph language, to be run in every way there is: the results are the same.

In processes where `LANGUAGE_PACE_S` is set, nodes take so long, so that something can come between.
"""

from __future__ import annotations

import operator
import os
import time
from typing import Annotated, Any, TypedDict

from orchestrator import (
    END,
    START,
    Command,
    CompiledStateGraph,
    Send,
    StateGraph,
    entrypoint,
    get_stream_writer,
    interrupt,
    task,
)

NAMES = ("nested", "steering", "broken", "fan", "workflow", "paused", "caller", "deep")


PACE_S = float(os.environ.get("LANGUAGE_PACE_S", "0"))


class Inner(TypedDict, total=False):
    x: int
    note: str


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    x: int
    approved: bool


def add(state: Inner) -> Inner:
    time.sleep(PACE_S)
    get_stream_writer()({"adding": state["x"]})
    return {"x": state["x"] + 1}


def ask(state: Inner) -> Inner:
    get_stream_writer()({"asking": state["x"]})
    return {"note": interrupt({"x": state["x"]}, key="ask"), "x": state["x"] * 10}


def first(state: State) -> State:
    time.sleep(PACE_S)
    return {"log": ["first"], "x": len(state["log"])}


def last(state: State) -> State:
    time.sleep(PACE_S)
    get_stream_writer()("nearly there")
    return {"log": ["last", state.get("x")]}


_inner = StateGraph(Inner).add_node(add).add_node(ask)
_inner.add_edge(START, "add").add_edge("add", "ask")

_nested = StateGraph(State).add_node(first).add_node("inner", _inner.compile()).add_node(last)
_nested.add_edge(START, "first").add_edge("first", "inner").add_edge("inner", "last")

nested = _nested.compile(name="nested")

# A graph in a graph in a graph.
_middle = StateGraph(State).add_node("nested", _nested.compile()).add_node("after", last)
_middle.add_edge(START, "nested").add_edge("nested", "after")
_deep = StateGraph(State).add_node("middle", _middle.compile()).add_node(last)
_deep.add_edge(START, "middle").add_edge("middle", "last")
deep = _deep.compile(name="deep")


def leave(state: Inner) -> Command[Any]:
    time.sleep(PACE_S)
    return Command(graph=Command.PARENT, update={"log": ["left"], "x": state["x"]}, goto="last")


_leaving = StateGraph(Inner).add_node(add).add_node(leave)
_leaving.add_edge(START, "add").add_edge("add", "leave")
_steering = StateGraph(State).add_node(first).add_node("inner", _leaving.compile()).add_node(last)
_steering.add_edge(START, "first").add_edge("first", "inner")
steering = _steering.compile(name="steering")

_failures: dict[str, int] = {}


def fail(state: Inner) -> Inner:
    if state.get("note") != "mended":
        raise ValueError("not yet")
    return {"x": -1}


_failing = StateGraph(Inner).add_node(add).add_node(fail)
_failing.add_edge(START, "add").add_edge("add", "fail")
_broken = StateGraph(State).add_node(first).add_node("inner", _failing.compile())
_broken.add_edge(START, "first").add_edge("first", "inner")
broken = _broken.compile(name="broken")


def scatter(state: State) -> list[Send]:
    return [Send("inner", {"x": i}) for i in range(3)]


def gather(state: State) -> State:
    time.sleep(PACE_S)
    return {"log": ["gathered"]}


class Piece(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], operator.add]


def piece(state: Piece) -> Piece:
    time.sleep(PACE_S)
    return {"log": [state["x"] ** 2]}


class Squared(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


_piece = StateGraph(Piece, output_schema=Squared).add_node(piece).add_edge(START, "piece")
_fan = StateGraph(State).add_node(first).add_node("inner", _piece.compile()).add_node(gather)
_fan.add_edge(START, "first").add_conditional_edges("first", scatter, ["inner"])
_fan.add_edge("inner", "gather")
fan = _fan.compile(name="fan")


@task
def double(x: int) -> int:
    time.sleep(PACE_S)
    return 2 * x


@task
async def later(x: int) -> int:
    return x + 1


@entrypoint()
def workflow(x: int, *, previous: Any = None) -> Any:
    doubled = [double(i) for i in range(x)]
    values = [future.result() for future in doubled]
    answer = interrupt({"values": values})
    total = later(sum(values)).result()
    found = {"total": total, "answer": answer, "before": previous}
    return entrypoint.final(value=found, save=total)


def draft(state: State) -> State:
    return {"log": ["draft"]}


def review(state: State) -> State:
    if not state.get("approved"):
        raise InterruptedError("waiting for approval")
    return {"log": ["reviewed"]}


def finalize(state: State) -> State:
    return {"log": ["final"]}


_paused = StateGraph(State).add_sequence([draft, review, finalize]).add_edge(START, "draft")
paused = _paused.add_edge("finalize", END).compile(name="paused")

_inside = StateGraph(Inner).add_node(add).add_edge(START, "add").compile()


def call(state: State) -> State:
    """Call a subgraph by code, twice."""
    found = [_inside.invoke({"x": i})["x"] for i in range(2)]
    return {"log": found}


caller = StateGraph(State).add_node(call).add_edge(START, "call").compile(name="caller")


# ---- what to call them with, and what there is to compare ----------------------------------

CASES = {
    "nested": [{"log": ["in"]}, Command(resume="yes")],
    "deep": [{"log": ["in"]}, Command(resume="yes")],
    "steering": [{"log": ["in"]}],
    "broken": [{"log": ["in"]}, None],
    "fan": [{"log": ["in"]}],
    "paused": [{"log": []}, {"approved": True}],
    "caller": [{"log": []}],
    "workflow": [3, Command(resume="fine"), 2, Command(resume="again")],
}


def plain(value: Any) -> Any:
    """Return what a call gave without ids and times, which differ from run to run."""
    if isinstance(value, dict):
        return {
            key: plain(item)
            for key, item in value.items()
            if key not in {"id", "checkpoint_id", "checkpoint_ns", "timestamp", "config"}
        }
    if type(value).__name__ == "Interrupt":
        return ("Interrupt", plain(value.value), value.key)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def seen(graph: CompiledStateGraph, thread: str) -> Any:
    """Return what the state API shows of a thread."""
    return [
        (plain(s.values), s.next, s.metadata["source"], s.metadata["step"])
        for s in graph.get_state_history(thread)
    ]


def graph_on(name: str, **place: Any) -> CompiledStateGraph:
    """Return one of the graphs as it runs at another place."""
    known: CompiledStateGraph = globals()[name]
    made = type(known)(known.spec, **place)
    made.store, made.cache = known.store, known.cache
    return made
