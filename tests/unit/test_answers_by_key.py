"""An answer names its question by id or by key."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, StateGraph, interrupt
from orchestrator.client.graph import CompiledStateGraph
from orchestrator.client.thread_calls import Calls
from orchestrator.errors import UnknownInterruptError


class State(TypedDict, total=False):
    legal: Any
    finance: Any


def asking(**keys: str) -> CompiledStateGraph:
    builder = StateGraph(State)
    for name, key in keys.items():

        def node(_: State, name: str = name, key: str = key) -> State:
            return {name: interrupt(f"{name}?", key=key)}  # type: ignore[misc]

        builder.add_node(name, node).add_edge(START, name)
    return builder.compile(MemoryCheckpointer())


def answer(graph: CompiledStateGraph, value: object, to: str) -> None:
    Calls(graph.checkpointer, graph.records).answer("t", value, to)  # type: ignore[arg-type]


def test_a_key_names_the_open_question_that_has_it() -> None:
    graph = asking(legal="law", finance="money")
    graph.invoke({}, "t")
    answer(graph, "fine", "money")
    (left,) = graph.get_state("t").interrupts
    assert left.key == "law"


def test_a_key_of_several_open_questions_is_refused_with_their_ids() -> None:
    graph = asking(legal="same", finance="same")
    graph.invoke({}, "t")
    with pytest.raises(UnknownInterruptError, match="names 2: use one of the ids") as caught:
        answer(graph, "fine", "same")
    assert set(caught.value.pending_ids) == {one.id for one in graph.get_state("t").interrupts}


def test_a_name_that_is_neither_is_refused() -> None:
    graph = asking(legal="law")
    graph.invoke({}, "t")
    with pytest.raises(UnknownInterruptError, match="no open interrupt 'money'"):
        answer(graph, "fine", "money")


def test_a_graph_shows_its_name_its_nodes_and_its_checkpointer() -> None:
    graph = asking(legal="a", finance="b")
    assert repr(graph) == (
        "<CompiledStateGraph 'graph': nodes legal, finance; checkpointer MemoryCheckpointer>"
    )
    builder = StateGraph(State)
    for number in range(20):
        builder.add_node(f"n{number}", lambda state: state).add_edge(START, f"n{number}")
    assert "n7, … (20 in all); checkpointer None" in repr(builder.compile())
