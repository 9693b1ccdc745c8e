"""What `compile`, `entrypoint` and the settings of nodes refuse, and what they say then."""

import asyncio
import functools
from typing import TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver as LangGraphsSaver
from langgraph.types import RetryPolicy as LangGraphsRetryPolicy

from orchestrator import (
    START,
    InMemorySaver,
    InMemoryStore,
    MemoryCheckpointer,
    OptionError,
    RetryPolicy,
    SqliteSaver,
    StateGraph,
    entrypoint,
    task,
)


class State(TypedDict, total=False):
    x: int


class Nothing:
    pass


def builder():
    return StateGraph(State).add_node("a", lambda state: {"x": 1}).add_edge(START, "a")


def compiled(unfinished):
    return unfinished.add_edge(START, "a").compile()


def flow(n: int) -> int:
    return n


WRONG = [
    (Nothing(), r"\(tests.*Nothing\); pass InMemorySaver\(\), SqliteSaver\(path\)"),
    ("threads.db", r"\(builtins\.str\); pass InMemorySaver\(\)"),
    (InMemorySaver, r"make one: MemoryCheckpointer\(…\)"),
    (SqliteSaver, r"make one: SqliteCheckpointer\(…\)"),
    (LangGraphsSaver(), "LangGraph's savers .* import the saver from orchestrator: InMemorySaver"),
    (0, r"\(builtins\.int\)"),
]


@pytest.mark.parametrize(("saver", "text"), WRONG)
def test_what_is_no_checkpointer_is_refused_at_once_with_the_one_to_use(saver, text):
    graph = builder().compile(MemoryCheckpointer())
    for make in (
        lambda: builder().compile(saver),
        lambda: entrypoint(checkpointer=saver)(flow),
        lambda: setattr(graph, "checkpointer", saver),
    ):
        with pytest.raises(TypeError, match=f"Invalid checkpointer provided.*{text}") as raised:
            make()
        assert raised.value.code == "INVALID_OPTION"
    assert isinstance(graph.checkpointer, MemoryCheckpointer)


def test_a_saver_of_langgraph_without_a_twin_here_is_refused_with_those_there_are():
    class PostgresSaver:
        def get_tuple(self, config):
            raise AssertionError

    with pytest.raises(TypeError, match="InMemorySaver, SqliteSaver or RedisSaver"):
        builder().compile(PostgresSaver())


@pytest.mark.parametrize("saver", [None, True, False, MemoryCheckpointer(), InMemorySaver()])
def test_what_is_a_checkpointer_is_taken(saver):
    assert builder().compile(saver).checkpointer is saver


def test_another_checkpointer_may_be_set():
    graph, saver = builder().compile(), MemoryCheckpointer()
    graph.checkpointer = saver
    graph.invoke({}, "t")
    assert saver.load("t") is not None


@pytest.mark.parametrize("wrong", [LangGraphsRetryPolicy(), [LangGraphsRetryPolicy()], [3]])
def test_what_is_no_retry_policy_is_refused_at_once(wrong):
    policies = [RetryPolicy()]
    assert task(retry_policy=policies)(flow).retry == tuple(policies)
    for make in (
        lambda: compiled(StateGraph(State).add_node("a", flow, retry_policy=wrong)),
        lambda: compiled(
            StateGraph(State).set_node_defaults(retry_policy=wrong).add_node("a", flow)
        ),
        lambda: task(retry_policy=wrong)(flow),
        lambda: entrypoint(retry_policy=wrong)(flow),
    ):
        with pytest.raises(TypeError, match=r"retry_policy must be an orchestrator\.RetryPolicy"):
            make()


# ---- names of tasks ----------------------------------------------------------------------


class Doubles:
    def __call__(self, n):
        return n * 2

    def method(self, n):
        return n * 2


def plus(a, b):
    return a + b


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plus, "plus"),
        (functools.partial(plus, 1), "plus"),
        (functools.partial(functools.partial(plus), 1), "plus"),
        (functools.partial(Doubles()), "Doubles"),
        (Doubles(), "Doubles"),
        (Doubles().method, "method"),
        (functools.partial(Doubles().method), "method"),
    ],
)
def test_a_task_has_the_name_of_what_it_calls(function, name):
    assert task(function).name == name
    assert task(name="mine")(function).name == "mine"


def test_a_partial_as_a_task_is_shown_by_the_name_of_its_function():
    add_one = task(functools.partial(plus, 1))

    @entrypoint()
    def flow(n):
        return add_one(n).result()

    assert list(flow.stream(1)) == [{"plus": 2}, {"flow": 2}]


def test_a_partial_can_be_an_entrypoint():
    graph = entrypoint()(functools.partial(plus, 1))
    assert (graph.name, graph.invoke(2)) == ("plus", 3)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("store", {}, r"get, put, search \(builtins\.dict\): pass InMemoryStore"),
        ("store", InMemoryStore, "the class itself"),
        ("cache", "memory", r"\(builtins\.str\): pass InMemoryCache"),
        ("executor", 4, r"pass InProcess\(\) or CeleryExecutor"),
    ],
)
def test_a_part_that_is_none_is_refused_before_a_run(name, given, says):
    with pytest.raises(OptionError, match=says):
        builder().compile(**{name: given})
    with pytest.raises(OptionError, match=says):
        entrypoint(**{name: given})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"output_keys": "y"}, r"output_keys must be keys of the state \('y'\)\. They are: x"),
        ({"output_keys": ["x", "y"]}, "must be keys of the state"),
        ({"output_keys": 3}, "output_keys must be a key of the state, or a list of keys"),
        ({"interrupt_before": "a"}, r"must be a list of nodes, or '\*' for all \('a'\)"),
        ({"interrupt_after": 3}, "interrupt_after must be a list of nodes"),
        ({"control": 3}, r"control must be a RunControl\(\) \(3\)"),
    ],
)
def test_every_call_refuses_an_option_of_the_wrong_kind_before_it_runs(options, says):
    graph = builder().compile(MemoryCheckpointer())

    async def streams():
        return [part async for part in graph.astream({}, "t", **options)]

    calls = [
        lambda: graph.invoke({}, "t", **options),
        lambda: list(graph.stream({}, "t", **options)),
        lambda: graph.batch([{}], ["t"], **options),
        lambda: asyncio.run(graph.ainvoke({}, "t", **options)),
        lambda: asyncio.run(streams()),
    ]
    for call in calls:
        with pytest.raises(OptionError, match=says):
            call()
    assert graph.get_state("t").values == {}
