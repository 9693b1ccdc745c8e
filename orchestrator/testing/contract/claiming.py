"""Only a ready step of an active run is claimed, once, with all that running it needs. (INV-2)"""

from __future__ import annotations

from functools import partial

import pytest

from orchestrator.checkpoint.commit import Answer, Refusal, Take, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver
from orchestrator.testing.racing import race

__all__ = ["ClaimingContract"]

_RESTING = [status for status in RunStatus if not status.active]
_HOUR_MS = 3_600_000


class ClaimingContract(Contract):
    """Claims."""

    def test_a_claim_brings_what_the_step_needs(self, driver: Driver) -> None:
        stored = drafts.checkpoint(drafts.FIRST, ("x", "y"))
        driver.start("a", checkpoint=stored, blobs={"x": b"1", "y": b"2", "z": b"3"})
        claim = driver.claimed("a")
        assert claim.step == driver.step("a").step
        assert (claim.header, claim.refs) == (stored.header, stored.refs)
        assert claim.blobs == {"x": b"1", "y": b"2"}
        assert (claim.attempt, claim.failures, claim.deaths) == (1, 0, 0)
        assert claim.fence > 0
        assert claim.head == driver.load().head

    @pytest.mark.parametrize("knowing", ["nothing", "the head"])
    @pytest.mark.parametrize("fields", [{}, {"breaks_seen": 7}], ids=["head-same", "head-new"])
    def test_a_commit_may_take_the_one_step_that_it_makes_ready(
        self, driver: Driver, knowing: str, fields: dict[str, int]
    ) -> None:
        driver.start("a")
        claim, second = driver.claimed("a"), drafts.FIRST + 1
        following = drafts.ready(driver.thread_id, second, "b")
        result = driver.complete(
            claim,
            checkpoint=drafts.checkpoint(second, ("x",)),
            blobs={"x": b"1"},
            ready=(following,),
            head=fields,
            take=Take("taker", "token", (), claim.head if knowing == "the head" else None),
        )
        assert result.refused is None
        assert result.claim is not None
        assert result.claim.head == driver.load().head
        assert result.claim.step == following
        assert result.claim.fence > claim.fence
        assert (result.claim.attempt, result.claim.blobs) == (1, {"x": b"1"})
        assert driver.step("b").owner == "taker"
        again = driver.claim(following, owner="taker", token="token")  # noqa: S106 - of a claim
        assert (again.refused, again.fence) == (None, result.claim.fence)

    def test_of_several_ready_steps_none_is_taken(self, driver: Driver) -> None:
        driver.start("a")
        second = drafts.FIRST + 1
        steps = drafts.plan(driver.thread_id, second, "b", "c")
        result = driver.complete(
            driver.claimed("a"),
            checkpoint=drafts.checkpoint(second),
            ready=steps,
            take=Take("taker", "token"),
        )
        assert (result.refused, result.claim) == (None, None)
        assert [driver.claimed(step).refused for step in steps] == [None, None]

    @pytest.mark.parametrize(
        ("known", "brought"),
        [((), {"x", "y"}), (("x",), {"y"}), (("y", "x"), set()), (("z", "X", "x "), {"x", "y"})],
    )
    def test_a_claim_brings_only_what_is_not_known(
        self, driver: Driver, known: tuple[str, ...], brought: set[str]
    ) -> None:
        stored = drafts.checkpoint(drafts.FIRST, ("x", "y"))
        driver.start("a", checkpoint=stored, blobs={"x": b"1", "y": b"2"})
        claim = driver.claimed("a", known=known)
        assert (set(claim.blobs), claim.refs) == (brought, ("x", "y"))

    def test_a_claim_brings_the_argument_of_its_send_and_no_others(self, driver: Driver) -> None:
        steps = tuple(
            drafts.ready(driver.thread_id, drafts.FIRST, "n", index=i, arg=f"arg-{i}")
            for i in range(3)
        )
        driver.start(
            ready=steps,
            checkpoint=drafts.checkpoint(drafts.FIRST, ("x",)),
            blobs={"x": b"1", "arg-0": b"zero", "arg-1": b"one", "arg-2": b""},
        )
        assert driver.claimed(steps[1]).blobs == {"x": b"1", "arg-1": b"one"}
        assert driver.claimed(steps[2], known=("x",)).blobs == {"arg-2": b""}
        assert driver.claimed(steps[0], known=("x", "arg-0")).blobs == {}

    def test_a_claim_brings_questions_and_answers(self, driver: Driver) -> None:
        driver.start("a", "b")
        step = driver.step("a").step
        asks = {"q1": b"?1", "q2": b"?2"}
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks=asks)
        driver.change(answers=(Answer(step.step_id, "q2", drafts.ALL_BYTES),))
        driver.revive("a")
        claim = driver.claimed("a")
        assert (claim.asks, claim.answers) == (asks, {"q2": drafts.ALL_BYTES})

    def test_the_first_claim_starts_a_queued_run(self, driver: Driver) -> None:
        driver.start("a", "b", status=RunStatus.QUEUED)
        claim = driver.claimed("a")
        assert claim.head is not None
        assert claim.head.status is RunStatus.RUNNING
        assert driver.load().head.status is RunStatus.RUNNING
        assert driver.store.threads(status=RunStatus.QUEUED) == []
        assert [id_ for id_, _ in driver.store.threads(status=RunStatus.RUNNING)] == [
            driver.thread_id
        ]

    def test_a_claim_names_its_owner(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="host:{1}:ä b")
        assert (driver.step("a").owner, driver.step("b").owner) == ("host:{1}:ä b", "")

    def test_claims_of_a_step_are_counted(self, driver: Driver) -> None:
        driver.start("a")
        for attempt in (1, 2, 3):
            claim = driver.claimed("a")
            assert (claim.attempt, claim.failures) == (attempt, attempt - 1)
            driver.update(claim, failed=True)
        assert driver.step("a").attempt == 3

    # ---- asked again --------------------------------------------------------------------

    def test_whoever_asks_again_gets_the_same_claim(self, driver: Driver) -> None:
        stored = drafts.checkpoint(drafts.FIRST, ("x",))
        driver.start("a", "b", checkpoint=stored, blobs={"x": b"1"})
        first = driver.claimed("a", owner="w", attempt="mine")
        again = driver.claimed("a", owner="w", attempt="mine")
        assert (again.fence, again.attempt, again.blobs) == (first.fence, 1, first.blobs)
        assert driver.step("a").attempt == 1
        driver.complete(again)

    def test_another_attempt_of_the_same_owner_is_refused(self, driver: Driver) -> None:
        driver.start("a")
        driver.claimed("a", owner="w", attempt="one")
        assert driver.claim("a", owner="w", attempt="two").refused is Refusal.CLAIMED

    def test_a_token_gives_nothing_once_its_claim_is_gone(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.complete(driver.claimed("a", attempt="one"))
        assert driver.claim("a", attempt="one").refused is Refusal.COMPLETED
        first = driver.claimed("b", owner="w", attempt="two")
        driver.store.release("w")
        again = driver.claimed("b", owner="w", attempt="two")
        assert (again.fence > first.fence, again.attempt) == (True, 2)

    # ---- refusals -----------------------------------------------------------------------

    def test_a_claimed_step_is_refused_to_everybody_else(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="one")
        claim = driver.claim("a", owner="two")
        assert (claim.refused, claim.detail) == (Refusal.CLAIMED, driver.step("a").step.step_id)
        assert driver.step("a").owner == "one"
        driver.claimed("b", owner="two")

    def test_of_racing_claims_one_wins(self, driver: Driver) -> None:
        driver.start("a")
        step = driver.step("a").step
        owners = [f"w{n}" for n in range(6)]
        claims = race([partial(driver.claim, step, owner=owner) for owner in owners])
        won = [claim for claim in claims if claim.refused is None]
        assert len(won) == 1
        assert {claim.refused for claim in claims} == {None, Refusal.CLAIMED}
        assert driver.step("a").owner == owners[claims.index(won[0])]
        assert driver.step("a").attempt == 1

    def test_a_completed_step_is_refused_while_its_siblings_are_open(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.finish("a")
        claim = driver.claim("a")
        assert (claim.refused, claim.detail) == (Refusal.COMPLETED, driver.step("a").step.step_id)
        driver.claimed("b")
        assert driver.claim("a").refused is Refusal.COMPLETED

    def test_a_completed_step_is_refused_before_its_superstep_advances(
        self, driver: Driver
    ) -> None:
        driver.start("a")
        assert driver.finish("a").open == 0
        assert driver.claim("a").refused is Refusal.COMPLETED

    def test_a_step_of_an_earlier_plan_is_refused(self, driver: Driver) -> None:
        driver.start("a", "b")
        old = driver.step("a").step, driver.step("b").step
        driver.finish("a")
        driver.advance("a", "b")
        assert [driver.claim(step).refused for step in old] == [Refusal.UNKNOWN_STEP] * 2

    def test_a_step_that_was_never_planned_is_refused(self, driver: Driver) -> None:
        driver.start("a")
        never = drafts.ready(driver.thread_id, drafts.FIRST, "b")
        claim = driver.claim(never)
        assert (claim.refused, claim.detail) == (Refusal.UNKNOWN_STEP, never.step_id)

    def test_a_step_of_an_unknown_thread_is_refused(self, driver: Driver) -> None:
        driver.start("a")
        step = driver.step("a").step
        claim = driver.on("nobody").claim(step)
        assert (claim.refused, claim.detail) == (Refusal.UNKNOWN_THREAD, "nobody")
        assert driver.store.load("nobody") is None

    @pytest.mark.parametrize("status", _RESTING, ids=str)
    def test_a_run_that_rests_gives_no_claims(self, driver: Driver, status: RunStatus) -> None:
        driver.start("a", "b")
        driver.claimed("a")
        driver.change(status=status)
        claim = driver.claim("b")
        assert (claim.refused, claim.detail) == (Refusal.WRONG_STATUS, status)
        assert driver.load().head.status is status

    @pytest.mark.parametrize("wait", [Wait.TIMER, Wait.ANSWER, Wait.PERSON], ids=str)
    def test_a_step_that_waits_is_refused(self, driver: Driver, wait: Wait) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=wait, delay_ms=_HOUR_MS)
        claim = driver.claim("a")
        assert (claim.refused, claim.detail) == (Refusal.WAITING, driver.step("a").step.step_id)

    def test_a_refused_claim_changes_no_byte(self, driver: Driver) -> None:
        driver.start("done", "claimed", "waiting", "ready")
        driver.finish("done")
        driver.claimed("claimed", owner="w")
        driver.update(driver.claimed("waiting"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        nodes = ("done", "claimed", "waiting")
        before = observed(driver.store, [driver.thread_id]), self.contents(driver.store)
        refused = {driver.claim(node, owner="v", sent_ms=2**45).refused for node in nodes}
        assert refused == {Refusal.COMPLETED, Refusal.CLAIMED, Refusal.WAITING}
        assert before == (observed(driver.store, [driver.thread_id]), self.contents(driver.store))

    def test_a_local_step_is_claimed_as_any_other(self, driver: Driver) -> None:
        driver.start("a", queue="")
        driver.complete(driver.claimed("a"))
