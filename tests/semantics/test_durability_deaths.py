"""What a process that is killed in the middle of a call leaves, by `durability`."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from orchestrator import Command
from orchestrator.errors import EmptyInputError
from tests.semantics.places import Place, apart

EXIT: dict[str, Any] = {"durability": "exit"}

pytestmark = pytest.mark.parametrize("kind", apart("sqlite", "redis"))


def test_a_new_thread_does_not_exist(place: Place) -> None:
    value = {"witness": place.witness}
    call = {"value": value, "options": EXIT}
    assert place.elsewhere().death("dies", place.thread, **call) == signal.SIGKILL
    assert place.ran() == ["work", "die"]
    graph = place.graph("dies")
    assert graph.checkpointer.load(place.thread) is None
    assert list(graph.get_state_history(place.thread)) == []
    with pytest.raises(EmptyInputError):
        place.call(graph, None)
    assert place.call(graph, {}, **EXIT)["log"] == ["work", "die", "after"]


def test_an_open_question_is_still_open(place: Place) -> None:
    graph = place.graph("takes_answer")
    place.call(graph, {"last": "die"}, **EXIT)
    before = graph.get_state(place.thread)
    call = {"resume": "first", "options": EXIT}
    assert place.elsewhere().death("takes_answer", place.thread, **call) == signal.SIGKILL
    assert place.ran("answered") == ["answered"]
    assert graph.get_state(place.thread) == before
    assert len(list(graph.get_state_history(place.thread))) == 1
    output = place.call(graph, Command(resume="second"), **EXIT)
    assert output["log"] == ["second", "after"]
    assert len(list(graph.get_state_history(place.thread))) == 2


def test_sync_has_what_was_done(place: Place) -> None:
    call = {"value": {"witness": place.witness}}
    assert place.elsewhere().death("dies", place.thread, **call) == signal.SIGKILL
    graph = place.graph("dies")
    assert graph.get_state(place.thread).next == ("die",)
    assert place.call(graph, None)["log"] == ["work", "die", "after"]
    assert place.ran("work") == ["work"]
