"""Steps run by the process that calls: order, concurrency, failures, retries."""

import asyncio
import contextvars
import operator
import threading
from typing import Annotated, TypedDict

import pytest

from orchestrator import (
    END,
    START,
    Command,
    MemoryCheckpointer,
    RetryPolicy,
    Send,
    StateGraph,
    limits,
)
from orchestrator.dispatch.local import InProcess
from orchestrator.step.loop import WaitingThread
from orchestrator.testing.manual_clock import ManualClock


class State(TypedDict, total=False):
    x: int
    log: Annotated[list, operator.add]


def says(name):
    return lambda state: {"log": [name]}


def parallel(*names, checkpointer=None, executor=None, **nodes):
    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, nodes.get(name, says(name))).add_edge(START, name)
    return builder.compile(checkpointer, executor=executor)


def test_a_run_returns_the_state_at_its_end():
    graph = StateGraph(State).add_sequence([("a", says("a")), ("b", says("b"))])
    graph = graph.set_entry_point("a").compile()
    assert graph.invoke({"x": 1, "log": []}) == {"x": 1, "log": ["a", "b"]}


def test_results_are_in_order_of_name_whoever_finishes_first():
    last_is_done = threading.Event()

    def first(state):
        assert last_is_done.wait(10)
        return {"log": ["a"]}

    def last(state):
        last_is_done.set()
        return {"log": ["b"]}

    assert parallel("a", "b", a=first, b=last).invoke({}) == {"log": ["a", "b"]}


def test_steps_of_a_superstep_run_side_by_side():
    barrier = threading.Barrier(3, timeout=10)

    def meets(state):
        barrier.wait()

    parallel("a", "b", "c", a=meets, b=meets, c=meets).invoke({})


def test_no_more_steps_run_at_once_than_allowed():
    running, most, lock = [], [], threading.Lock()

    def counts(state):
        with lock:
            running.append(1)
            most.append(len(running))
        with lock:
            running.pop()

    names = "abcdef"
    graph = parallel(*names, executor=InProcess(concurrency_max=1), **dict.fromkeys(names, counts))
    graph.invoke({})
    assert (max(most), len(most)) == (1, 6)


def test_a_step_alone_runs_in_the_thread_that_called():
    seen = []
    parallel("a", a=lambda state: seen.append(threading.get_ident())).invoke({})
    assert seen == [threading.get_ident()]


def test_context_variables_of_the_caller_are_seen_by_parallel_steps():
    variable, seen = contextvars.ContextVar("variable"), []
    token = variable.set("mine")
    note = lambda state: seen.append(variable.get())  # noqa: E731 - a node of one line
    parallel("a", "b", a=note, b=note).invoke({})
    variable.reset(token)
    assert seen == ["mine", "mine"]


def test_async_nodes_and_routers_are_awaited():
    async def node(state):
        await asyncio.sleep(0)
        return {"log": ["async"]}

    async def router(state):
        await asyncio.sleep(0)
        return "b" if state["log"] else END

    builder = StateGraph(State).add_node("a", node).add_node("b", says("b"))
    builder.add_edge(START, "a").add_conditional_edges("a", router)
    assert builder.compile().invoke({}) == {"log": ["async", "b"]}


def test_a_node_may_ask_where_it_runs():
    seen = {}

    def node(state, ctx):
        seen["ctx"] = ctx

    parallel("a", a=node, checkpointer=MemoryCheckpointer()).invoke({"x": 1}, "t")
    ctx = seen["ctx"]
    assert (ctx.thread_id, ctx.node, ctx.attempt, ctx.number) == ("t", "a", 1, 1)
    assert ctx.idempotency_key not in {"", ctx.step_id}  # It tells threads apart, too.


def test_what_a_node_does_to_its_input_stays_in_the_node():
    def spoils(state):
        state["log"].append("spoilt")
        state["x"] = 99

    graph = parallel("a", "b", a=spoils, b=spoils)
    assert graph.invoke({"x": 1, "log": ["ok"]}) == {"x": 1, "log": ["ok"]}


def test_of_several_failures_the_first_in_order_is_raised_and_all_siblings_ended():
    ended = []

    def fails(name):
        def node(state):
            ended.append(name)
            raise ValueError(name)

        return node

    def works(state):
        ended.append("c")

    with pytest.raises(ValueError, match=r"\Aa\Z"):
        parallel("b", "a", "c", a=fails("a"), b=fails("b"), c=works).invoke({})
    assert sorted(ended) == ["a", "b", "c"]


def test_retries_wait_by_the_clock_that_was_given():
    clock, tries = ManualClock(), []

    def node(state, ctx):
        tries.append((clock.now_ms(), ctx.attempt))
        if len(tries) < 3:
            raise ConnectionError
        return {"x": len(tries)}

    policy = RetryPolicy(initial_interval=60, backoff_factor=10, max_interval=600, jitter=False)
    builder = StateGraph(State).add_node("a", node, retry_policy=policy).set_entry_point("a")
    store = MemoryCheckpointer(clock=clock)
    graph = builder.compile(store, executor=InProcess(clock=clock))
    assert graph.invoke({}, "t")["x"] == 3
    start = tries[0][0]
    assert tries == [(start, 1), (start + 60_000, 2), (start + 660_000, 3)]


def test_a_retry_follows_at_once_where_a_test_has_replaced_time_sleep(monkeypatch):
    slept, tries = [], []
    monkeypatch.setattr("time.sleep", slept.append)

    def node(state, ctx):
        tries.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ConnectionError
        return {"x": ctx.attempt}

    policy = RetryPolicy(initial_interval=3600, backoff_factor=2, max_interval=7200, jitter=False)
    builder = StateGraph(State).add_node("a", node, retry_policy=policy).set_entry_point("a")
    assert builder.compile().invoke({})["x"] == 3
    assert (tries, slept) == ([1, 2, 3], [3600, 7200])


def test_a_node_that_sleeps_does_so_where_a_test_has_replaced_time_sleep(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)

    def node(state, ctx):
        ctx.sleep(0.05)
        return {"x": 1}

    builder = StateGraph(State).add_node("a", node).set_entry_point("a")
    assert builder.compile().invoke({})["x"] == 1


def test_while_one_retries_its_siblings_are_not_repeated():
    clock, runs = ManualClock(), []

    def flaky(state, ctx):
        runs.append("a")
        if ctx.attempt == 1:
            raise ConnectionError

    builder = StateGraph(State).add_node("a", flaky, retry_policy=RetryPolicy())
    builder.add_node("b", lambda state: runs.append("b")).add_edge(START, "a").add_edge(START, "b")
    store = MemoryCheckpointer(clock=clock)
    builder.compile(store, executor=InProcess(clock=clock)).invoke({"x": 1}, "t")
    assert sorted(runs) == ["a", "a", "b"]


def test_two_retries_are_done_in_the_order_they_are_due():
    clock, done = ManualClock(), []

    def flaky(name):
        def node(state, ctx):
            if ctx.attempt == 1:
                raise ConnectionError
            done.append(name)

        return node

    builder = StateGraph(State)
    for name, wait_s in (("a", 100), ("b", 10)):
        policy = RetryPolicy(initial_interval=wait_s, max_interval=wait_s, jitter=False)
        builder.add_node(name, flaky(name), retry_policy=policy).add_edge(START, name)
    store = MemoryCheckpointer(clock=clock)
    builder.compile(store, executor=InProcess(clock=clock)).invoke({"x": 1}, "t")
    assert done == ["b", "a"]


def test_a_graph_without_a_checkpointer_forgets_each_call():
    graph = parallel("a")
    assert graph.invoke({}) == graph.invoke({}) == {"log": ["a"]}
    assert graph.invoke({}, "t") == graph.invoke({}, "t")


def test_a_thread_is_left_alone_by_a_run_of_another():
    graph = parallel("a", checkpointer=MemoryCheckpointer())
    graph.invoke({"x": 1}, "one")
    graph.invoke({"x": 2}, "two")
    assert graph.get_state("one").values == {"x": 1, "log": ["a"]}


def test_sends_and_commands_steer_and_update():
    def fans_out(state):
        return Command(update={"log": ["out"]}, goto=[Send("work", {"n": n}) for n in range(12)])

    builder = StateGraph(State).add_node("out", fans_out).set_entry_point("out")
    builder.add_node("work", lambda arg: {"log": [arg["n"]]})
    assert builder.compile().invoke({}) == {"log": ["out", *range(12)]}


def test_a_deferred_node_runs_when_all_else_has():
    builder = StateGraph(State).add_node("last", says("last"), defer=True)
    builder.add_sequence([("a", says("a")), ("b", says("b")), ("c", says("c"))])
    builder.add_edge(START, "a").add_edge("a", "last")
    assert builder.compile().invoke({}) == {"log": ["a", "b", "c", "last"]}


def test_a_loop_ends_where_its_router_says():
    builder = StateGraph(State).add_node("a", lambda state: {"x": state["x"] + 1})
    builder.set_entry_point("a").add_conditional_edges("a", lambda s: "a" if s["x"] < 50 else END)
    assert builder.compile().invoke({"x": 0}) == {"x": 50, "log": []}


# ---- the threads of steps that await -------------------------------------------------------


def test_the_threads_of_steps_that_await_are_used_again(monkeypatch):
    monkeypatch.setattr(limits, "IDLE_THREAD_S", 60)
    WaitingThread.forget()
    first = WaitingThread.submit(threading.current_thread).result()
    failed = WaitingThread.submit(lambda: 1 // 0)
    assert isinstance(failed.exception(), ZeroDivisionError)
    assert WaitingThread.submit(threading.current_thread).result() is first
    WaitingThread.forget()  # As a forked process does, which has none of them.
    assert WaitingThread.submit(threading.current_thread).result() is not first


def test_an_idle_thread_of_a_step_that_awaited_ends(monkeypatch):
    monkeypatch.setattr(limits, "IDLE_THREAD_S", 0.001)
    thread = WaitingThread.submit(threading.current_thread).result()
    thread.join(30)
    assert not thread.is_alive()


def test_more_steps_may_await_than_run_at_a_time(monkeypatch):
    monkeypatch.setattr(limits, "AWAITING_STEPS_MAX", 3)
    busy, most = 0, 0

    async def work(number: int) -> dict[str, list[int]]:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        return {"log": [number]}

    builder = StateGraph(State).add_node("work", work)
    builder.add_conditional_edges(START, lambda _: [Send("work", n) for n in range(10)], ["work"])
    assert builder.compile().invoke({}) == {"log": list(range(10))}
    assert 1 < most <= 3
