"""A caller that is cancelled ends what it has begun, and leaves its thread free. (INV-4, INV-9)

Where this process runs the graph. On a fleet the run continues.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable
from contextlib import aclosing
from typing import Any

import pytest

from orchestrator import (
    START,
    Command,
    RetryPolicy,
    StateGraph,
    entrypoint,
    get_stream_writer,
    interrupt,
    task,
)
from tests.semantics.places import Place, apart
from tests.semantics.witness import LONG_S, State, Witness, row, says

pytestmark = [
    pytest.mark.parametrize("kind", apart("memory", "sqlite", "redis")),
    pytest.mark.usefixtures("no_hang"),
]


async def cancelled_when(began: Awaitable[Any], call: Awaitable[Any]) -> None:
    """Await a call, and cancel it when something has begun."""
    running = asyncio.ensure_future(call)
    await began
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# ---- a call that is cancelled -----------------------------------------------------------------


def test_cancelling_ainvoke_cancels_its_node_and_frees_the_thread(place: Place) -> None:
    async def main() -> None:
        witness = Witness()
        builder = row(("first", says("first")), ("slow", witness.node), ("last", says("last")))
        graph = place.compiled(builder)
        await cancelled_when(witness.began.wait(), graph.ainvoke({}, place.thread))
        assert witness.seen == (1, 1, 1)  # Its clean-up has ended, too.
        snapshot = graph.get_state(place.thread)
        assert (snapshot.values, snapshot.next) == ({"log": ["first"]}, ("slow",))
        output = await graph.ainvoke(None, place.thread)
        assert output == {"log": ["first", "waited", "last"]}

    asyncio.run(main())


def test_a_new_input_is_accepted_right_after_a_call_was_cancelled(place: Place) -> None:
    async def main() -> None:
        witness = Witness()
        graph = place.compiled(row(("slow", witness.node)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(graph.ainvoke({"log": [1]}, place.thread), 0.05)
        output = await graph.ainvoke({"log": [2]}, place.thread)
        assert output == {"log": [1, 2, "waited"]}

    asyncio.run(main())


def test_cancelling_does_not_wait_for_a_synchronous_node_and_drops_what_it_returns(
    place: Place,
) -> None:
    began, release, ended, runs = threading.Event(), threading.Event(), threading.Event(), []

    def node(state: State) -> State:
        runs.append(1)
        if len(runs) > 1:
            return {"log": ["again"]}
        began.set()
        try:
            release.wait(LONG_S)
            return {"log": ["late"]}
        finally:
            ended.set()

    async def main() -> None:
        graph = place.compiled(row(("node", node), ("last", says("last"))))
        call = graph.ainvoke({}, place.thread)
        await cancelled_when(asyncio.to_thread(began.wait, LONG_S), call)
        assert not ended.is_set()
        assert await graph.ainvoke(None, place.thread) == {"log": ["again", "last"]}
        release.set()
        assert await asyncio.to_thread(ended.wait, LONG_S)
        place.wait_until(
            lambda: not [t for t in threading.enumerate() if "graphstalk-lease" in t.name],
            "the cancelled run's OS thread ends",
        )
        assert graph.get_state(place.thread).values == {"log": ["again", "last"]}

    asyncio.run(main())


@pytest.mark.parametrize("how", ["node", "called"])
@pytest.mark.parametrize("side", [False, True])
def test_cancelling_reaches_a_subgraph_which_continues_where_it_was(
    place: Place, how: str, side: bool
) -> None:
    async def main() -> None:
        witness, steps = Witness(), []

        def step(state: State) -> State:
            steps.append(1)
            return {"log": ["step"]}

        inner = row(("step", step), ("slow", witness.node)).compile()

        async def calls(state: State) -> State:
            return {"log": (await inner.ainvoke({}))["log"]}

        builder = StateGraph(State).add_node("sub", inner if how == "node" else calls)
        builder.add_edge(START, "sub")
        if side:
            builder.add_node("side", says("side")).add_edge(START, "side")
        graph = place.compiled(builder)
        await cancelled_when(witness.began.wait(), graph.ainvoke({}, place.thread))
        assert witness.seen == (1, 1, 1)
        output = await graph.ainvoke(None, place.thread)
        assert output["log"] == [*(["side"] if side else []), "step", "waited"]
        assert (witness.runs, steps) == (2, [1])

    asyncio.run(main())


def test_cancelling_reaches_tasks_and_keeps_the_results_of_those_that_have_ended(
    place: Place,
) -> None:
    async def main() -> None:
        witness, quick = Witness(), []

        @task
        async def slow() -> str:
            await witness.wait()
            return "slow"

        @task
        def fast() -> str:
            quick.append(1)
            return "fast"

        @entrypoint(checkpointer=place.compiled(row(("a", says("a")))).checkpointer)
        async def flow(_: Any) -> list[str]:
            return [await fast(), await slow()]

        await cancelled_when(witness.began.wait(), flow.ainvoke(1, place.thread))
        assert witness.seen == (1, 1, 1)
        assert await flow.ainvoke(None, place.thread) == ["fast", "slow"]
        assert (quick, witness.runs) == ([1], 2)

    asyncio.run(main())


@pytest.mark.parametrize("closes", [False, True])
def test_a_stream_that_is_left_cancels_what_runs_and_keeps_what_has_completed(
    place: Place, closes: bool
) -> None:
    async def main() -> None:
        witness, release = Witness(), asyncio.Event()

        async def quick(state: State) -> State:
            await witness.began.wait()
            return {"log": ["quick"]}

        builder = StateGraph(State).add_node("quick", quick).add_node("slow", witness.node)
        builder.add_edge(START, "quick").add_edge(START, "slow")
        graph = place.compiled(builder)

        async def read(*, stops: bool) -> None:
            async with aclosing(graph.astream({}, place.thread, stream_mode="updates")) as parts:
                async for part in parts:
                    assert part == {"quick": {"log": ["quick"]}}
                    release.set()
                    if stops:
                        return

        if closes:
            await read(stops=True)
        else:
            await cancelled_when(release.wait(), read(stops=False))
        assert witness.seen == (1, 1, 1)
        assert graph.get_state(place.thread).next == ("slow",)
        assert await graph.ainvoke(None, place.thread) == {"log": ["quick", "waited"]}

    asyncio.run(main())


def test_cancelling_a_batch_cancels_all_of_its_runs(place: Place) -> None:
    async def main() -> None:
        witnesses = [Witness(), Witness()]

        async def node(state: State) -> State:
            return await witnesses[state["log"][0]].node(state)

        graph = place.compiled(row(("node", node)))
        configs = [{"thread_id": f"{place.thread}-{n}"} for n in range(2)]
        call = graph.abatch([{"log": [0]}, {"log": [1]}], configs)
        await cancelled_when(asyncio.gather(*(w.began.wait() for w in witnesses)), call)
        assert [w.seen for w in witnesses] == [(1, 1, 1)] * 2
        for number, config in enumerate(configs):
            assert await graph.ainvoke(None, config) == {"log": [number, "waited"]}

    asyncio.run(main())


def test_an_event_loop_that_ends_cancels_the_calls_in_it_and_logs_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    witness = Witness()
    graph = place.compiled(row(("first", says("first")), ("slow", witness.node)))

    async def main() -> None:
        running = asyncio.ensure_future(graph.ainvoke({}, place.thread))
        await witness.began.wait()
        assert not running.done()

    asyncio.run(main())
    gc.collect()
    assert (witness.seen, caplog.text) == ((1, 1, 1), "")
    assert graph.get_state(place.thread).next == ("slow",)
    assert graph.invoke(None, place.thread) == {"log": ["first", "waited"]}


# ---- a step that fails beside others ----------------------------------------------------------


async def bad(state: State) -> State:
    raise ValueError("bad")


@pytest.mark.parametrize("how", ["ainvoke", "invoke"])
def test_a_failure_cancels_async_siblings_and_keeps_what_has_completed(
    place: Place, how: str
) -> None:
    async def main() -> None:
        witness, shown, quick_runs = Witness(), threading.Event(), []

        async def quick(state: State) -> State:
            quick_runs.append(1)
            return {"log": ["quick"]}

        async def fails(state: State) -> State:
            await witness.began.wait()
            await asyncio.to_thread(shown.wait, LONG_S)
            raise ValueError("bad")

        builder = StateGraph(State)
        for name, node in (("bad", fails), ("quick", quick), ("slow", witness.node)):
            builder.add_node(name, node).add_edge(START, name)
        graph = place.compiled(builder)

        async def read() -> None:
            async for part in graph.astream({}, place.thread, stream_mode="updates"):
                assert part == {"quick": {"log": ["quick"]}}
                shown.set()

        def read_here() -> None:
            for part in graph.stream({}, place.thread, stream_mode="updates"):
                assert part == {"quick": {"log": ["quick"]}}
                shown.set()

        with pytest.raises(ValueError, match="bad"):
            await (read() if how == "ainvoke" else asyncio.to_thread(read_here))
        assert witness.seen == (1, 1, 1)
        snapshot = graph.get_state(place.thread)
        assert set(snapshot.next) == {"bad", "slow"}
        assert {t.name: t.error.type for t in snapshot.tasks if t.error} == {"bad": "ValueError"}
        with pytest.raises(ValueError, match="bad"):
            await graph.ainvoke(None, place.thread)
        assert quick_runs == [1]  # INV-4

    asyncio.run(main())


def test_a_failure_lets_synchronous_siblings_run_to_their_end(place: Place) -> None:
    failed = threading.Event()
    runs: list[str] = []

    def fails(state: State) -> State:
        failed.set()
        raise ValueError("bad")

    def slow(state: State) -> State:
        assert failed.wait(LONG_S)
        runs.append("slow")
        return {"log": ["slow"]}

    builder = StateGraph(State).add_node("bad", fails).add_node("slow", slow)
    builder.add_edge(START, "bad").add_edge(START, "slow")
    graph = place.compiled(builder)
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            graph.invoke({} if not runs else None, place.thread)
    assert runs == ["slow"]
    assert graph.get_state(place.thread).values == {"log": ["slow"]}


def test_a_failure_does_not_wait_for_the_retry_of_an_async_sibling(place: Place) -> None:
    async def main() -> None:
        retried = asyncio.Event()

        async def flaky(state: State, ctx: Any) -> State:
            if ctx.attempt == 1:
                retried.set()
                raise ConnectionError
            return {"log": ["flaky"]}

        async def fails(state: State) -> State:
            await retried.wait()
            raise ValueError("bad")

        later = RetryPolicy(initial_interval=2 * LONG_S, jitter=False)
        builder = StateGraph(State).add_node("bad", fails)
        builder.add_node("flaky", flaky, retry_policy=later)
        builder.add_edge(START, "bad").add_edge(START, "flaky")
        graph = place.compiled(builder)
        with pytest.raises(ValueError, match="bad"):
            await graph.ainvoke({}, place.thread)
        assert set(graph.get_state(place.thread).next) == {"bad", "flaky"}

    asyncio.run(main())


def test_a_failure_beside_a_subgraph_pauses_it_and_it_continues_where_it_was(place: Place) -> None:
    async def main() -> None:
        witness, steps, fail = Witness(), [], [True]

        def step(state: State) -> State:
            steps.append(1)
            return {"log": ["step"]}

        async def fails(state: State) -> State:
            await witness.began.wait()
            if fail.pop():
                raise ValueError("bad")
            return {"log": ["mended"]}

        inner = row(("step", step), ("slow", witness.node)).compile()
        builder = StateGraph(State).add_node("bad", fails).add_node("sub", inner)
        builder.add_edge(START, "bad").add_edge(START, "sub")
        graph = place.compiled(builder)
        with pytest.raises(ValueError, match="bad"):
            await graph.ainvoke({}, place.thread)
        assert witness.seen == (1, 1, 1)
        fail.append(False)
        output = await graph.ainvoke(None, place.thread)
        assert (output["log"], steps) == (["mended", "step", "waited"], [1])

    asyncio.run(main())


def test_a_question_does_not_cancel_its_siblings(place: Place) -> None:
    async def asks(state: State) -> State:
        return {"log": [interrupt("sure?")]}

    async def main() -> None:
        asked = asyncio.Event()

        async def slow(state: State) -> State:
            await asked.wait()
            return {"log": ["slow"]}

        builder = StateGraph(State).add_node("asks", asks).add_node("slow", slow)
        builder.add_edge(START, "asks").add_edge(START, "slow")
        graph = place.compiled(builder)
        async for part in graph.astream({}, place.thread, stream_mode="updates"):
            if "__interrupt__" in part:
                asked.set()
        assert graph.get_state(place.thread).values == {"log": ["slow"]}

    asyncio.run(main())


# ---- tasks ------------------------------------------------------------------------------------


def test_cancelling_a_task_cancels_nothing_else_and_another_attempt_runs_it_again(
    place: Place,
) -> None:
    async def main() -> None:
        runs, cancels, began = [], [], asyncio.Event()

        @task
        async def nap(n: int) -> int:
            runs.append(n)
            if n:
                began.set()
            try:
                await asyncio.sleep(LONG_S if n else 0)
            except asyncio.CancelledError:
                cancels.append(n)
                raise
            return n

        @entrypoint(checkpointer=place.compiled(row(("a", says("a")))).checkpointer)
        async def flow(numbers: list[int]) -> list[Any]:
            began.clear()
            futures = [nap(n) for n in numbers]
            await began.wait()
            assert futures.pop().cancel()
            return [*await asyncio.gather(*futures), interrupt("sure?")]

        asked = await flow.ainvoke([0, 1], place.thread)
        assert asked["__interrupt__"][0].value == "sure?"
        assert (sorted(runs), cancels) == ([0, 1], [1])
        assert await flow.ainvoke(Command(resume="yes"), place.thread) == [0, "yes"]
        assert (sorted(runs), cancels) == ([0, 1, 1], [1, 1])

    asyncio.run(main())


def test_a_task_that_is_waited_for_too_long_is_cancelled(place: Place) -> None:
    async def main() -> None:
        witness = Witness()

        @task
        async def slow() -> None:
            await witness.wait()

        @entrypoint(checkpointer=place.compiled(row(("a", says("a")))).checkpointer)
        async def flow(_: Any) -> str:
            try:
                await asyncio.wait_for(slow(), 0.1)
            except TimeoutError:
                get_stream_writer()("late")
                return "gave up"
            return "done"

        parts = [part async for part in flow.astream(1, place.thread, stream_mode="custom")]
        assert parts == ["late"]
        assert witness.seen == (1, 1, 1)

    asyncio.run(main())
