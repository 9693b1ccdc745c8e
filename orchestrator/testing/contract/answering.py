"""An answer is durable, used once, and only for the question it answers. (INV-8)"""

from __future__ import annotations

from functools import partial

from orchestrator.checkpoint.commit import Answer, Refusal, StepUpdate, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver
from orchestrator.testing.racing import race

__all__ = ["AnsweringContract"]


def _asking(driver: Driver, **asks: bytes) -> str:
    """Let the step of node `a` ask; return its id."""
    driver.start("a", "b")
    driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks=asks)
    return driver.step("a").step.step_id


class AnsweringContract(Contract):
    """Interrupts."""

    def test_a_question_waits_with_its_step(self, driver: Driver) -> None:
        _asking(driver, q1=b"?1", q2=b"?2")
        step = driver.step("a")
        assert (step.wait, step.asks, step.answers) == (Wait.ANSWER, {"q1": b"?1", "q2": b"?2"}, {})
        assert sorted(step.questions) == ["q1", "q2"]
        assert driver.claim("a").refused is Refusal.WAITING

    def test_an_answer_is_stored_and_brought_by_the_next_claim(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.change(
            answers=(Answer(step_id, "q", drafts.ALL_BYTES),),
            updates=(StepUpdate(step=driver.step("a").step, reset=True),),
            status=RunStatus.RUNNING,
        )
        assert driver.step("a").answers == {"q": drafts.ALL_BYTES}
        claim = driver.claimed("a")
        assert (claim.asks, claim.answers) == ({"q": b"?"}, {"q": drafts.ALL_BYTES})

    def test_a_question_is_answered_once(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.change(answers=(Answer(step_id, "q", b"first"),))
        result = driver.commit(answers=(Answer(step_id, "q", b"second"),))
        assert (result.refused, result.detail) == (Refusal.NO_INTERRUPT, "q")
        assert driver.step("a").answers == {"q": b"first"}

    def test_an_empty_answer_is_an_answer(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.change(answers=(Answer(step_id, "q", b""),))
        assert driver.step("a").answers == {"q": b""}
        assert driver.commit(answers=(Answer(step_id, "q", b"x"),)).refused is Refusal.NO_INTERRUPT

    def test_of_racing_answers_one_is_taken(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")

        def answer(number: int) -> Refusal | None:
            return driver.commit(answers=(Answer(step_id, "q", b"%d" % number),)).refused

        refusals = race([partial(answer, n) for n in range(6)])
        assert sorted(refusals, key=str) == [None, *[Refusal.NO_INTERRUPT] * 5]
        assert driver.step("a").answers == {"q": b"%d" % refusals.index(None)}

    def test_an_unknown_question_is_refused(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        for wrong in ("Q", "q ", "", "q2", "*"):
            result = driver.commit(answers=(Answer(step_id, wrong, b"!"),))
            assert (result.refused, result.detail) == (Refusal.NO_INTERRUPT, wrong)
        assert driver.step("a").answers == {}

    def test_a_question_of_another_step_is_refused(self, driver: Driver) -> None:
        _asking(driver, q=b"?")
        for step_id in (driver.step("b").step.step_id, "no-such-step"):
            result = driver.commit(answers=(Answer(step_id, "q", b"!"),))
            assert result.refused is Refusal.NO_INTERRUPT

    def test_of_several_answers_all_or_none_are_taken(self, driver: Driver) -> None:
        step_id = _asking(driver, q1=b"?", q2=b"?")
        both = (Answer(step_id, "q1", b"1"), Answer(step_id, "q2", b"2"))
        before = observed(driver.store, [driver.thread_id])
        refused = driver.commit(answers=(*both, Answer(step_id, "q3", b"3"))).refused
        assert refused is Refusal.NO_INTERRUPT
        assert observed(driver.store, [driver.thread_id]) == before
        driver.change(answers=both)
        assert driver.step("a").answers == {"q1": b"1", "q2": b"2"}

    def test_later_questions_join_the_earlier_ones(self, driver: Driver) -> None:
        step_id = _asking(driver, q1=b"?1")
        driver.change(answers=(Answer(step_id, "q1", b"1"),))
        driver.revive("a")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q2": b"?2"})
        step = driver.step("a")
        assert (step.asks, step.answers) == ({"q1": b"?1", "q2": b"?2"}, {"q1": b"1"})
        assert step.questions == ("q2",)

    # ---- a question is open only while its step waits for the answer ---------------------

    def test_a_completed_step_takes_no_answer(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.revive("a")
        driver.finish("a")
        before = observed(driver.store, [driver.thread_id])
        refused = driver.commit(answers=(Answer(step_id, "q", b"late"),)).refused
        assert refused is Refusal.NO_INTERRUPT
        assert observed(driver.store, [driver.thread_id]) == before

    def test_a_step_that_runs_without_the_answer_takes_none(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.revive("a")
        claim = driver.claimed("a")
        refused = driver.commit(answers=(Answer(step_id, "q", b"late"),)).refused
        assert refused is Refusal.NO_INTERRUPT
        driver.update(claim, wait=Wait.ANSWER, asks={"q": b"?"})
        driver.change(answers=(Answer(step_id, "q", b"in time"),))
        assert driver.step("a").answers == {"q": b"in time"}

    def test_names_of_questions_do_not_mix_with_those_of_answers(self, driver: Driver) -> None:
        step_id = _asking(driver, **{"q": b"?", "ask:q": b"?", "ans:q": b"?", "wait": b"?"})
        driver.change(answers=(Answer(step_id, "ask:q", b"1"), Answer(step_id, "wait", b"2")))
        step = driver.step("a")
        assert step.answers == {"ask:q": b"1", "wait": b"2"}
        assert sorted(step.questions) == ["ans:q", "q"]
        assert step.wait is Wait.ANSWER
