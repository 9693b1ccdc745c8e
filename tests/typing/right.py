"""What users write, and which types a checker finds in it. It is checked, and never run."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, assert_type

from pydantic import BaseModel

from orchestrator import (
    END,
    START,
    Client,
    Command,
    CompiledStateGraph,
    GraphOutput,
    InMemorySaver,
    RunHandle,
    Runtime,
    Send,
    StateGraph,
    StateSnapshot,
    entrypoint,
    interrupt,
    task,
)


class State(TypedDict):
    n: int
    log: Annotated[list[str], operator.add]


class Given(TypedDict):
    n: int


@dataclass
class Context:
    user: str


class Approval(BaseModel):
    yes: bool


def load(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    assert_type(runtime.context, Context)
    return {"n": state["n"] + 1}


def ask(state: State) -> Command[Literal["load", "done"]]:
    answer = interrupt("sure?", response_schema=Approval)
    assert_type(answer, Approval)
    assert_type(interrupt("how many?", response_schema=int), int)
    assert_type(interrupt("what?"), Any)
    return Command(goto="done" if answer.yes else "load")


def route(state: State) -> list[Send] | Literal["ask"]:
    return [Send("load", {"n": 1})] if state["n"] else "ask"


builder = StateGraph(State, context_schema=Context, input_schema=Given)
assert_type(builder, StateGraph[State, Context, Given, State])
builder.add_node(load).add_node("ask", ask)
builder.add_node("done", lambda state: {"log": ["done"]})
builder.add_conditional_edges(START, route)
builder.add_edge("load", END)

graph = builder.compile(checkpointer=InMemorySaver())
assert_type(graph, CompiledStateGraph[State, Context, Given, State])
plain: CompiledStateGraph[State] = StateGraph(State).compile()
bare: CompiledStateGraph = StateGraph(State).compile()
spelled = StateGraph[State](State)
assert_type(spelled, StateGraph[State])


def calls() -> None:
    config = {"configurable": {"thread_id": "t"}}
    result = graph.invoke({"n": 1}, config, context=Context("Ada"), stream_mode="values")
    print(result["n"], result["__interrupt__"])
    graph.invoke(None, "t")
    graph.invoke(Command(resume=True), {"thread_id": "t"}, durability="sync")
    output = graph.invoke({"n": 1}, "t", version="v2")
    assert_type(output, GraphOutput[State])
    assert_type(output.value["n"], int)
    state = graph.get_state(config)
    assert_type(state, StateSnapshot)
    assert_type(state.next, tuple[str, ...])
    for part in graph.stream({"n": 1}, config, stream_mode=["updates", "custom"]):
        print(part)
    plain.invoke({"n": 1, "log": []})
    bare.invoke({"n": 1})


async def awaits() -> None:
    result = await graph.ainvoke({"n": 1}, "t")
    print(result["n"])
    output = await graph.ainvoke({"n": 1}, "t", version="v2")
    assert_type(output, GraphOutput[State])
    assert_type(await graph.aget_state("t"), StateSnapshot)
    async for part in graph.astream({"n": 1}, "t"):
        print(part)


@task
def square(n: int) -> int:
    return n * n


@task(name="later")
async def later(text: str, *, times: int = 1) -> list[str]:
    return [text] * times


@entrypoint(checkpointer=InMemorySaver())
def workflow(n: int, *, previous: int | None = None) -> list[int]:
    futures = [square(i) for i in range(n)]
    assert_type(futures[0].result(), int)
    assert_type(later("a", times=2).result(), list[str])
    return [future.result() for future in futures]


@entrypoint()
async def awaited(n: int) -> int:
    return await square(n)


def runs(client: Client) -> None:
    workflow.invoke(3, "t")
    handle = client.submit("graph", {"n": 1}, context={"user": "Ada"}, on_corrupt="restart")
    assert_type(handle, RunHandle)
    assert_type(handle.wait(until="paused", timeout=1), StateSnapshot)
