"""A commit whose preconditions do not hold is refused and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from orchestrator.checkpoint.commit import (
    Answer,
    Claim,
    Commit,
    EventDraft,
    Refusal,
    StepGuard,
    StepUpdate,
    Wait,
)
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver, guard

__all__ = ["RefusingContract"]

_ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING)


def _staged(driver: Driver) -> Mapping[str, Claim]:
    """Bring the thread to where something of every kind is stored; return the claims made."""
    driver.start("done", "claimed", "asking", "waiting", "ready", key=("used", drafts.RUN))
    claims = {node: driver.claimed(node) for node in ("done", "claimed", "asking", "waiting")}
    driver.complete(claims["done"])
    driver.update(claims["asking"], wait=Wait.ANSWER, asks={"q-old": b"?", "q-new": b"?"})
    driver.change(answers=(Answer(driver.step("asking").step.step_id, "q-old", b"!"),))
    driver.update(claims["waiting"], wait=Wait.TIMER, delay_ms=3_600_000)
    driver.change(enqueue=("in-line", b"begins"))
    return claims


def _everything(driver: Driver, claims: Mapping[str, Claim]) -> Commit:
    """Return a commit that would change whatever a commit can change, and is allowed to."""
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

# In the order in which they are checked: of several reasons, the first is told.
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
        assert (events[:-1], events[-1].type) == (before[-1], "commit_refused")

    def test_of_several_reasons_the_first_is_told(self, driver: Driver) -> None:
        claims = _staged(driver)
        commit = _everything(driver, claims)
        order = []
        for reason, refuse in reversed(_REASONS.items()):
            commit = refuse(driver, claims, commit)
            order.append((driver.store.commit(commit).refused, reason))
        assert all(told is reason for told, reason in order), order

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

    def test_a_refusal_tells_the_time_of_the_store(self, driver: Driver) -> None:
        driver.start("a")
        first = driver.commit(expect_head=1).now_ms
        driver.tick(0.01)
        later = driver.claim("a", owner="w").now_ms
        assert driver.load().now_ms >= later >= first + 10
        assert driver.claim("a", owner="x").now_ms >= later
