"""Answers are exact: each question has an id, perhaps a key, perhaps a schema for its answer."""

from typing import TypedDict

import pytest
from pydantic import BaseModel

from orchestrator import START, Command, MemoryCheckpointer, StateGraph, interrupt
from orchestrator.errors import InvalidAnswerError, UnknownInterruptError


class Decision(BaseModel):
    approved: bool
    limit: int = 0


class State(TypedDict, total=False):
    legal: str
    finance: str
    limit: int


def ask(node):
    """A graph of one node."""
    return (
        StateGraph(State).add_node("ask", node).add_edge(START, "ask").compile(MemoryCheckpointer())
    )


def test_of_several_questions_an_answer_names_the_one_it_is_for():
    builder = StateGraph(State)
    for name in ("legal", "finance"):
        builder.add_node(name, lambda state, name=name: {name: interrupt(name)})
        builder.add_edge(START, name)
    graph = builder.compile(MemoryCheckpointer())
    ids = {question.value: question.id for question in graph.invoke({}, "t")["__interrupt__"]}

    with pytest.raises(UnknownInterruptError) as error:
        graph.invoke(Command(resume="fine"), "t")
    assert sorted(error.value.pending_ids) == sorted(ids.values())

    answers = {ids["legal"]: "fine", ids["finance"]: "no money"}
    assert graph.invoke(Command(resume=answers), "t") == {"legal": "fine", "finance": "no money"}


def test_a_key_keeps_an_answer_with_its_question_while_the_code_changes():
    order = ["legal", "finance"]

    def node(state):
        return {name: interrupt(f"{name}?", key=name) for name in order}

    graph = ask(node)
    graph.invoke({}, "t")
    graph.invoke(Command(resume="yes, legal"), "t")

    order.reverse()  # As a deployment of changed code would do.
    result = graph.invoke(Command(resume="yes, worth it"), "t")
    assert result == {"finance": "yes, worth it", "legal": "yes, legal"}


def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays_open():
    graph = ask(lambda state: {"limit": interrupt("?", response_schema=Decision).limit})
    graph.invoke({}, "t")

    with pytest.raises(InvalidAnswerError):
        graph.invoke(Command(resume={"approved": "perhaps"}), "t")
    assert graph.get_state("t").next == ("ask",)
    assert graph.invoke(Command(resume={"approved": True, "limit": 9}), "t") == {"limit": 9}


@pytest.mark.parametrize("answer", [None, {}, False, "", 0])
def test_any_value_is_an_answer(answer):
    graph = ask(lambda state: {"legal": repr(interrupt("?"))})
    graph.invoke({}, "t")
    assert graph.invoke(Command(resume=answer), "t") == {"legal": repr(answer)}
