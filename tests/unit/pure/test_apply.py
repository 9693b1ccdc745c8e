"""From the writes of a superstep to the next state."""

import itertools
import operator
from typing import Annotated, TypedDict

import pytest

from orchestrator.channels import AnyValue, Overwrite
from orchestrator.engine.apply import RETURN, SENDS, apply, plan
from orchestrator.engine.carryover import Kept, Steering
from orchestrator.errors import InvalidUpdateError
from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.routing import START, Command, Send, branch_channel, join_channel
from orchestrator.model.checkpoint import Checkpoint, PlannedStep


class State(TypedDict):
    x: int
    log: Annotated[str, operator.add]
    passing: Annotated[int, AnyValue]


def node(state):
    return None


def graph(*, defer=False):
    """START → a, b; a and b join in c."""
    builder = GraphBuilder(State)
    for name in "ab":
        builder.add_node(name, node)
    builder.add_node("c", node, defer=defer)
    builder.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "c")
    return builder.freeze("g")


SPEC = graph()
A, B = PlannedStep("a"), PlannedStep("b")
JOIN = join_channel(("a", "b"), "c")
TO_A = branch_channel("a")


def at(control=(), seen=(), **versions):
    return Checkpoint(id=1, versions=versions, control=dict(control), seen=dict(seen))


def triggered(node_name, version=1):
    """A step of a node and the checkpoint that triggered it."""
    channel = branch_channel(node_name)
    before = Checkpoint(id=1, versions={channel: version}, control={channel: None})
    return PlannedStep(node_name, -1, (channel,)), before


# ---- values ---------------------------------------------------------------------------------


def test_what_is_written_gets_the_new_version_and_the_rest_keeps_its_own():
    applied = apply(SPEC, at(x=1, log=1), {"x": 1, "log": "l"}, [(A, [("x", 2)])], 7)
    assert dict(applied.values) == {"x": 2, "log": "l"}
    assert applied.changed == {"x": 2}
    assert applied.versions == {"x": 7, "log": 1}


def test_writes_are_applied_by_name_and_then_by_index_of_sending_in_any_order_of_completion():
    results = [
        (PlannedStep("b", 1), [("log", "3")]),
        (PlannedStep("a", 0), [("log", "2")]),
        (PlannedStep("b"), [("log", "1")]),
        (PlannedStep("a"), [("log", "0")]),
    ]
    for order in itertools.permutations(results):
        assert apply(SPEC, at(), {}, order, 7).changed == {"log": "0123"}


def test_more_than_ten_sends_are_applied_by_number_not_by_text():
    results = [(PlannedStep("a", i), [("log", f"{i} ")]) for i in reversed(range(12))]
    assert apply(SPEC, at(), {}, results, 7).changed["log"] == "0 1 2 3 4 5 6 7 8 9 10 11 "


def test_applying_changes_nothing_that_it_was_given():
    values, before = {"x": 1, "log": "l"}, at({TO_A: None}, {"a": {TO_A: 1}}, x=1, log=1)
    step, _ = triggered("a")
    apply(SPEC, before, values, [(step, [("x", 2), ("log", "m"), (JOIN, "a")])], 7)
    assert values == {"x": 1, "log": "l"}
    assert before == at({TO_A: None}, {"a": {TO_A: 1}}, x=1, log=1)


def test_only_written_values_are_looked_up():
    class Unread(dict):
        def __getitem__(self, key):
            assert key == "x"
            return 1

    applied = apply(SPEC, at(x=1, log=1), Unread(), [(A, [("x", 2)])], 7)
    assert applied.values["x"] == 2
    assert set(applied.values) == {"x", "log"}
    assert len(applied.values) == 2


def test_a_key_without_a_value_is_not_in_the_state():
    applied = apply(SPEC, at(), {}, [], 7)
    assert "x" not in applied.values
    with pytest.raises(KeyError):
        applied.values["x"]


def test_what_lasts_a_superstep_is_cleared_in_the_next():
    applied = apply(SPEC, at(passing=1), {"passing": 5}, [(A, [("x", 1)])], 7)
    assert "passing" not in applied.values
    assert "passing" not in applied.versions


def test_what_lasts_a_superstep_stays_while_no_time_passes():
    applied = apply(SPEC, at(passing=1), {"passing": 5}, [(A, [("x", 1)])], 7, passes=False)
    assert applied.values["passing"] == 5


def test_an_overwrite_replaces_what_a_reducer_gathered():
    writes = [(A, [("log", Overwrite("new"))]), (B, [("log", "lost")])]
    assert apply(SPEC, at(log=1), {"log": "old"}, writes, 7).changed == {"log": "new"}


def test_two_values_for_one_key_are_refused():
    with pytest.raises(InvalidUpdateError, match="2 values for 'x' in one superstep"):
        apply(SPEC, at(), {}, [(A, [("x", 1)]), (B, [("x", 1)])], 7)


def test_a_reducer_that_raises_is_named_with_its_reason():
    with pytest.raises(InvalidUpdateError, match="reducer of 'log' raised TypeError") as raised:
        apply(SPEC, at(log=1), {"log": "text"}, [(A, [("log", 3)])], 7)
    assert isinstance(raised.value.__cause__, TypeError)


@pytest.mark.parametrize("key", [Command.PARENT, RETURN])
def test_what_is_written_for_others_changes_nothing_here(key):
    applied = apply(SPEC, at(x=1), {"x": 1}, [(A, [(key, "anything")])], 7)
    assert (applied.changed, applied.control, dict(applied.values)) == ({}, {}, {"x": 1})


def test_what_the_graph_does_not_have_waits_no_more_and_what_it_does_not_know_is_kept():
    before = Checkpoint(id=1, versions={"gone": 1, "unknown": 1}, control={"gone": ["a"]})
    applied = apply(SPEC, before, {"unknown": 5}, [(A, [("x", 1)])], 7)
    assert (applied.control, applied.versions) == ({}, {"unknown": 1, "x": 7})
    assert dict(applied.values) == {"unknown": 5, "x": 1}


# ---- triggers -------------------------------------------------------------------------------


def test_a_step_has_seen_what_triggered_it():
    step, before = triggered("a")
    assert apply(SPEC, before, {}, [(step, [(TO_A, None)])], 7).seen == {"a": {TO_A: 1}}


def test_a_trigger_that_nobody_renews_is_gone_with_what_was_seen_of_it():
    step, before = triggered("a")
    applied = apply(SPEC, before, {}, [(step, [])], 7)
    assert (applied.control, applied.versions, applied.seen) == ({}, {}, {})


def test_a_join_fires_once_when_all_have_arrived():
    half = apply(SPEC, at(), {}, [(A, [(JOIN, "a")])], 7)
    assert plan(SPEC, half.control, half.versions, half.seen, []) == ()
    both = apply(SPEC, at(), {}, [(A, [(JOIN, "a")]), (B, [(JOIN, "b")])], 7)
    (step,) = plan(SPEC, both.control, both.versions, both.seen, [])
    assert step == PlannedStep("c", -1, (JOIN,))
    before = Checkpoint(id=7, control=both.control, versions=both.versions)
    after = apply(SPEC, before, {}, [(step, [])], 8)
    assert JOIN not in after.control
    assert plan(SPEC, after.control, after.versions, after.seen, []) == ()


def test_a_join_waits_over_supersteps_and_its_change_is_no_news():
    half = apply(SPEC, at(), {}, [(A, [(JOIN, "a")])], 7)
    assert half.updated == frozenset()
    before = Checkpoint(id=7, control=half.control, versions=half.versions)
    assert apply(SPEC, before, {}, [], 8).control == {JOIN: ["a"]}


def test_a_deferred_join_fires_only_when_nothing_else_is_triggered():
    spec = graph(defer=True)
    arrived = [(A, [(JOIN, "a")]), (B, [(JOIN, "b"), (TO_A, None)])]
    busy = apply(spec, at(), {}, arrived, 7)
    assert [s.node for s in plan(spec, busy.control, busy.versions, busy.seen, [])] == ["a"]
    before = Checkpoint(id=7, control=busy.control, versions=busy.versions)
    (step,) = plan(spec, busy.control, busy.versions, busy.seen, [])
    idle = apply(spec, before, {}, [(step, [])], 8)
    assert [s.node for s in plan(spec, idle.control, idle.versions, idle.seen, [])] == ["c"]


def test_a_deferred_join_waits_for_what_was_sent():
    spec = graph(defer=True)
    arrived = [(A, [(JOIN, "a")]), (B, [(JOIN, "b"), (SENDS, Send("b", 1))])]
    busy = apply(spec, at(), {}, arrived, 7)
    steps = plan(spec, busy.control, busy.versions, busy.seen, busy.sends)
    assert [(s.node, s.index) for s in steps] == [("b", 0)]
    before = Checkpoint(id=7, control=busy.control, versions=busy.versions)
    idle = apply(spec, before, {}, [(steps[0], [])], 8)
    assert [s.node for s in plan(spec, idle.control, idle.versions, idle.seen, [])] == ["c"]


def test_a_deferred_join_waits_for_steps_that_go_on():
    spec = graph(defer=True)
    both = apply(spec, at(), {}, [(A, [(JOIN, "a")]), (B, [(JOIN, "b")])], 7, passes=False)
    notes = Steering(kept=(Kept("a", "1"),)).notes()
    before = Checkpoint(id=7, control={**both.control, **notes}, versions=both.versions)
    busy = apply(spec, before, {}, [], 8)
    assert plan(spec, busy.control, busy.versions, busy.seen, []) == ()
    before = Checkpoint(id=8, control=busy.control, versions=busy.versions)
    idle = apply(spec, before, {}, [], 9)
    assert [s.node for s in plan(spec, idle.control, idle.versions, idle.seen, [])] == ["c"]


# ---- plans ----------------------------------------------------------------------------------


def test_what_is_sent_comes_first_in_order_then_nodes_by_name():
    applied = apply(
        SPEC,
        at(),
        {},
        [
            (B, [(branch_channel("b"), None), (SENDS, Send("c", 2))]),
            (A, [(TO_A, None), (SENDS, Send("b", 1))]),
        ],
        7,
    )
    assert applied.sends == [Send("b", 1), Send("c", 2)]
    planned = plan(SPEC, applied.control, applied.versions, applied.seen, applied.sends)
    assert [(s.node, s.index) for s in planned] == [("b", 0), ("c", 1), ("a", -1), ("b", -1)]


def test_a_node_with_several_triggers_runs_once_and_knows_them_all():
    control = {branch_channel("c"): None, JOIN: ["a", "b"]}
    versions = dict.fromkeys(control, 5)
    assert plan(SPEC, control, versions, {}, []) == (
        PlannedStep("c", -1, (branch_channel("c"), JOIN)),
    )


def test_what_a_node_has_seen_does_not_trigger_it_again():
    assert plan(SPEC, {TO_A: None}, {TO_A: 5}, {"a": {TO_A: 5}}, []) == ()
    assert len(plan(SPEC, {TO_A: None}, {TO_A: 6}, {"a": {TO_A: 5}}, [])) == 1


def test_two_edges_to_one_node_in_one_superstep_trigger_it_once():
    applied = apply(SPEC, at(), {}, [(A, [(TO_A, None)]), (B, [(TO_A, None)])], 7)
    planned = plan(SPEC, applied.control, applied.versions, applied.seen, [])
    assert planned == (PlannedStep("a", -1, (TO_A,)),)


def test_a_trigger_that_is_not_there_is_not_marked_as_seen():
    assert apply(SPEC, at(), {}, [(PlannedStep("a", -1, (TO_A,)), [])], 7).seen == {}
