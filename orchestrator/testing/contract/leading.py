"""One sweeper leads a partition at a time, and believes only in time in which it could look."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.checkpoint.commit import Swept, Wait
from orchestrator.checkpointer.lease_trust import LEAD_MS, silence_max_ms
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

__all__ = ["LeadingContract"]


class LeadingContract(Contract):
    """Leadership and trust."""

    def test_one_leads_and_the_others_do_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        from_ms = driver.now_ms()
        first, second, again = driver.sweep("one"), driver.sweep("two"), driver.sweep("one")
        in_time = driver.now_ms() < from_ms + driver.lease_ms
        assert (first.leading, again.leading) == (True, True) or not in_time
        assert second == Swept() or not in_time

    def test_another_leads_once_the_leader_is_silent_for_a_lease(self, driver: Driver) -> None:
        from_ms = driver.now_ms()
        assert driver.sweep("one").leading
        driver.until(lambda: driver.sweep("two").leading)
        assert driver.now_ms() >= from_ms + driver.lease_ms
        now_ms = driver.now_ms()
        assert driver.sweep("two").leading
        assert not driver.sweep("one").leading or driver.now_ms() >= now_ms + driver.lease_ms

    @pytest.mark.parametrize("lease_ttl_s", [60.0])
    def test_a_dead_leader_is_followed_soon_however_long_leases_last(self, driver: Driver) -> None:
        from_ms = driver.now_ms()
        assert driver.sweep("dead").leading
        driver.until(lambda: driver.sweep("alive").leading)
        assert driver.now_ms() >= from_ms + LEAD_MS

    def test_whoever_keeps_sweeping_keeps_leading(self, driver: Driver) -> None:
        driver.sweep("one")
        since_ms = last_ms = driver.now_ms()
        while last_ms < since_ms + 2 * driver.lease_ms:
            driver.tick(driver.settings.lease_ttl_s / 8)
            before_ms = driver.now_ms()
            swept, other = driver.sweep("one"), driver.sweep("two")
            now_ms = driver.now_ms()
            in_time = now_ms < last_ms + driver.lease_ms
            assert (swept.leading, other.leading) == (True, False) or not in_time
            last_ms = before_ms if swept.leading else now_ms

    def test_each_partition_is_led_for_itself(self, driver: Driver) -> None:
        partitions = range(driver.store.partitions)
        from_ms = driver.now_ms()
        led = [driver.store.sweep(p, leader=f"leader-{p}").leading for p in partitions]
        others = [driver.store.sweep(p, leader=f"leader-{p + 1}").leading for p in partitions]
        assert all(led)
        assert not any(others) or driver.now_ms() >= from_ms + driver.lease_ms

    def test_what_a_bystander_saw_is_left_for_the_leader(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=0)
        driver.sweep("one")
        driver.update(driver.claimed("b"), wait=Wait.TIMER, delay_ms=0)
        second, first = driver.sweep("two"), driver.sweep("one")
        leader, bystander = (second, first) if second.leading else (first, second)
        assert [step.node for step in leader.due] == ["b"]
        assert bystander == Swept()

    def test_a_partition_is_swept_for_itself(self, driver: Driver) -> None:
        drivers = [driver.on(f"thread-{n}") for n in range(3 * driver.store.partitions)]
        for each in drivers:
            each.start("a")
            each.finish("a")
        driver.tick(1.2 * driver.settings.hint_grace_s)
        for partition in range(driver.store.partitions):
            stuck = driver.store.sweep(partition, leader="leader").stuck
            expected = {d.thread_id for d in drivers if d.partition == partition}
            assert {step.thread_id for step in stuck} == expected

    # ---- trust --------------------------------------------------------------------------

    def test_after_a_silence_leases_last_a_full_lease_longer(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.sweep()
        driver.claimed("a", owner="w")
        driver.tick((silence_max_ms(driver.lease_ms) + driver.lease_ms) / 1000)
        back_ms = driver.now_ms()
        assert driver.sweep().released == 0
        assert driver.step("a").owner == "w"
        driver.until(lambda: driver.sweep().released)
        assert driver.now_ms() >= back_ms + driver.lease_ms

    def test_whoever_renews_after_a_silence_keeps_its_claims(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.sweep()
        driver.claimed("a", owner="alive")
        driver.claimed("b", owner="dead")
        driver.tick((silence_max_ms(driver.lease_ms) + driver.lease_ms) / 1000)
        driver.sweep()
        driver.store.renew(["alive"], ttl_s=3600)
        assert driver.until(lambda: driver.sweep().released) == 1
        assert (driver.step("a").owner, driver.step("b").owner) == ("alive", "")

    def test_a_change_of_leaders_is_no_silence(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.sweep("one")
        claim = driver.claimed("a", owner="dead")
        leaders = ["one", "two"] * 1000

        def released() -> int:
            return driver.sweep(leaders.pop()).released

        driver.until(released)
        assert driver.now_ms() >= claim.now_ms + driver.lease_ms

    @pytest.mark.parametrize("lease_ttl_s", [1.2])  # Longer than what counts as silence.
    def test_a_dead_leader_is_no_silence_if_others_asked(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.sweep("dead")
        claim = driver.claimed("a", owner="dead")
        looks = [driver.now_ms()]

        def released() -> int:
            swept = driver.sweep("alive")
            looks.append(driver.now_ms())
            return swept.released

        driver.until(released)
        silence_ms = max(later - earlier for earlier, later in itertools.pairwise(looks))
        in_time = silence_ms < silence_max_ms(driver.lease_ms)
        assert looks[-1] < claim.now_ms + 1.8 * driver.lease_ms or not in_time

    def test_timers_are_due_even_after_a_silence(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.sweep()
        claim = driver.claimed("a")
        driver.update(claim, wait=Wait.TIMER, delay_ms=1)
        driver.tick(silence_max_ms(driver.lease_ms) / 1000 + 0.1)
        assert "a" in driver.due()
