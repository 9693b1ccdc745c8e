"""Questions that say what an answer must be: another one is refused and nothing is stored."""

import dataclasses
from typing import Any, Literal, TypedDict

import pydantic
import pytest
import typing_extensions

from orchestrator import (
    START,
    Command,
    InvalidAnswerError,
    MemoryCheckpointer,
    StateGraph,
    interrupt,
)
from orchestrator.integrations.validation import check_answer, fit, json_schema_of
from tests.fixtures.bench import State


class Verdict(pydantic.BaseModel):
    approved: bool
    note: str = ""


class Plain(TypedDict):
    approved: bool


class Extended(typing_extensions.TypedDict):
    approved: bool


@dataclasses.dataclass
class Data:
    approved: bool


JSON = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}},
    "required": ["approved"],
    "additionalProperties": False,
}


class World:
    """A thread whose one node has asked for an answer of this schema."""

    def __init__(self, schema: Any, **options: Any) -> None:
        self.got: list[Any] = []

        def node(state: State) -> State:
            self.got.append(interrupt("sure?", response_schema=schema, **options))
            return {"log": ["done"]}

        builder = StateGraph(State).add_node("ask", node).add_edge(START, "ask")
        self.graph = builder.compile(MemoryCheckpointer())
        (self.question,) = self.graph.invoke({}, "t")["__interrupt__"]

    def facts(self) -> Any:
        loaded = self.graph.checkpointer.load("t")
        return self.graph.get_state("t"), loaded.head, loaded.steps

    def answer(self, value: Any) -> Any:
        self.graph.invoke(Command(resume=value), "t")
        (got,) = self.got
        return got


@pytest.mark.parametrize(
    ("schema", "got"),
    [
        (Verdict, Verdict(approved=True)),
        (Plain, {"approved": True}),
        (Extended, {"approved": True}),
        (Data, Data(approved=True)),
        (JSON, {"approved": True}),
        (dict[str, bool], {"approved": True}),
    ],
    ids=["pydantic", "typed dict", "extended", "dataclass", "json schema", "generic"],
)
def test_an_answer_comes_as_what_was_asked_for(schema: Any, got: Any) -> None:
    answer = World(schema).answer({"approved": True})
    assert (type(answer), answer) == (type(got), got)


def test_an_answer_may_be_given_as_an_instance_of_a_class_that_the_state_names() -> None:
    class Judged(TypedDict):
        verdict: Verdict

    builder = StateGraph(Judged).add_edge(START, "ask")
    builder.add_node("ask", lambda state: {"verdict": interrupt("?", response_schema=Verdict)})
    graph = builder.compile(MemoryCheckpointer())
    graph.invoke({"verdict": Verdict(approved=True)}, "t")
    answer = Verdict(approved=False, note="no")
    assert graph.invoke(Command(resume=answer), "t") == {"verdict": answer}


@pytest.mark.parametrize("schema", [Verdict, Extended, Data, JSON, int], ids=str)
@pytest.mark.parametrize("value", [{"approved": "perhaps"}, {}, None, [1], "text"], ids=repr)
def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays(
    schema: Any, value: Any
) -> None:
    world = World(schema)
    before = world.facts()
    with pytest.raises(InvalidAnswerError, match=r"does not fit.*Nothing was stored") as caught:
        world.graph.invoke(Command(resume=value), "t")
    assert world.question.id in str(caught.value)
    assert caught.value.code == "INVALID_ANSWER"
    assert (world.facts(), world.got) == (before, [])


def test_the_message_names_the_place_that_does_not_fit() -> None:
    with pytest.raises(InvalidAnswerError, match=r"\$\.approved: 5 is not of type 'boolean'"):
        check_answer("an id", json_schema_of(Verdict), {"approved": 5})


def test_after_a_refused_answer_the_right_one_is_taken() -> None:
    world = World(Verdict)
    with pytest.raises(InvalidAnswerError):
        world.graph.invoke(Command(resume="no"), "t")
    assert world.answer({"approved": True, "note": "fine"}) == Verdict(approved=True, note="fine")


def test_of_several_answers_none_is_stored_if_one_does_not_fit() -> None:
    def ask(name: str) -> Any:
        return lambda state: {"log": [interrupt(name, response_schema=int)]}

    builder = StateGraph(State).add_node("a", ask("a")).add_node("b", ask("b"))
    builder.add_edge(START, "a").add_edge(START, "b")
    graph = builder.compile(MemoryCheckpointer())
    first, second = (question.id for question in graph.invoke({}, "t")["__interrupt__"])
    before = graph.checkpointer.load("t").steps
    with pytest.raises(InvalidAnswerError, match=second):
        graph.invoke(Command(resume={first: 1, second: "x"}), "t")
    assert graph.checkpointer.load("t").steps == before
    assert graph.invoke(Command(resume={first: 1, second: 2}), "t") == {"log": [1, 2]}


def test_an_answer_beside_a_change_is_looked_at_too() -> None:
    world = World(int)
    before = world.facts()
    with pytest.raises(InvalidAnswerError):
        world.graph.invoke(Command(resume="x", update={"log": ["U"]}), "t")
    assert world.facts() == before
    world.graph.invoke(Command(resume=3, update={"log": ["U"]}), "t")
    assert world.got == [3]


def test_another_answer_to_what_was_asked_earlier_is_looked_at_too() -> None:
    world = World(int)
    config = world.graph.get_state("t").config
    world.graph.invoke(Command(resume=1), "t")
    before = world.facts()
    with pytest.raises(InvalidAnswerError, match="Nothing was stored"):
        world.graph.invoke(Command(resume="x"), config)
    assert world.facts() == before
    world.graph.invoke(Command(resume=2), config)
    assert world.got == [1, 2]


def test_a_question_carries_its_schema_as_json_schema() -> None:
    for world in (World(Verdict), World(JSON)):
        schema = world.graph.get_state("t").interrupts[0].response_schema
        assert schema == world.question.response_schema
        assert schema["properties"]["approved"]["type"] == "boolean"
    assert World(None).question.response_schema is None


def test_a_question_with_a_key_keeps_answer_and_schema_when_code_around_it_changes() -> None:
    world = World(Verdict, key="approve")

    def node(state: State) -> State:
        said = interrupt("a new question, asked before", response_schema=str)
        verdict = interrupt("reworded", key="approve", response_schema=Verdict)
        return {"log": [said, verdict.approved]}

    builder = StateGraph(State).add_node("ask", node).add_edge(START, "ask")
    graph = builder.compile(world.graph.checkpointer)
    (question,) = graph.invoke(Command(resume={"approved": True}), "t")["__interrupt__"]
    assert question.value == "a new question, asked before"
    assert graph.invoke(Command(resume="hello"), "t") == {"log": ["hello", True]}


def test_a_schema_that_changed_before_the_answer_came_fails_the_step_not_the_thread() -> None:
    world = World(JSON, key="k")

    def node(state: State) -> State:
        return {"log": [interrupt("sure?", key="k", response_schema=int)]}

    builder = StateGraph(State).add_node("ask", node).add_edge(START, "ask")
    graph = builder.compile(world.graph.checkpointer)
    with pytest.raises(InvalidAnswerError, match="does not fit what was asked for"):
        graph.invoke(Command(resume={"approved": True}), "t")
    assert graph.get_state("t").next == ("ask",)


# ---- by itself ------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [None, {"type": "integer"}])
def test_without_a_type_an_answer_stays_as_it_is(schema: Any) -> None:
    answer = object()
    assert fit(schema, answer) is answer


def test_where_nothing_is_asked_for_any_answer_will_do() -> None:
    check_answer("an id", None, object())
    assert json_schema_of(None) is None


def test_a_type_that_cannot_be_hashed_is_understood_too() -> None:
    schema: Any = Literal[["a"]]
    with pytest.raises(InvalidAnswerError):
        fit(schema, "b")
