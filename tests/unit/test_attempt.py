"""One attempt at a step: what runs when the node fails, and what a graph says for all its nodes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    END,
    START,
    Command,
    MemoryCheckpointer,
    NodeCancelledError,
    NodeError,
    NodeInterrupt,
    NodeTimeoutError,
    RetryPolicy,
    Runtime,
    Send,
    StateGraph,
    StepFailedError,
    interrupt,
)
from orchestrator.dispatch.local import InProcess
from orchestrator.testing.manual_clock import ManualClock
from tests.fixtures.bench import State, boom


def fails(state: Any) -> None:
    boom()


def compiled(node: Any, handler: Any = None, **options: Any) -> Any:
    """START → work; `other` is where a handler may lead."""
    builder = StateGraph(State).add_node("other", lambda state: {"log": ["other"]})
    builder.add_node("work", node, error_handler=handler, **options).add_edge(START, "work")
    clock = ManualClock()
    return builder.compile(MemoryCheckpointer(clock=clock), executor=InProcess(clock=clock))


def never(*_: Any) -> None:
    pytest.fail("the handler was called")


# ---- error handlers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "log"),
    [
        ({"log": ["handled"]}, ["handled"]),
        (None, []),
        (Command(update={"log": ["handled"]}, goto="other"), ["handled", "other"]),
        (Command(goto=["other", Send("other", {})]), ["other", "other"]),
        (Command(goto=END), []),
        ([{"log": ["one"]}, Command(goto="other")], ["one", "other"]),
    ],
    ids=repr,
)
def test_what_a_handler_returns_updates_and_steers(result: Any, log: list[str]) -> None:
    graph = compiled(fails, lambda state, error: result)
    assert graph.invoke({"log": ["in"]}, "t") == {"log": ["in", *log]}
    assert graph.get_state("t").next == ()


def test_a_handler_is_told_the_state_the_node_and_the_error_itself() -> None:
    seen: list[Any] = []

    def handler(state: State, error: NodeError) -> None:
        seen.append((state, error.node, error.error))

    compiled(fails, handler).invoke({"log": ["in"]}, "t")
    ((state, node, error),) = seen
    assert (state, node, type(error), str(error)) == ({"log": ["in"]}, "work", ValueError, "boom")
    assert error.__traceback__ is not None


def test_a_handler_of_a_sent_step_sees_what_was_sent() -> None:
    def handler(arg: dict[str, int], error: NodeError) -> State:
        return {"log": [arg["n"]]}

    builder = StateGraph(State).add_node("work", fails, error_handler=handler)
    builder.add_conditional_edges(START, lambda state: [Send("work", {"n": n}) for n in range(3)])
    assert builder.compile().invoke({}) == {"log": [0, 1, 2]}


def test_a_handler_may_ask_for_all_that_a_node_may() -> None:
    seen: dict[str, Any] = {}

    async def handler(state, error, config, ctx, runtime, store, writer) -> None:
        await asyncio.sleep(0)
        seen.update(config=config["configurable"]["thread_id"], ctx=ctx.node, run=runtime)

    compiled(fails, handler).invoke({}, "t")
    assert (seen["config"], seen["ctx"], type(seen["run"])) == ("t", "work", Runtime)


def test_a_handler_is_called_only_when_the_last_attempt_has_failed() -> None:
    ran: list[str] = []

    def node(state: State) -> None:
        ran.append("node")
        raise ConnectionError

    graph = compiled(node, lambda s, error: ran.append("handler"), retry_policy=RetryPolicy())
    graph.invoke({"log": ["in"]}, "t")
    assert ran == ["node", "node", "node", "handler"]


def test_a_node_that_works_needs_no_handler() -> None:
    assert compiled(lambda state: {"log": ["fine"]}, never).invoke({}, "t") == {"log": ["fine"]}


@pytest.mark.parametrize(
    "raised",
    [lambda: interrupt("sure?"), lambda: raise_(NodeInterrupt("sure?"))],
    ids=["interrupt", "exception"],
)
def test_a_question_is_no_failure_that_could_be_handled(raised: Callable[[], Any]) -> None:
    graph = compiled(lambda state: {"log": [raised()]}, never)
    (question,) = graph.invoke({}, "t")["__interrupt__"]
    assert question.value == "sure?"


def raise_(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("node", "error"),
    [
        (lambda state: {"lgo": 1}, "InvalidUpdateError"),
        (lambda state: {"log": [object()]}, "UnserializableValueError"),
        (lambda state: Command(goto="nowhere"), "InvalidUpdateError"),
        (lambda state: raise_(asyncio.CancelledError()), "NodeCancelledError"),
    ],
    ids=["update", "value", "way", "cancelled"],
)
def test_a_step_that_fails_after_or_by_its_node_is_handled_too(node: Any, error: str) -> None:
    graph = compiled(node, lambda state, error: {"log": [type(error.error).__name__]})
    assert graph.invoke({}, "t") == {"log": [error]}


def test_a_handler_that_fails_fails_the_run_with_its_own_error() -> None:
    def handler(state: State, error: NodeError) -> None:
        raise KeyError("mine") from error.error

    graph = compiled(fails, handler)
    with pytest.raises(KeyError, match="mine"):
        graph.invoke({"log": ["in"]}, "t")
    snapshot = graph.get_state("t")
    assert (snapshot.values, snapshot.next) == ({"log": ["in"]}, ("work",))
    assert snapshot.tasks[0].error.type == "KeyError"
    assert "ValueError: boom" in snapshot.tasks[0].error.traceback


def test_a_run_that_is_resumed_runs_the_handler_again_and_not_the_node() -> None:
    ran: list[str] = []

    def node(state: State) -> None:
        ran.append("node")
        boom()

    def handler(state: State, error: NodeError) -> State:
        ran.append("handler")
        if ran.count("handler") == 1:
            raise KeyError("mine")
        assert isinstance(error.error, StepFailedError)
        return {"log": [str(error.error), error.error.record["type"]]}

    graph = compiled(node, handler)
    with pytest.raises(KeyError):
        graph.invoke({}, "t")
    assert graph.invoke(None, "t") == {"log": ["ValueError: boom", "ValueError"]}
    assert ran == ["node", "handler", "handler"]


def test_a_handler_that_fails_again_is_called_once_each_time() -> None:
    ran: list[str] = []

    def handler(state: State, error: NodeError) -> None:
        ran.append("handler")
        raise KeyError("mine")

    graph = compiled(fails, handler)
    for value in ({}, None):
        with pytest.raises(KeyError):
            graph.invoke(value, "t")
    assert ran == ["handler", "handler"]


def test_a_handler_may_ask_and_gets_its_answer() -> None:
    ran: list[str] = []

    def node(state: State) -> None:
        ran.append("node")
        boom()

    graph = compiled(node, lambda state, error: {"log": [interrupt("what now?")]})
    (question,) = graph.invoke({}, "t")["__interrupt__"]
    assert question.value == "what now?"
    assert graph.invoke(Command(resume="go on"), "t") == {"log": ["go on"]}
    assert ran == ["node"]


def test_nothing_follows_a_handled_step_but_where_its_handler_leads() -> None:
    ran: list[str] = []

    def handler(state: State, error: NodeError) -> State:
        return {"log": ["handled"]}

    builder = StateGraph(State).add_node("work", fails, error_handler=handler)
    for name in ("side", "edge", "join", "routed"):
        builder.add_node(name, lambda state, name=name: ran.append(name))
    builder.add_edge(START, "work").add_edge(START, "side").add_edge("work", "edge")
    builder.add_edge(["work", "side"], "join").add_conditional_edges("work", lambda state: "routed")
    assert builder.compile().invoke({}) == {"log": ["handled"]}
    assert ran == ["side"]


def test_siblings_of_a_handled_step_keep_their_writes() -> None:
    builder = StateGraph(State).add_node("side", lambda state: {"log": ["side"]})
    builder.add_node("work", fails, error_handler=lambda state, error: {"log": ["handled"]})
    graph = builder.add_edge(START, "side").add_edge(START, "work").compile(MemoryCheckpointer())
    assert graph.invoke({}, "t") == {"log": ["side", "handled"]}


# ---- what holds for all nodes ---------------------------------------------------------------


def defaults(**settings: Any) -> StateGraph:
    builder = StateGraph(State)
    builder.set_node_defaults(**settings)
    return builder


def test_a_default_handler_serves_nodes_without_one_of_their_own() -> None:
    builder = StateGraph(State).add_node("a", fails).add_edge(START, "a").add_edge(START, "b")
    builder.add_node("b", fails, error_handler=lambda state, error: {"log": ["own"]})
    builder.set_node_defaults(error_handler=lambda state, error: {"log": ["default"]})
    assert builder.compile().invoke({}) == {"log": ["default", "own"]}


def test_a_default_handler_is_told_which_node_failed() -> None:
    builder = defaults(error_handler=lambda state, error: {"log": [error.node]})
    builder.add_node("a", fails).add_node("b", fails).add_edge(START, "a").add_edge(START, "b")
    assert builder.compile().invoke({}) == {"log": ["a", "b"]}


def test_default_retries_serve_nodes_without_a_policy_of_their_own() -> None:
    ran: list[str] = []

    def flaky(name: str) -> Callable[[State], None]:
        return lambda state: ran.append(name) or raise_(ConnectionError(name))

    builder = defaults(retry_policy=RetryPolicy(max_attempts=3))
    builder.add_node("a", flaky("a")).add_edge(START, "a").add_edge(START, "b")
    builder.add_node("b", flaky("b"), retry_policy=RetryPolicy(max_attempts=1))
    clock = ManualClock()
    graph = builder.compile(MemoryCheckpointer(clock=clock), executor=InProcess(clock=clock))
    with pytest.raises(ConnectionError, match="a"):
        graph.invoke({}, "t")
    assert sorted(ran) == ["a", "a", "a", "b"]


def test_default_retries_serve_handlers_too() -> None:
    ran: list[str] = []

    def handler(state: State, error: NodeError) -> State:
        ran.append("handler")
        if len(ran) < 3:
            raise ConnectionError
        return {"log": [str(error.error)]}

    builder = defaults(retry_policy=RetryPolicy(), error_handler=handler)
    builder.add_node("a", fails).add_edge(START, "a")
    clock = ManualClock()
    graph = builder.compile(MemoryCheckpointer(clock=clock), executor=InProcess(clock=clock))
    assert graph.invoke({}, "t")["log"][0].endswith("boom")
    assert ran == ["handler"] * 3


def test_a_default_timeout_serves_nodes_without_one_of_their_own() -> None:
    async def slow(state: State) -> None:
        await asyncio.sleep(30)

    async def quick(state: State) -> State:
        await asyncio.sleep(0.1)
        return {"log": ["quick"]}

    builder = defaults(timeout=0.05).add_node("quick", quick, timeout=30).add_node("slow", slow)
    builder.add_edge(START, "quick").add_edge("quick", "slow")
    graph = builder.compile(MemoryCheckpointer())
    with pytest.raises(NodeTimeoutError, match="'slow'"):
        graph.invoke({}, "t")
    assert graph.get_state("t").values == {"log": ["quick"]}


def test_what_a_later_call_leaves_out_stays_as_an_earlier_one_said() -> None:
    builder = defaults(timeout=5, retry_policy=RetryPolicy(max_attempts=7))
    builder.set_node_defaults(timeout=6).add_node("a", fails).add_edge(START, "a")
    options = builder.compile().spec.nodes["a"].options
    assert options.timeout is not None
    assert (options.timeout.run_timeout, options.retry[0].max_attempts) == (6, 7)


def test_defaults_are_no_part_of_a_subgraph() -> None:
    inner = StateGraph(State).add_node("inner", fails).add_edge(START, "inner").compile()
    builder = defaults(error_handler=lambda state, error: {"log": [error.node]})
    graph = builder.add_node("outer", inner).add_edge(START, "outer").compile()
    assert graph.invoke({}) == {"log": ["outer"]}


def test_a_node_that_cancels_itself_fails_as_any_other() -> None:
    async def node(state: State) -> None:
        raise asyncio.CancelledError

    with pytest.raises(NodeCancelledError, match="the node 'work' raised"):
        compiled(node).invoke({}, "t")
