"""Graphs that say things, to be run at every place: messages, and streams of graphs in a node."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage

from orchestrator import START, MessagesState, Send, StateGraph, get_stream_writer
from tests.semantics.notes import BoomError, note

__all__ = ["BUILDERS"]


class State(TypedDict, total=False):
    witness: str
    log: Annotated[list[Any], operator.add]


# ---- a conversation ---------------------------------------------------------------------


class Talk(MessagesState):
    """A conversation; `last` names who is to fail once."""

    witness: str
    last: Any


GREETING = AIMessage("hello from all")  # Returned by several steps: it is left as it is.


def speak(state: dict[str, Any]) -> dict[str, Any]:
    """Say two things without ids, one of them what others say, too."""
    name = state["name"]
    if note(state, name) == 1 and name == state["fails"]:
        raise BoomError("the first time")
    return {"messages": [AIMessage(f"{name} speaks"), GREETING]}


def to_speakers(state: Talk) -> list[Send]:
    """Send three speakers side by side."""
    known = {"witness": state["witness"], "fails": state["last"]}
    return [Send("speak", {**known, "name": name}) for name in ("ada", "bob", "cy")]


_converses = StateGraph(Talk).add_node("speak", speak).add_conditional_edges(START, to_speakers)


# ---- two graphs that one node calls -------------------------------------------------------


class Left(TypedDict, total=False):
    witness: str
    left: int


class Right(TypedDict, total=False):
    witness: str
    right: list[AIMessage]


def go_left(state: Left) -> Left:
    note(state, "go_left")
    return {"left": 1}


def go_right(state: Right) -> Right:
    note(state, "go_right")
    get_stream_writer()(AIMessage("on the right"))
    return {"right": [AIMessage("right")]}


_left = StateGraph(Left).add_node(go_left).add_edge(START, "go_left").compile()
_right = StateGraph(Right).add_node(go_right).add_edge(START, "go_right").compile()


def call_both(state: State) -> State:
    note(state, "call_both")
    seen = {"witness": state["witness"]}
    left, right = _left.invoke(seen), _right.invoke(seen)
    return {"log": [left["left"], right["right"][0].content]}


BUILDERS: dict[str, StateGraph] = {
    "converses": _converses,
    "two_graphs": StateGraph(State).add_node(call_both).add_edge(START, "call_both"),
}
