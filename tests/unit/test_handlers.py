"""What langchain's handlers hear of a run."""

from __future__ import annotations

from typing import Any, TypedDict
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from orchestrator import (
    START,
    GraphCallbackHandler,
    MemoryCheckpointer,
    StateGraph,
    interrupt,
)
from tests.fixtures.talking import ASKED, graph_of, shown, speaking


class Numbers(TypedDict, total=False):
    n: int
    m: int


class Hearing(BaseCallbackHandler):
    """Keeps what it hears, as a tree."""

    run_inline = True

    def __init__(self) -> None:
        self.names: dict[UUID, str] = {}
        self.tree: list[tuple[str, str]] = []
        self.ended: list[tuple[str, str]] = []
        self.tags: dict[str, list[str]] = {}

    def _begin(self, name: str, run_id: UUID, parent_run_id: UUID | None, tags: list[str]) -> None:
        self.names[run_id] = name
        self.tree.append((name, self.names.get(parent_run_id, "")))
        self.tags[name] = tags

    def on_chain_start(
        self, serialized, inputs, *, run_id, parent_run_id=None, tags=None, **kwargs
    ):
        self._begin(kwargs["name"], run_id, parent_run_id, tags)

    def on_chat_model_start(
        self, serialized, messages, *, run_id, parent_run_id=None, tags=None, **kwargs
    ):
        self._begin("model", run_id, parent_run_id, tags)

    def on_tool_start(
        self, serialized, input_str, *, run_id, parent_run_id=None, tags=None, **kwargs
    ):
        self._begin(serialized["name"], run_id, parent_run_id, tags)

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.ended.append((self.names[run_id], "done"))

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.ended.append((self.names[run_id], type(error).__name__))


@tool
def look(what: str) -> str:
    """Look at it."""
    return what


def say(state):
    look.invoke("there")
    return {"messages": speaking("good day").invoke("?")}


@pytest.mark.parametrize("streams", [True, False])
def test_handlers_hear_of_graph_nodes_and_what_runs_in_them_as_a_tree(streams):
    heard, run_id = Hearing(), uuid4()
    config = {"callbacks": [heard], "run_name": "mine", "run_id": run_id, "tags": ["tagged"]}
    graph = graph_of(graph_of(say))
    if streams:
        list(graph.stream(ASKED, config, stream_mode="messages"))
    else:
        graph.invoke(ASKED, config)
    assert heard.tree == [
        ("mine", ""),
        ("inner", "mine"),
        ("LangGraph", "inner"),
        ("say", "LangGraph"),
        ("look", "say"),
        ("model", "say"),
    ]
    assert heard.names[run_id] == "mine"
    assert heard.ended == [
        ("say", "done"),
        ("LangGraph", "done"),
        ("inner", "done"),
        ("mine", "done"),
    ]
    assert all("tagged" in tags for tags in heard.tags.values())


def test_handlers_hear_of_failures():
    def fails(state):
        raise ValueError("no")

    heard = Hearing()
    with pytest.raises(ValueError, match="no"):
        graph_of(fails).invoke(ASKED, {"callbacks": [heard], "run_name": "mine"})
    assert heard.ended[-2:] == [("fails", "ValueError"), ("mine", "ValueError")]


def test_a_graph_inside_a_runnable_inherits_its_handlers():
    heard = Hearing()
    graph = graph_of(say)
    outer = RunnableLambda(graph.invoke).with_config(run_name="outer")
    outer.invoke(ASKED, {"callbacks": [heard]})
    assert ("LangGraph", "outer") in heard.tree
    assert ("model", "say") in heard.tree


def test_a_graph_of_its_own_that_a_node_calls_is_heard_below_the_node():
    own = graph_of(say, saver=MemoryCheckpointer())

    def calls(state):
        own.invoke(ASKED, {"thread_id": "other"})

    heard = Hearing()
    graph = graph_of(calls)
    graph.invoke(ASKED, {"callbacks": [heard], "run_name": "mine"})
    assert {("LangGraph", "calls"), ("say", "LangGraph"), ("model", "say")} <= set(heard.tree)
    assert shown(graph) == []  # Its threads are its own, and so is its stream.


def test_handlers_that_hear_of_pauses_only_do_not_disturb_langchain():
    class Pauses(GraphCallbackHandler):
        paused: Any = None

        def on_interrupt(self, event: Any) -> None:
            self.paused = event

    def ask(state):
        speaking("good day").invoke("?")
        return {"messages": [AIMessage(interrupt("name?"), id="a")]}

    pauses, heard = Pauses(), Hearing()
    config = {"thread_id": "t", "callbacks": [pauses, heard], "run_name": "mine"}
    graph_of(ask, saver=MemoryCheckpointer()).invoke(ASKED, config)
    assert pauses.paused.interrupts[0].value == "name?"
    assert ("model", "ask") in heard.tree
    assert heard.ended[-2:] == [("ask", "GraphInterrupt"), ("mine", "done")]


def test_a_node_finds_no_run_id_in_its_config():
    seen: list[Any] = []

    def look_at(state, config):
        seen.append(config)

    graph_of(look_at).invoke(ASKED, {"run_id": uuid4(), "run_name": "mine", "tags": ["x"]})
    assert {"run_id", "run_name"}.isdisjoint(seen[0])
    assert seen[0]["tags"] == ["x"]


@pytest.mark.parametrize(
    ("keys", "shown_"), [("n", 2), (["n"], {"n": 2}), (None, {"n": 2, "m": 3})]
)
def test_handlers_hear_of_the_output_that_the_call_asks_for(keys, shown_):
    class Ends(BaseCallbackHandler):
        run_inline = True

        def __init__(self):
            self.outputs = []

        def on_chain_end(self, outputs, *, run_id, parent_run_id=None, **kwargs):
            if parent_run_id is None:
                self.outputs.append(outputs)

    ends = Ends()
    builder = StateGraph(Numbers).add_node("a", lambda _: {"n": 2, "m": 3}).add_edge(START, "a")
    graph = builder.compile()
    graph.invoke({"n": 1}, {"callbacks": [ends]}, output_keys=keys)
    list(graph.stream({"n": 1}, {"callbacks": [ends]}, output_keys=keys))
    assert ends.outputs == [shown_, shown_]
