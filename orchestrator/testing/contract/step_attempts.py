"""A step that does not complete waits, is retried, and keeps its notes. (INV-5)"""

from __future__ import annotations

from functools import partial

import pytest

from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Claim, EventDraft, Refusal, StepGuard, StepUpdate, Wait
from orchestrator.model.events import CommitRefused, RunAccepted
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver, guard
from orchestrator.testing.contract.stored_values import NAMES

# ---- timers and counters --------------------------------------------------------------------
# A step that does not complete waits, is retried, and counts its attempts.

_HOUR_MS = 3_600_000
_MONTH_MS = 30 * 24 * _HOUR_MS  # More than 31 bits of milliseconds.
_IDLE = [status for status in RunStatus if not status.active]


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

    @pytest.mark.parametrize("status", _IDLE, ids=str)
    def test_an_idle_run_hands_out_nothing(self, driver: Driver, status: RunStatus) -> None:
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


# ---- notes ----------------------------------------------------------------------------------
# Notes of a running step are kept until it completes, also in another process. (INV-5)


def _note(driver: Driver, claim: Claim, **notes: bytes) -> Refusal | None:
    return driver.commit(guard=guard(claim), notes=notes).refused


class NotingContract(Contract):
    """Notes."""

    def test_a_note_leaves_the_claim_as_it_is(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a", owner="w", attempt="mine")
        result = driver.change(guard=guard(claim), notes={"x": b"1"})
        assert (result.open, driver.load().head.open) == (2, 2)
        step = driver.step("a")
        assert (step.owner, step.attempt, step.wait) == ("w", 1, Wait.NOTHING)
        assert driver.claim("a", owner="other").refused is Refusal.CLAIMED
        assert driver.claimed("a", owner="w", attempt="mine").fence == claim.fence
        driver.complete(claim)

    def test_notes_of_one_claim_add_up(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a", attempt="mine")
        assert claim.notes == {}
        _note(driver, claim, x=b"1")
        _note(driver, claim, y=b"2", z=b"")
        assert driver.step("a").notes == {"x": b"1", "y": b"2", "z": b""}
        assert driver.claimed("a", attempt="mine").notes == driver.step("a").notes
        assert driver.step("b").notes == {}

    def test_a_note_stays_as_it_was_first_written(self, driver: Driver) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        assert _note(driver, claim, x=b"first") is None
        assert _note(driver, claim, x=b"second", y=b"2") is None
        assert driver.step("a").notes == {"x": b"first", "y": b"2"}

    def test_any_name_and_any_bytes_are_noted(self, driver: Driver) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        notes = {name: name.encode() + drafts.ALL_BYTES for name in NAMES}
        notes["big"] = drafts.ALL_BYTES * 4000
        driver.change(guard=guard(claim), notes=notes)
        assert driver.step("a").notes == notes

    def test_many_notes_are_kept(self, driver: Driver) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        notes = {f"note-{n}": b"%d" % n for n in range(3000)}
        driver.change(guard=guard(claim), notes=notes)
        assert driver.step("a").notes == notes

    def test_notes_outlive_a_death(self, driver: Driver) -> None:
        driver.start("a", "b")
        _note(driver, driver.claimed("a", owner="dead"), x=b"1")
        driver.store.release("dead")
        _note(driver, driver.claimed("a", owner="slow"), y=b"2")
        driver.until(lambda: driver.sweep().released)
        claim = driver.claimed("a")
        assert (claim.notes, claim.deaths) == ({"x": b"1", "y": b"2"}, 2)

    @pytest.mark.parametrize("wait", [Wait.NOTHING, Wait.TIMER, Wait.ANSWER, Wait.PERSON], ids=str)
    def test_notes_outlive_an_update_and_may_come_with_it(self, driver: Driver, wait: Wait) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        _note(driver, claim, x=b"1")
        driver.update(claim, wait=wait, failed=True, notes={"x": b"late", "y": b"2"})
        assert driver.step("a").notes == {"x": b"1", "y": b"2"}
        assert driver.step("a").owner == ""
        driver.revive("a")
        assert driver.claimed("a").notes == {"x": b"1", "y": b"2"}

    def test_notes_outlive_a_revoked_claim(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.change(guard=guard(claim), notes={"x": b"1"}, revoke=True)
        assert _note(driver, claim, y=b"2") is Refusal.STALE_FENCE
        assert driver.claimed("a").notes == {"x": b"1"}

    def test_notes_go_when_the_step_completes(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        a, b = driver.claimed("a"), driver.claimed("b")
        _note(driver, a, x=b"1")
        _note(driver, b, x=b"1")
        driver.complete(a, notes={"y": b"2"})
        assert (driver.step("a").completed, driver.step("a").notes) == (True, {})
        assert driver.step("b").notes == {"x": b"1"}

    def test_notes_go_with_the_plan(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        _note(driver, claim, x=b"1")
        driver.advance("a")
        assert (driver.step("a").notes, driver.claimed("a").notes) == ({}, {})
        assert _note(driver, claim, y=b"2") is Refusal.STALE_FENCE

    def test_a_lone_step_that_noted_completes_and_advances_in_one_commit(
        self, driver: Driver
    ) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        _note(driver, claim, x=b"1")
        id_ = drafts.FIRST + 1
        steps = drafts.plan(driver.thread_id, id_, "a")
        driver.complete(claim, notes={"y": b"2"}, checkpoint=drafts.checkpoint(id_), ready=steps)
        assert driver.claimed("a").notes == {}

    # ---- refused ------------------------------------------------------------------------

    @pytest.mark.parametrize("distance", [-1, 1])
    def test_a_note_under_another_fence_is_refused_and_kept_nowhere(
        self, driver: Driver, distance: int
    ) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        _note(driver, claim, x=b"1")
        before = observed(driver.store, [driver.thread_id])
        wrong = StepGuard(guard(claim).step_id, claim.fence + distance)
        assert driver.commit(guard=wrong, notes={"y": b"2"}).refused is Refusal.STALE_FENCE
        assert observed(driver.store, [driver.thread_id])[:-1] == before[:-1]
        assert driver.events()[-1].type == CommitRefused.type
        driver.complete(claim)

    def test_a_note_of_a_dead_process_is_refused_after_another_claim(self, driver: Driver) -> None:
        driver.start("a", "b")
        old = driver.claimed("a", owner="dead")
        driver.store.release("dead")
        assert _note(driver, old, x=b"old") is Refusal.STALE_FENCE
        new = driver.claimed("a")
        assert _note(driver, old, x=b"old") is Refusal.STALE_FENCE
        assert _note(driver, new, x=b"new") is None
        assert driver.step("a").notes == {"x": b"new"}

    def test_a_note_of_a_completed_step_is_refused(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.complete(claim)
        assert _note(driver, claim, x=b"1") is Refusal.COMPLETED
        assert driver.step("a").notes == {}

    def test_a_note_whose_other_preconditions_fail_changes_no_byte(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        before = observed(driver.store, [driver.thread_id]), self.contents(driver.store)
        result = driver.commit(guard=guard(claim), notes={"x": b"1"}, expect_run="run-0")
        assert result.refused is Refusal.WRONG_RUN
        assert before == (observed(driver.store, [driver.thread_id]), self.contents(driver.store))

    # ---- beside other things ------------------------------------------------------------

    def test_a_note_may_come_with_events_and_a_status(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.change(
            guard=guard(claim),
            notes={"x": b"1"},
            events=(EventDraft("noted"),),
            status=RunStatus.RUNNING,
        )
        assert [event.type for event in driver.events()] == [RunAccepted.type, "noted"]
        driver.complete(claim)

    def test_a_step_that_noted_is_not_handed_out(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.store.renew(["worker"], ttl_s=3600)
        _note(driver, claim, x=b"1")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert "a" not in driver.due()
        assert driver.store.release("unknown") == []
        assert [step.node for step in driver.store.release("worker")] == ["a"]

    def test_of_racing_notes_of_one_name_one_is_kept_by_all(self, driver: Driver) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        race([partial(_note, driver, claim, x=b"%d" % n) for n in range(6)])
        first = driver.step("a").notes["x"]
        _note(driver, claim, x=b"late")
        assert driver.step("a").notes == {"x": first}
