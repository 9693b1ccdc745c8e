"""The update rules of a state's keys."""

import operator
from collections.abc import Mapping, Sequence

import pytest

from orchestrator.channels import (
    MISSING,
    UNCHANGED,
    AnyValue,
    BinaryOperatorAggregate,
    Channel,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Overwrite,
    Topic,
    UntrackedValue,
    overwrite_of,
    storable,
)
from orchestrator.errors import InvalidUpdateError

ALL = [
    LastValue(int, "key"),
    LastValueAfterFinish(int, "key"),
    AnyValue(int, "key"),
    EphemeralValue(int, key="key"),
    UntrackedValue(int, key="key"),
    BinaryOperatorAggregate(int, operator.add, "key"),
    Topic(int),
    Topic(int, accumulate=True),
    NamedBarrierValue(str, ["a"], "key"),
    NamedBarrierValueAfterFinish(str, ["a"], "key"),
]


@pytest.mark.parametrize("channel", ALL, ids=lambda channel: channel.kind)
def test_without_writes_an_empty_channel_is_unchanged(channel):
    assert channel.update(MISSING, []) is UNCHANGED


@pytest.mark.parametrize("channel", ALL, ids=lambda channel: channel.kind)
def test_an_empty_channel_is_not_changed_by_the_end_of_a_run_or_by_triggering(channel):
    assert channel.finish(MISSING) is UNCHANGED
    assert channel.consume(MISSING) is UNCHANGED


def test_every_rule_has_its_own_name_in_the_fingerprint():
    assert len({channel.describe() for channel in ALL}) == len(ALL)


def test_the_base_class_keeps_nothing_and_leaves_the_rule_to_others():
    channel = Channel()
    assert channel.get(1) == 1
    assert channel.describe() == "channel"
    with pytest.raises(NotImplementedError):
        channel.update(MISSING, [1])


# ---- one value ------------------------------------------------------------------------------


def test_a_last_value_takes_the_one_write():
    assert LastValue(int, "n").update(1, [2]) == 2


def test_a_last_value_keeps_what_nobody_writes():
    assert LastValue(int, "n").update(1, []) is UNCHANGED


@pytest.mark.parametrize("channel", [LastValue(int, "n"), EphemeralValue(int, key="n")])
def test_two_writes_where_one_may_be_name_the_key_and_the_remedy(channel):
    with pytest.raises(InvalidUpdateError, match=r"2 values for 'n'.*Give it a reducer: Annotated"):
        channel.update(1, [2, 3])


def test_none_is_a_value():
    assert LastValue(int, "n").update(1, [None]) is None


def test_an_any_value_takes_the_last_of_several_and_is_cleared_when_not_written():
    channel = AnyValue(int, "n")
    assert channel.update(1, [2, 3]) == 3
    assert channel.update(3, []) is MISSING


def test_an_ephemeral_value_is_gone_after_a_superstep_without_writes():
    channel = EphemeralValue(int, key="n")
    assert channel.update(MISSING, [1]) == 1
    assert channel.update(1, []) is MISSING


def test_an_unguarded_ephemeral_value_takes_the_last_of_several():
    assert EphemeralValue(int, guard=False).update(MISSING, [1, 2]) == 2


def test_an_untracked_value_stays_and_is_never_stored():
    channel = UntrackedValue(int, key="n")
    assert channel.update(1, []) is UNCHANGED
    assert channel.update(1, [2]) == 2
    assert not channel.persisted
    with pytest.raises(InvalidUpdateError):
        channel.update(1, [2, 3])


def test_a_value_for_the_end_of_the_run_shows_only_then_and_triggers_once():
    channel = LastValueAfterFinish()
    stored = channel.update(MISSING, ["early", "late"])
    assert channel.get(stored) is MISSING
    assert channel.consume(stored) is UNCHANGED
    shown = channel.finish(stored)
    assert channel.get(shown) == "late"
    assert channel.finish(shown) is UNCHANGED
    assert channel.consume(shown) is MISSING


# ---- reducers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typ", "start"),
    [(int, 0), (list, []), (list[int], []), (Sequence, []), (Mapping[str, int], {}), (str, "")],
)
def test_a_reduced_channel_starts_from_the_empty_value_of_its_type(typ, start):
    assert BinaryOperatorAggregate(typ, operator.add).get(MISSING) == start


def test_a_type_without_an_empty_value_starts_from_the_first_write():
    channel = BinaryOperatorAggregate(int | None, operator.add)
    assert channel.get(MISSING) is MISSING
    assert channel.update(MISSING, [1]) == 1
    assert channel.update(MISSING, [1, 2, 3]) == 6


def test_writes_are_folded_in_the_order_they_are_given():
    assert BinaryOperatorAggregate(str, operator.add).update("a", ["b", "c"]) == "abc"


def test_every_look_at_an_empty_channel_gives_a_fresh_start_value():
    channel = BinaryOperatorAggregate(list, operator.add)
    first = channel.get(MISSING)
    first.append("spoilt")
    assert channel.get(MISSING) == []


@pytest.mark.parametrize("write", [Overwrite([9]), {"__overwrite__": [9]}])
def test_an_overwrite_replaces_the_value_and_all_other_writes(write):
    assert BinaryOperatorAggregate(list, operator.add).update([1], [[2], write, [3]]) == [9]


def test_two_overwrites_in_one_superstep_are_refused():
    channel = BinaryOperatorAggregate(list, operator.add, "items")
    with pytest.raises(InvalidUpdateError, match="2 Overwrite writes for 'items'"):
        channel.update([1], [Overwrite([2]), {"__overwrite__": [3]}])


def test_the_fingerprint_names_the_reducer():
    class Merge:
        def __call__(self, one, two):
            return one | two

    assert BinaryOperatorAggregate(list, operator.add).describe() == "reduced:add"
    assert BinaryOperatorAggregate(dict, Merge()).describe() == "reduced:Merge"


def test_an_overwrite_is_stored_as_plain_data_that_means_the_same():
    plain = storable(Overwrite(1))
    assert plain == {"__overwrite__": 1}
    assert overwrite_of(plain) == overwrite_of(Overwrite(1)) == (True, 1)


@pytest.mark.parametrize("write", [1, None, {}, {"__overwrite__": 1, "more": 2}, "__overwrite__"])
def test_other_writes_are_no_overwrite_and_are_stored_as_they_are(write):
    assert overwrite_of(write) == (False, None)
    assert storable(write) is write


def test_overwrites_compare_by_value_and_show_it():
    assert Overwrite([1]) == Overwrite([1])
    assert Overwrite([1]) != Overwrite([2])
    assert Overwrite(1) != 1
    assert repr(Overwrite("x")) == "Overwrite('x')"


# ---- topics and joins -----------------------------------------------------------------------


def test_a_topic_holds_what_was_sent_for_one_superstep():
    topic = Topic(int)
    assert topic.update(MISSING, [1, [2, 3]]) == [1, 2, 3]
    assert topic.update([1], [2]) == [2]
    assert topic.update([1], []) is MISSING
    assert topic.transient


def test_an_accumulating_topic_keeps_all_and_leaves_the_stored_list_alone():
    topic, stored = Topic(int, accumulate=True), [1]
    assert topic.update(stored, [2, [3]]) == [1, 2, 3]
    assert topic.update(MISSING, [2]) == [2]
    assert stored == [1]
    assert topic.update(stored, []) is UNCHANGED


def test_an_empty_list_sent_to_a_topic_is_no_news():
    assert Topic(int, accumulate=True).update([1], [[]]) is UNCHANGED


def test_a_join_opens_when_all_have_arrived_in_any_order_and_starts_over():
    join = NamedBarrierValue(str, ["a", "b"], "join")
    half = join.update(MISSING, ["b"])
    assert join.get(half) is MISSING
    assert join.consume(half) is UNCHANGED
    assert join.update(half, ["b"]) is UNCHANGED
    whole = join.update(half, ["a"])
    assert whole == ["a", "b"]
    assert join.get(whole) is None
    assert join.consume(whole) is MISSING


def test_a_name_that_is_not_waited_for_is_refused():
    with pytest.raises(InvalidUpdateError, match=r"'c' is not in the join 'j' of \['a', 'b'\]"):
        NamedBarrierValue(str, ["b", "a"], "j").update(MISSING, ["c"])


def test_the_fingerprint_names_whom_a_join_waits_for():
    assert NamedBarrierValue(str, ["b", "a"]).describe() == "barrier:a+b"


def test_a_join_for_the_end_of_the_run_opens_only_then():
    join = NamedBarrierValueAfterFinish(str, ["a", "b"], "join")
    half = join.update(MISSING, ["a"])
    assert join.finish(half) is UNCHANGED
    whole = join.update(half, ["b"])
    assert join.get(whole) is MISSING
    assert join.consume(whole) is UNCHANGED
    opened = join.finish(whole)
    assert join.get(opened) is None
    assert join.finish(opened) is UNCHANGED
    assert join.update(opened, ["a"]) is UNCHANGED
    assert join.consume(opened) is MISSING


def test_an_open_join_for_the_end_of_the_run_stays_open_while_names_arrive():
    join = NamedBarrierValueAfterFinish(str, ["a", "b"], "join")
    assert join.update(["", "a"], ["b"]) == ["", "a", "b"]
