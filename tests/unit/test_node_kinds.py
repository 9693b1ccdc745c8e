"""Whatever people use as a node: functions, objects, mocks, runnables, dicts, members of enums."""

import asyncio
import enum
import functools
import operator
from types import SimpleNamespace
from typing import Annotated, TypedDict
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import langgraph.graph
import langgraph.types
import pytest
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import BaseTool, StructuredTool

from orchestrator import (
    START,
    Command,
    CompiledStateGraph,
    GraphInterrupt,
    InvalidGraphError,
    MemoryCheckpointer,
    NoPendingInterruptError,
    StateGraph,
    interrupt,
)


class State(TypedDict, total=False):
    x: Annotated[list, operator.add]


class Object:
    def __call__(self, state):
        return {"x": ["object"]}


class Asks(Object):
    def __call__(self, state, config, runtime):
        return {"x": [config["configurable"]["thread_id"], runtime.execution_info.thread_id]}


class AsyncObject:
    async def __call__(self, state):
        await asyncio.sleep(0)
        return {"x": ["async object"]}


class Methods:
    def method(self, state):
        return {"x": ["method"]}

    @staticmethod
    def static(state):
        return {"x": ["static"]}


async def coroutine(state):
    return {"x": [id(asyncio.get_running_loop())]}


def function(state):
    return {"x": ["function"]}


def second(first, state):
    return {"x": [first]}


def run(*node, thread="t"):
    """Return the name of the only node and what it leaves."""
    builder = StateGraph(State).add_node(*node)
    (name,) = builder._nodes
    graph = builder.add_edge(START, name).compile(MemoryCheckpointer())
    return name, graph.invoke({}, thread)["x"]


async def arun(*node):
    builder = StateGraph(State).add_node(*node)
    (name,) = builder._nodes
    return (await builder.add_edge(START, name).compile().ainvoke({}))["x"]


@pytest.mark.parametrize(
    ("node", "name", "left"),
    [
        (Object(), "Object", ["object"]),
        (Asks(), "Asks", ["t", "t"]),
        (AsyncObject(), "AsyncObject", ["async object"]),
        (Methods().method, "method", ["method"]),
        (Methods.static, "static", ["static"]),
        (functools.partial(second, 3), "partial", [3]),
        (Mock(side_effect=Object()), "Mock", ["object"]),
        (MagicMock(return_value={"x": [1]}), "MagicMock", [1]),
        (AsyncMock(return_value={"x": [1]}), "AsyncMock", [1]),
        (create_autospec(function, return_value={"x": [1]}), "function", [1]),
        (RunnableLambda(function), "function", ["function"]),
        (RunnableLambda(AsyncObject().__call__), "RunnableLambda", ["async object"]),
        (RunnableParallel(x=lambda state: [7]), "RunnableParallel<x>", [7]),
        ({"x": lambda state: [7]}, "dict", [7]),
        ({"x": RunnableLambda(lambda state: [7])}, "dict", [7]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_node_without_a_name_has_that_of_its_class_or_function(node, name, left):
    assert run(node)[1] == left
    assert run("mine", node) == ("mine", left)
    assert run(node)[0] == name or "Lambda" in name


def test_a_mock_is_called_as_a_node_and_remembers_it():
    mock = Mock(return_value={"x": [5]})
    assert run("a", mock) == ("a", [5])
    mock.assert_called_once_with({"x": []})
    with pytest.raises(ValueError, match="from the mock"):
        run("a", Mock(side_effect=ValueError("from the mock")))


def test_in_an_event_loop_a_runnable_is_awaited_there():
    async def main():
        here = id(asyncio.get_running_loop())
        both = RunnableLambda(function, afunc=coroutine)
        chain = RunnableLambda(coroutine) | RunnableLambda(lambda update: {"x": update["x"] * 2})
        assert await arun("a", RunnableLambda(coroutine)) == [here]
        assert await arun("a", both) == [here]
        assert await arun("a", chain) == [here, here]
        assert await arun("a", {"x": RunnableLambda(coroutine).pick("x")}) == [here]
        assert await arun("a", RunnableLambda(function)) == ["function"]
        assert await arun("a", SimpleNamespace(invoke=lambda state, config: {"x": [1]})) == [1]

    asyncio.run(main())


def test_a_runnable_with_both_is_invoked_outside_of_an_event_loop():
    assert run("a", RunnableLambda(function, afunc=coroutine)) == ("a", ["function"])


def test_a_question_comes_out_of_a_runnable_in_an_event_loop():
    def ask(state):
        return {"x": [interrupt("q?")]}

    async def main():
        builder = StateGraph(State).add_node("ask", RunnableLambda(ask)).add_edge(START, "ask")
        graph = builder.compile(MemoryCheckpointer())
        return (await graph.ainvoke({}, "t"))["__interrupt__"][0].value

    assert asyncio.run(main()) == "q?"
    with pytest.raises(RuntimeError, match="inside a node"):
        ask({})
    assert issubclass(GraphInterrupt, Exception)


def test_a_dict_that_holds_no_action_is_refused():
    with pytest.raises(TypeError, match="Expected a Runnable"):
        StateGraph(State).add_node("a", {"x": 5})


def test_an_object_that_only_looks_like_a_graph_is_none():
    builder = StateGraph(State).add_node("a", MagicMock(return_value={})).add_edge(START, "a")
    graph = builder.compile()
    assert list(graph.get_subgraphs()) == []
    inner = StateGraph(State).add_node("graph", graph).add_edge(START, "graph").compile()
    assert [type(found) for _, found in inner.get_subgraphs()] == [CompiledStateGraph]


# ---- members of enums --------------------------------------------------------------------


class Name(str, enum.Enum):  # noqa: UP042 - as people write it, and another text than a `StrEnum`'s
    ONE = "one"
    TWO = "two"


class Short(enum.StrEnum):
    ONE = "one"
    TWO = "two"


@pytest.mark.parametrize("names", [Name, Short])
def test_members_of_a_str_enum_name_nodes_everywhere(names):
    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, lambda state, name=name: {"x": [name.value]})
    builder.set_entry_point(names.ONE).add_edge(names.ONE, names.TWO)
    builder.add_node("both", function).add_edge([names.ONE, names.TWO], "both")
    graph = builder.compile(MemoryCheckpointer(), interrupt_before=[names.TWO])
    assert graph.invoke({}, "t")["x"] == ["one"]
    assert graph.get_state("t").next == ("two",)
    assert type(graph.get_state("t").next[0]) is str
    graph.update_state("t", {"x": ["by hand"]}, as_node=names.ONE)
    assert graph.invoke(None, "t")["x"] == ["one", "by hand", "two", "function"]
    assert graph.interrupt_before_nodes == ["two"]
    assert graph.invoke({}, "other", interrupt_before=[names.ONE])["x"] == []
    assert [type(name) for name in graph.nodes] == [str] * 4


def test_a_node_that_is_not_callable_is_refused_with_what_it_is():
    with pytest.raises(InvalidGraphError, match=r"the node 'a' must be .* \(int: 5\)"):
        StateGraph(State).add_node("a", 5)


def test_a_builder_shows_what_was_written():
    node, chain = Object(), RunnableLambda(function)
    builder = StateGraph(State).add_node("a", node, metadata={"k": 1}).add_node("b", chain)
    builder.add_edge(START, "a").add_edge(["a"], "b")
    builder.add_conditional_edges("b", function, ["a"])
    assert list(builder.nodes) == ["a", "b"]
    assert (builder.nodes["a"].runnable.func, builder.nodes["b"].runnable) == (node, chain)
    assert (builder.nodes["a"].metadata, builder.nodes["b"].metadata) == ({"k": 1}, None)
    assert builder.nodes["a"].input_schema is State
    assert (builder.edges, builder.waiting_edges) == ({(START, "a")}, {(("a",), "b")})
    assert builder.branches["b"]["function"].ends == {"a": "a"}
    assert builder.compile().builder is builder


async def _tooled(n: int = 0):
    """Return what a tool returns."""
    return {"x": [f"tool {n}"]}


class OwnTool(BaseTool):
    name: str = "own"
    description: str = "a tool that can only be awaited"

    def _run(self, x: list | None = None):
        raise NotImplementedError

    async def _arun(self, x: list | None = None):
        return await _tooled()


AWAITED = StructuredTool.from_function(coroutine=_tooled, name="awaited")
PASSES = RunnableLambda(lambda value: value)


@pytest.mark.parametrize(
    "node",
    [
        AWAITED,
        OwnTool(),
        AWAITED | PASSES,
        PASSES | OwnTool() | PASSES,
        AWAITED.with_config(tags=["a tag"]),
        AWAITED.with_retry(),
        PASSES.with_fallbacks([AWAITED]),
        {"x": AWAITED | (lambda update: update["x"])},
    ],
    ids=["structured", "own", "first", "between", "bound", "retried", "fallback", "parallel"],
)
def test_runnables_that_can_only_be_awaited_are_nodes_of_every_call(node):
    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    graph = builder.compile()
    expected = {"x": []} if node == PASSES.with_fallbacks([AWAITED]) else {"x": ["tool 0"]}
    assert graph.invoke({}) == expected
    assert asyncio.run(graph.ainvoke({})) == expected
    assert list(graph.stream({}, stream_mode="values"))[-1] == expected


def test_a_runnable_that_can_be_invoked_is_not_awaited():
    both = RunnableLambda(lambda _: {"x": ["sync"]}, afunc=_tooled)
    builder = StateGraph(State).add_node("node", both).add_edge(START, "node")
    assert builder.compile().invoke({}) == {"x": ["sync"]}


# ---- generator functions -------------------------------------------------------------------


def yields(*parts):
    def node(state):
        yield from parts

    return node


def yields_async(*parts):
    async def node(state):
        for part in parts:
            await asyncio.sleep(0)
            yield part

    return node


class YieldsAsync:
    async def __call__(self, state, config):
        yield {"x": [config["configurable"]["thread_id"]]}


PARTS = {
    "the last of dicts": ({"x": ["first"]}, {"x": ["last"]}),
    "one": ({"x": ["only"]},),
    "none": (),
    "with None before and after": (None, {"x": ["some"]}, None),
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("kind", [yields, yields_async])
def test_a_generator_function_updates_as_in_langgraph(kind, parts):
    def ran(builder):
        graph = builder.add_node("a", kind(*parts)).add_edge(START, "a").compile()
        return asyncio.run(graph.ainvoke({"x": ["in"]}))

    ours = ran(StateGraph(State))
    assert ours == ran(langgraph.graph.StateGraph(State))


@pytest.mark.parametrize("kind", [yields, yields_async])
def test_what_a_generator_yields_is_added_up_where_it_can_be(kind):
    graph = StateGraph(list).add_node("a", kind([1], [2], [3])).add_edge(START, "a").compile()
    assert graph.invoke([0]) == [1, 2, 3]


def test_an_object_whose_call_is_a_generator_gets_what_it_asks_for():
    graph = StateGraph(State).add_node("a", YieldsAsync()).add_edge(START, "a")
    assert graph.compile(MemoryCheckpointer()).invoke({}, "t") == {"x": ["t"]}


def test_a_generator_that_fails_fails_its_node():
    def node(state):
        yield {"x": ["lost"]}
        raise ValueError("half way")

    graph = StateGraph(State).add_node("a", node).add_edge(START, "a").compile()
    with pytest.raises(ValueError, match="half way"):
        graph.invoke({})


@pytest.mark.parametrize(("action", "kind"), [(5, TypeError), (None, RuntimeError)])
def test_what_is_no_function_is_an_error_of_langgraphs_type(action, kind):
    with pytest.raises(kind):
        langgraph.graph.StateGraph(State).add_node("a", action)
    with pytest.raises(kind) as raised:
        StateGraph(State).add_node("a", action)
    assert isinstance(raised.value, InvalidGraphError)


def test_an_answer_without_a_checkpointer_is_an_error_of_langgraphs_type():
    def answered(builder, command):
        builder.add_node("a", Object()).add_edge(START, "a").compile().invoke(command)

    with pytest.raises(RuntimeError, match="without checkpointer"):
        answered(langgraph.graph.StateGraph(State), langgraph.types.Command(resume=1))
    with pytest.raises(RuntimeError, match=r"give compile\(\) a checkpointer") as raised:
        answered(StateGraph(State), Command(resume=1))
    assert isinstance(raised.value, NoPendingInterruptError)
