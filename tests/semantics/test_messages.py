"""Messages at every place: what is streamed is what is stored."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.semantics import conversing
from tests.semantics.graphs import BoomError
from tests.semantics.places import Place

ALL = ["ada speaks", "bob speaks", "cy speaks", *["hello from all"] * 3]


def said(place: Place, graph: Any, value: Any, modes: list[str]) -> dict[str, list[Any]]:
    """Stream a call; return the messages that each mode showed."""
    if isinstance(value, dict):
        value = {"witness": place.witness, **value}
    found: dict[str, list[Any]] = {mode: [] for mode in modes}
    for mode, data in graph.stream(value, place.thread, stream_mode=modes):
        if mode == "messages":
            found[mode].append(data[0])
        elif mode == "updates" and "speak" in data:
            found[mode] += data["speak"]["messages"]
        elif mode == "tasks" and "result" in data:
            found[mode] += data["result"]["messages"]
    return found


def names(messages: list[Any]) -> dict[str, str]:
    """Return texts by id."""
    return {message.id: message.text for message in messages}


def test_messages_of_steps_side_by_side_are_streamed_under_the_ids_they_are_stored_under(
    place: Place,
) -> None:
    graph = place.graph("converses")
    found = said(place, graph, {"messages": [], "last": ""}, ["updates", "messages", "tasks"])
    stored = graph.get_state(place.thread).values["messages"]
    assert sorted(message.text for message in stored) == ALL
    assert None not in names(stored)
    assert len(names(stored)) == len(ALL)
    for mode, messages in found.items():
        assert names(messages) == names(stored), mode
        assert len(messages) == len(stored), mode


@pytest.mark.parametrize("modes", [["updates"], ["updates", "messages"]])
def test_what_was_streamed_before_a_failure_is_what_is_stored_after_it(
    place: Place, modes: list[str]
) -> None:
    graph = place.graph("converses")
    shown: list[Any] = []
    with place.failing(BoomError, "the first time"):
        for mode, data in graph.stream(
            {"witness": place.witness, "messages": [], "last": "bob"},
            place.thread,
            stream_mode=modes,
        ):
            shown += [data[0]] if mode == "messages" else data["speak"]["messages"]
    waiting = [names(graph.get_state(place.thread).values["messages"]) for _ in range(2)]
    assert waiting[0] == waiting[1] == names(shown)
    found = said(place, place.graph("converses"), None, modes)
    stored = graph.get_state(place.thread).values["messages"]
    assert sorted(message.text for message in stored) == ALL
    for messages in found.values():
        assert names(messages).items() <= names(stored).items()
    assert names(shown).items() <= names(stored).items()
    assert Counter(place.ran()) == {"ada": 1, "bob": 2, "cy": 1}


def test_a_message_that_several_steps_return_is_left_as_it_is(place: Place) -> None:
    for modes in (["updates"], ["messages"]):
        place.another()
        said(place, place.graph("converses"), {"messages": [], "last": ""}, modes)
        assert conversing.GREETING.id is None
