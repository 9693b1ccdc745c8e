"""Whether the process whose run it is still lives, in the store's time."""

from __future__ import annotations

from orchestrator.ids import child_thread
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

__all__ = ["OwningContract"]

_HOUR_S = 3600.0


def _start(driver: Driver, owner: str) -> None:
    driver.start("a", "b", queue="", head={"owner": owner, "local": 1, "run_id": drafts.RUN})


class OwningContract(Contract):
    """A head's owner and its lease."""

    def test_an_owner_without_a_lease_is_not_alive(self, driver: Driver) -> None:
        _start(driver, "w")
        assert (driver.load().head.owner, driver.load().owner_alive) == ("w", False)

    def test_an_owner_is_alive_as_long_as_its_lease(self, driver: Driver) -> None:
        _start(driver, "w")
        driver.store.renew(["w"], ttl_s=_HOUR_S)
        assert driver.load().owner_alive
        driver.tick(2 * driver.settings.lease_ttl_s)
        assert driver.load().owner_alive
        assert driver.load(drafts.FIRST).owner_alive

    def test_a_lease_that_ran_out_is_none(self, driver: Driver) -> None:
        _start(driver, "w")
        driver.store.renew(["w"], ttl_s=0.02)
        driver.until(lambda: not driver.load().owner_alive)
        driver.store.renew(["w"], ttl_s=_HOUR_S)
        assert driver.load().owner_alive

    def test_an_owner_that_claims_is_alive(self, driver: Driver) -> None:
        _start(driver, "w")
        driver.store.renew(["w"], ttl_s=0.001)
        driver.until(lambda: not driver.load().owner_alive)
        claim = driver.claimed("a", owner="w")
        loaded = driver.load()
        assert loaded.owner_alive or loaded.now_ms > claim.now_ms + driver.lease_ms

    def test_an_owner_that_only_asks_for_its_claim_again_is_not_renewed(
        self, driver: Driver
    ) -> None:
        _start(driver, "w")
        claim = driver.claimed("a", owner="w", attempt="mine")
        driver.until(lambda: not driver.load().owner_alive)
        assert driver.now_ms() >= claim.now_ms + driver.lease_ms
        assert driver.claimed("a", owner="w", attempt="mine").fence == claim.fence
        assert not driver.load().owner_alive

    def test_an_owner_that_is_released_is_not_alive(self, driver: Driver) -> None:
        drivers = [driver.on(f"thread-{n}") for n in range(3 * driver.store.partitions)]
        for each in drivers:
            _start(each, "w")
        driver.store.renew(["w"], ttl_s=_HOUR_S)
        assert all(each.load().owner_alive for each in drivers)
        driver.store.release("w")
        assert not any(each.load().owner_alive for each in drivers)
        drivers[0].claimed("a", owner="other")
        assert not any(each.load().owner_alive for each in drivers)

    def test_the_lease_of_somebody_else_does_not_count(self, driver: Driver) -> None:
        _start(driver, "w")
        driver.claimed("a", owner="w:1")
        driver.store.renew(["w:2", "", "W", " w"], ttl_s=_HOUR_S)
        assert not driver.load().owner_alive

    def test_nobody_is_not_alive(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.store.renew(["", "w"], ttl_s=_HOUR_S)
        assert (driver.load().head.owner, driver.load().owner_alive) == ("", False)

    def test_the_next_run_has_its_own_owner(self, driver: Driver) -> None:
        _start(driver, "w:{1}:ä b")
        driver.store.renew(["w:{1}:ä b"], ttl_s=_HOUR_S)
        driver.change(head={"resumes": 1})
        assert driver.load().owner_alive
        driver.change(head={"owner": "v"})
        assert (driver.load().head.owner, driver.load().owner_alive) == ("v", False)
        driver.change(head={"owner": ""})
        assert (driver.load().head.owner, driver.load().owner_alive) == ("", False)

    def test_a_claim_brings_the_owner_and_a_listing_too(self, driver: Driver) -> None:
        _start(driver, "w")
        head = driver.claimed("a").head
        assert head is not None
        assert head.owner == "w"
        assert [head.owner for _, head in driver.store.threads()] == ["w"]

    def test_an_owner_is_alive_in_the_threads_of_subgraphs_too(self, driver: Driver) -> None:
        child = driver.on(child_thread(driver.thread_id, "node"))
        _start(driver, "w")
        _start(child, "w")
        driver.claimed("a", owner="w")
        driver.store.renew(["w"], ttl_s=_HOUR_S)
        assert (driver.load().owner_alive, child.load().owner_alive) == (True, True)
        driver.store.release("w")
        assert (driver.load().owner_alive, child.load().owner_alive) == (False, False)
