"""A graph that shows what a run was started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool

from orchestrator import START, Runtime, StateGraph, add_messages, interrupt


@dataclass
class Context:
    user: str
    language: str = "en"


class State(TypedDict, total=False):
    text: str
    answer: str
    messages: Annotated[list[Any], add_messages]


def greet(state: State, runtime: Runtime[Context]) -> State:
    context = runtime.context
    return {"text": f"{context.user} ({context.language})" if context else "nobody"}


def speak(state: State) -> State:
    model = GenericFakeChatModel(messages=iter([AIMessage("one two")]))
    return {"messages": [model.invoke("?")]}


def ask(state: State) -> State:
    return {"answer": interrupt("sure?")}


async def look_up(text: str = "") -> dict[str, str]:
    """Look something up, as a tool of an MCP server: it can only be awaited."""
    return {"answer": f"found {text}"}


def fail(state: State) -> State:
    raise ValueError(state["text"])


greets = (
    StateGraph(State, context_schema=Context)
    .add_node(greet)
    .add_edge(START, "greet")
    .compile(name="greets")
)
speaks = StateGraph(State).add_node(speak).add_edge(START, "speak").compile(name="speaks")
asks = StateGraph(State).add_sequence([ask, speak]).add_edge(START, "ask").compile(name="asks")
fails = StateGraph(State).add_node(fail).add_edge(START, "fail").compile(name="fails")
looks = (
    StateGraph(State)
    .add_node("look", StructuredTool.from_function(coroutine=look_up, name="look_up"))
    .add_edge(START, "look")
    .compile(name="looks")
)
