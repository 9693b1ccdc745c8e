"""Graphs in graphs, to be run at every place: some forget, some remember what they did before."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from orchestrator import START, Send, StateGraph, interrupt

__all__ = ["BUILDERS"]


class State(TypedDict, total=False):
    witness: str
    log: Annotated[list[Any], operator.add]


class Memory(TypedDict, total=False):
    """What a subgraph remembers; the graph around it does not have it."""

    witness: str
    said: Annotated[list[Any], operator.add]


def note(state: Any, name: str) -> None:
    """Write down that a node runs."""
    with Path(state["witness"]).open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")


def _says(name: str) -> Any:
    def run(state: Any) -> dict[str, Any]:
        note(state, name)
        return {"log": [name]}

    run.__name__ = name
    return run


def _ask(state: Memory) -> Memory:
    note(state, "ask")
    return {"said": [interrupt(f"after {state.get('said', [])}?")]}


def _first(state: Memory) -> Memory:
    note(state, "first")
    return {"said": ["first"]}


def _row(schema: Any, **nodes: Any) -> StateGraph:
    builder, before = StateGraph(schema), START
    for name, action in nodes.items():
        builder.add_node(name, action).add_edge(before, name)
        before = name
    return builder


def _last(state: Memory) -> Memory:
    note(state, "last")
    return {"said": ["last"]}


def _talk(keeps: bool | None) -> Any:
    return _row(Memory, first=_first, ask=_ask, last=_last).compile(checkpointer=keeps)


def _around(inner: Any) -> StateGraph:
    return _row(State, before=_says("before"), talk=inner, after=_says("after"))


def _deep(keeps: bool | None) -> StateGraph:
    """A graph in a graph in a graph."""
    middle = _row(Memory, early=_first, inner=_talk(keeps)).compile(checkpointer=keeps)
    return _around(middle)


def _calls(state: State) -> State:
    """Call two subgraphs by code; the second asks."""
    note(state, "calls")
    _CALLED.invoke({"witness": state["witness"]})
    found = _ASKED.invoke({"witness": state["witness"]})
    return {"log": [found["said"]]}


_CALLED = _row(Memory, first=_first).compile()
_ASKED = _talk(None)


# ---- several at a time --------------------------------------------------------------------


def _send(_: State) -> list[Send]:
    return [Send("count", {"name": name}) for name in ("a", "b", "c")]


class Told(TypedDict, total=False):
    name: str
    told: Annotated[list[str], operator.add]
    witness: str
    log: Annotated[list[Any], operator.add]


def _count(state: Told) -> Told:
    return {"told": [state["name"]], "log": [[*state.get("told", []), state["name"]]]}


_parallel = StateGraph(State).add_node("count", _row(Told, tell=_count).compile(checkpointer=True))
_parallel.add_conditional_edges(START, _send, ["count"])


_stops = _row(Memory, first=_first, last=_last).compile(interrupt_before=["last"])

BUILDERS: dict[str, StateGraph] = {
    "talks": _around(_talk(None)),
    "remembers": _around(_talk(True)),
    "talks_deep": _deep(None),
    "remembers_deep": _deep(True),
    "stops_inside": _around(_stops),
    "calls": _row(State, talk=_calls, after=_says("after")),
    "remembers_side_by_side": _parallel,
}
