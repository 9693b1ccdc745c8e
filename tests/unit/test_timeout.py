"""Attempts that take too long are stopped, whatever they do; those that show progress are not."""

import asyncio
import contextvars
import datetime as dt
import threading
import time
from typing import Any

import pytest

from orchestrator import (
    START,
    MemoryCheckpointer,
    NodeTimeoutError,
    RetryPolicy,
    Send,
    StateGraph,
    TimeoutPolicy,
    get_stream_writer,
    interrupt,
)
from orchestrator.step.timeout import Watch
from tests.fixtures.bench import State

SOON = 0.05
LONG = 30.0  # Longer than a test may take: what ends earlier was stopped.


def watch(**policy: Any) -> Watch:
    return Watch(TimeoutPolicy(**policy))


def spin() -> None:
    """Run Python code until somebody stops it."""
    while True:
        pass


def compiled(node: Any, **options: Any) -> Any:
    builder = StateGraph(State).add_node("work", node, **options).add_edge(START, "work")
    return builder.compile(MemoryCheckpointer())


# ---- a watch --------------------------------------------------------------------------------


def test_what_ends_in_time_returns_or_raises_as_without_a_watch() -> None:
    assert watch(run_timeout=LONG).run("a", lambda: 7) == 7
    with pytest.raises(KeyError, match="mine"):
        watch(idle_timeout=LONG).run("a", lambda: {}["mine"])


def test_what_runs_too_long_is_stopped_and_told_with_its_limits() -> None:
    policy = {"run_timeout": SOON, "idle_timeout": LONG}
    with pytest.raises(NodeTimeoutError) as caught:
        watch(**policy).run("slow", spin)
    error = caught.value
    assert (error.node, error.kind, error.timeout) == ("slow", "run", SOON)
    assert (error.run_timeout, error.idle_timeout) == (SOON, LONG)
    assert SOON <= error.elapsed < LONG
    assert "the node 'slow' ran for longer than its run_timeout of 0.05 s" in str(error)
    assert error.retryable


def test_what_makes_no_progress_is_stopped_as_idle() -> None:
    with pytest.raises(
        NodeTimeoutError, match="made no progress for longer than its idle_time"
    ) as caught:
        watch(run_timeout=LONG, idle_timeout=SOON).run("slow", spin)
    assert (caught.value.kind, caught.value.timeout) == ("idle", SOON)


def test_the_thread_that_runs_python_is_stopped_too() -> None:
    ended = threading.Event()

    def work() -> None:
        try:
            spin()
        finally:
            ended.set()

    with pytest.raises(NodeTimeoutError):
        watch(run_timeout=SOON).run("a", work)
    assert ended.wait(LONG)


def test_context_variables_go_along() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")
    token = variable.set("mine")
    try:
        assert watch(run_timeout=LONG).run("a", variable.get) == "mine"
    finally:
        variable.reset(token)


def until(seconds: float, show: Any) -> str:
    """Show something again and again for that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        show()
        time.sleep(0.005)
    return "done"


@pytest.mark.parametrize("sign", ["progress", "heartbeat"])
def test_who_shows_progress_is_not_idle(sign: str) -> None:
    one = watch(idle_timeout=0.5)
    assert one.run("a", lambda: until(1.2, getattr(one, sign))) == "done"


def test_only_a_heartbeat_counts_where_the_policy_says_so() -> None:
    one = watch(idle_timeout=0.5, refresh_on="heartbeat")
    assert one.run("a", lambda: until(1.2, one.heartbeat)) == "done"
    two = watch(idle_timeout=SOON, refresh_on="heartbeat")
    with pytest.raises(NodeTimeoutError):
        two.run("a", lambda: until(LONG, two.progress))


def test_progress_does_not_move_the_limit_of_the_whole_attempt() -> None:
    one = watch(run_timeout=SOON, idle_timeout=LONG)
    with pytest.raises(NodeTimeoutError, match="run_timeout"):
        one.run("a", lambda: until(LONG, one.heartbeat))


# ---- policies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        (None, None),
        (TimeoutPolicy(), None),
        (3, TimeoutPolicy(run_timeout=3.0)),
        (dt.timedelta(minutes=1), TimeoutPolicy(run_timeout=60.0)),
        (TimeoutPolicy(idle_timeout=dt.timedelta(seconds=2)), TimeoutPolicy(idle_timeout=2.0)),
    ],
)
def test_a_limit_may_be_given_in_any_form(given: Any, policy: Any) -> None:
    assert TimeoutPolicy.coerce(given) == policy


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (0, r"run_timeout must be greater than 0 \(run_timeout=0\)"),
        (TimeoutPolicy(idle_timeout=-1), "idle_timeout must be greater than 0"),
        (dt.timedelta(0), "greater than 0"),
        (TimeoutPolicy(run_timeout=1, refresh_on="never"), r"\(refresh_on='never'\)"),
    ],
)
def test_a_limit_that_is_none_is_refused_when_the_graph_is_made(given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        compiled(lambda state: None, timeout=given)


# ---- in a graph -----------------------------------------------------------------------------


def slow(state: State) -> None:
    spin()


async def aslow(state: State) -> None:
    await asyncio.sleep(LONG)


@pytest.mark.parametrize("node", [slow, aslow])
def test_a_node_that_takes_too_long_fails_and_may_be_resumed(node: Any) -> None:
    graph = compiled(node, timeout=SOON)
    with pytest.raises(NodeTimeoutError, match="the node 'work' ran for longer"):
        graph.invoke({"log": ["in"]}, "t")
    (task,) = graph.get_state("t").tasks
    assert task.error.type == "NodeTimeoutError"
    mended = compiled(lambda state: {"log": ["done"]}, timeout=SOON)
    mended.checkpointer = graph.checkpointer
    assert mended.invoke(None, "t") == {"log": ["in", "done"]}


def test_what_a_stopped_node_still_does_is_not_kept() -> None:
    go_on, ended = threading.Event(), threading.Event()

    def node(state: State) -> State:
        try:
            go_on.wait(LONG)  # In native code: it cannot be stopped.
            return {"log": ["late"]}
        finally:
            ended.set()

    graph = compiled(node, timeout=SOON)
    with pytest.raises(NodeTimeoutError):
        graph.invoke({"log": ["in"]}, "t")
    go_on.set()
    assert ended.wait(LONG)
    assert graph.get_state("t").values == {"log": ["in"]}


def test_a_timeout_is_tried_again_by_default_and_each_attempt_has_all_its_time() -> None:
    attempts: list[int] = []

    def node(state: State, ctx: Any) -> State:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            spin()
        return {"log": ["done"]}

    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    graph = compiled(node, timeout=SOON, retry_policy=policy)
    assert graph.invoke({}, "t") == {"log": ["done"]}
    assert attempts == [1, 2, 3]


def test_a_question_within_the_time_is_asked_and_its_answer_comes() -> None:
    graph = compiled(lambda state: {"log": [interrupt("sure?")]}, timeout=LONG)
    assert graph.invoke({}, "t")["__interrupt__"][0].value == "sure?"


def test_what_a_node_streams_is_progress() -> None:
    def node(state: State) -> State:
        return {"log": [until(1.2, lambda: get_stream_writer()("x"))]}

    graph = compiled(node, timeout=TimeoutPolicy(idle_timeout=0.5))
    shown = list(graph.stream({}, "t", stream_mode=["custom", "values"]))
    assert shown[-1] == ("values", {"log": ["done"]})


def test_a_heartbeat_reaches_the_watch_through_the_runtime() -> None:
    def node(state: State, runtime: Any) -> State:
        return {"log": [until(1.2, runtime.heartbeat)]}

    policy = TimeoutPolicy(idle_timeout=0.5, refresh_on="heartbeat")
    assert compiled(node, timeout=policy).invoke({}, "t") == {"log": ["done"]}


def test_a_send_may_bring_its_own_limit_instead_of_the_nodes() -> None:
    def node(arg: dict[str, int]) -> State:
        if arg["n"] == 1:
            spin()
        return {"log": [arg["n"]]}

    def fan(state: State) -> list[Send]:
        return [Send("work", {"n": 0}, timeout=LONG), Send("work", {"n": 1}, timeout=SOON)]

    builder = StateGraph(State).add_node("work", node, timeout=LONG)
    graph = builder.add_conditional_edges(START, fan).compile(MemoryCheckpointer())
    with pytest.raises(NodeTimeoutError, match=r"run_timeout of 0\.05 s"):
        graph.invoke({}, "t")
    snapshot = graph.get_state("t")
    assert (snapshot.values, snapshot.next) == ({"log": [0]}, ("work",))


def test_a_sent_steps_limit_holds_when_it_goes_on_after_a_command() -> None:
    ran: list[int] = []

    def node(arg: dict[str, int]) -> State:
        ran.append(arg["n"])
        spin()
        return {}

    builder = StateGraph(State).add_node("work", node)
    builder.add_conditional_edges(START, lambda state: [Send("work", {"n": 1}, timeout=SOON)])
    graph = builder.compile(MemoryCheckpointer())
    for value in ({}, None):
        with pytest.raises(NodeTimeoutError):
            graph.invoke(value, "t")
    assert ran == [1, 1]
