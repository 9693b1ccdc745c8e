"""Mistakes that a checker finds: each line with `# wrong`, and no other. It is never run."""

from __future__ import annotations

from typing import TypedDict

from orchestrator import Client, InMemorySaver, StateGraph, interrupt, task


class State(TypedDict):
    n: int


graph = StateGraph(State).compile()


@task
def square(n: int) -> int:
    return n * n


def mistakes(client: Client) -> None:
    graph.invoke(3)  # wrong
    graph.invoke({"n": 1}, stream_mode="value")  # wrong
    graph.invoke({"n": 1}, durabilty="sync")  # wrong
    StateGraph(State).compile(checkpointer="memory")  # wrong
    StateGraph(State).compile(chekpointer=InMemorySaver())  # wrong
    text: str = square(2).result()  # wrong
    square("2")  # wrong
    answer: str = interrupt("how many?", response_schema=int)  # wrong
    client.submit("graph", {}, multitask_strategy="enque")  # wrong
    client.submit("graph", {}, interrupt_before=["a"])  # wrong
    print(text, answer)
