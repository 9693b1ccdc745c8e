"""A commit whose preconditions do not hold is refused and changes nothing. (INV-2, INV-3)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import pytest

from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    Answer,
    Claim,
    Commit,
    EventDraft,
    Refusal,
    StepGuard,
    StepUpdate,
    Wait,
)
from orchestrator.model.events import CommitRefused
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver, guard

# ---- preconditions --------------------------------------------------------------------------
# A commit whose preconditions do not hold is refused and changes nothing.

_ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING)


def _staged(driver: Driver) -> Mapping[str, Claim]:
    """Store at least one record of every kind; return the claims made."""
    driver.start("done", "claimed", "asking", "waiting", "ready", key=("used", drafts.RUN))
    claims = {node: driver.claimed(node) for node in ("done", "claimed", "asking", "waiting")}
    driver.complete(claims["done"])
    driver.update(claims["asking"], wait=Wait.ANSWER, asks={"q-old": b"?", "q-new": b"?"})
    driver.change(answers=(Answer(driver.step("asking").step.step_id, "q-old", b"!"),))
    driver.update(claims["waiting"], wait=Wait.TIMER, delay_ms=3_600_000)
    driver.change(enqueue=("in-line", b"begins"))
    return claims


def _everything(driver: Driver, claims: Mapping[str, Claim]) -> Commit:
    """Return a valid commit that changes every record that a commit can change."""
    asking, ready = driver.step("asking").step, driver.step("ready").step
    id_ = driver.head_id() + 1
    return Commit(
        thread_id=driver.thread_id,
        expect_head=driver.head_id(),
        expect_run=drafts.RUN,
        expect_status=_ACTIVE,
        guard=guard(claims["claimed"]),
        checkpoint=drafts.checkpoint(id_, ("new-blob",)),
        blobs={"new-blob": b"new"},
        ready=drafts.plan(driver.thread_id, id_, "next"),
        completed=b"outcome",
        notes={"note": b"noted"},
        updates=(StepUpdate(step=ready, wait=Wait.PERSON, error=b"error", failed=True),),
        revoke=True,
        answers=(Answer(asking.step_id, "q-new", b"answer"),),
        status=RunStatus.PAUSED,
        head={"config": b"config", "resumes": 3, "owner": "w"},
        key=("unused", "run-2"),
        enqueue=("run-3", b"begins"),
        dequeue="in-line",
        events=(EventDraft("happened", {"what": "all"}),),
    )


_Refuse = Callable[[Driver, Mapping[str, Claim], Commit], Commit]

# In the order in which they are checked: of several reasons, the first is reported.
_REASONS: dict[Refusal, _Refuse] = {
    Refusal.KEY_USED: lambda _d, _c, commit: replace(commit, key=("used", "run-2")),
    Refusal.THREAD_EXISTS: lambda _d, _c, commit: replace(commit, expect_new=True),
    Refusal.COMPLETED: lambda _d, c, commit: replace(commit, guard=guard(c["done"])),
    Refusal.HEAD_MOVED: lambda d, _c, commit: replace(commit, expect_head=d.head_id() - 1),
    Refusal.WRONG_RUN: lambda _d, _c, commit: replace(commit, expect_run="run-0"),
    Refusal.WRONG_STATUS: lambda _d, _c, commit: replace(
        commit, expect_status=(RunStatus.PAUSED, RunStatus.FAILED)
    ),
    Refusal.UNSETTLED: lambda _d, _c, commit: replace(commit, expect_settled=True),
    Refusal.NO_INTERRUPT: lambda d, _c, commit: replace(
        commit, answers=(*commit.answers, Answer(d.step("asking").step.step_id, "q-old", b"x"))
    ),
    Refusal.UNKNOWN_STEP: lambda d, _c, commit: replace(
        commit, updates=(*commit.updates, StepUpdate(step=drafts.ready(d.thread_id, 1, "gone")))
    ),
    Refusal.NOT_WAITING: lambda _d, _c, commit: replace(commit, dequeue="run-3"),
}


class RefusingContract(Contract):
    """Preconditions."""

    def test_the_commit_that_changes_everything_is_accepted_as_it_is(self, driver: Driver) -> None:
        commit = _everything(driver, _staged(driver))
        assert driver.store.commit(commit).refused is None
        assert driver.load().blobs == {"new-blob": b"new"}

    @pytest.mark.parametrize("reason", _REASONS, ids=str)
    def test_a_refused_commit_changes_no_byte(self, driver: Driver, reason: Refusal) -> None:
        claims = _staged(driver)
        commit = _REASONS[reason](driver, claims, _everything(driver, claims))
        before = observed(driver.store, [driver.thread_id]), self.contents(driver.store)
        assert driver.store.commit(commit).refused is reason
        assert before == (observed(driver.store, [driver.thread_id]), self.contents(driver.store))

    def test_a_commit_under_an_old_fence_changes_nothing_but_is_seen(self, driver: Driver) -> None:
        claims = _staged(driver)
        commit = _everything(driver, claims)
        old = StepGuard(driver.step("claimed").step.step_id, claims["claimed"].fence - 1)
        before = observed(driver.store, [driver.thread_id])
        assert driver.store.commit(replace(commit, guard=old)).refused is Refusal.STALE_FENCE
        after = observed(driver.store, [driver.thread_id])
        assert after[:-1] == before[:-1]
        events = driver.events()
        assert (events[:-1], events[-1].type) == (before[-1], CommitRefused.type)

    def test_of_several_reasons_the_first_is_reported(self, driver: Driver) -> None:
        claims = _staged(driver)
        commit = _everything(driver, claims)
        order = []
        for reason, refuse in reversed(_REASONS.items()):
            commit = refuse(driver, claims, commit)
            order.append((driver.store.commit(commit).refused, reason))
        assert all(reported is reason for reported, reason in order), order

    @pytest.mark.parametrize("distance", [-1, 1, 1000])
    def test_only_the_very_head_passes_as_head(self, driver: Driver, distance: int) -> None:
        driver.start("a")
        result = driver.commit(expect_head=drafts.FIRST + distance)
        assert (result.refused, result.detail) == (Refusal.HEAD_MOVED, str(drafts.FIRST))
        driver.change(expect_head=drafts.FIRST)

    def test_a_head_that_moved_is_no_longer_expected(self, driver: Driver) -> None:
        driver.start("a")
        driver.advance("b", expect_head=drafts.FIRST)
        result = driver.commit(expect_head=drafts.FIRST)
        assert (result.refused, result.detail) == (Refusal.HEAD_MOVED, str(drafts.FIRST + 1))

    def test_another_run_is_refused_with_the_run_there_is(self, driver: Driver) -> None:
        driver.start("a")
        result = driver.commit(expect_run="run-2")
        assert (result.refused, result.detail) == (Refusal.WRONG_RUN, drafts.RUN)
        driver.change(expect_run=drafts.RUN)

    @pytest.mark.parametrize("status", RunStatus, ids=str)
    def test_a_status_passes_if_it_is_among_the_expected(
        self, driver: Driver, status: RunStatus
    ) -> None:
        driver.start("a", status=status)
        others = tuple(other for other in RunStatus if other is not status)
        result = driver.commit(expect_status=others)
        assert (result.refused, result.detail) == (Refusal.WRONG_STATUS, status)
        driver.change(expect_status=(others[0], status))

    def test_a_superstep_that_is_open_again_is_not_settled(self, driver: Driver) -> None:
        driver.start("a")
        question = {"q": b"?"}
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks=question)
        assert driver.commit(expect_settled=True).refused is None
        answer = Answer(driver.step("a").step.step_id, "q", b"x")
        driver.change(answers=(answer,))
        driver.revive("a")
        result = driver.commit(expect_settled=True, status=RunStatus.PAUSED)
        assert (result.refused, result.detail) == (Refusal.UNSETTLED, "1")

    def test_whatever_is_not_expected_is_not_checked(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(head={"resumes": 1})
        assert driver.load().head.resumes == 1

    def test_a_step_that_is_not_in_the_plan_is_not_updated(self, driver: Driver) -> None:
        driver.start("a")
        old = driver.step("a").step
        driver.advance("b")
        result = driver.commit(updates=(StepUpdate(step=old),), blobs={"x": b"y"})
        assert (result.refused, result.detail) == (Refusal.UNKNOWN_STEP, old.step_id)
        assert driver.claim(old).refused is Refusal.UNKNOWN_STEP

    def test_a_refusal_holds_the_time_of_the_store(self, driver: Driver) -> None:
        driver.start("a")
        first = driver.commit(expect_head=1).now_ms
        driver.tick(0.01)
        later = driver.claim("a", owner="w").now_ms
        assert driver.load().now_ms >= later >= first + 10
        assert driver.claim("a", owner="x").now_ms >= later


# ---- fences ---------------------------------------------------------------------------------
# A step is changed only under its latest claim, and completed once. (INV-2, INV-3)


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
        events = driver.events(CommitRefused.type)
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

    def test_a_step_that_was_not_claimed_has_no_fence(self, driver: Driver) -> None:
        driver.start("a", "b")
        for fence in (0, 1):
            bare = StepGuard(driver.step("a").step.step_id, fence)
            assert driver.commit(guard=bare, completed=b"x").refused is Refusal.STALE_FENCE

    def test_a_released_claim_is_refused_even_if_no_other_followed(self, driver: Driver) -> None:
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
