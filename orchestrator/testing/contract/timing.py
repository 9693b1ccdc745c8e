"""What becomes of a step that is not completed: it waits, is tried again, and is counted."""

from __future__ import annotations

import pytest

from orchestrator.checkpoint.commit import Claim, Refusal, StepUpdate, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

__all__ = ["TimingContract"]

_HOUR_MS = 3_600_000
_MONTH_MS = 30 * 24 * _HOUR_MS  # More than 31 bits of milliseconds.
_RESTING = [status for status in RunStatus if not status.active]


class TimingContract(Contract):
    """Timers and counters of steps."""

    def test_a_timer_is_due_so_long_after_its_commit(self, driver: Driver) -> None:
        driver.start("a", "b")
        set_ = driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=_MONTH_MS)
        step = driver.step("a")
        assert (step.wait, step.due_ms) == (Wait.TIMER, set_.now_ms + _MONTH_MS)
        assert driver.step("b").due_ms == 0

    def test_a_step_is_claimed_once_its_timer_is_due_and_not_before(self, driver: Driver) -> None:
        driver.start("a", "b")
        update = driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=200)
        assert driver.claim("a").refused is Refusal.WAITING or driver.now_ms() > update.now_ms + 200
        claim = driver.until(lambda: _successful(driver))
        assert claim.now_ms >= update.now_ms + 200
        assert (driver.step("a").wait, driver.step("a").due_ms) == (Wait.NOTHING, 0)

    def test_a_due_step_is_handed_out_once_and_not_before(self, driver: Driver) -> None:
        driver.start("a", queue="other")
        claim = driver.claimed("a")
        update = driver.update(claim, wait=Wait.TIMER, delay_ms=200)
        due = driver.until(lambda: driver.sweep().due)
        assert driver.now_ms() >= update.now_ms + 200
        assert due == (claim.step,)
        driver.store.mark_sent(due)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == []
        assert driver.step("a").wait is Wait.NOTHING
        assert driver.claimed("a").attempt == 2

    def test_a_step_without_delay_is_due_at_once(self, driver: Driver) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=0)
        assert driver.due() == ["a"]

    def test_due_steps_come_in_their_time(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        claims = [driver.claimed(node) for node in "abc"]
        for claim, delay_ms in zip(claims, (300, 1, _HOUR_MS), strict=True):
            driver.update(claim, wait=Wait.TIMER, delay_ms=delay_ms)
        order: list[str] = []

        def both() -> bool:
            due = driver.sweep().due
            driver.store.mark_sent(due)
            order.extend(step.node for step in due)
            return len(order) >= 2

        driver.until(both)
        assert order == ["b", "a"]

    def test_a_timer_that_was_claimed_is_not_handed_out(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=1)
        driver.until(lambda: _successful(driver))
        assert "a" not in driver.due()
        driver.store.renew(["worker"], ttl_s=3600)
        assert "a" not in driver.due()

    def test_a_timer_is_replaced_by_the_next(self, driver: Driver) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=1)
        step = driver.step("a").step
        driver.change(updates=(StepUpdate(step=step, wait=Wait.TIMER, delay_ms=_HOUR_MS),))
        driver.tick(0.01)
        assert driver.due() == []
        driver.change(updates=(StepUpdate(step=step, wait=Wait.PERSON),))
        assert driver.due() == []
        assert driver.step("a").due_ms == 0

    @pytest.mark.parametrize("status", _RESTING, ids=str)
    def test_a_run_that_rests_hands_out_nothing(self, driver: Driver, status: RunStatus) -> None:
        driver.start("timer", "ready", "claimed")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=1)
        driver.claimed("claimed")
        driver.change(status=status)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.sweep().due == ()
        assert not driver.stuck()

    # ---- counters -----------------------------------------------------------------------

    def test_failures_are_counted_and_reset(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), failed=True, error=b"first", reason="one")
        driver.update(driver.claimed("a"), failed=True, error=b"second", reason="two")
        step = driver.step("a")
        assert (step.failures, step.attempt) == (2, 2)
        assert (step.error, step.reason) == (b"second", "two")
        assert driver.claimed("a").failures == 2
        driver.revive("a")
        step = driver.step("a")
        assert (step.failures, step.attempt, step.reason) == (0, 3, "")
        assert step.error == b"second"

    def test_deaths_are_counted_and_reset(self, driver: Driver) -> None:
        driver.start("a", "b")
        for _ in range(2):
            driver.claimed("a", owner="dead")
            driver.store.release("dead")
        assert driver.claimed("a").deaths == 2
        assert (driver.step("a").deaths, driver.step("a").failures) == (2, 0)
        driver.revive("a")
        assert driver.step("a").deaths == 0

    def test_a_reset_that_also_failed_starts_anew(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), failed=True)
        driver.update(driver.claimed("a"), failed=True, reset=True)
        assert driver.step("a").failures == 0

    def test_a_handed_back_step_is_neither_failed_nor_dead(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=0, reason="not mine")
        claim = driver.until(lambda: _successful(driver))
        assert (claim.attempt, claim.failures, claim.deaths) == (2, 0, 0)


def _successful(driver: Driver) -> Claim | None:
    claim = driver.claim("a")
    return None if claim.refused else claim
