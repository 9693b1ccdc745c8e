"""Whose turn it is among steps that use one subgraph which remembers."""

from orchestrator.engine.accept import paused_by_node
from orchestrator.engine.settle import TURN, TURN_ABOVE
from orchestrator.engine.turns import gives_way, is_before, turns
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import (
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StoredCheckpoint,
    Wait,
)


def step(node: str, index: int = -1, reason: str = "", **fields: object) -> LoadedStep:
    ready = ReadyStep(
        thread_id="t", step_id=f"{node}{index}", checkpoint_id=1, graph="g", node=node, index=index
    )
    wait = Wait.PERSON if reason else Wait.NOTHING
    return LoadedStep(**{"step": ready, "reason": reason, "wait": wait, **fields})


def thread(*steps: LoadedStep) -> LoadedThread:
    head = Head(graph="g", fingerprint="", run_id="r", status=RunStatus.RUNNING, checkpoint_id=1)
    stored = StoredCheckpoint(id=1, header=b"", plan=b"")
    by_id = {one.step.step_id: one for one in steps}
    return LoadedThread(head=head, checkpoint=stored, blobs={}, steps=by_id)


def whose(*steps: LoadedStep) -> list[str]:
    return [one.step_id for one in turns(thread(*steps))]


def test_the_first_of_a_node_that_is_left_has_its_turn() -> None:
    done = step("a", 0, completed=True)
    assert whose(done, step("a", 1, TURN), step("a", 2, TURN)) == ["a1"]
    assert whose(step("a", 0), step("a", 1, TURN)) == []
    assert whose(step("a", -1, completed=True), step("a", 0, TURN), step("b", 0, TURN)) == [
        "a0",
        "b0",
    ]


def test_who_waits_for_a_turn_around_it_has_none_here() -> None:
    above = step("a", 0, TURN_ABOVE)
    assert whose(above) == []
    assert gives_way(above)
    assert paused_by_node(thread(above, step("b", 0, TURN))) is None


def test_who_failed_or_has_completed_waits_for_no_turn() -> None:
    assert whose(step("a", 0, TURN, error=b"!"), step("b", 0, TURN, completed=True)) == []
    assert not gives_way(step("a", 0, "some reason"))


def test_a_step_that_is_not_in_the_plan_has_none_before_it() -> None:
    assert not is_before(thread(step("a", 0)), "gone")
