"""A step is changed only under its latest claim, and completed once. (INV-2, INV-3)"""

from __future__ import annotations

from functools import partial

import pytest

from orchestrator.checkpoint.commit import Claim, Refusal, StepGuard, StepUpdate, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver, guard
from orchestrator.testing.racing import race

__all__ = ["FencingContract"]


def _refused(driver: Driver, claim: Claim) -> Refusal | None:
    return driver.commit(guard=guard(claim), completed=b"late", blobs={"late": b"!"}).refused


class FencingContract(Contract):
    """Fences."""

    def test_fences_only_grow(self, driver: Driver) -> None:
        driver.start("a", "b")
        claims = [driver.claimed("a"), driver.claimed("b", owner="w")]
        driver.store.release("w")
        claims.append(driver.claimed("b"))
        driver.update(claims[-1], failed=True)
        claims.append(driver.claimed("b"))
        driver.change(revoke=True)
        claims += [driver.claimed("a"), driver.claimed("b")]
        driver.complete(claims[-1])
        driver.advance("a", "b")
        claims += [driver.claimed("b"), driver.claimed("a")]
        driver.advance("a", status=RunStatus.QUEUED, head={"run_id": "run-2"})
        claims.append(driver.claimed("a"))
        fences = [claim.fence for claim in claims]
        assert fences == sorted(set(fences))

    def test_an_older_fence_is_refused_and_changes_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        old = driver.claimed("a", owner="dead")
        driver.store.release("dead")
        new = driver.claimed("a", owner="alive")
        before = observed(driver.store, [driver.thread_id])
        assert _refused(driver, old) is Refusal.STALE_FENCE
        assert observed(driver.store, [driver.thread_id])[:-1] == before[:-1]
        driver.complete(new)
        assert driver.load().outcomes == {new.step.step_id: b"outcome of a"} if new.step else False

    def test_a_refused_fence_leaves_an_event(self, driver: Driver) -> None:
        driver.start("a", "b")
        old = driver.claimed("a", owner="dead")
        driver.store.release("dead")
        assert _refused(driver, old) is Refusal.STALE_FENCE
        assert _refused(driver, old) is Refusal.STALE_FENCE
        events = driver.events("commit_refused")
        assert len(events) == 2
        assert events[0].fields["step"] == driver.step("a").step.step_id.encode()
        assert events[0].fields["reason"] == Refusal.STALE_FENCE.encode()
        assert events[0].fields["fence"] == str(old.fence).encode()

    @pytest.mark.parametrize("distance", [-1, 1, 1000])
    def test_only_the_very_fence_passes(self, driver: Driver, distance: int) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        wrong = StepGuard(guard(claim).step_id, claim.fence + distance)
        assert driver.commit(guard=wrong, completed=b"x").refused is Refusal.STALE_FENCE
        driver.complete(claim)

    def test_a_fence_of_another_step_is_refused(self, driver: Driver) -> None:
        driver.start("a", "b")
        a, b = driver.claimed("a"), driver.claimed("b")
        crossed = StepGuard(guard(a).step_id, b.fence)
        assert driver.commit(guard=crossed, completed=b"x").refused is Refusal.STALE_FENCE

    def test_a_step_nobody_claimed_has_no_fence(self, driver: Driver) -> None:
        driver.start("a", "b")
        for fence in (0, 1):
            bare = StepGuard(driver.step("a").step.step_id, fence)
            assert driver.commit(guard=bare, completed=b"x").refused is Refusal.STALE_FENCE

    def test_a_released_claim_is_refused_even_if_nobody_took_over(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a", owner="dead")
        driver.store.release("dead")
        assert _refused(driver, claim) is Refusal.STALE_FENCE
        driver.claimed("a")

    def test_an_expired_claim_is_refused_once_it_was_swept(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.until(lambda: driver.sweep().released)
        assert _refused(driver, claim) is Refusal.STALE_FENCE

    def test_an_expired_claim_still_counts_until_it_is_taken_away(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.tick(2 * driver.settings.lease_ttl_s)
        driver.complete(claim)

    def test_a_claim_is_used_up_by_its_completion(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.complete(claim)
        before = observed(driver.store, [driver.thread_id])
        assert _refused(driver, claim) is Refusal.COMPLETED
        assert observed(driver.store, [driver.thread_id]) == before

    def test_a_claim_is_used_up_by_an_update(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.update(claim, failed=True)
        assert _refused(driver, claim) is Refusal.STALE_FENCE
        assert driver.claimed("a").fence > claim.fence

    def test_a_claim_ends_with_the_plan_of_its_step(self, driver: Driver) -> None:
        driver.start("a", "b")
        a, b = driver.claimed("a"), driver.claimed("b")
        driver.complete(a)
        driver.advance("c")
        before = observed(driver.store, [driver.thread_id])
        assert _refused(driver, a) is Refusal.STALE_FENCE
        assert _refused(driver, b) is Refusal.STALE_FENCE
        assert observed(driver.store, [driver.thread_id])[:-1] == before[:-1]

    def test_of_racing_commits_of_one_claim_one_is_made(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")

        def complete(number: int) -> Refusal | None:
            return driver.commit(guard=guard(claim), completed=b"%d" % number).refused

        refusals = race([partial(complete, n) for n in range(6)])
        assert sorted(refusals, key=str) == [None, *[Refusal.COMPLETED] * 5]
        winner = b"%d" % refusals.index(None)
        assert driver.load().outcomes == {guard(claim).step_id: winner}
        assert driver.load().head.open == 1

    # ---- revoking -----------------------------------------------------------------------

    def test_revoking_takes_away_all_claims_of_the_thread_and_no_others(
        self, driver: Driver
    ) -> None:
        other = driver.on("another")
        driver.start("a", "b", "c")
        other.start("a", "b")
        a, b, kept = driver.claimed("a"), driver.claimed("b"), other.claimed("a")
        driver.change(revoke=True, status=RunStatus.CANCELLED)
        assert _refused(driver, a) is Refusal.STALE_FENCE
        assert _refused(driver, b) is Refusal.STALE_FENCE
        assert [driver.step(node).owner for node in "abc"] == ["", "", ""]
        other.complete(kept)

    def test_a_revoked_step_is_no_death_and_can_be_claimed_again(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="w")
        driver.change(revoke=True, status=RunStatus.CANCELLED)
        assert driver.store.release("w") == []
        driver.revive("a", "b", status=RunStatus.RUNNING)
        claim = driver.claimed("a")
        assert (claim.attempt, claim.deaths) == (2, 0)

    def test_revoking_leaves_completed_steps_completed(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.finish("a")
        driver.change(revoke=True)
        assert driver.claim("a").refused is Refusal.COMPLETED
        assert driver.load().head.open == 1

    def test_a_commit_can_revoke_and_complete_its_own_step(self, driver: Driver) -> None:
        driver.start("a", "b")
        a, b = driver.claimed("a"), driver.claimed("b")
        driver.complete(a, revoke=True)
        assert _refused(driver, b) is Refusal.STALE_FENCE
        assert driver.step("a").completed

    def test_an_update_without_a_claim_leaves_the_claim(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a", owner="w")
        driver.change(updates=(StepUpdate(step=driver.step("a").step, reason="why"),))
        assert (driver.step("a").owner, driver.step("a").reason) == ("w", "why")
        assert driver.step("a").wait is Wait.NOTHING
        driver.complete(claim)
