"""Records as bytes and back."""

import pytest

from orchestrator.channels import Overwrite
from orchestrator.engine.apply import SENDS
from orchestrator.engine.records import Records
from orchestrator.errors import NewerLayoutError, StateCorruptedError, UnserializableValueError
from orchestrator.graph.policy import TimeoutPolicy
from orchestrator.graph.routing import Send
from orchestrator.model.checkpoint import (
    Checkpoint,
    Interrupt,
    Outcome,
    PlannedStep,
    StepError,
    blob_key,
)
from orchestrator.serde.codec import Codec

CODEC = Codec()
RECORDS = Records(CODEC.encode, CODEC.decode)

CHECKPOINT = Checkpoint(
    id=7,
    ns="sub",
    parent=6,
    step=2,
    source="loop",
    created_ms=99,
    versions={"x": 7, "y": 3, "branch:to:a": 7},
    control={"branch:to:a": None},
    seen={"a": {"branch:to:a": 3}},
    writers=("a", "b"),
    sends=1,
    sends_version=7,
    metadata={"who": "me"},
    plan=(PlannedStep("a", -1, ("branch:to:a",)), PlannedStep("b", 0)),
)


def test_a_checkpoint_comes_back_the_same():
    stored = RECORDS.store_checkpoint(CHECKPOINT)
    assert RECORDS.checkpoint(stored.header, stored.plan) == CHECKPOINT
    assert (stored.id, stored.ns) == (7, "sub")


def test_a_checkpoint_without_its_plan_has_an_empty_one():
    assert RECORDS.checkpoint(RECORDS.store_checkpoint(CHECKPOINT).header).plan == ()


def test_a_checkpoint_refers_to_the_values_of_the_state_only():
    refs = RECORDS.store_checkpoint(CHECKPOINT).refs
    assert refs == (blob_key("sub", "x", 7), blob_key("sub", "y", 3))


def test_values_are_decoded_anew_at_every_look():
    blobs = {blob_key("sub", "x", 7): CODEC.encode([1]), blob_key("sub", "y", 3): b"\xc1"}
    values = RECORDS.values(CHECKPOINT, blobs)
    assert (set(values), len(values)) == ({"x", "y"}, 2)
    values["x"].append("spoilt")
    assert values["x"] == [1]
    with pytest.raises(StateCorruptedError):
        values["y"]


def test_a_value_that_is_not_stored_is_damage_and_a_key_without_one_is_not_there():
    values = RECORDS.values(CHECKPOINT, {})
    with pytest.raises(StateCorruptedError, match="stored value of 'x' is missing"):
        values["x"]
    with pytest.raises(KeyError):
        values["absent"]


def test_an_outcome_comes_back_with_what_was_sent_and_asked():
    outcome = Outcome(
        writes=(
            ("x", 1),
            (SENDS, Send("a", {"deep": (1,)})),
            (SENDS, Send("a", 2, timeout=5)),
            (SENDS, Send("a", 3, timeout=TimeoutPolicy(idle_timeout=1, refresh_on="heartbeat"))),
            ("x", None),
        ),
        attempt=2,
        fence=9,
        worker="host:1:a",
        claimed_ms=5,
        interrupts=(Interrupt("sure?", "id", "key", {"type": "boolean"}),),
    )
    assert RECORDS.outcome(RECORDS.store_outcome(outcome)) == outcome


def test_an_overwrite_is_kept_as_data_that_means_the_same():
    stored = RECORDS.store_outcome(Outcome(writes=(("x", Overwrite([1])),)))
    assert RECORDS.outcome(stored).writes == (("x", {"__overwrite__": [1]}),)


def test_what_cannot_be_stored_is_named_with_its_write_and_path():
    outcome = Outcome(writes=(("fine", 1), ("bad", {"deep": [1, object()]})))
    with pytest.raises(UnserializableValueError) as raised:
        RECORDS.store_outcome(outcome)
    assert "the write to 'bad': value['deep'][1] is a builtins.object" in str(raised.value)


def test_what_is_sent_and_cannot_be_stored_is_named_too():
    with pytest.raises(UnserializableValueError, match="what is sent to 'a': value is a"):
        RECORDS.store_outcome(Outcome(writes=((SENDS, Send("a", object())),)))


def test_a_question_that_cannot_be_stored_is_refused():
    with pytest.raises(UnserializableValueError):
        RECORDS.store_interrupt(Interrupt(object(), "id"))
    with pytest.raises(UnserializableValueError):
        RECORDS.store_outcome(Outcome(interrupts=(Interrupt(object(), "id"),)))


def test_an_id_of_hex_digits_takes_half_of_them_and_any_other_what_it_has():
    for id_, size in [("0af1" * 8, 16), ("0AF1" * 8, 32), ("", 0), ("of mine", 7), ("a b", 3)]:
        question = Interrupt("?", id_, "key", None)
        stored = RECORDS.store_interrupt(question)
        assert RECORDS.interrupt(stored) == question
        assert len(CODEC.decode(stored)[2]) == size


def test_questions_and_errors_come_back_the_same():
    question = Interrupt({"a": 1}, "id", None, {"type": "integer"})
    assert RECORDS.interrupt(RECORDS.store_interrupt(question)) == question
    error = StepError(type="T", module="m", message="w", traceback="t", node="n", attempt=3)
    assert RECORDS.error(RECORDS.store_error(error)) == error
    assert RECORDS.error(b"") is None


@pytest.mark.parametrize(
    "fields", [[], [1], [0, "x", [], 1, 1, 1, 1], {"a": 1}, 3, [1] * 99], ids=repr
)
def test_bytes_that_are_another_record_or_layout_are_refused(fields):
    data = CODEC.encode(fields)
    for read, what in [
        (RECORDS.checkpoint, "checkpoint"),
        (RECORDS.outcome, "outcome"),
        (RECORDS.interrupt, "interrupt"),
        (RECORDS.error, "error"),
    ]:
        with pytest.raises(StateCorruptedError, match=f"no {what}"):
            read(data)


def test_a_later_layout_is_refused_with_a_sentence():
    for read, what in [(RECORDS.checkpoint, "checkpoint"), (RECORDS.outcome, "outcome")]:
        with pytest.raises(NewerLayoutError, match=f"a stored {what} has layout 9, .* up to"):
            read(CODEC.encode([9, 1, 2, 3]))
