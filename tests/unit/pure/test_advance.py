"""From a checkpoint and its results to the next one, and from an input to the first."""

import operator
from dataclasses import replace
from typing import Annotated, TypedDict

import pytest

from orchestrator.engine.advance import Frame, accept_input, advance, breaks_at
from orchestrator.engine.apply import SENDS
from orchestrator.engine.carryover import (
    Carried,
    Kept,
    Steering,
    carried_in,
    done_in,
    goto_in,
    kept_in,
)
from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.routing import START, Command, Send, branch_channel, join_channel
from orchestrator.graph.schema import Loop
from orchestrator.model.checkpoint import Checkpoint, PlannedStep, RunStatus, blob_key, send_key


class State(TypedDict):
    x: int
    log: Annotated[list, operator.add]


def node(state):
    return None


def graph():
    builder = GraphBuilder(State).add_node("a", node).add_node("b", node).add_node("c", node)
    builder.add_edge(START, "a").add_edge("a", "b").add_edge(["a", "b"], "c")
    return builder.freeze("g")


SPEC = graph()
JOIN = join_channel(("a", "b"), "c")


def started(before=None, new_id=10):
    return accept_input(before, {"x": 1}, new_id=new_id, now_ms=5, metadata={"who": "me"})


def after_start(checkpoint=None):
    checkpoint = checkpoint or started()
    (step,) = checkpoint.plan
    results = [(step, [("x", 1), *SPEC.start.writes])]
    return advance(SPEC, Frame(checkpoint, {}), results, new_id=checkpoint.id + 1, now_ms=6)


def step_on(following, results, **more):
    before = following.checkpoint
    frame = Frame(before, following.values)
    return advance(SPEC, frame, results, new_id=before.id + 1, now_ms=7, **more)


# ---- input ----------------------------------------------------------------------------------


def test_a_run_begins_with_an_input_that_waits_for_start():
    first = started()
    assert (first.id, first.parent, first.step, first.source) == (10, None, -1, "input")
    assert first.control == {START: {"x": 1}}
    assert first.versions == {START: 10}
    assert first.plan == (PlannedStep(START, -1, (START,)),)
    assert first.metadata == {"who": "me"}


def test_start_takes_the_input_in_and_leads_to_the_first_nodes():
    following = after_start()
    assert following.changed == {"x": 1}
    assert following.checkpoint.plan == (PlannedStep("a", -1, (branch_channel("a"),)),)
    assert following.checkpoint.writers == (START,)
    assert START not in following.checkpoint.control


def test_a_second_run_keeps_the_state_and_drops_the_steps_that_were_left():
    left = after_start().checkpoint
    second = started(left, new_id=20)
    assert (second.parent, second.step) == (left.id, left.step + 1)
    assert second.versions == {"x": 11, START: 20}
    assert second.control == {START: {"x": 1}}
    assert second.plan == (PlannedStep(START, -1, (START,)),)


def test_a_second_run_goes_on_counting_the_tails_of_lists():
    left = replace(after_start().checkpoint, tails={"x": 3})
    assert started(left, new_id=20).tails == {"x": 3}


def test_an_input_that_nobody_took_in_is_replaced_by_the_next_one():
    second = accept_input(started(), {"x": 2}, new_id=20, now_ms=6, metadata={})
    assert second.control == {START: {"x": 2}}
    assert second.versions == {START: 20}


def test_a_join_that_waits_outlives_a_run():
    (a,) = after_start().checkpoint.plan
    half = step_on(after_start(), [(a, [(JOIN, "a")])])
    second = started(half.checkpoint, new_id=20)
    assert second.control == {JOIN: ["a"], START: {"x": 1}}
    assert second.versions[JOIN] == half.checkpoint.versions[JOIN]


def test_a_join_that_was_about_to_fire_does_not_outlive_its_run():
    (a,) = after_start().checkpoint.plan
    both = step_on(after_start(), [(a, [(JOIN, "a")]), (PlannedStep("b"), [(JOIN, "b")])])
    assert [step.node for step in both.checkpoint.plan] == ["c"]
    assert JOIN not in started(both.checkpoint, new_id=20).control


# ---- a superstep ----------------------------------------------------------------------------


def test_a_checkpoint_names_its_parent_its_number_and_who_wrote_it():
    following = after_start()
    (a,) = following.checkpoint.plan
    after = step_on(following, [(a, [*SPEC.nodes["a"].writes])])
    one = after.checkpoint
    assert (one.parent, one.step, one.source) == (11, 1, "loop")
    assert (one.writers, one.created_ms) == (("a",), 7)
    assert one.metadata == {"who": "me"}


def test_a_node_that_ran_several_times_is_named_once_as_writer():
    results = [(PlannedStep("b", i), [("log", [i])]) for i in range(3)]
    after = step_on(after_start(), results)
    assert after.checkpoint.writers == ("b",)
    assert after.changed == {"log": [0, 1, 2]}


def test_what_is_sent_is_counted_and_kept_under_the_new_checkpoint():
    (a,) = after_start().checkpoint.plan
    sent = step_on(after_start(), [(a, [(SENDS, Send("b", 1)), (SENDS, Send("b", 2))])])
    assert sent.sends == (Send("b", 1), Send("b", 2))
    assert (sent.checkpoint.sends, sent.checkpoint.sends_version) == (2, sent.checkpoint.id)
    empty = step_on(sent, [(step, []) for step in sent.checkpoint.plan])
    assert (empty.checkpoint.sends, empty.checkpoint.sends_version) == (0, 0)


def test_an_edit_names_its_source():
    assert step_on(after_start(), [], source="update").checkpoint.source == "update"


def test_the_same_results_give_the_same_checkpoint_anywhere():
    (a,) = after_start().checkpoint.plan
    results = [(PlannedStep("b", 0), [("log", [1])]), (a, [("log", [0]), (JOIN, "a")])]
    one, two = step_on(after_start(), results), step_on(after_start(), reversed(results))
    assert replace(one.checkpoint, writers=()) == replace(two.checkpoint, writers=())
    assert one.changed == two.changed


def test_a_superstep_that_triggers_nothing_plans_nothing():
    (a,) = after_start().checkpoint.plan
    assert step_on(after_start(), [(a, [])]).checkpoint.plan == ()


# ---- steered ----------------------------------------------------------------------------------


def steered(left, **how):
    """An input on a thread that has steps left, taken in."""
    first = accept_input(left, {"x": 2}, new_id=20, now_ms=5, metadata={}, steering=Steering(**how))
    frame = Frame(first, {"x": 1})
    return first, advance(SPEC, frame, [(first.plan[0], [("x", 2)])], new_id=21, now_ms=6)


def test_steps_that_go_on_are_next_once_the_input_is_taken_in():
    left = after_start().checkpoint
    kept = Kept("a", left.plan[0].id_in(left), answers={"q": 1}, notes={"n": b"1"})
    first, following = steered(left, kept=(kept,))
    assert (first.source, first.plan) == ("input", (PlannedStep(START, -1, (START,)),))
    assert following.checkpoint.plan == (PlannedStep("a"),)
    carried = carried_in(following.checkpoint, PlannedStep("a"))
    assert carried == Carried(kept.origin, {"q": 1}, {"n": b"1"}, None)
    assert following.changed == {"x": 2}


def test_no_break_stops_a_run_where_a_caller_steered_it():
    assert steered(after_start().checkpoint, kept=(Kept("a", "1"),))[1].steered
    assert not steered(after_start().checkpoint, goto=("a",))[1].steered


def test_who_wrote_last_is_remembered_over_an_input_that_does_not_begin_anew():
    left = replace(after_start().checkpoint, writers=("a", "b"))
    assert steered(left, kept=())[0].writers == ("a", "b")
    assert steered(left, goto=("a",))[0].writers == ()


def test_what_was_sent_goes_on_behind_what_is_sent_now():
    left = after_start().checkpoint
    kept = (Kept("b", "one", True, "first"), Kept("c", "two"), Kept("b", "three", True, "second"))
    first = accept_input(left, {}, new_id=20, now_ms=5, metadata={}, steering=Steering(kept=kept))
    writes = [(SENDS, Send("a", "new"))]
    following = advance(SPEC, Frame(first, {}), [(first.plan[0], writes)], new_id=21, now_ms=6)
    assert [send.arg for send in following.sends] == ["new", "first", "second"]
    plan = following.checkpoint.plan
    assert [(step.node, step.index) for step in plan] == [("a", 0), ("b", 1), ("b", 2), ("c", -1)]
    origins = [carried_in(following.checkpoint, step).origin for step in plan]
    assert origins == [plan[0].id_in(following.checkpoint), "one", "three", "two"]


def test_a_node_that_goes_on_and_is_triggered_too_runs_once():
    first = accept_input(
        after_start().checkpoint,
        {},
        new_id=20,
        now_ms=5,
        metadata={},
        steering=Steering(kept=(Kept("a", "1"),), goto=("a",)),
    )
    results = [(first.plan[0], [(branch_channel("a"), None)])]
    following = advance(SPEC, Frame(first, {}), results, new_id=21, now_ms=6)
    assert following.checkpoint.plan == (PlannedStep("a", -1, (branch_channel("a"),)),)


def test_a_step_of_a_node_that_is_gone_does_not_go_on():
    assert steered(after_start().checkpoint, kept=(Kept("gone", "1"),))[1].checkpoint.plan == ()


def test_what_is_noted_holds_for_one_superstep():
    done = ((PlannedStep("b"), b"outcome"),)
    how = {"kept": (Kept("a", "1"),), "goto": ("b", Send("b", 1)), "done": done}
    first, following = steered(after_start().checkpoint, **how)
    assert (kept_in(first), goto_in(first)) == ([*how["kept"]], ["b", Send("b", 1)])
    assert done_in(first) == [*done]
    assert (kept_in(following.checkpoint), goto_in(following.checkpoint)) == ([], [])
    third = step_on(following, [(PlannedStep("a"), [])]).checkpoint
    assert third.control == {}


def test_a_command_for_the_graph_around_ends_this_one():
    (a,) = after_start().checkpoint.plan
    writes = [("x", 5), (Command.PARENT, [{"y": 1}, ["z"]]), (SENDS, Send("b", 1))]
    ended = step_on(after_start(), [(a, [*writes, *SPEC.nodes["a"].writes])])
    assert (ended.checkpoint.plan, ended.sends, ended.changed) == ((), (), {"x": 5})
    assert ended.checkpoint.control[Command.PARENT] == [{"y": 1}, ["z"]]
    assert Command.PARENT not in started(ended.checkpoint, new_id=20).control


def test_a_frame_knows_where_its_run_stands_in_its_budget():
    assert Frame(Checkpoint(id=1, step=3), {}, stop=9).loop == Loop(4, 9)


# ---- breaks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stops", "seen", "breaks"),
    [({"a"}, 0, True), ({"a"}, 5, False), ({"b"}, 0, False), (set(), 0, False)],
)
def test_a_run_stops_at_a_node_once_per_news(stops, seen, breaks):
    checkpoint = Checkpoint(id=5, versions={"x": 5})
    assert breaks_at(checkpoint, ["a", "c"], frozenset(stops), seen) is breaks


def test_what_was_sent_is_news_too():
    sent = Checkpoint(id=9, versions={"x": 5}, sends=1, sends_version=9)
    assert breaks_at(sent, ["a"], frozenset("a"), 5)
    assert not breaks_at(Checkpoint(id=9), ["a"], frozenset("a"), 0)


# ---- names ----------------------------------------------------------------------------------


def test_a_step_has_one_id_wherever_it_is_computed_and_its_own_in_each_place():
    checkpoint = Checkpoint(id=1)
    steps = [PlannedStep("a"), PlannedStep("a", 0), PlannedStep("a", 1), PlannedStep("b")]
    ids = [step.id_in(one) for step in steps for one in (checkpoint, Checkpoint(id=2))]
    assert len(set(ids)) == 8
    assert PlannedStep("a", -1, ("other",)).id_in(checkpoint) == ids[0]


def test_values_and_arguments_never_share_a_name():
    assert blob_key("", "x", 16) == "\x1fx\x1f10"
    assert blob_key("", "", 1) != send_key("", 1, 0)
    assert send_key("", 1, 11) != send_key("", 11, 1)


@pytest.mark.parametrize("status", RunStatus)
def test_a_run_is_active_or_final_or_paused(status):
    assert [status.active, status.final, status is RunStatus.PAUSED].count(True) == 1
