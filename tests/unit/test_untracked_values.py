"""Values that are never stored, wherever they come from: inputs, nodes, sends, commands."""

import contextlib
import operator
from typing import Annotated, TypedDict

import pytest

from orchestrator import (
    START,
    Command,
    InMemoryCache,
    MemoryCheckpointer,
    Send,
    SqliteCheckpointer,
    StateGraph,
    UnserializableValueError,
    UntrackedValue,
    interrupt,
)
from orchestrator.cache import CachePolicy


class Handle:
    """What cannot be stored."""

    def __init__(self, name="h"):
        self.name = name


class State(TypedDict, total=False):
    log: Annotated[list, operator.add]
    res: Annotated[Handle, UntrackedValue]


def see(state):
    return {"log": [getattr(state.get("res"), "name", None)]}


def make(state):
    return {"res": Handle("made")}


def sender(*names):
    return lambda state: [Send("see", {"res": Handle(name)}) for name in names]


@pytest.fixture(params=["none", "memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "sqlite":
        with contextlib.closing(SqliteCheckpointer(tmp_path / "threads.db")) as made:
            yield made
    else:
        yield MemoryCheckpointer() if request.param == "memory" else None


def test_a_node_sees_what_an_input_brings(store):
    graph = StateGraph(State).add_node(see).add_edge(START, "see").compile(store)
    assert graph.invoke({"res": Handle("in")}, "t")["log"] == ["in"]
    assert graph.invoke(Command(update={"res": Handle("cmd")}), "u")["log"] == ["cmd"]


def test_what_is_sent_arrives_whole_each_its_own(store):
    builder = StateGraph(State).add_node(make).add_node(see).add_edge(START, "make")
    builder.add_conditional_edges("make", sender("one", "two", "three"), ["see"])
    assert builder.compile(store).invoke({}, "t")["log"] == ["one", "two", "three"]


def test_what_several_steps_of_a_superstep_send_arrives_whole(store):
    builder = StateGraph(State).add_node(see)
    for name in ("left", "right"):
        builder.add_node(name, lambda s, n=name: {"log": [n]}).add_edge(START, name)
        builder.add_conditional_edges(name, sender(f"{name} 1", f"{name} 2"), ["see"])
    log = builder.compile(store).invoke({}, "t")["log"]
    assert log == ["left", "right", "left 1", "left 2", "right 1", "right 2"]


def test_a_command_and_a_state_may_be_sent(store):
    builder = StateGraph(State).add_node(make).add_node(see).add_edge(START, "make")
    builder.add_node("go", lambda s: Command(goto=[Send("see", s), Send("see", {"res": None})]))
    assert builder.add_edge("make", "go").compile(store).invoke({}, "t")["log"] == ["made", None]


def test_a_subgraph_gets_it(store):
    inner = StateGraph(State).add_node(see).add_edge(START, "see").compile()
    builder = StateGraph(State).add_node(make).add_node("inner", inner).add_edge(START, "make")
    builder.add_node("calls", lambda state: {"log": inner.invoke(state)["log"][-1:]})
    builder.add_edge("make", "inner").add_edge("inner", "calls")
    assert builder.compile(store).invoke({}, "t")["log"] == ["made", "made"]


def test_nothing_of_it_is_stored_so_another_process_does_not_have_it():
    store = MemoryCheckpointer()

    def ask(state):
        return {"log": [interrupt("q?"), getattr(state.get("res"), "name", None)]}

    builder = StateGraph(State).add_node(make).add_node("see", ask).add_edge(START, "make")
    builder.add_conditional_edges("make", sender("sent"), ["see"])
    here, elsewhere = builder.compile(store), builder.compile(store)
    for thread, graph, name in (("a", here, "sent"), ("b", elsewhere, None)):
        here.invoke({}, thread)
        assert graph.invoke(Command(resume="yes"), thread)["log"] == ["yes", name]


def test_a_cached_result_leaves_it_out():
    builder = StateGraph(State).add_node(see)
    policy = CachePolicy(key_func=lambda state: "same")
    builder.add_node("make", lambda s: {"res": Handle(), "log": ["made"]}, cache_policy=policy)
    builder.add_edge(START, "make").add_edge("make", "see")
    graph = builder.compile(cache=InMemoryCache())
    assert [graph.invoke({})["log"] for _ in range(2)] == [["made", "h"], ["made", None]]


def test_what_is_no_untracked_key_is_refused_as_before():
    class Other(TypedDict, total=False):
        log: Annotated[list, operator.add]
        res: Handle

    builder = StateGraph(Other).add_node(see)
    builder.add_conditional_edges(START, sender("one"), ["see"])
    with pytest.raises(UnserializableValueError, match="what is sent to 'see'"):
        builder.compile().invoke({})
    with pytest.raises(UnserializableValueError, match="the input"):
        builder.compile().invoke({"res": Handle()})


# ---- commands as values --------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        Command(update={"log": [7]}),
        Command(goto=["see"], update={"log": [1]}),
        Command(goto=Send("see", {"log": []})),
        Command(resume=None),
        Command(graph=Command.PARENT),
        Command(),
    ],
)
def test_a_command_may_be_sent_to_a_node_that_returns_it(store, command):
    seen = []

    def give(state):
        seen.append(state)
        return None if state.graph or state.goto else state

    builder = StateGraph(State).add_node("give", give).add_node(see)
    builder.add_conditional_edges(START, lambda state: [Send("give", command)], ["give"])
    output = builder.compile(store).invoke({}, "t")
    assert seen == [command]
    assert output["log"] == ((command.update or {}).get("log", []) if not command.goto else [])
