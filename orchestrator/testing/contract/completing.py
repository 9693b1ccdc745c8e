"""A superstep counts down, and its end is seen by exactly one. (INV-2, INV-4)"""

from __future__ import annotations

from functools import partial

import pytest

from orchestrator.checkpoint.commit import WITHDRAWN, Answer, Refusal, StepUpdate, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver
from orchestrator.testing.racing import race

__all__ = ["CompletingContract"]

_HOUR_MS = 3_600_000
_SETTLING = [Wait.ANSWER, Wait.PERSON]


class CompletingContract(Contract):
    """Completed steps and the steps that are open."""

    def test_each_completion_leaves_one_step_fewer_open(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        assert [driver.finish(node).open for node in "bca"] == [2, 1, 0]
        assert driver.load().head.open == 0
        assert all(step.completed for step in driver.load().steps.values())

    def test_completed_steps_keep_their_outcome_whatever_their_siblings_do(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        driver.update(driver.claimed("b"), wait=Wait.PERSON, failed=True)
        driver.claimed("c", owner="dead")
        driver.store.release("dead")
        driver.change(status=RunStatus.FAILED)
        driver.revive("b", "c", status=RunStatus.RUNNING)
        assert driver.load().outcomes == {driver.step("a").step.step_id: b"outcome of a"}
        assert driver.claim("a").refused is Refusal.COMPLETED
        assert driver.load().head.open == 2

    def test_of_racing_siblings_exactly_one_sees_the_end(self, driver: Driver) -> None:
        nodes = [f"n{n}" for n in range(8)]
        driver.start(*nodes)
        claims = [driver.claimed(node) for node in nodes]

        results = race([partial(driver.complete, claim) for claim in claims])
        assert sorted(result.open for result in results) == list(range(8))

    @pytest.mark.parametrize("wait", _SETTLING, ids=str)
    def test_a_step_that_waits_for_somebody_keeps_nothing_open(
        self, driver: Driver, wait: Wait
    ) -> None:
        driver.start("a", "b")
        assert driver.update(driver.claimed("a"), wait=wait).open == 1
        assert driver.finish("b").open == 0

    def test_a_step_that_waits_for_a_time_keeps_its_superstep_open(self, driver: Driver) -> None:
        driver.start("a", "b")
        assert driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=_HOUR_MS).open == 2
        assert driver.finish("b").open == 1

    @pytest.mark.parametrize("wait", _SETTLING, ids=str)
    def test_a_step_that_is_ready_again_is_open_again(self, driver: Driver, wait: Wait) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=wait)
        assert driver.revive("a").open == 2
        assert driver.revive("a").open == 2
        assert driver.update(driver.claimed("a"), wait=wait).open == 1
        assert driver.revive("a").open == 2
        assert [driver.finish(node).open for node in "ab"] == [1, 0]

    def test_a_step_that_waits_for_somebody_else_now_is_not_counted_twice(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        step = driver.step("a").step
        assert driver.change(updates=(StepUpdate(step=step, wait=Wait.PERSON),)).open == 1
        timer = StepUpdate(step=step, wait=Wait.TIMER, delay_ms=_HOUR_MS)
        assert driver.change(updates=(timer,)).open == 2

    def test_an_answer_alone_opens_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        answer = Answer(driver.step("a").step.step_id, "q", b"!")
        assert driver.change(answers=(answer,)).open == 1
        assert driver.step("a").wait is Wait.ANSWER

    def test_claims_releases_and_revocations_open_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="dead")
        driver.store.release("dead")
        driver.claimed("a")
        assert driver.change(revoke=True).open == 2
        assert driver.load().head.open == 2

    def test_an_update_of_a_completed_step_leaves_it_completed(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.finish("a")
        assert driver.revive("a", "b").open == 1
        assert driver.step("a").completed
        assert driver.claim("a").refused is Refusal.COMPLETED
        assert driver.finish("b").open == 0

    @pytest.mark.parametrize("wait", _SETTLING, ids=str)
    def test_a_completed_step_cannot_be_settled_once_more(self, driver: Driver, wait: Wait) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        step = driver.step("a").step
        assert driver.change(updates=(StepUpdate(step=step, wait=wait),)).open == 2
        assert [driver.finish(node).open for node in "bc"] == [1, 0]

    # ---- the next checkpoint ------------------------------------------------------------

    def test_a_lone_step_completes_and_advances_in_one_commit(self, driver: Driver) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        id_ = drafts.FIRST + 1
        result = driver.complete(
            claim,
            expect_head=drafts.FIRST,
            checkpoint=drafts.checkpoint(id_, ("x",)),
            blobs={"x": b"1"},
            ready=drafts.plan(driver.thread_id, id_, "b", "c"),
        )
        loaded = driver.load()
        assert (result.open, loaded.head.open, loaded.head.checkpoint_id) == (2, 2, id_)
        assert sorted(step.step.node for step in loaded.steps.values()) == ["b", "c"]
        assert (loaded.blobs, loaded.outcomes) == ({"x": b"1"}, {})
        assert claim.step is not None
        assert driver.load(drafts.FIRST).outcomes == {claim.step.step_id: b"outcome of a"}

    def test_a_new_checkpoint_opens_its_own_steps_only(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        driver.update(driver.claimed("b"), wait=Wait.PERSON)
        assert driver.advance("d", "e").open == 2
        assert driver.advance().open == 0
        assert driver.load().steps == {}

    def test_a_new_checkpoint_drops_the_old_claims(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="w")
        driver.claimed("b", owner="w")
        driver.advance("a")
        assert driver.store.release("w") == []
        assert driver.events("step_released") == []
        assert driver.step("a").deaths == 0

    def test_a_new_checkpoint_drops_old_timers_and_messages(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=1)
        driver.store.mark_sent([driver.step("b").step])
        driver.claimed("c", owner="w")
        driver.advance("kept")
        driver.tick(2 * driver.settings.hint_grace_s)
        driver.claimed("kept", sent_ms=driver.now_ms() + 10 * driver.grace_ms)
        assert driver.sweep().due == ()
        driver.until(lambda: driver.sweep().released)
        assert driver.due() in ([], ["kept"])

    def test_an_outcome_by_hand_is_kept_with_its_checkpoint_and_completes_nothing(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        first, a, b = drafts.FIRST, driver.step("a").step.step_id, driver.step("b").step.step_id
        driver.finish("b")
        driver.advance("c", "d", results={(first, a): b"by hand"})
        assert driver.load(first).outcomes == {a: b"by hand", b: b"outcome of b"}
        assert (driver.load().outcomes, driver.load().head.open) == ({}, 2)
        c = driver.step("c").step.step_id
        driver.advance("e")
        driver.advance("f", results={(first + 1, c): b"later"})  # Its step is gone by now.
        assert driver.load(first + 1).outcomes == {c: b"later"}
        assert driver.finish("f").open == 0

    def test_a_question_that_is_withdrawn_is_open_no_more(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?", "r": b"?"})
        driver.revive("a")
        asks = {"q": WITHDRAWN, "s": b"?"}
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks=asks)
        assert sorted(driver.step("a").questions) == ["r", "s"]

    def test_a_new_checkpoint_drops_old_questions(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        old = driver.step("a").step
        driver.advance("a")
        result = driver.commit(answers=(Answer(old.step_id, "q", b"!"),))
        assert (result.refused, driver.step("a").asks) == (Refusal.NO_INTERRUPT, {})

    def test_of_racing_checkpoints_one_becomes_the_head(self, driver: Driver) -> None:
        driver.start("a")
        driver.finish("a")

        def advance(number: int) -> Refusal | None:
            id_ = drafts.FIRST + 1 + number
            steps = drafts.plan(driver.thread_id, id_, f"n{number}")
            stored = drafts.checkpoint(id_)
            expected = drafts.FIRST
            return driver.commit(expect_head=expected, checkpoint=stored, ready=steps).refused

        refusals = race([partial(advance, n) for n in range(6)])
        assert sorted(refusals, key=str) == [None, *[Refusal.HEAD_MOVED] * 5]
        won = refusals.index(None)
        assert driver.head_id() == drafts.FIRST + 1 + won
        assert [s.step.node for s in driver.load().steps.values()] == [f"n{won}"]
        assert driver.store.history(driver.thread_id) == [drafts.FIRST + 1 + won, drafts.FIRST]
