"""The flows that people know, at every place: what comes out, and what really ran how often."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator import Command
from orchestrator.errors import GraphPausedError, NoPendingInterruptError
from tests.semantics.graphs import BoomError, Made
from tests.semantics.places import WAIT_S, Place, apart


def test_a_review_that_was_paused_goes_on_at_the_review_with_what_it_is_given(
    place: Place,
) -> None:
    graph = place.graph("review")
    config = {"thread_id": place.thread}
    with pytest.raises(InterruptedError, match="waiting for approval") as caught:
        graph.invoke({"witness": place.witness}, config=config)
    paused = caught.value
    assert isinstance(paused, GraphPausedError)
    told = (paused.thread_id, paused.node, paused.reason)
    assert told == (place.thread, "review", "waiting for approval")
    assert graph.get_state(config).next == ("review",)
    assert place.ran() == ["draft", "review"]

    output = graph.invoke({"approved": True}, config={"thread_id": place.thread})
    assert output["log"] == ["draft", "reviewed", "finalize"]
    assert place.ran() == ["draft", "review", "review", "finalize"]
    assert graph.get_state(config).next == ()


def test_a_paused_review_that_is_given_nothing_new_pauses_again(place: Place) -> None:
    graph = place.graph("review")
    for value in ({}, None, {"approved": False}):
        with pytest.raises(InterruptedError):
            place.call(graph, value)
    assert Counter(place.ran()) == {"draft": 1, "review": 3}
    assert place.call(graph, {"approved": True})["log"] == ["draft", "reviewed", "finalize"]


def test_a_run_whose_third_step_raised_goes_on_there_with_what_was_counted(place: Place) -> None:
    graph = place.graph("counts")
    with place.failing(BoomError, "the power went"):
        place.call(graph, {})
    snapshot = graph.get_state(place.thread)
    assert (snapshot.values["count"], snapshot.next) == (2, ("three",))
    assert place.ran() == ["one", "two", "three"]

    # Another process, as it were; what the third step saw is the last number in the log.
    output = place.call(place.graph("counts"), None)
    assert output == {"count": 3, "log": [0, 1, 2]}
    assert place.ran() == ["one", "two", "three", "three"]


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_question_is_answered_once_and_the_run_ends_as_was_decided(
    place: Place, decision: str
) -> None:
    graph = place.graph("publish")
    (question,) = place.call(graph, {})["__interrupt__"]
    assert question.value == {"question": "publish it?"}
    snapshot = graph.get_state(place.thread)
    assert (snapshot.next, snapshot.interrupts) == (("decide",), (question,))

    output = place.call(graph, Command(resume={"decision": decision}))
    published = ["publish"] if decision == "approve" else []
    assert output == {"log": ["draft", *published], "last": decision}
    assert graph.get_state(place.thread).next == ()
    assert place.ran() == ["draft", "decide", "decide", *published]

    with pytest.raises(NoPendingInterruptError, match="asks nothing"):
        place.call(graph, Command(resume={"decision": "approve"}))
    assert place.values(graph) == output
    assert place.ran() == ["draft", "decide", "decide", *published]


def test_deferred_nodes_run_once_after_all_that_was_sent(place: Place) -> None:
    output = place.call(place.graph("gathers"), {})
    expected = ["other", "early", "early", *["late"] * 4, "gather", "join"]
    assert output["log"] == expected
    assert Counter(place.ran()) == Counter(expected)


@pytest.mark.parametrize("name", ["asks_made", "asks_inside"])
def test_an_answer_may_be_of_a_type_that_the_schema_names(place: Place, name: str) -> None:
    graph = place.graph(name)
    place.call(graph, {})
    output = place.call(graph, Command(resume=Made(9)))
    assert output["log"] == ["Made 9"]


@pytest.mark.parametrize("kind", apart("fleet"))
@pytest.mark.parametrize("name", ["asks_made", "asks_inside"])
def test_a_client_with_the_graph_answers_with_a_type_of_its_schema(place: Place, name: str) -> None:
    graph, client = place.graph(name), place.fleet.client
    place.call(graph, {})
    (question,) = client.questions(place.thread)
    handle = client.resume(place.thread, {question: Made(9)})
    assert handle.result(WAIT_S)["log"] == ["Made 9"]


@pytest.mark.parametrize("kind", apart("fleet"))
def test_a_client_with_the_graph_begins_and_edits_with_types_of_its_schema(place: Place) -> None:
    graph, client = place.graph("asks_made"), place.fleet.client
    given = {"witness": place.witness, "made": Made(1)}
    handle = client.submit("asks_made", given, thread_id=place.thread)
    with pytest.raises(GraphPausedError, match="which"):
        handle.result(WAIT_S)
    assert client.get_state(place.thread).values["made"] == Made(1)
    graph.update_state(place.thread, {"made": Made(2)}, as_node="__start__")
    assert client.get_state(place.thread).values["made"] == Made(2)


def test_an_answer_also_runs_the_step_that_failed_beside_the_question(place: Place) -> None:
    graph = place.graph("asks_beside_failure")
    with place.failing(BoomError, "the first time"):
        place.call(graph, {})
    assert place.call(graph, Command(resume="yes"))["log"] == ["yes", "work"]
    assert Counter(place.ran()) == {"ask": 2, "work": 2}
    assert graph.get_state(place.thread).next == ()
