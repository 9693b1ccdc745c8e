"""What is stored of a superstep's new values."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, Overwrite, StateGraph, add_messages, limits
from orchestrator.channels import BinaryOperatorAggregate, Topic
from orchestrator.engine.advance import Frame, Next, advance
from orchestrator.engine.apply import apply
from orchestrator.engine.deltas import kept_values
from orchestrator.engine.records import Records
from orchestrator.errors import UnserializableValueError
from orchestrator.model.checkpoint import Checkpoint, PlannedStep, blob_key
from orchestrator.serde.codec import Codec

CODEC = Codec()
OLD, NEW = 7, 8
LONG = ["x" * 100] * 5


def merged(old: list[Any], new: list[Any]) -> list[Any]:
    return [*old, *(item for item in new if item not in old)]


def newest_first(old: list[Any], new: list[Any]) -> list[Any]:
    return [*new, *old]


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    both: Annotated[list[Any], merged]
    front: Annotated[list[Any], newest_first]
    said: Annotated[list[Any], add_messages]
    last: list[Any]
    text: Annotated[str, operator.add]


SPEC = StateGraph(State).add_node("a", lambda _: {}).add_edge(START, "a").compile().spec


class Stepper:
    """One state, stored, from which supersteps go on."""

    def __init__(self, tails: dict[str, int] | None = None, **values: Any) -> None:
        self.decoded = 0
        self.records = Records(CODEC.encode, self.decode)
        versions = dict.fromkeys(values, OLD)
        self.checkpoint = Checkpoint(id=OLD, versions=versions, tails=tails or {})
        self.blobs = {blob_key("", key, OLD): CODEC.encode(v) for key, v in values.items()}

    def decode(self, data: bytes) -> Any:
        self.decoded += 1
        return CODEC.decode(data)

    def __call__(self, *writes: tuple[str, Any]) -> Next:
        values = self.records.values(self.checkpoint, self.blobs)
        frame = Frame(self.checkpoint, values, stop=99)
        return advance(SPEC, frame, [(PlannedStep("a"), writes)], new_id=NEW, now_ms=0)

    def kept(self, *writes: tuple[str, Any]) -> Any:
        return kept_values(self.records, self(*writes), frozenset())


def new(key: str) -> str:
    return blob_key("", key, NEW)


def test_of_a_list_that_is_added_to_only_what_was_added_is_looked_at() -> None:
    stepper = Stepper(log=LONG, last=LONG)
    kept = stepper.kept(("log", ["a"]), ("log", ["b", {"c": 1}]))
    assert kept.blobs == {new("log"): CODEC.encode(["a", "b", {"c": 1}])}
    assert kept.continued == {new("log"): blob_key("", "log", OLD)}
    assert (kept.tails, stepper.decoded) == ({"log": 1}, 0)


def test_the_values_after_it_are_whole_and_fresh() -> None:
    stepper = Stepper(log=LONG)
    following = stepper(("log", ["a"]))
    assert following.news == {"log"}
    following.values["log"].append("spoilt")
    assert following.values["log"] == [*LONG, "a"]
    assert dict(following.values) == {"log": [*LONG, "a"]}


def test_a_list_that_grew_is_news() -> None:
    stepper = Stepper(log=LONG)
    values = stepper.records.values(stepper.checkpoint, stepper.blobs)
    applied = apply(SPEC, stepper.checkpoint, values, [(PlannedStep("a"), [("log", ["a"])])], NEW)
    assert (applied.updated, applied.versions) == ({"log"}, {"log": NEW})
    assert (applied.changed, applied.appended) == ({}, {"log": ["a"]})


@pytest.mark.parametrize(
    ("key", "write", "tail"),
    [
        ("both", [LONG[0], "a"], ["a"]),
        ("both", [], []),
        ("last", [*LONG, "a", "b"], ["a", "b"]),
        ("log", Overwrite([*LONG, "a"]), ["a"]),
    ],
)
def test_how_a_list_came_to_grow_does_not_matter(key: str, write: Any, tail: list[Any]) -> None:
    kept = Stepper(**{key: LONG}).kept((key, write))
    assert kept.blobs == {new(key): CODEC.encode(tail)}
    assert kept.continued == {new(key): blob_key("", key, OLD)}


def test_a_conversation_that_goes_on_is_stored_by_what_was_said() -> None:
    said = [{"role": "user", "content": "x" * 300, "id": str(n)} for n in range(3)]
    stepper = Stepper(said=add_messages([], said))
    kept = stepper.kept(("said", [{"role": "user", "content": "more", "id": "9"}]))
    [tail] = CODEC.decode(kept.blobs[new("said")])
    assert set(kept.continued) == {new("said")}
    assert "more" in str(tail)
    changed = stepper.kept(("said", [{"role": "user", "content": "other", "id": "1"}]))
    assert (changed.continued, changed.tails) == ({}, {})


@pytest.mark.parametrize(
    ("key", "before", "write", "after"),
    [
        ("front", LONG, ["a"], ["a", *LONG]),
        ("last", LONG, LONG[:4], LONG[:4]),
        ("last", LONG, {"no": "list"}, {"no": "list"}),
        ("last", {"no": "list" * 99}, LONG, LONG),
        ("log", LONG, Overwrite(["anew" * 99]), ["anew" * 99]),
        ("text", "x" * 300, "y", "x" * 300 + "y"),
        ("log", ["short"], ["a"], ["short", "a"]),
    ],
)
def test_anything_else_is_stored_whole(key: str, before: Any, write: Any, after: Any) -> None:
    kept = Stepper(tails={key: 3}, **{key: before}).kept((key, write))
    assert (kept.blobs, kept.continued) == ({new(key): CODEC.encode(after)}, {})
    assert kept.tails == {}


def test_a_list_with_too_many_short_tails_is_stored_anew() -> None:
    whole = len(CODEC.encode(LONG))
    count = whole // limits.TAIL_BYTES_MIN
    assert Stepper(tails={"log": count}, log=LONG).kept(("log", [1])).tails == {"log": count + 1}
    kept = Stepper(tails={"log": count + 1}, log=LONG).kept(("log", [1]))
    assert (kept.blobs, kept.tails) == ({new("log"): CODEC.encode([*LONG, 1])}, {})


def test_what_did_not_change_keeps_its_tails_and_what_is_gone_has_none() -> None:
    stepper = Stepper(tails={"log": 2, "both": 1, "gone": 3}, log=LONG, both=LONG)
    assert stepper.kept(("last", [1])).tails == {"log": 2, "both": 1}


def test_what_cannot_be_stored_is_told_by_its_place_in_the_whole_list() -> None:
    with pytest.raises(UnserializableValueError, match=r"the value of 'log'.*\[6\]"):
        Stepper(log=LONG).kept(("log", ["fine", object()]))


@pytest.mark.parametrize("reduce", [operator.add, operator.iadd, operator.concat])
def test_operators_that_concatenate_append_lists_and_nothing_else(reduce: Any) -> None:
    class Odd(list[Any]):
        def __radd__(self, other: Any) -> Any:
            return "odd"

    assert BinaryOperatorAggregate(list, reduce).appended([[1], [[2]]]) == [1, [2]]
    for other in ((1,), "text", None, Odd([1]), {"__overwrite__": [1]}, Overwrite([1])):
        assert BinaryOperatorAggregate(list, reduce).appended([[1], other]) is None
    assert BinaryOperatorAggregate(list, merged).appended([[1]]) is None


def test_a_topic_that_lasts_appends_what_is_sent_if_anything_is() -> None:
    assert Topic(str, accumulate=True).appended(["a", ["b", "c"]]) == ["a", "b", "c"]
    assert Topic(str, accumulate=True).appended([[]]) is None
    assert Topic(str).appended(["a"]) is None
