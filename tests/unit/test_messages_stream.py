"""The stream mode `messages`."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage

from orchestrator import (
    START,
    Command,
    MemoryCheckpointer,
    MessagesState,
    RetryPolicy,
    StateGraph,
    TimeoutPolicy,
    interrupt,
    push_message,
)
from orchestrator.client.subgraphs import step_runner
from orchestrator.client.thread_calls import Calls
from orchestrator.engine.accept import RunConfig
from orchestrator.errors import InvalidUpdateError
from orchestrator.step.runner import run_step
from orchestrator.step.store_access import Access
from tests.fixtures.talking import ASKED, graph_of, shown, speaking

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
        runner = step_runner(graph, Access(store, graph.owner), "q")
        while ready:
            ready = run_step(runner, "t", ready[0].step_id).ready
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
