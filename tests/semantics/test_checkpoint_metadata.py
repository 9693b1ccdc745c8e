"""Which metadata checkpoints have: that of the call that makes them, and scalars of its config."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import START, Command, InMemorySaver, StateGraph, UnserializableValueError
from tests.semantics.graphs import BoomError, Made
from tests.semantics.places import Place

FIRST = {"tenant": "acme", "seats": 3, "share": 0.5, "trial": True}


def _config(place: Place, **more: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": place.thread, **more.pop("configurable", {})}, **more}


def _own(snapshot: Any) -> dict[str, Any]:
    return {k: v for k, v in snapshot.metadata.items() if k not in {"source", "step", "parents"}}


def test_a_checkpoint_has_the_scalars_and_the_metadata_of_the_call_that_made_it(
    place: Place,
) -> None:
    graph = place.graph("asks_beside_failure")
    hidden = {"__own": 1, "objects": [1, 2]}
    config = _config(place, configurable={**FIRST, **hidden}, metadata={"n": 1}, colour="red")
    with place.failing(BoomError):
        graph.invoke({"witness": place.witness}, config)
    first = {**FIRST, "n": 1, "colour": "red"}
    assert [_own(each) for each in graph.get_state_history(place.thread)] == [first, first]

    later = _config(place, configurable={"tenant": "other"}, metadata={"m": 2})
    graph.invoke(Command(resume="yes"), later)
    second = {"tenant": "other", "m": 2}
    assert [_own(s) for s in graph.get_state_history(place.thread)] == [second, first, first]
    found = graph.get_state_history(place.thread, filter={"tenant": "acme", "seats": 3})
    assert len(list(found)) == 2

    graph.update_state(_config(place, metadata={"by": "hand"}), {"log": ["edited"]}, "work")
    assert _own(graph.get_state(place.thread)) == {"by": "hand"}


def test_a_resumed_call_without_metadata_leaves_that_of_the_first_behind(place: Place) -> None:
    graph = place.graph("fails_then_asks")
    with place.failing(BoomError):
        graph.invoke({"witness": place.witness}, _config(place, metadata={"n": 1}))
    graph.invoke(None, _config(place))
    graph.invoke(Command(resume="yes"), _config(place))
    assert [_own(s) for s in graph.get_state_history(place.thread)] == [{}, {"n": 1}, {"n": 1}]


def test_a_replayed_branch_has_the_metadata_of_the_call_that_replays(place: Place) -> None:
    graph = place.graph("plain")
    graph.invoke({"witness": place.witness}, _config(place, metadata={"n": 1}))
    past = next(s for s in graph.get_state_history(place.thread) if s.next == ("after",))
    graph.invoke(None, {**past.config, "metadata": {"again": True}})
    newest = [_own(s) for s in graph.get_state_history(place.thread)][:3]
    assert newest == [{"again": True}, {"again": True}, {"n": 1}]
    again = {"configurable": {**past.config["configurable"], "tenant": "acme"}}
    fork, *_ = graph.stream(None, again, stream_mode="checkpoints")
    assert set(fork["metadata"]) == {"source", "step", "parents"}
    assert fork["parent_config"]["configurable"]["tenant"] == "acme"


def test_checkpoints_of_a_subgraph_have_the_metadata_of_the_call_around(place: Place) -> None:
    graph = place.graph("asks_inside")
    with_ = _config(place, configurable={"tenant": "acme"}, metadata={"n": 1})
    graph.invoke({"witness": place.witness}, with_)
    inside = graph.get_state(place.thread).tasks[0].state
    first = {"tenant": "acme", "n": 1}
    assert {tuple(_own(s).items()) for s in graph.get_state_history(inside)} == {
        tuple(first.items())
    }
    graph.invoke(Command(resume=Made(9)), _config(place, metadata={"m": 2}))
    assert _own(graph.get_state(inside)) == {"m": 2}
    assert _own(graph.get_state(place.thread)) == {"m": 2}


@pytest.mark.parametrize("mode", ["tasks", "debug"])
def test_parts_of_tasks_have_the_metadata_and_the_tags_of_the_call(place: Place, mode: str) -> None:
    graph = place.graph("plain")
    config = _config(place, metadata={"n": 1}, tags=["mine", "seq:step:1"])
    parts = list(graph.stream({"witness": place.witness}, config, stream_mode=mode))
    if mode == "debug":
        parts = [part["payload"] for part in parts if part["type"] == "task"]
    begun = [part for part in parts if "triggers" in part]
    assert [part["metadata"] for part in begun] == [{"n": 1, "tags": ["mine"]}] * 2
    silent = graph.stream(
        {"witness": place.witness}, {"thread_id": place.another()}, stream_mode=mode
    )
    assert not any("metadata" in part for part in silent if "triggers" in part)


def test_parts_of_checkpoints_have_the_config_of_the_call_and_not_its_metadata(
    place: Place,
) -> None:
    graph = place.graph("plain")
    config = _config(place, configurable={"tenant": "acme"}, metadata={"n": 1})
    parts = list(graph.stream({"witness": place.witness}, config, stream_mode="checkpoints"))
    assert {part["config"]["configurable"]["tenant"] for part in parts} == {"acme"}
    assert parts[-1]["parent_config"]["configurable"]["tenant"] == "acme"
    assert {frozenset(part["metadata"]) for part in parts} == {
        frozenset({"source", "step", "parents"})
    }


def test_the_first_part_of_a_resumed_run_shows_the_question_and_the_error(place: Place) -> None:
    graph = place.graph("asks_beside_failure")
    with place.failing(BoomError):
        place.call(graph, {})
    parts = graph.stream(Command(resume="yes"), place.thread, stream_mode="checkpoints")
    ask, work = sorted(next(parts)["tasks"], key=lambda task: task["name"])
    assert [question["value"] for question in ask["interrupts"]] == ["go on?"]
    assert work["error"] == "BoomError('the first time')"
    assert len(list(parts)) == 1


def test_metadata_that_cannot_be_stored_serves_the_calling_process_only() -> None:
    builder = StateGraph(dict).add_node("a", lambda _state, config: {"seen": config["metadata"]})
    graph = builder.add_edge(START, "a").compile(InMemorySaver())
    metadata = {"object": object(), "n": 1}
    with pytest.raises(UnserializableValueError, match="seen"):  # A value of the state is stored.
        graph.invoke({}, {"thread_id": "t", "metadata": metadata})
    assert _own(graph.get_state("t")) == {"n": 1}
