"""A thread outlives changes of its graph: nothing is lost, and what cannot go on says why."""

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, Command, MemoryCheckpointer, StateGraph, interrupt
from orchestrator.errors import GraphMismatchError, InvalidUpdateError


class Old(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    dropped: str


class New(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    added: int


def note(name: str) -> Callable[[Any], Any]:
    return lambda state: {"log": [name]}


def fail(state: Any) -> None:
    raise ValueError("no")


def new(store: MemoryCheckpointer) -> Any:
    builder = StateGraph(New).add_node("a", note("a")).add_node("x", note("x"))
    return builder.add_edge(START, "a").add_edge("a", "x").compile(store)


finish = note("last")


def old(store: MemoryCheckpointer, last: Callable[[Any], Any] = finish) -> Any:
    """A run of it leaves a join half open, then runs `gone`."""
    builder = StateGraph(Old).add_node("a", note("a")).add_node("b", note("b"))
    builder.add_node("c", note("c")).add_node("gone", last).add_edge(["a", "b"], "c")
    return builder.add_edge(START, "a").add_edge("a", "gone").compile(store)


def left(last: Callable[[Any], Any]) -> MemoryCheckpointer:
    """A thread that waits in `gone`."""
    store = MemoryCheckpointer()
    if last is fail:
        with pytest.raises(ValueError, match="no"):
            old(store, last).invoke({"dropped": "kept"}, "t")
    else:
        old(store, last).invoke({"dropped": "kept"}, "t")
    return store


def ask(state: Any) -> Any:
    return {"log": [interrupt("sure?")]}


def test_a_new_input_runs_on_the_changed_graph() -> None:
    store = left(finish)
    assert new(store).invoke({"added": 1}, "t") == {"log": ["a", "last", "a", "x"], "added": 1}


def test_keys_that_the_new_graph_does_not_know_are_kept() -> None:
    store = left(finish)
    new(store).invoke({"added": 1}, "t")
    assert old(store).get_state("t").values["dropped"] == "kept"


@pytest.mark.parametrize("last", [fail, ask])
@pytest.mark.parametrize("value", [None, Command(resume="yes")])
def test_what_waits_in_a_node_that_is_gone_says_so_and_changes_nothing(
    last: Callable[[Any], Any], value: Any
) -> None:
    store = left(last)
    before = (store.load("t"), store.events("t"))
    with pytest.raises(
        GraphMismatchError, match="waits in 'gone': the graph 'graph' has"
    ) as caught:
        new(store).invoke(value, "t")
    assert caught.value.code == "GRAPH_MISMATCH"
    assert (store.load("t").head, store.events("t")) == (before[0].head, before[1])


def test_it_can_be_looked_at_all_the_same() -> None:
    state = new(left(fail)).get_state("t")
    assert (state.values, state.next) == ({"log": ["a"]}, ("gone",))


def test_it_goes_on_with_the_graph_as_it_was() -> None:
    store = left(fail)
    assert old(store).invoke(None, "t")["log"] == ["a", "last"]


def test_it_goes_on_with_the_new_graph_once_it_is_planned_anew() -> None:
    store = left(fail)
    graph = new(store)
    graph.update_state("t", {"added": 2}, as_node="a")
    assert graph.get_state("t").next == ("x",)
    assert graph.invoke(None, "t") == {"log": ["a", "x"], "added": 2}


def test_an_update_as_a_node_that_is_gone_must_say_as_which() -> None:
    graph = new(left(finish))
    with pytest.raises(InvalidUpdateError, match="'gone' ran last, which this graph does not have"):
        graph.update_state("t", {"added": 2})


def test_a_finished_thread_has_nothing_that_could_be_gone() -> None:
    graph = new(left(finish))
    assert graph.invoke(None, "t") == {"log": ["a", "last"]}


def calling(store: MemoryCheckpointer, *nodes: str) -> Any:
    """A graph whose node calls a subgraph, which asks in its last node."""
    inner = StateGraph(New)
    for name, before in zip(nodes, (START, *nodes), strict=False):
        inner.add_node(name, ask if name == nodes[-1] else note(name)).add_edge(before, name)
    called = inner.compile()

    def sub(state: New) -> Any:
        return called.invoke(state)

    builder = StateGraph(New).add_node("sub", sub)
    return builder.add_edge(START, "sub").compile(store)


@pytest.mark.parametrize("value", [None, Command(resume="yes")])
def test_what_waits_in_a_called_subgraph_that_has_changed_says_so_and_waits_on(value: Any) -> None:
    store = MemoryCheckpointer()
    calling(store, "a", "ask").invoke({}, "t")
    changed = calling(store, "a", "b", "ask")
    with pytest.raises(GraphMismatchError, match="state_version=2"):
        changed.invoke(value, "t")
    with pytest.raises(GraphMismatchError, match="state_version=2"):
        asyncio.run(changed.ainvoke(None, "t"))
    after = calling(store, "a", "ask").invoke(None, "t")
    assert after["log"] == (["a", "yes"] if value is not None else [])
    assert ("__interrupt__" in after) == (value is None)
