"""Asking from inside a node."""

import pytest

from orchestrator.errors import GraphBubbleUp, GraphInterrupt, GraphstalkError, NodeInterrupt
from orchestrator.graph.scope import Runtime, Scope, Scratchpad, interrupt, open_scope


@pytest.fixture
def in_step():
    closing = []

    def enter(scratchpad):
        scope = Scope(scratchpad=scratchpad, make_config=dict, make_runtime=Runtime, host=None)
        closing.append(open_scope(scope))
        return scratchpad

    yield enter
    for close in reversed(closing):
        close()


def asked(scratchpad, value, key=None):
    """Ask, and return the question that is raised."""
    with pytest.raises(GraphInterrupt) as raised:
        scratchpad.ask(value, key)
    (question,) = raised.value.interrupts
    return question


def test_a_question_without_an_answer_is_raised_with_its_value(in_step):
    in_step(Scratchpad("step"))
    with pytest.raises(GraphInterrupt) as raised:
        interrupt({"approve": True})
    (question,) = raised.value.interrupts
    assert (question.value, question.key) == ({"approve": True}, None)


def test_a_question_is_control_flow_and_no_error():
    assert issubclass(GraphInterrupt, GraphBubbleUp)
    assert not issubclass(GraphInterrupt, GraphstalkError)
    assert GraphInterrupt().interrupts == ()


@pytest.mark.parametrize("answer", [None, False, {}, "", 0, [], "yes"])
def test_every_value_is_an_answer(answer, in_step):
    question = asked(Scratchpad("step"), "sure?")
    in_step(Scratchpad("step", {question.id: answer}))
    assert interrupt("sure?") == answer


def test_questions_are_told_apart_by_their_order():
    first = asked(Scratchpad("step"), "same")
    scratchpad = Scratchpad("step", {first.id: "one"})
    assert scratchpad.ask("same", None) == "one"
    second = asked(scratchpad, "same")
    assert second.id != first.id
    assert [question.id for question in scratchpad.asked] == [first.id, second.id]


def test_a_key_keeps_its_question_where_code_around_it_changes():
    alone = asked(Scratchpad("step"), "sure?", "approve")
    earlier = asked(Scratchpad("step"), "new question")
    scratchpad = Scratchpad("step", {earlier.id: 1, alone.id: 2})
    assert scratchpad.ask("new question", None) == 1
    assert scratchpad.ask("reworded", "approve") == 2


def test_one_key_twice_in_a_node_is_refused():
    first = asked(Scratchpad("step"), "a", "key")
    scratchpad = Scratchpad("step", {first.id: 1})
    scratchpad.ask("a", "key")
    with pytest.raises(ValueError, match=r"must be unique \(key='key'\)"):
        scratchpad.ask("b", "key")


def test_two_steps_never_share_a_question():
    assert asked(Scratchpad("one"), "q").id != asked(Scratchpad("two"), "q").id
    assert asked(Scratchpad("one"), "q", "k").id != asked(Scratchpad("two"), "q", "k").id


def test_a_key_that_looks_like_a_place_is_another_question():
    assert asked(Scratchpad("step"), "q", "0").id != asked(Scratchpad("step"), "q").id


def test_outside_a_node_there_is_nobody_to_ask():
    with pytest.raises(RuntimeError, match="only inside a node"):
        interrupt("anybody?")


# ---- what an answer must be -----------------------------------------------------------------


def test_a_question_carries_what_its_answer_must_be(in_step):
    in_step(Scratchpad("step"))
    with pytest.raises(GraphInterrupt) as raised:
        interrupt("how many?", key="k", response_schema=int)
    assert raised.value.interrupts[0].response_schema is int


def test_an_answer_is_made_what_was_asked_for(in_step):
    seen = []

    def fit(schema, answer):
        seen.append((schema, answer))
        return schema(answer)

    question = asked(Scratchpad("step"), "how many?", "k")
    in_step(Scratchpad("step", {question.id: "7"}, fit=fit))
    assert interrupt("how many?", key="k", response_schema=int) == 7
    assert seen == [(int, "7")]


def test_what_must_come_is_no_part_of_the_questions_name():
    plain = asked(Scratchpad("step"), "q", "k")
    with pytest.raises(GraphInterrupt) as raised:
        Scratchpad("step").ask("q", "k", int)
    assert raised.value.interrupts[0].id == plain.id


# ---- questions by exception -----------------------------------------------------------------


def test_a_question_that_is_raised_gets_the_name_of_its_place():
    scratchpad = Scratchpad("step")
    question = scratchpad.pose("sure?", None)
    assert (question.value, question.id) == ("sure?", asked(Scratchpad("step"), "sure?").id)
    assert scratchpad.asked == [question]


def test_a_question_that_is_raised_may_bring_its_own_name():
    assert Scratchpad("step").pose("sure?", "mine").id == "mine"


def test_a_question_that_is_raised_holds_no_name_until_it_is_caught():
    raised = NodeInterrupt("sure?")
    assert (raised.value, raised.id, raised.interrupts) == ("sure?", None, ())
    assert isinstance(raised, GraphInterrupt)
