"""Nodes may be `async`, and so may callers. It is the same engine, with the same results."""

import asyncio
import operator
from typing import Annotated, TypedDict

from orchestrator import START, Command, MemoryCheckpointer, StateGraph, interrupt


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def test_async_nodes_run_side_by_side_in_the_loop_of_the_caller():
    async def main():
        both, loops = asyncio.Barrier(2), set()

        def node(name):
            async def run(state):
                await both.wait()  # Who runs alone waits here for ever.
                loops.add(asyncio.get_running_loop())
                return {"log": [name]}

            return run

        builder = StateGraph(State)
        for name in ("left", "right"):
            builder.add_node(name, node(name)).add_edge(START, name)
        result = await builder.compile().ainvoke({})
        return result, loops == {asyncio.get_running_loop()}

    assert asyncio.run(main()) == ({"log": ["left", "right"]}, True)


def test_a_thread_that_was_begun_by_one_kind_of_call_goes_on_by_the_other():
    async def ask(state: State):
        return {"log": [interrupt("Well?")]}

    graph = StateGraph(State).add_node(ask).add_edge(START, "ask").compile(MemoryCheckpointer())
    assert graph.invoke({}, "t")["__interrupt__"][0].value == "Well?"
    assert asyncio.run(graph.ainvoke(Command(resume="Yes"), "t")) == {"log": ["Yes"]}


def test_a_stream_can_be_awaited_part_by_part():
    async def say(state: State):
        return {"log": ["said"]}

    graph = StateGraph(State).add_node(say).add_edge(START, "say").compile()

    async def parts():
        return [part async for part in graph.astream({}, stream_mode="updates")]

    assert asyncio.run(parts()) == [{"say": {"log": ["said"]}}]
