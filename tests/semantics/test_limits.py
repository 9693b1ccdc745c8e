"""How many steps of a superstep run at the same time, and how long it may take."""

from __future__ import annotations

import asyncio
import threading

import pytest

from orchestrator import START, RetryPolicy, Send, StateGraph
from tests.semantics.places import Place, apart
from tests.semantics.witness import LONG_S, State, Witness, row, says

pytestmark = [
    pytest.mark.parametrize("kind", apart("memory", "sqlite", "redis")),
    pytest.mark.usefixtures("no_hang"),
]


@pytest.mark.parametrize("how", ["ainvoke", "invoke"])
def test_all_async_steps_of_a_superstep_run_at_the_same_time(place: Place, how: str) -> None:
    width = 80
    began: list[int] = []
    all_here = asyncio.Event()

    async def node(arg: dict[str, int]) -> State:
        began.append(arg["n"])
        if len(began) == width:
            all_here.set()
        await all_here.wait()
        return {"log": [arg["n"]]}

    def fan(state: State) -> list[Send]:
        return [Send("node", {"n": n}) for n in range(width)]

    builder = StateGraph(State).add_node("node", node).add_conditional_edges(START, fan, ["node"])
    graph = place.compiled(builder)
    if how == "invoke":
        output = graph.invoke({}, place.thread)
    else:
        output = asyncio.run(graph.ainvoke({}, place.thread))
    assert output == {"log": [*range(width)]}


def test_all_async_steps_have_begun_when_the_first_continues(place: Place) -> None:
    width, running = 80, [0]
    most = [0]

    async def node(arg: dict[str, int]) -> State:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0)  # Until the next turn of the event loop.
        running[0] -= 1
        return {"log": [arg["n"]]}

    def fan(state: State) -> list[Send]:
        return [Send("node", {"n": n}) for n in range(width)]

    builder = StateGraph(State).add_node("node", node).add_conditional_edges(START, fan, ["node"])
    graph = place.compiled(builder)
    for _ in range(5):
        most[0] = 0
        asyncio.run(graph.ainvoke({}, place.thread))
        assert most[0] == width


def test_an_async_step_does_not_wait_for_a_synchronous_subgraph_beside_it(place: Place) -> None:
    ran = threading.Event()

    async def quick(state: State) -> State:
        ran.set()
        return {"log": ["quick"]}

    def waits(state: State) -> State:
        assert ran.wait(LONG_S)
        return {"log": ["waits"]}

    builder = StateGraph(State).add_node("graph", row(("waits", waits)).compile())
    builder.add_node("quick", quick).add_edge(START, "graph").add_edge(START, "quick")
    graph = place.compiled(builder)
    assert asyncio.run(graph.ainvoke({}, place.thread)) == {"log": ["waits", "quick"]}


def test_no_more_async_steps_run_at_once_than_the_call_allows(place: Place) -> None:
    now, most = [0], [0]

    async def node(arg: dict[str, int]) -> State:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await asyncio.sleep(0.01)
        now[0] -= 1
        return {"log": [arg["n"]]}

    def fan(state: State) -> list[Send]:
        return [Send("node", {"n": n}) for n in range(12)]

    builder = StateGraph(State).add_node("node", node).add_conditional_edges(START, fan, ["node"])
    graph = place.compiled(builder)
    config = {"thread_id": place.thread, "max_concurrency": 3}
    assert asyncio.run(graph.ainvoke({}, config)) == {"log": [*range(12)]}
    assert most == [3]


@pytest.mark.parametrize("side", [False, True])
def test_a_superstep_that_takes_longer_than_the_step_timeout_fails(
    place: Place, side: bool
) -> None:
    async def main() -> None:
        witness = Witness()
        builder = StateGraph(State).add_node("slow", witness.node).add_edge(START, "slow")
        if side:
            builder.add_node("side", says("side")).add_edge(START, "side")
        graph = place.compiled(builder)
        graph.step_timeout = 0.3
        with pytest.raises(TimeoutError, match="Timed out"):
            await graph.ainvoke({}, place.thread)
        assert witness.seen == (1, 1, 1)
        assert graph.get_state(place.thread).next == ("slow",)
        output = await graph.ainvoke(None, place.thread)
        assert output == {"log": [*(["side"] if side else []), "waited"]}

    asyncio.run(main())


def test_the_step_timeout_does_not_wait_for_synchronous_code(place: Place) -> None:
    release, runs = threading.Event(), []

    def node(state: State) -> State:
        runs.append(1)
        if len(runs) == 1:
            release.wait(LONG_S)
        return {"log": [len(runs)]}

    graph = place.compiled(row(("node", node)))
    graph.step_timeout = 0.3
    with pytest.raises(TimeoutError, match="Timed out"):
        graph.invoke({}, place.thread)
    assert graph.invoke(None, place.thread) == {"log": [2]}
    release.set()


def test_the_step_timeout_of_a_subgraph_is_its_own(place: Place) -> None:
    async def main() -> None:
        witness = Witness()
        inner = row(("slow", witness.node)).compile()
        inner.step_timeout = 0.3
        graph = place.compiled(StateGraph(State).add_node("sub", inner).add_edge(START, "sub"))
        with pytest.raises(TimeoutError, match="Timed out"):
            await graph.ainvoke({}, place.thread)
        assert await graph.ainvoke(None, place.thread) == {"log": ["waited"]}

    asyncio.run(main())


def test_a_node_that_is_late_is_cancelled_where_it_awaits(place: Place) -> None:
    async def main() -> None:
        witness = Witness()
        builder = StateGraph(State).add_node(
            "slow", witness.node, timeout=0.2, retry_policy=RetryPolicy(initial_interval=0.01)
        )
        graph = place.compiled(builder.add_edge(START, "slow"))
        assert await graph.ainvoke({}, place.thread) == {"log": ["waited"]}
        assert witness.seen == (2, 1, 1)

    asyncio.run(main())
