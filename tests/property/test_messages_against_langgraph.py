"""What readers of the stream mode `messages` see is what LangGraph shows of the same graph.

Chains of nodes are drawn at random; each does one of the things that concern messages, in a
function, a coroutine or a subgraph. Compared is all that is streamed: namespaces, messages, their
ids, their metadata. What differs, and is left out (`plain`):

- the ids in namespaces, and `ls_integration`, by which LangGraph names itself to LangSmith;
- `checkpoint_ns` in metadata, which langchain copies from the config: in a subgraph LangGraph's
  names the step around it, ours the step itself, as `langgraph_checkpoint_ns` does in both.
"""

from __future__ import annotations

import asyncio
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import langgraph.checkpoint.memory
import langgraph.graph
import langgraph.graph.message
import langgraph.types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.language_models.fake_chat_models import (
    FakeListChatModel,
    FakeMessagesListChatModel,
    GenericFakeChatModel,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool

import orchestrator

OURS = types.SimpleNamespace(
    StateGraph=orchestrator.StateGraph,
    State=orchestrator.MessagesState,
    Command=orchestrator.Command,
    push_message=orchestrator.push_message,
    Saver=orchestrator.MemoryCheckpointer,
)
THEIRS = types.SimpleNamespace(
    StateGraph=langgraph.graph.StateGraph,
    State=langgraph.graph.MessagesState,
    Command=langgraph.types.Command,
    push_message=langgraph.graph.message.push_message,
    Saver=langgraph.checkpoint.memory.InMemorySaver,
)

# ---- what nodes do ------------------------------------------------------------------------------


def speaking(text: str, name: str | None) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(text, id=name)] * 3))


@tool
def twice(text: str) -> str:
    """Say it twice."""
    return text + text


def models(library: Any, name: str) -> dict[str, Callable[[Any, Any], Any]]:
    """Return what a node may do with a model: given the state and the node's config."""
    known, unknown = speaking("good day", f"{name}-said"), speaking("hello you", None)
    letters = FakeListChatModel(responses=["abc"])
    whole = FakeMessagesListChatModel(responses=[AIMessage("all at once", id=f"{name}-whole")])
    quiet = speaking("psst", f"{name}-quiet").with_config(tags=["nostream"])
    tagged = speaking("well then", f"{name}-tagged").with_config(
        tags=["mine"], metadata={"more": name}
    )
    chain = RunnableLambda(lambda text: f"{text}!") | speaking("so long", f"{name}-chain")

    def streamed(state: Any, config: Any) -> Any:
        text = "".join(chunk.text for chunk in known.stream(state["messages"]))
        return {"messages": [AIMessage(text, id=f"{name}-joined")]}

    def two(state: Any, config: Any) -> Any:
        first = known.invoke(state["messages"])
        return {"messages": [first, tagged.invoke([*state["messages"], first], config)]}

    return {
        "known": lambda state, config: {"messages": known.invoke(state["messages"])},
        "config passed": lambda state, config: {"messages": known.invoke("hi", config)},
        "unknown": lambda state, config: {"messages": [unknown.invoke(state["messages"])]},
        "letters": lambda state, config: {"messages": letters.invoke(state["messages"])},
        "whole": lambda state, config: {"messages": whole.invoke(state["messages"])},
        "quiet": lambda state, config: {"messages": quiet.invoke(state["messages"])},
        "quiet, dropped": lambda state, config: quiet.invoke(state["messages"]) and None,
        "tagged": lambda state, config: {"messages": tagged.invoke(state["messages"])},
        "chain": lambda state, config: {"messages": chain.invoke("hm")},
        "batch": lambda state, config: {"messages": known.batch(["a"], config)},
        "dropped": lambda state, config: known.invoke("only to think") and None,
        "streamed": streamed,
        "two": two,
    }


def results(library: Any, name: str) -> dict[str, Callable[[Any, Any], Any]]:
    """Return what a node may do without a model."""
    said = AIMessage("mine", id=f"{name}-mine")

    def pushes(state: Any, config: Any) -> Any:
        library.push_message(AIMessage("pushed", id=f"{name}-pushed"))
        return {"messages": [AIMessage("after", id=f"{name}-after")]}

    def shows(state: Any, config: Any) -> Any:
        library.push_message({"role": "ai", "content": "look", "id": "shown"}, state_key=None)

    def pushes_again(state: Any, config: Any) -> Any:
        library.push_message(said)
        return {"messages": [said]}

    return {
        "nothing": lambda state, config: None,
        "one": lambda state, config: {"messages": said},
        "no id": lambda state, config: {"messages": [AIMessage("nameless")]},
        "person": lambda state, config: {"messages": [HumanMessage("me", id=f"{name}-me")]},
        "plain": lambda state, config: {"messages": [{"role": "ai", "content": "plain"}]},
        "text": lambda state, config: {"messages": "text"},
        "all again": lambda state, config: {"messages": [*state["messages"], said]},
        "command": lambda state, config: library.Command(update={"messages": [said]}),
        "commands": lambda state, config: [
            library.Command(update={"messages": [said]}),
            {"messages": [AIMessage("next", id=f"{name}-next")]},
        ],
        "tool": lambda state, config: {
            "messages": [ToolMessage(twice.invoke("ab"), tool_call_id="1", id=f"{name}-tool")]
        },
        "pushes": pushes,
        "shows": shows,
        "pushes again": pushes_again,
    }


@dataclass(frozen=True)
class Node:
    does: str
    kind: str = "function"  # Or "coroutine", "runnable".
    routes: bool = False  # Whether a router follows that asks a model.
    inner: tuple[Node, ...] = ()  # A subgraph instead.


DOES = [*models(OURS, ""), *results(OURS, "")]


def node_of(library: Any, plan: Node, name: str) -> Any:
    if plan.inner:
        return graph_of(library, plan.inner, name, None)
    act = {**models(library, name), **results(library, name)}[plan.does]

    def call(state: Any, config: RunnableConfig) -> Any:
        return act(state, config)

    async def acall(state: Any, config: RunnableConfig) -> Any:
        await asyncio.sleep(0)
        return act(state, config)

    call.__annotations__ = acall.__annotations__ = {"config": RunnableConfig}
    if plan.kind == "runnable":
        return RunnableLambda(call)
    return acall if plan.kind == "coroutine" else call


def graph_of(library: Any, plans: tuple[Node, ...], name: str, saver: Any) -> Any:
    builder = library.StateGraph(library.State)
    before = langgraph.graph.START
    for number, plan in enumerate(plans):
        own = f"{name}{number}"
        builder.add_node(own, node_of(library, plan, own))
        if number and plans[number - 1].routes:
            model = speaking("go on", f"{own}-route")
            builder.add_conditional_edges(
                before, lambda _, model=model, own=own: model.invoke("where?") and own, [own]
            )
        else:
            builder.add_edge(before, own)
        before = own
    return builder.compile(saver)


# ---- what is streamed ---------------------------------------------------------------------------

CONFIG = {
    "configurable": {"thread_id": "t", "who": "me"},
    "tags": ["outer"],
    "metadata": {"kind": "test"},
}


def parts_of(library: Any, plans: tuple[Node, ...], *, asynchronous: bool, **options: Any) -> Any:
    graph = graph_of(library, plans, "n", library.Saver())
    value = {"messages": [HumanMessage("hi", id="asked")]}
    if not asynchronous:
        parts = list(graph.stream(value, CONFIG, **options))
    else:

        async def collect() -> list[Any]:
            return [part async for part in graph.astream(value, CONFIG, **options)]

        parts = asyncio.run(collect())
    ids: dict[str, str] = {}
    return [plain(part, ids) for part in parts]


def plain(value: Any, ids: dict[str, str]) -> Any:
    """Return a part with what differs from run to run replaced; random ids are numbered."""
    if isinstance(value, tuple):
        return tuple(plain(item, ids) for item in value)
    if isinstance(value, list):
        return [plain(item, ids) for item in value]
    if isinstance(value, dict):
        return {
            key: sorted(item) if key == "tags" else plain(item, ids)
            for key, item in value.items()
            if (key, item) != ("ls_integration", "langgraph") and key != "checkpoint_ns"
        }
    if isinstance(value, str):
        named = re.sub(r"(\w+):[0-9a-f-]{32,36}", r"\1", value)
        if re.fullmatch(r"(lc_run--)?[0-9a-f-]{36}(-\d+)?", named):
            return ids.setdefault(named, f"id {len(ids)}")
        return named
    if hasattr(value, "model_dump"):
        return type(value).__name__, plain(value.model_dump(), ids)
    return value


nodes = st.builds(
    Node,
    does=st.sampled_from(DOES),
    kind=st.sampled_from(["function", "coroutine", "runnable"]),
    routes=st.booleans(),
)
inner = st.builds(Node, does=st.just(""), inner=st.lists(nodes, min_size=1, max_size=2).map(tuple))
plans = st.lists(nodes | nodes | inner, min_size=1, max_size=4).map(tuple)
modes = st.sampled_from(["messages", ["messages"], ["updates", "messages"], ["values", "messages"]])


@given(plans, modes, st.booleans(), st.booleans())
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
def test_readers_of_messages_see_what_langgraph_shows(plans, mode, subgraphs, asynchronous):
    if not asynchronous and any(n.kind == "coroutine" for p in plans for n in (p, *p.inner)):
        asynchronous = True  # LangGraph runs coroutines only from an event loop.
    how = {"stream_mode": mode, "subgraphs": subgraphs, "asynchronous": asynchronous}
    assert parts_of(OURS, plans, **how) == parts_of(THEIRS, plans, **how)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("does", DOES)
def test_each_thing_a_node_can_do_shows_the_same(does, asynchronous):
    plans = (Node("one"), Node(does, routes=True), Node("all again"))
    how = {"stream_mode": ["messages", "updates"], "asynchronous": asynchronous}
    ours = parts_of(OURS, plans, **how)
    assert ours == parts_of(THEIRS, plans, **how)
    assert any(mode == "messages" for mode, _ in ours)


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("does", DOES)
def test_each_thing_a_node_of_a_subgraph_can_do_shows_the_same(does, subgraphs):
    plans = (Node("one"), Node("", inner=(Node(does, routes=True), Node("two"))), Node("all again"))
    how = {"stream_mode": ["messages", "updates"], "asynchronous": False, "subgraphs": subgraphs}
    assert parts_of(OURS, plans, **how) == parts_of(THEIRS, plans, **how)
