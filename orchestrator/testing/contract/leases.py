"""A claim lasts as long as somebody renews its owner's lease, in the store's time."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest

from orchestrator.checkpoint.commit import (
    CRASHED,
    HANDED_BACK,
    Claim,
    ReadyStep,
    Refusal,
    Swept,
)
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver, guard

__all__ = ["LeasesContract"]

_HOUR_S = 3600.0


def _released(driver: Driver) -> Swept | None:
    swept = driver.sweep()
    return swept if swept.released else None


class LeasesContract(Contract):
    """Leases and deaths."""

    def test_a_claim_that_nobody_renews_is_released_after_the_lease(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a", owner="dead")
        swept = driver.until(lambda: _released(driver))
        assert driver.now_ms() >= claim.now_ms + driver.lease_ms
        assert swept.released == 1
        assert claim.step in swept.due
        assert (driver.step("a").owner, driver.step("a").deaths) == ("", 1)

    def test_a_released_claim_leaves_an_event(self, driver: Driver) -> None:
        driver.start("a", "b")
        claims = [driver.claimed("a", owner="dead")]
        driver.store.release("dead")
        claims.append(driver.claimed("a", owner="slow"))
        driver.until(lambda: _released(driver))
        events = driver.events("step_released")
        expected = [
            {"step": guard(c).step_id, "owner": owner, "fence": str(c.fence)}
            for c, owner in zip(claims, ("dead", "slow"), strict=True)
        ]
        assert [dict(e.fields) for e in events] == [
            {key: value.encode() for key, value in fields.items()} for fields in expected
        ]

    def test_a_claim_that_is_renewed_is_kept(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a", owner="alive")
        driver.claimed("b", owner="dead")
        driver.store.renew(["alive", "somebody-else"], ttl_s=_HOUR_S)
        assert driver.until(lambda: _released(driver)).released == 1
        assert (driver.step("a").owner, driver.step("b").owner) == ("alive", "")
        driver.complete(claim)

    def test_a_lease_is_never_cut_short(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="alive")
        driver.store.renew(["alive"], ttl_s=_HOUR_S)
        driver.store.renew(["alive"], ttl_s=0.001)
        driver.claimed("b", owner="dead")
        driver.until(lambda: _released(driver))
        assert driver.step("a").owner == "alive"

    def test_a_claim_does_not_cut_its_owners_lease_short(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.claimed("a", owner="alive")
        driver.store.renew(["alive"], ttl_s=_HOUR_S)
        driver.claimed("b", owner="alive")
        driver.tick(0.01)
        driver.claimed("c", owner="dead")
        driver.until(lambda: _released(driver))
        assert (driver.step("a").owner, driver.step("b").owner) == ("alive", "alive")

    def test_a_late_renewal_is_in_time_if_nobody_swept(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.sweep()
        driver.claimed("a", owner="late")
        driver.tick(1.5 * driver.settings.lease_ttl_s)
        driver.store.renew(["late"], ttl_s=_HOUR_S)
        driver.claimed("b", owner="dead")
        driver.until(lambda: _released(driver))
        assert driver.step("a").owner == "late"

    def test_nobody_is_renewed_by_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="dead")
        driver.store.renew([], ttl_s=_HOUR_S)
        driver.until(lambda: _released(driver))

    def test_a_lease_covers_the_claims_of_every_thread_and_partition(self, driver: Driver) -> None:
        drivers = [driver.on(f"thread-{n}") for n in range(3 * driver.store.partitions)]
        for each in drivers:
            each.start("a", "b")
            each.claimed("a", owner="alive")
            each.claimed("b", owner="dead")
        driver.store.renew(["alive"], ttl_s=_HOUR_S)
        by_partition = {each.partition: each for each in drivers}
        for each in by_partition.values():
            each.until(partial(_released, each))
        assert {(d.step("a").owner, d.step("b").owner) for d in drivers} == {("alive", "")}

    # ---- deaths -------------------------------------------------------------------------

    def test_release_hands_back_exactly_the_claims_of_the_dead(self, driver: Driver) -> None:
        drivers = [driver.on(f"thread-{n}") for n in range(3 * driver.store.partitions)]
        mine, theirs = [], []
        for each in drivers:
            each.start("a", "b", "c", "d")
            mine += [each.claimed("a", owner="dead"), each.claimed("b", owner="dead")]
            theirs.append(each.claimed("c", owner="alive"))
            each.complete(each.claimed("d", owner="dead"))
        released = driver.store.release("dead")
        assert _ids(released) == _ids(claim.step for claim in mine)
        assert {(d.step("a").deaths, d.step("b").deaths) for d in drivers} == {(1, 1)}
        assert {(d.step("c").deaths, d.step("d").deaths) for d in drivers} == {(0, 0)}
        for each, claim in zip(drivers, theirs, strict=True):
            each.complete(claim)

    def test_a_release_is_made_once(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="dead")
        assert len(driver.store.release("dead")) == 1
        assert driver.store.release("dead") == []
        assert driver.store.release("nobody") == []
        assert driver.step("a").deaths == 1

    def test_a_step_is_not_to_blame_for_a_worker_that_has_to_stop(self, driver: Driver) -> None:
        driver.start("a", "b")
        first = driver.claimed("a", owner="stops")
        assert driver.store.release("stops", died=False) == [first.step]
        assert len(driver.events("step_released")) == 1
        again = driver.claimed("a", owner="other")
        assert (again.attempt, again.deaths, again.failures) == (2, 0, 0)
        assert (first.reason, again.reason) == ("", HANDED_BACK)
        assert _commit(driver, first) is Refusal.STALE_FENCE
        driver.complete(again)

    def test_a_released_step_is_claimed_again_at_once(self, driver: Driver) -> None:
        driver.start("a", "b")
        first = driver.claimed("a", owner="dead")
        driver.store.release("dead")
        again = driver.claimed("a", owner="alive")
        assert again.fence > first.fence
        assert (again.attempt, again.deaths, again.failures) == (2, 1, 0)
        assert again.reason == CRASHED
        assert _commit(driver, first) is Refusal.STALE_FENCE
        driver.complete(again)

    def test_a_released_owner_may_claim_again(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="w")
        driver.store.release("w")
        driver.claimed("b", owner="w")
        assert [step.node for step in driver.store.release("w")] == ["b"]

    def test_names_of_owners_do_not_mix(self, driver: Driver) -> None:
        owners = ["w", "w:1", "w:", "W", "w*", "{w}", "wö", "w 1"]
        driver.start(*(f"n{n}" for n in range(len(owners))))
        for n, owner in enumerate(owners):
            driver.claimed(f"n{n}", owner=owner)
        for n, owner in enumerate(owners):
            assert [step.node for step in driver.store.release(owner)] == [f"n{n}"]

    @pytest.mark.parametrize("status", [s for s in RunStatus if not s.active], ids=str)
    def test_a_claim_of_a_run_that_rests_is_released_but_not_to_be_sent(
        self, driver: Driver, status: RunStatus
    ) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="dead")
        driver.claimed("b", owner="slow")
        driver.change(status=status)
        assert driver.store.release("dead") == []
        assert driver.until(lambda: _released(driver)) == Swept(leading=True, released=1)
        assert (driver.step("a").owner, driver.step("b").owner) == ("", "")

    def test_a_local_step_is_released_but_not_to_be_sent(self, driver: Driver) -> None:
        driver.start("a", queue="")
        claim = driver.claimed("a", owner="dead")
        assert driver.store.release("dead") == []
        assert (driver.step("a").owner, driver.step("a").deaths) == ("", 1)
        assert _commit(driver, claim) is Refusal.STALE_FENCE
        driver.complete(driver.claimed("a"))


def _ids(steps: Iterable[ReadyStep | None]) -> list[str]:
    return sorted(step.step_id for step in steps if step is not None)


def _commit(driver: Driver, claim: Claim) -> Refusal | None:
    return driver.commit(guard=guard(claim), completed=b"late").refused
