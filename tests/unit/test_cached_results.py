"""A cached result serves the code that made it, and no other. In every cache, sync and async."""

from __future__ import annotations

import asyncio
import functools
import json
import operator
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import fakeredis
import pytest

from orchestrator import START, Command, Send, StateGraph, entrypoint, task
from orchestrator.cache import CachePolicy, InMemoryCache
from orchestrator.cache.redis import RedisCache
from orchestrator.cache.sqlite import SqliteCache
from orchestrator.errors import InvalidGraphError, InvalidUpdateError
from orchestrator.graph.task import TaskFunction

KEPT = CachePolicy()


class State(TypedDict, total=False):
    n: int
    log: Annotated[list, operator.add]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def cache(request, tmp_path) -> Iterator[Any]:
    if request.param == "memory":
        yield InMemoryCache()
    elif request.param == "redis":
        yield RedisCache(fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    else:
        made = SqliteCache(tmp_path / "cache.db")
        yield made
        made.close()


def graph_of(node: Any, cache: Any = None, *, name: str | None = None, policy: Any = KEPT) -> Any:
    """Return an unnamed graph of one node, whose results are kept."""
    builder = StateGraph(State).add_node("work", node, cache_policy=policy)
    return builder.add_edge(START, "work").compile(cache=cache, name=name)


def log_of(graph: Any) -> list[Any]:
    log = graph.invoke({"n": 1})["log"]
    assert asyncio.run(graph.ainvoke({"n": 1}))["log"] == log
    return log


# ---- what does the work -------------------------------------------------------------------------


def one(state: State) -> State:
    return {"log": ["one"]}


def other(state: State) -> State:
    return {"log": ["other"]}


def made(what: str) -> Callable[[State], State]:
    def work(state: State) -> State:
        return {"log": [what]}

    return work


def made_deeper(what: str) -> Callable[[State], State]:
    inner = made(what)
    return lambda state: inner(state)  # noqa: PLW0108 - the point


def with_default(what: str) -> Callable[[State], State]:
    def work(state: State, *, what: str = what) -> State:
        return {"log": [what]}

    return work


@dataclass
class Work:
    what: str

    def __call__(self, state: State) -> State:
        return {"log": [self.what]}

    def method(self, state: State) -> State:
        return self(state)


class Slotted:
    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, state: State) -> State:
        return {"log": [self.what]}


class Invoked:
    def __init__(self, what: str) -> None:
        self.what = what

    def invoke(self, state: State, config: Any = None) -> State:
        return {"log": [self.what]}


def say(what: str, state: State) -> State:
    return {"log": [what]}


def wrapped(what: str) -> Callable[[State], State]:
    @functools.wraps(one)
    def work(state: State) -> State:
        return {"log": [what]}

    return work


def of_class(what: str) -> Callable[[State], State]:
    class Local:
        def __call__(self, state: State) -> State:
            return {"log": [what]}

    return Local()


def alike() -> tuple[Any, Any]:
    return (lambda state: {"log": ["one"]}), (lambda state: {"log": ["other"]})


def subgraph(what: str) -> Any:
    return StateGraph(State).add_node("say", made(what)).add_edge(START, "say").compile()


def calling(what: str) -> Callable[[State], State]:
    graph = subgraph(what)
    return lambda state: graph.invoke(state)  # noqa: PLW0108 - the point


async def _async(what: str) -> State:
    return {"log": [what]}


def made_async(what: str) -> Any:
    async def work(state: State) -> State:
        return await _async(what)

    return work


PAIRS = {
    "functions": (one, other),
    "closures": (made("one"), made("other")),
    "closures in closures": (made_deeper("one"), made_deeper("other")),
    "defaults": (with_default("one"), with_default("other")),
    "callable objects": (Work("one"), Work("other")),
    "methods": (Work("one").method, Work("other").method),
    "slots": (Slotted("one"), Slotted("other")),
    "partials": (functools.partial(say, "one"), functools.partial(say, "other")),
    "lambdas": alike(),
    "wrapped": (wrapped("one"), wrapped("other")),
    "local classes": (of_class("one"), of_class("other")),
    "runnables": (Invoked("one"), Invoked("other")),
    "subgraphs": (subgraph("one"), subgraph("other")),
    "code that calls graphs": (calling("one"), calling("other")),
    "coroutines": (made_async("one"), made_async("other")),
}


def test_nodes_of_one_name_keep_their_own_results_in_every_cache(cache):
    one_, other_ = graph_of(one, cache), graph_of(other, cache)
    for _ in range(2):
        assert (log_of(one_), log_of(other_)) == (["one"], ["other"])


@pytest.mark.parametrize("kind", PAIRS)
def test_nodes_of_one_name_in_unnamed_graphs_keep_their_own_results(kind):
    cache = InMemoryCache()
    first, second = PAIRS[kind]
    one_, other_ = graph_of(first, cache), graph_of(second, cache)
    if kind == "coroutines":
        for _ in range(2):
            assert asyncio.run(one_.ainvoke({"n": 1}))["log"] == ["one"]
            assert asyncio.run(other_.ainvoke({"n": 1}))["log"] == ["other"]
        return
    for _ in range(2):
        assert (log_of(one_), log_of(other_)) == (["one"], ["other"])


@pytest.mark.parametrize("kind", [kind for kind in PAIRS if "graph" not in kind])
def test_tasks_keep_their_own_results(kind):
    cache = InMemoryCache()
    first, second = (TaskFunction(each, name="work", cache=KEPT) for each in PAIRS[kind])
    if kind == "runnables":
        first, second = (TaskFunction(each.invoke, name="work", cache=KEPT) for each in PAIRS[kind])

    @entrypoint(cache=cache)
    def flow(n: int) -> list[Any]:
        return [each({"n": n}).result()["log"] for each in (first, second, first, second)]

    assert flow.invoke(1) == [["one"], ["other"]] * 2


@pytest.mark.parametrize("kind", PAIRS)
def test_the_same_code_finds_its_result_in_another_graph_object(kind):
    cache = InMemoryCache()
    graphs = [graph_of(PAIRS[kind][0], cache) for _ in range(2)]
    assert graphs[0].spec.nodes["work"].options.code == graphs[1].spec.nodes["work"].options.code


def counted() -> tuple[list[int], Callable[[State], State]]:
    calls: list[int] = []

    def work(state: State) -> State:
        calls.append(1)
        return {"log": [len(calls)]}

    return calls, work


def test_what_the_code_changes_of_what_it_captured_does_not_lose_its_results(cache):
    calls, work = counted()
    graph = graph_of(work, cache)
    assert [log_of(graph), log_of(graph), len(calls)] == [[1], [1], 1]

    called: list[int] = []

    @task(cache_policy=KEPT)
    def double(n: int) -> int:
        called.append(n)
        return n * 2

    @entrypoint(cache=cache)
    def flow(n: int) -> int:
        return double(n).result()

    assert [flow.invoke(2), flow.invoke(2), called] == [4, 4, [2]]
    double.clear_cache(cache)
    assert [flow.invoke(2), called] == [4, [2, 2]]
    asyncio.run(double.aclear_cache(cache))
    assert [flow.invoke(2), called] == [4, [2, 2, 2]]


def test_two_unnamed_subgraphs_of_one_application_keep_their_own_results(cache):
    def inner(what: str) -> Any:
        return graph_of(made(what))

    builder = StateGraph(State).add_node("left", inner("one")).add_node("right", inner("other"))
    graph = builder.add_edge(START, "left").add_edge("left", "right").compile(cache=cache)
    for _ in range(2):
        assert graph.invoke({})["log"][-1] == "other"
        assert "one" in graph.invoke({})["log"]


def test_the_same_node_in_two_places_of_one_application_is_cached_for_each(cache):
    calls, work = counted()
    sub = graph_of(work)
    builder = StateGraph(State).add_node("left", sub).add_node("right", sub)
    graph = builder.add_edge(START, "left").add_edge(START, "right").compile(cache=cache)
    graph.invoke({})
    assert len(calls) == 2
    graph.invoke({})
    assert len(calls) == 2
    graph.clear_cache()  # Also what its subgraphs keep here.
    graph.invoke({})
    assert len(calls) == 4
    graph.clear_cache(["left"])  # A subgraph is no node whose own result is kept.
    graph.invoke({})
    assert len(calls) == 4


def test_a_node_with_other_ways_out_does_not_take_the_ways_of_a_node_of_the_same_code(cache):
    def built(end: str) -> Any:
        builder = StateGraph(State).add_node("work", one, cache_policy=KEPT)
        builder.add_node(end, made(end)).add_edge(START, "work").add_edge("work", end)
        return builder.compile(cache=cache)

    def routed(end: str) -> Any:
        builder = StateGraph(State).add_node("work", one, cache_policy=KEPT)
        builder.add_node("a", made("a")).add_node("b", made("b")).add_edge(START, "work")
        return builder.add_conditional_edges("work", lambda _: end, ["a", "b"]).compile(cache=cache)

    for _ in range(2):
        assert [built(end).invoke({})["log"][-1] for end in "ab"] == ["a", "b"]
        assert [routed(end).invoke({})["log"][-1] for end in "ab"] == ["a", "b"]


class Wide(State):
    more: int


@pytest.mark.parametrize("result", [Command(goto="to"), Send("to", {}), {"more": 1}])
def test_a_result_that_leads_where_the_graph_has_nothing_any_more_is_not_used(cache, result):
    def built(schema: Any, name: str) -> Any:
        builder = StateGraph(schema, unknown_keys="ignore").add_node(name, one)
        builder.add_node("work", lambda _: result, cache_policy=CachePolicy(name="work"))
        return builder.add_edge(START, "work").compile(cache=cache)

    built(Wide, "to").invoke({})
    if isinstance(result, dict):
        assert built(State, "to").invoke({}) == {"log": []}
    else:  # As without a cache.
        with pytest.raises(InvalidUpdateError, match=r"leads to 'to', which is no node"):
            built(Wide, "from").invoke({})


def test_a_result_that_cannot_be_read_any_more_is_made_again(cache, caplog):
    calls, work = counted()
    graph = graph_of(work, cache)
    graph.invoke({})
    code = graph.spec.nodes["work"].options.code
    namespace = ("graphstalk", "node", "graph", "work", code)
    original = cache.get
    cache.get = lambda keys: {key: data[:-1] for key, data in original(keys).items()}
    assert graph.invoke({})["log"] == [2]
    assert calls == [1, 1]
    assert str(namespace) in caplog.text


def test_another_process_finds_the_result_of_the_same_code():
    code = (
        "import json; from tests.unit.test_cached_results import PAIRS, graph_of; "
        "print(json.dumps({k: graph_of(p[0]).spec.nodes['work'].options.code "
        "for k, p in PAIRS.items()}))"
    )
    here = {k: graph_of(p[0]).spec.nodes["work"].options.code for k, p in PAIRS.items()}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == here


# ---- refused -------------------------------------------------------------------------------------


def opens(thing: Any) -> Callable[[State], State]:
    return lambda state: {"log": [str(thing)]}


@pytest.mark.parametrize("thing", [(n for n in ()), iter([]), memoryview(b"")])
def test_a_policy_is_refused_where_nothing_identifies_the_code(thing):
    work = opens({"of": [thing]})
    with pytest.raises(
        InvalidGraphError, match=r"node 'work' must.*captured 'thing'\[.of.\].*CachePolicy\(name="
    ):
        graph_of(work)
    with pytest.raises(InvalidGraphError, match=r"the task 'work' must have.*captured 'thing'"):
        task(name="work", cache_policy=KEPT)(work)
    assert graph_of(work, policy=None)


def test_a_name_identifies_what_nothing_else_does(cache):
    def named(name: str) -> Any:
        return graph_of(opens(iter(name)), cache, policy=CachePolicy(name=name))

    first, second = log_of(named("a")), log_of(named("b"))
    assert first != second
    assert (log_of(named("a")), log_of(named("b"))) == (first, second)


def test_a_variable_that_is_set_after_the_graph_is_compiled_is_refused():
    def build() -> Any:
        def work(state: State) -> State:
            return {"log": [later]}

        graph = graph_of(work)
        later = 1
        return graph

    with pytest.raises(InvalidGraphError, match=r"\(later\) has no value yet: set it before"):
        build()


def test_a_task_may_capture_what_is_set_before_it_is_called(cache):
    @task(cache_policy=KEPT)
    def work(n: int) -> int:
        return helper(n)

    def helper(n: int) -> int:
        return n + 1

    @entrypoint(cache=cache)
    def flow(n: int) -> int:
        return work(n).result()

    assert flow.invoke(1) == 2


def test_code_that_holds_itself_is_identified(cache):
    def recursive(state: State) -> State:
        return {"log": ["end"]} if state.get("n", 0) > 0 else recursive({**state, "n": 1})

    assert log_of(graph_of(recursive, cache)) == ["end"]


def test_clearing_names_nodes_that_there_are(cache):
    graph = graph_of(one, cache)
    with pytest.raises(
        ValueError, match=r"clear_cache\(\) takes names of nodes \('wrok'\).*'work'"
    ):
        graph.clear_cache(["wrok"])
    with pytest.raises(ValueError, match="without a cache"):
        graph_of(one).clear_cache()
    calls, work = counted()
    graph = graph_of(work, cache)
    log_of(graph)
    graph.clear_cache(["work"])
    log_of(graph)
    asyncio.run(graph.aclear_cache())
    log_of(graph)
    assert len(calls) == 3
