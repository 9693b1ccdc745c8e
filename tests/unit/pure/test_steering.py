"""What a checkpoint tells the next superstep besides the state."""

import pytest

from orchestrator.engine.carryover import (
    NOTES,
    Carried,
    Kept,
    Spot,
    Steering,
    carried_in,
    control_of_branch,
    done_in,
    goto_in,
    is_steered,
    kept_in,
    notes_for,
    place_of,
    reason_in,
    spot_in,
    spots_of,
    timeout_of,
    without_spots,
)
from orchestrator.graph.policy import TimeoutPolicy
from orchestrator.graph.routing import Send
from orchestrator.model.checkpoint import Checkpoint, PlannedStep
from orchestrator.serde.codec import Codec

CODEC = Codec()


def stored(notes):
    """A checkpoint that holds these notes, after it was stored and loaded."""
    return Checkpoint(id=7, control=CODEC.decode(CODEC.encode(notes)))


@pytest.mark.parametrize(
    "steering",
    [
        Steering(),
        Steering(kept=()),
        Steering(kept=(Kept("a", "origin"),)),
        Steering(
            kept=(Kept("a", "1", True, {"x": [1]}, {"id": None}, {"n": b"1"}), Kept("b", "2"))
        ),
        Steering(kept=(), reason="crash"),
        Steering(goto=("a", Send("b", {"n": 1}), "a")),
        Steering(done=((PlannedStep("a", 3, ("t", "u")), b"bytes"), (PlannedStep("b"), b""))),
    ],
    ids=str,
)
def test_what_is_noted_is_read_again(steering):
    checkpoint = stored(steering.notes())
    assert tuple(kept_in(checkpoint)) == (steering.kept or ())
    assert is_steered(checkpoint) is (steering.kept is not None)
    assert tuple(goto_in(checkpoint)) == steering.goto
    assert tuple(done_in(checkpoint)) == steering.done
    assert reason_in(checkpoint) == steering.reason


def test_every_note_has_a_name_that_is_known_as_one():
    done = ((PlannedStep("a"), b""),)
    steering = Steering(kept=(Kept("a", "1"),), goto=("a",), done=done, reason="crash")
    notes = notes_for([Send("a", 1, timeout=1)], [Kept("b", "2")])
    assert (steering.notes().keys() | notes.keys()) < NOTES


def test_where_nothing_is_said_nothing_is_noted():
    assert Steering().notes() == {}
    assert notes_for([Send("a", 1)], []) == {}


def test_steps_that_go_on_are_known_by_where_they_were_planned_first():
    kept = [
        Kept("a", "first a", answers={"q": 1}, notes={"once:charge:done": b"x"}, given={"n": 1}),
        Kept("b", "first b", True, "arg"),
    ]
    checkpoint = stored(notes_for([Send("new", 0), Send("b", "arg")], kept))
    a = Carried("first a", {"q": 1}, {"once:charge:done": b"x"}, {"n": 1})
    assert carried_in(checkpoint, PlannedStep("a")) == a
    assert carried_in(checkpoint, PlannedStep("b", 1)) == Carried("first b", {}, {}, None)


def test_a_new_step_is_known_by_its_own_id_also_beside_one_that_goes_on():
    kept = [Kept("a", "first a"), Kept("a", "first sent", True)]
    checkpoint = stored(notes_for([Send("a", 0), Send("a", None)], kept))
    for step in (PlannedStep("b"), PlannedStep("a", 0)):
        assert carried_in(checkpoint, step) == Carried(step.id_in(checkpoint), {}, {}, None)
    assert carried_in(checkpoint, PlannedStep("a", 1)).origin == "first sent"


def test_a_step_of_a_branch_has_answers_and_is_another_step_all_the_same():
    sent, plain = PlannedStep("a", 1), PlannedStep("a")
    before = Checkpoint(id=3, plan=(sent, plain, PlannedStep("a", 0)), control={"c": 1})
    answers = {sent.id_in(before): {"index:0": 1}, plain.id_in(before): {"key:k": None}}
    checkpoint = stored(control_of_branch(before, answers, {}))
    assert checkpoint.control["c"] == 1
    assert carried_in(checkpoint, sent) == Carried(sent.id_in(checkpoint), {"index:0": 1}, {}, None)
    assert carried_in(checkpoint, plain).answers == {"key:k": None}
    assert carried_in(checkpoint, PlannedStep("a", 0)).answers == {}


def test_a_branch_has_no_answers_but_those_it_is_given():
    kept = notes_for([], [Kept("a", "first a", answers={"q": 1})])
    before = Checkpoint(id=3, plan=(PlannedStep("a"),), control={**kept, "c": 1})
    assert control_of_branch(before, {}, {}) == {"c": 1}


def test_a_step_of_a_branch_knows_where_its_subgraphs_begin():
    sent, plain = PlannedStep("a", 1), PlannedStep("a")
    inner = Spot("a:1|2|b:3", 5, {"step": {"index:0": "yes"}})
    spot = Spot("a:1|2", 4, below={"b": inner})
    before = Checkpoint(id=3, plan=(sent, plain))
    spots = {place_of(plain, 2): spot, place_of(sent): inner}
    checkpoint = stored(control_of_branch(before, {}, spots))
    assert spot_in(checkpoint, plain, 2) == spot
    assert spot_in(checkpoint, sent) == inner
    assert [spot_in(checkpoint, plain), spot_in(checkpoint, sent, 1)] == [None, None]
    assert spot_in(before, plain) is None
    assert without_spots(checkpoint.control) == {}


def test_a_step_that_goes_on_after_an_input_keeps_where_its_subgraphs_begin():
    spot, sent, plain = Spot("a:1", 4), PlannedStep("a", 1), PlannedStep("a")
    before = Checkpoint(id=3, plan=(sent, plain))
    spots = {place_of(plain, 1): spot, place_of(sent): spot}
    checkpoint = stored(control_of_branch(before, {}, spots))
    kept = [
        Kept("a", "one", spots=spots_of(checkpoint, plain)),
        Kept("a", "two", True, spots=spots_of(checkpoint, sent)),
    ]
    steered = stored(Steering(kept=tuple(kept)).notes())
    after = stored(notes_for([Send("a", None)], kept_in(steered)))
    assert spot_in(after, plain, 1) == spot
    assert spot_in(after, PlannedStep("a", 0)) == spot


def test_several_that_were_sent_go_on_in_their_order():
    kept = [Kept("a", f"sent {i}", True, i) for i in range(3)]
    checkpoint = stored(notes_for([Send("b", 0), *(Send("a", i) for i in range(3))], kept))
    origins = [carried_in(checkpoint, PlannedStep("a", i)).origin for i in (1, 2, 3)]
    assert origins == ["sent 0", "sent 1", "sent 2"]


def test_a_send_may_bring_a_timeout_of_its_own():
    policy = TimeoutPolicy(run_timeout=2.0, idle_timeout=1.0, refresh_on="heartbeat")
    sends = [Send("a", 1), Send("a", 2, timeout=policy), Send("b", 3, timeout=5)]
    checkpoint = stored(notes_for(sends, []))
    found = [timeout_of(checkpoint, PlannedStep("a", i)) for i in range(3)]
    assert found == [None, policy, TimeoutPolicy(run_timeout=5.0)]
    assert timeout_of(checkpoint, PlannedStep("a")) is None
