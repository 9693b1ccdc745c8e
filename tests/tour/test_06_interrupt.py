"""`interrupt` asks a person: the run pauses, is kept, and goes on with the answer.

With a checkpointer a run belongs to a thread, which has a name. Whoever knows the name can look at
the thread, answer it and go on with it, later and in another process.
"""

from typing import TypedDict

import pytest

from orchestrator import START, Command, MemoryCheckpointer, StateGraph, interrupt
from orchestrator.errors import NoPendingInterruptError


class State(TypedDict, total=False):
    amount: int
    approved: bool


def approve(state: State):
    answer = interrupt({"question": "Pay?", "amount": state["amount"]})
    return {"approved": answer == "yes"}


@pytest.fixture
def graph():
    return (
        StateGraph(State).add_node(approve).add_edge(START, "approve").compile(MemoryCheckpointer())
    )


def test_a_run_pauses_with_its_question_and_ends_with_the_answer(graph):
    paused = graph.invoke({"amount": 100}, "order-1")

    (question,) = paused["__interrupt__"]
    assert question.value == {"question": "Pay?", "amount": 100}
    assert graph.get_state("order-1").next == ("approve",)

    assert graph.invoke(Command(resume="yes"), "order-1") == {"amount": 100, "approved": True}


def test_an_answer_reaches_its_own_thread_only(graph):
    graph.invoke({"amount": 1}, "order-1")
    graph.invoke({"amount": 2}, "order-2")

    assert graph.invoke(Command(resume="no"), "order-2") == {"amount": 2, "approved": False}
    assert graph.get_state("order-1").next == ("approve",)


def test_a_thread_that_asks_nothing_takes_no_answer(graph):
    graph.invoke({"amount": 1}, "order-1")
    graph.invoke(Command(resume="yes"), "order-1")

    with pytest.raises(NoPendingInterruptError):
        graph.invoke(Command(resume="no"), "order-1")
    assert graph.get_state("order-1").values["approved"]
