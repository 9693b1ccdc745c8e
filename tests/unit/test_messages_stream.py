"""The stream mode `messages`, and what langchain's handlers hear of a run."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from typing import Any, TypedDict
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from orchestrator import (
    START,
    Command,
    GraphCallbackHandler,
    MemoryCheckpointer,
    MessagesState,
    RetryPolicy,
    StateGraph,
    TimeoutPolicy,
    interrupt,
    push_message,
)
from orchestrator.client.calls import Calls
from orchestrator.core.accepting import RunConfig
from orchestrator.errors import InvalidUpdateError

ASKED = {"messages": [HumanMessage("hi", id="asked")]}


def speaking(text: str, name: str = "said") -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(text, id=name)] * 9))


def graph_of(*nodes: Any, saver: Any = None, **options: Any) -> Any:
    """Return a chain of nodes."""
    builder, before = StateGraph(MessagesState), START
    for node in nodes:
        name = node.__name__ if callable(node) else "inner"
        builder.add_node(name, node, **options).add_edge(before, name)
        before = name
    return builder.compile(saver)


def shown(graph: Any, value: Any = ASKED, **options: Any) -> list[tuple[str, str]]:
    """Return the nodes and texts that a reader of messages sees."""
    parts = graph.stream(value, {"thread_id": "t"}, stream_mode="messages", **options)
    return [(metadata["langgraph_node"], message.text) for message, metadata in parts]


# ---- messages -----------------------------------------------------------------------------------


def test_tokens_are_shown_while_the_node_runs():
    read = threading.Event()

    def say(state):
        parts = speaking("good day").stream("?")
        next(parts)
        assert read.wait(timeout=10)

    for message, _ in graph_of(say).stream(ASKED, stream_mode="messages"):
        read.set()
        assert message.text == "good"


def test_a_model_does_not_stream_for_nobody():
    class Counting(GenericFakeChatModel):
        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("nobody reads tokens")

    def say(state):
        return {"messages": Counting(messages=iter([AIMessage("all", id="all")])).invoke("?")}

    parts = list(graph_of(say).stream(ASKED, stream_mode=["updates", "custom"]))
    assert [mode for mode, _ in parts] == ["updates"]


def test_steps_side_by_side_show_each_their_own():
    def one(state):
        return {"messages": speaking("first here", "1").invoke("?")}

    def two(state):
        return {"messages": speaking("second there", "2").invoke("?")}

    builder = StateGraph(MessagesState).add_node("one", one).add_node("two", two)
    graph = builder.add_edge(START, "one").add_edge(START, "two").compile()
    seen = shown(graph)
    assert [text for node, text in seen if node == "one"] == ["first", " ", "here"]
    assert [text for node, text in seen if node == "two"] == ["second", " ", "there"]


def test_a_node_with_a_time_limit_shows_tokens_too():
    def say(state):
        return {"messages": speaking("good day").invoke("?")}

    graph = graph_of(say, timeout=TimeoutPolicy(run_timeout=60))
    assert shown(graph) == [("say", "good"), ("say", " "), ("say", "day")]


def test_what_an_error_handler_returns_is_shown():
    def say(state):
        raise ValueError("no")

    def sorry(state):
        return {"messages": [AIMessage("sorry", id="sorry")]}

    assert shown(graph_of(say, error_handler=sorry)) == [("say", "sorry")]


def test_a_command_for_the_graph_around_is_not_shown_as_a_message_of_its_node():
    def leave(state):
        update = {"messages": [AIMessage("bye", id="bye")]}
        return Command(graph=Command.PARENT, update=update, goto="last")

    def last(state):
        return None

    builder = StateGraph(MessagesState).add_node("inner", graph_of(leave)).add_node("last", last)
    graph = builder.add_edge(START, "inner").compile(MemoryCheckpointer())
    assert shown(graph) == []
    assert graph.get_state({"thread_id": "t"}).values["messages"][-1].text == "bye"


def test_messages_are_shown_again_neither_after_an_answer_nor_by_the_next_run():
    def ask(state):
        return {"messages": [AIMessage(interrupt("name?"), id=f"a{len(state['messages'])}")]}

    graph = graph_of(ask, saver=MemoryCheckpointer())
    assert shown(graph) == []
    assert shown(graph, Command(resume="Ada")) == [("ask", "Ada")]
    assert shown(graph, {"messages": [HumanMessage("again", id="more")]}) == []


def test_parts_have_the_forms_of_other_modes():
    def say(state):
        return {"messages": [AIMessage("x", id="x")]}

    graph = graph_of(say)
    (part,) = graph.stream(ASKED, stream_mode="messages", version="v2")
    assert (part["type"], part["ns"], part["data"][0].id) == ("messages", (), "x")
    ((mode, (message, _)),) = graph.invoke(ASKED, stream_mode=["messages"])
    assert (mode, message.id) == ("messages", "x")


def test_the_state_keeps_a_message_under_the_id_that_was_shown():
    def say(state):
        return {"messages": [AIMessage("x")]}

    graph = graph_of(say, saver=MemoryCheckpointer())
    ((message, _),) = graph.stream(ASKED, "t", stream_mode="messages")
    assert graph.get_state("t").values["messages"][-1].id == message.id


def test_on_a_fleet_messages_are_written_to_the_log_if_the_run_asks_for_them():
    def say(state):
        push_message(AIMessage("pushed", id="p"))
        return {"messages": [*state["messages"], speaking("good day").invoke("?")]}

    for reads in (True, False):
        store = MemoryCheckpointer()
        graph = graph_of(say, saver=store)
        config = RunConfig(run_id="r", messages=reads)
        _, ready = Calls(store, graph.records, "q").accept("t", "g", ASKED, config)
        protocol = replace(graph.protocol(store), default_queue="q")
        while ready:
            ready = protocol.run("t", ready[0].step_id).ready
        logged = [e.fields["data"] for e in store.events("t") if e.type == "stream_messages"]
        parts = [graph.records.decode(data) for data in logged]
        texts = [message.text for message, _, _ in parts]
        assert texts == (["pushed", "good", " ", "day"] if reads else [])
        assert all(metadata["langgraph_node"] == "say" for _, metadata, _ in parts)


# ---- push_message -------------------------------------------------------------------------------


def test_a_pushed_message_is_in_the_state_and_seen_by_the_routers():
    seen: list[list[str]] = []

    def say(state):
        push_message(AIMessage("pushed", id="p"))

    def where(state):
        seen.append([message.id for message in state["messages"]])
        return "__end__"

    builder = StateGraph(MessagesState).add_node("say", say).add_edge(START, "say")
    result = builder.add_conditional_edges("say", where).compile().invoke(ASKED)
    assert [message.id for message in result["messages"]] == ["asked", "p"]
    assert seen == [["asked", "p"]]


def test_what_a_failed_attempt_pushed_is_not_written():
    tries: list[str] = []

    def say(state):
        tries.append("try")
        push_message(AIMessage("pushed", id=f"p{len(tries)}"))
        if len(tries) == 1:
            raise ValueError("again")

    retry = RetryPolicy(initial_interval=0, retry_on=ValueError)
    result = graph_of(say, retry_policy=retry).invoke(ASKED)
    assert [message.id for message in result["messages"]] == ["asked", "p2"]


def test_pushing_to_a_key_that_the_state_does_not_have_is_refused():
    def say(state):
        push_message(AIMessage("pushed", id="p"), state_key="mesages")

    with pytest.raises(InvalidUpdateError, match=r"'mesages'.* names no key.*messages"):
        graph_of(say).invoke(ASKED)


def test_a_state_without_messages_only_shows_what_is_pushed():
    class State(TypedDict, total=False):
        word: str

    def say(state):
        push_message(AIMessage("pushed", id="p"))
        return {"word": "said"}

    graph = StateGraph(State).add_node(say).add_edge(START, "say").compile()
    assert graph.invoke({}) == {"word": "said"}
    assert shown(graph, {}) == [("say", "pushed")]


@pytest.mark.parametrize("reads", [True, False])
def test_without_langchain_pushed_messages_are_shown_and_nothing_imports_it(reads):
    code = f"""
        import sys
        {"sys.modules['langchain_core'] = None" if reads else ""}
        from orchestrator import START, StateGraph, push_message
        from typing import TypedDict
        class State(TypedDict, total=False):
            word: str
        def say(state):
            {"push_message({'role': 'ai', 'content': 'look', 'id': 'p'})" if reads else ""}
            return {{"word": "said"}}
        graph = StateGraph(State).add_node(say).add_edge(START, "say").compile()
        mode = "messages" if {reads} else "updates"
        for part in graph.stream({{}}, stream_mode=mode):
            print(part[0]["content"] if {reads} else part)
        print(sys.modules.get("langchain_core"))
    """
    ran = subprocess.run(  # Of its own: here langchain is imported already.
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    said = "look" if reads else "{'say': {'word': 'said'}}"
    assert (ran.stderr, ran.stdout.split("\n")) == ("", [said, "None", ""])


# ---- handlers -----------------------------------------------------------------------------------


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
        ("__start__", "mine"),
        ("inner", "mine"),
        ("__start__", "inner"),
        ("say", "inner"),
        ("look", "say"),
        ("model", "say"),
    ]
    assert heard.names[run_id] == "mine"
    assert heard.ended == [
        ("__start__", "done"),
        ("__start__", "done"),
        ("say", "done"),
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
    assert ("graph", "outer") in heard.tree
    assert ("model", "say") in heard.tree


def test_a_graph_of_its_own_that_a_node_calls_is_heard_below_the_node():
    own = graph_of(say, saver=MemoryCheckpointer())

    def calls(state):
        own.invoke(ASKED, {"thread_id": "other"})

    heard = Hearing()
    graph = graph_of(calls)
    graph.invoke(ASKED, {"callbacks": [heard], "run_name": "mine"})
    assert {("graph", "calls"), ("say", "graph"), ("model", "say")} <= set(heard.tree)
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
    graph = graph_of(ask, saver=MemoryCheckpointer())
    graph.invoke(ASKED, {"thread_id": "t", "callbacks": [pauses, heard], "run_name": "mine"})
    assert pauses.paused.interrupts[0].value == "name?"
    assert ("model", "ask") in heard.tree
    assert heard.ended[-2:] == [("ask", "GraphInterrupt"), ("mine", "done")]


def test_a_node_finds_no_run_id_in_its_config():
    seen: list[Any] = []

    def look_at(state, config):
        seen.append(config)

    graph_of(look_at).invoke(ASKED, {"run_id": uuid4(), "run_name": "mine", "tags": ["x"]})
    assert "run_id" not in seen[0]
    assert "run_name" not in seen[0]
    assert seen[0]["tags"] == ["x"]
