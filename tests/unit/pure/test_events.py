"""The catalogue of events: what a writer commits is what a reader gets, and names are stored."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.envelope.event_codec import opened_together, sealed_together
from orchestrator.model.commit import Event, as_bytes
from orchestrator.model.events import (
    CATALOGUE,
    Entry,
    RunAccepted,
    RunPaused,
    StepCommitted,
    Unknown,
    Unreadable,
    read_event,
)

_WORD = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(),
    "int": st.integers(0, 2**53),
    "bytes": st.binary(),
    "Flag": st.booleans(),
    "Words": st.lists(_WORD).map(tuple),
    "Lines": st.lists(_WORD).map(tuple),
    "CheckpointId": st.integers(0, 2**64 - 1),
}


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    cls = draw(st.sampled_from([cls for cls in CATALOGUE.values() if cls is not Unreadable]))
    values: dict[str, Any] = {}
    for each in dataclasses.fields(cls):
        kind = str(each.type)
        value = _VALUES[kind.removesuffix(" | None")]
        values[each.name] = draw(st.none() | value if kind.endswith("None") else value)
    return cls(**{**values, "ns": ""})


@given(entries())
def test_a_stored_event_is_read_as_it_was_written(entry: Entry) -> None:
    stored = sealed_together("thread", [entry.draft()])
    [event] = opened_together("thread", stored, last=7, count=1, ts_ms=5)
    assert (event.type, read_event(event)) == (entry.type, entry)


def test_names_are_stored_so_none_changes() -> None:
    assert sorted(CATALOGUE) == [
        *("checkpoint_resume", "checkpoint_set_aside", "commit_refused", "damaged"),
        *("interrupt_answered", "run_accepted", "run_cancelled", "run_enqueued", "run_failed"),
        *("run_paused", "run_resumed", "run_succeeded", "run_withdrawn", "state_edited"),
        *("step_committed", "step_deferred", "step_failed", "step_handed_back"),
        *("step_interrupted", "step_paused", "step_released", "step_retry"),
        *("stream_custom", "stream_messages", "superstep", "task_done", "thread_copied"),
        *("thread_damaged", "thread_forked", "thread_repaired"),
    ]


def test_fields_with_a_default_may_be_absent() -> None:
    assert RunPaused().draft().fields == {}
    assert read_event(Event(1, 1, "run_paused", {})) == RunPaused()
    assert read_event(Event(1, 1, "run_paused", {"ns": b"a:b"})) == RunPaused(ns="a:b")
    accepted = RunAccepted(run="r", graph="g", checkpoint=1, steps=("s",))
    assert "before" not in accepted.draft().fields


def test_an_event_of_a_newer_version_is_unknown() -> None:
    assert read_event(Event(1, 1, "run_teleported", {"to": b"mars"})) == Unknown(
        name="run_teleported"
    )


@pytest.mark.parametrize("field", ["number", "checkpoint", "step"])
def test_an_event_without_its_fields_is_damaged(field: str) -> None:
    entry = StepCommitted(
        step="s",
        node="n",
        number=1,
        checkpoint=5,
        attempt=1,
        fence=1,
        worker="w",
        claimed_ms=3,
    )
    fields = {name: as_bytes(value) for name, value in entry.draft().fields.items()}
    assert read_event(Event(1, 1, entry.type, fields)) == entry
    rest = {name: value for name, value in fields.items() if name != field}
    assert read_event(Event(1, 1, entry.type, rest)) == Unreadable()
    if field != "step":
        assert read_event(Event(1, 1, entry.type, {**fields, field: b"x"})) == Unreadable()
