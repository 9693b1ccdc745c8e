"""On which branch a checkpoint is, and which checkpoints that branch has left behind."""

from orchestrator.engine.branches import (
    belongs,
    below,
    branched,
    caller_of,
    crowded,
    given,
    leaves,
    parents_of,
    without_branch,
)
from orchestrator.ids import checkpoint_text
from orchestrator.model.checkpoint import Checkpoint

ROOT, CHILD = "t", "t\x1fsub"


def child_of(checkpoint: Checkpoint) -> dict[str, object]:
    """Return the metadata of a checkpoint of a subgraph that was made under another one."""
    return given({}, below(checkpoint, ROOT, "step"), None, CHILD)


def test_a_checkpoint_of_a_subgraph_names_those_around_it_and_the_step() -> None:
    outer = Checkpoint(id=5, metadata={"parents": "the caller's own"})
    inner = Checkpoint(id=9, metadata=given({"mine": 1}, below(outer, ROOT, "s1"), None, CHILD))
    deepest = given({}, below(inner, CHILD, "s2"), None, f"{CHILD}|x")
    assert parents_of(outer.metadata) == {}
    assert (parents_of(inner.metadata), caller_of(inner.metadata)) == (
        {"": checkpoint_text(5)},
        "s1",
    )
    assert parents_of(deepest) == {"": checkpoint_text(5), "sub": checkpoint_text(9)}
    assert without_branch(inner.metadata) == {"mine": 1}
    assert caller_of({}) == ""


def test_a_run_of_a_thread_that_was_never_branched_off_says_nothing_of_branches() -> None:
    assert given({"mine": 1}, {}, Checkpoint(id=3), ROOT) == {"mine": 1}
    assert not leaves(Checkpoint(id=3).metadata)


def test_a_branch_leaves_behind_what_was_made_from_its_base_on() -> None:
    branch = branched(Checkpoint(id=11), ROOT, 3)
    around = below(branch, ROOT, "step")
    made = {n: child_of(Checkpoint(id=n)) for n in (2, 3, 10, 11, 12)}
    assert [n for n, metadata in made.items() if belongs(metadata, 0, around)] == [2, 11, 12]


def test_a_run_goes_on_with_what_the_branch_below_it_has_left() -> None:
    branch = branched(Checkpoint(id=11), ROOT, 3)
    run = Checkpoint(id=20, metadata=given({}, {}, branch, ROOT))
    assert leaves(run.metadata)
    assert not belongs(child_of(Checkpoint(id=5)), 0, below(run, ROOT, "step"))


def test_a_branch_of_a_branch_has_left_both_and_branches_in_a_row_are_one() -> None:
    first = branched(Checkpoint(id=11), ROOT, 3)
    second = branched(Checkpoint(id=25, metadata=first.metadata), ROOT, 15)
    again = branched(Checkpoint(id=30, metadata=first.metadata), ROOT, 11)
    made = {n: child_of(Checkpoint(id=n)) for n in (2, 5, 12, 17, 26, 31)}

    def left(checkpoint: Checkpoint) -> list[int]:
        around = below(checkpoint, ROOT, "step")
        return [n for n, metadata in made.items() if not belongs(metadata, 0, around)]

    assert left(second) == [5, 17]
    assert left(again) == [5, 12, 17, 26]


def test_a_branch_of_another_subgraph_leaves_nothing_of_this_one_behind() -> None:
    other = branched(Checkpoint(id=11), "t\x1fother", 3)
    assert belongs(child_of(Checkpoint(id=5)), 0, below(other, "t\x1fother", "step"))


def test_what_names_no_checkpoint_around_it_is_judged_by_its_own_id() -> None:
    around = below(branched(Checkpoint(id=11), ROOT, 3), ROOT, "step")
    assert [belongs({}, n, around) for n in (2, 5, 12)] == [True, False, True]
    inside = below(branched(Checkpoint(id=11), CHILD, 3), CHILD, "step")
    assert belongs({}, 5, inside)


def test_a_run_knows_whether_steps_may_run_beside_one_around_it() -> None:
    root = Checkpoint(id=5)
    alone = given({}, below(root, ROOT, "s"), None, CHILD)
    beside = given({}, below(root, ROOT, "s", alone=False), None, CHILD)
    inside = below(Checkpoint(id=6, metadata=beside), CHILD, "s")
    assert [crowded(one) for one in (root.metadata, alone, beside)] == [False, False, True]
    assert crowded(given({}, inside, None, f"{CHILD}|x"))
