"""Steps side by side that use one subgraph which remembers: by turns, in the order of the plan."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import Command
from tests.semantics.places import Place

ONCE = [["a"], ["a", "b"], ["a", "b", "c"]]
TWICE = [["a", "b", "c", *more] for more in ONCE]


@pytest.mark.parametrize("name", ["remember_by_turns", "call_by_turns", "deep_by_turns"])
def test_each_finds_what_those_before_it_in_the_plan_have_left(place: Place, name: str) -> None:
    graph = place.graph(name)
    assert place.call(graph, {})["log"] == ["other", *ONCE]
    assert place.call(graph, {})["log"] == ["other", *ONCE, "other", *TWICE]
    assert [one for one in place.ran() if one != "other"] == ["a", "b", "c"] * 2


@pytest.mark.parametrize("name", ["ask_by_turns", "deep_ask_by_turns"])
def test_one_that_asks_is_answered_before_the_next_one_begins(place: Place, name: str) -> None:
    graph = place.graph(name)
    value: Any = {}
    for asks in ("a", "b", "c"):
        (question,) = place.call(place.graph(name), value)["__interrupt__"]
        assert question.value == f"{asks}?"
        (again,) = place.call(graph, None)["__interrupt__"]
        assert again == question
        value = Command(resume=f"{asks}!")
    assert place.call(graph, value)["log"] == ["other", ["a!"], ["a!", "b!"], ["a!", "b!", "c!"]]


def test_what_waits_for_its_turn_is_no_pause_that_an_input_would_end(place: Place) -> None:
    graph = place.graph("ask_by_turns")
    place.call(graph, {})
    (question,) = place.call(graph, {})["__interrupt__"]
    assert (question.value, place.ran("other")) == ("a?", ["other", "other"])
    assert graph.get_state(place.thread).next == ("tell", "tell", "tell")


def test_one_that_fails_is_tried_again_before_the_next_one_begins(place: Place) -> None:
    graph = place.graph("fail_by_turns")
    with place.failing(ValueError, "b"):
        place.call(graph, {})
    assert [one for one in place.ran() if one != "other"] == ["a", "b"]
    assert place.call(graph, None)["log"] == ["other", *ONCE]
    assert [one for one in place.ran() if one != "other"] == ["a", "b", "b", "c"]
