"""The channel whose reducer gets a superstep's writes at once, and rules in annotations."""

import pytest

from orchestrator.channels import (
    MISSING,
    UNCHANGED,
    BaseChannel,
    BinaryOperatorAggregate,
    Channel,
    DeltaChannel,
    LastValue,
    Overwrite,
    Topic,
    overwrite_of,
)
from orchestrator.errors import InvalidGraphError, InvalidUpdateError


def joined(value, writes):
    return [*value, "+".join(writes)]


def test_all_writes_of_a_superstep_come_in_one_call():
    assert DeltaChannel(joined).update(["a"], ["b", "c"]) == ["a", "b+c"]


def test_the_reducer_gets_a_list_whatever_the_writes_came_in():
    seen = []
    DeltaChannel(lambda value, writes: seen.append(writes)).update([], ("a",))
    assert seen == [["a"]]


def test_without_writes_nothing_changes():
    assert DeltaChannel(joined).update(["a"], []) is UNCHANGED


def test_an_empty_channel_shows_a_fresh_start_value():
    channel = DeltaChannel(joined)
    channel.get(MISSING).append("spoilt")
    assert channel.get(MISSING) == []
    assert channel.get(["a"]) == ["a"]
    assert channel.update(MISSING, ["a"]) == ["a"]


def test_an_overwrite_replaces_value_and_writes_with_a_copy():
    new = ["new"]
    value = DeltaChannel(joined).update(["old"], ["x", Overwrite(new), "y"])
    assert value == new
    assert value is not new


def test_to_overwrite_with_none_starts_over():
    assert DeltaChannel(joined, dict).update({"a": 1}, [Overwrite(None)]) == {}


def test_two_overwrites_in_one_superstep_are_refused():
    with pytest.raises(InvalidUpdateError, match="2 Overwrite writes for 'log'"):
        DeltaChannel(joined, key="log").update([], [Overwrite([]), Overwrite([])])


@pytest.mark.parametrize("frequency", [0, -1])
def test_a_snapshot_frequency_below_one_is_refused(frequency):
    with pytest.raises(ValueError, match=f"positive int, got {frequency}"):
        DeltaChannel(joined, snapshot_frequency=frequency)


def test_a_type_without_an_empty_value_is_refused_with_the_key():
    with pytest.raises(InvalidGraphError, match=r"has none \(key 'log'\)"):
        DeltaChannel(joined).named("log", int | None)
    with pytest.raises(InvalidGraphError, match=r"has none\. Annotate"):
        DeltaChannel(joined, int | None)


def test_the_fingerprint_names_the_reducer_but_not_how_often_langgraph_would_snapshot():
    often = DeltaChannel(joined, snapshot_frequency=1)
    assert often.describe() == DeltaChannel(joined).describe() == "delta:joined"


def test_a_rule_named_for_a_key_is_a_copy_that_names_the_key_in_errors():
    rule = LastValue(int)
    named = rule.named("n", int)
    assert (named.key, rule.key, named.typ) == ("n", "", int)
    with pytest.raises(InvalidUpdateError, match="2 values for 'n'"):
        named.update(MISSING, [1, 2])


def test_a_rule_named_for_a_key_keeps_what_it_was_made_with():
    assert Topic(str, accumulate=True).named("t", list).accumulate
    assert BinaryOperatorAggregate(str, max).named("t", list).get(MISSING) == ""


def test_the_overwrite_that_json_leaves_of_langgraphs_is_one():
    assert overwrite_of({"value": [1], "type": "__overwrite__"}) == (True, [1])
    assert overwrite_of({"value": [1], "type": "other"}) == (False, None)
    assert overwrite_of({"type": "__overwrite__"}) == (False, None)


def test_the_base_class_has_langgraphs_name_too():
    assert BaseChannel is Channel
