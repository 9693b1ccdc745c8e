"""A question is asked whatever code does with the exception by which it is asked."""

from __future__ import annotations

import pytest

from orchestrator import Command
from tests.semantics.graphs import SWALLOWING
from tests.semantics.places import Place


@pytest.mark.parametrize("way", [*SWALLOWING, "in_the_router"])
def test_a_question_whose_exception_is_swallowed_is_asked_and_answered(
    place: Place, way: str
) -> None:
    graph = place.graph("swallows")
    output = place.call(graph, {"last": way})
    assert [question.value for question in output["__interrupt__"]] == ["sure?"]
    assert output["log"] == []
    assert graph.get_state(place.thread).next == ("ask",)

    answer = "after" if way == "in_the_router" else "yes"
    assert place.call(graph, Command(resume=answer))["log"] == ["yes", "after"]
    assert place.ran() == ["ask", "ask", "after"]
