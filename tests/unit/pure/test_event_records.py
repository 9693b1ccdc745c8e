"""Events are kept in few bytes, and what was kept by earlier versions is still read."""

from __future__ import annotations

import msgpack
import pytest

from orchestrator.envelope import event_codec
from orchestrator.envelope.event_codec import (
    opened_events,
    opened_together,
    sealed_event,
    sealed_together,
)
from orchestrator.envelope.seal import SEAL_BYTES, seal
from orchestrator.model.commit import Event, EventDraft

STEP = "170ec2efa45deb1d16caf9efe146a760"
COMMITTED = EventDraft("step_committed", {"step": STEP, "number": 1, "mine": "a"})
TOLD = {"step": STEP.encode(), "number": b"1", "mine": b"a"}


def test_a_word_is_a_number_and_an_id_is_its_bytes() -> None:
    stored = sealed_together("t", [COMMITTED, EventDraft("run_mine", {"run": "r"})])
    assert msgpack.unpackb(stored[SEAL_BYTES:], strict_map_key=False) == [
        [27, {64: bytes.fromhex(STEP), 2: 1, "mine": "a"}],
        ["run_mine", {11: "r"}],
    ]
    assert list(opened_together("t", stored, 7, 2, 5)) == [
        Event(6, 5, "step_committed", TOLD),
        Event(7, 5, "run_mine", {"run": b"r"}),
    ]


def test_what_was_kept_in_words_is_read() -> None:
    fields = {"step": STEP.encode(), "number": b"1", "mine": b"a"}
    together = seal("t\x1fevents", msgpack.packb([("step_committed", fields)]))
    alone = seal("t\x1fstep_committed", msgpack.packb(fields))
    event = Event(7, 5, "step_committed", TOLD)
    assert list(opened_together("t", together, 7, 1, 5)) == [event]
    assert opened_events("t", [Event(7, 5, "step_committed", {"sealed": alone})]) == [event]


def test_an_event_by_itself_comes_back_as_it_was() -> None:
    fields = sealed_event("t", COMMITTED).fields
    event = Event(7, 5, COMMITTED.type, {"sealed": bytes(fields["sealed"])})  # type: ignore[arg-type]
    assert opened_events("t", [event]) == [Event(7, 5, COMMITTED.type, TOLD)]


@pytest.mark.parametrize(
    ("number", "word"),
    [(0, "step"), (25, "break"), (26, "run_accepted"), (40, "checkpoint_resume")],
)
def test_the_words_stand_where_they_always_did(number: int, word: str) -> None:
    assert event_codec._WORDS[number] == word
    assert len(event_codec._WORDS) < event_codec._BYTES_OF
