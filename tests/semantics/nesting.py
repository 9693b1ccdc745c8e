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


def _row(schema: Any, output: Any = None, **nodes: Any) -> StateGraph:
    builder, before = StateGraph(schema, output_schema=output), START
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


class Told(TypedDict, total=False):
    """What a subgraph remembers, and what it gives the graph around it."""

    witness: str
    name: str
    told: Annotated[list[str], operator.add]
    log: list[Any]


class Given(TypedDict, total=False):
    log: list[Any]


def _tell(state: Told) -> Told:
    name, before = state["name"], state.get("told", [])
    note(state, name)
    return {"told": [name], "log": [[*before, name]]}


def _ask_name(state: Told) -> Told:
    note(state, state["name"])
    told = interrupt(f"{state['name']}?")
    return {"told": [told], "log": [[*state.get("told", []), told]]}


def _send(state: State) -> list[Send]:
    return [Send("tell", {"name": n, "witness": state["witness"]}) for n in ("a", "b", "c")]


def _side_by_side(node: Any) -> StateGraph:
    builder = StateGraph(State).add_node("tell", node).add_node("other", _says("other"))
    return builder.add_edge(START, "other").add_conditional_edges(START, _send, ["tell"])


def _fail_once(state: Told) -> Told:
    name = state["name"]
    note(state, name)
    if name == "b" and Path(state["witness"]).read_text("utf-8").split().count("b") == 1:
        raise ValueError(name)
    return {"told": [name], "log": [[*state.get("told", []), name]]}


_fails = _row(Told, Given, tell=_fail_once).compile(checkpointer=True)
_remembers = _row(Told, Given, tell=_tell).compile(checkpointer=True)
_asks = _row(Told, Given, ask=_ask_name).compile(checkpointer=True)


def _call(state: Told) -> State:
    found = _remembers.invoke({"name": state["name"], "witness": state["witness"]})
    return {"log": found["log"][-1:]}


_stops = _row(Memory, first=_first, last=_last).compile(interrupt_before=["last"])

BUILDERS: dict[str, StateGraph] = {
    "talks": _around(_talk(None)),
    "remembers": _around(_talk(True)),
    "talks_deep": _deep(None),
    "remembers_deep": _deep(True),
    "stops_inside": _around(_stops),
    "calls": _row(State, talk=_calls, after=_says("after")),
    "remember_by_turns": _side_by_side(_remembers),
    "fail_by_turns": _side_by_side(_fails),
    "ask_by_turns": _side_by_side(_asks),
    "call_by_turns": _side_by_side(_call),
    "deep_by_turns": _side_by_side(_row(Told, Given, inner=_remembers).compile()),
    "deep_ask_by_turns": _side_by_side(_row(Told, Given, inner=_asks).compile()),
}
