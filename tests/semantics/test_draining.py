"""A run that is drained while a subgraph of it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator import START, GraphDrained, RunControl, StateGraph
from tests.semantics.places import Place, apart
from tests.semantics.witness import State, row, says

pytestmark = [
    pytest.mark.parametrize("kind", apart("memory", "sqlite", "redis")),
    pytest.mark.usefixtures("no_hang"),
]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("how", ["node", "called", "swallowed"])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_draining_while_a_subgraph_runs_raises_the_reason_and_can_be_resumed(
    place: Place, depth: int, how: str, way: str
) -> None:
    control = RunControl()

    def one(state: State) -> State:
        control.request_drain("sigterm")
        return {"log": ["one"]}

    graph = row(("one", one), ("two", says("two"))).compile()
    for _ in range(depth):
        inner = graph

        def calls(state: State, inner: Any = inner) -> State:
            try:
                return inner.invoke({})
            except Exception:
                if how == "called":
                    raise
                return {"log": ["swallowed"]}

        builder = StateGraph(State).add_node("sub", inner if how == "node" else calls)
        builder.add_edge(START, "sub")
        graph = builder.compile()
    graph = place.compiled(builder)
    calls_of = {
        "invoke": lambda: graph.invoke({}, place.thread, control=control),
        "ainvoke": lambda: asyncio.run(graph.ainvoke({}, place.thread, control=control)),
        "stream": lambda: list(graph.stream({}, place.thread, control=control)),
    }
    with pytest.raises(GraphDrained, match="sigterm") as caught:
        calls_of[way]()
    assert caught.value.reason == "sigterm"
    assert graph.get_state(place.thread).next == ("sub",)
    assert graph.invoke(None, place.thread) == {"log": ["one", "two"]}
