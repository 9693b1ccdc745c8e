"""Each resume leaves one record: in the thread's log, and in that of the process."""

from __future__ import annotations

import logging
import re
from typing import Any, TypedDict

import pytest

from orchestrator import START, Command, MemoryCheckpointer, StateGraph, interrupt


class State(TypedDict, total=False):
    a: str
    b: str


class World:
    broken = True


def quick(state: State) -> State:
    return {"a": "done"}


def fails(state: State) -> State:
    if World.broken:
        raise ValueError("no")
    return {"b": interrupt("sure?")}


def records(store: Any) -> list[dict[str, str]]:
    found = [event for event in store.events("t") if event.type == "checkpoint_resume"]
    return [{key: data.decode() for key, data in event.fields.items()} for event in found]


def test_each_resume_leaves_its_record(caplog: pytest.LogCaptureFixture) -> None:
    store, builder = MemoryCheckpointer(), StateGraph(State)
    builder.add_node("quick", quick).add_node("fails", fails)
    graph = builder.add_edge(START, "quick").add_edge(START, "fails").compile(store)
    World.broken = True
    with pytest.raises(ValueError, match="no"):
        graph.invoke({}, "t")
    assert records(store) == []
    World.broken = False
    with caplog.at_level(logging.INFO, "orchestrator"):
        graph.invoke(None, "t")
        graph.invoke(Command(resume="yes"), "t")
    failure, answer = records(store)
    head = store.load("t").head
    assert (failure["reason"], answer["reason"]) == ("failure", "answer")
    for record in (failure, answer):
        assert (record["phase"], record["skipped_steps"], record["step"]) == ("fails", "1", "1")
        assert record["run_id"] == head.run_id
        assert float(record["load_ms"]) >= 0
        assert float(record["reconstruct_ms"]) >= 0
        assert int(record["age_ms"]) >= 0
    lines = [line for line in caplog.messages if line.startswith("event=checkpoint_resume")]
    assert len(lines) == 2
    assert re.fullmatch(
        r"event=checkpoint_resume thread_id=t run_id=\S+ checkpoint_id=\S+ step=1 phase=fails "
        r"age_ms=\d+ load_ms=[\d.]+ reconstruct_ms=[\d.]+ skipped_steps=1 reason=failure",
        lines[0],
    )
