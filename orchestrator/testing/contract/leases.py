"""Leases of claims, sweepers and runs, in the store's time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import partial

import pytest

from orchestrator.checkpointer.lease_trust import LEAD_MS, silence_max_ms
from orchestrator.ids import child_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    CRASHED,
    HANDED_BACK,
    Claim,
    CommitResult,
    ReadyStep,
    Refusal,
    Swept,
    Wait,
)
from orchestrator.model.events import StepReleased
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver, guard

# ---- leases of claims -----------------------------------------------------------------------
# A claim lasts as long as its owner's lease is renewed, in the store's time.

_HOUR_S = 3600.0


def _released(driver: Driver) -> Swept | None:
    swept = driver.sweep()
    return swept if swept.released else None


class LeasesContract(Contract):
    """Leases and deaths."""

    def test_a_claim_that_is_not_renewed_is_released_after_the_lease(self, driver: Driver) -> None:
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
        events = driver.events(StepReleased.type)
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
        driver.store.renew(["alive", "other"], ttl_s=_HOUR_S)
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

    def test_a_late_renewal_is_in_time_if_no_sweeper_swept(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.sweep()
        driver.claimed("a", owner="late")
        driver.tick(1.5 * driver.settings.lease_ttl_s)
        driver.store.renew(["late"], ttl_s=_HOUR_S)
        driver.claimed("b", owner="dead")
        driver.until(lambda: _released(driver))
        assert driver.step("a").owner == "late"

    def test_no_owners_are_renewed_by_an_empty_list(self, driver: Driver) -> None:
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
        assert driver.store.release("unknown") == []
        assert driver.step("a").deaths == 1

    def test_a_step_is_not_to_blame_for_a_worker_that_has_to_stop(self, driver: Driver) -> None:
        driver.start("a", "b")
        first = driver.claimed("a", owner="stops")
        assert driver.store.release("stops", died=False) == [first.step]
        assert len(driver.events(StepReleased.type)) == 1
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
    def test_a_claim_of_an_idle_run_is_released_but_not_to_be_sent(
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


# ---- leading sweepers -----------------------------------------------------------------------
# One sweeper leads a partition at a time, and counts only time in which it could sweep.


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

    def test_a_sweeper_that_keeps_sweeping_keeps_leading(self, driver: Driver) -> None:
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

    def test_an_owner_that_renews_after_a_silence_keeps_its_claims(self, driver: Driver) -> None:
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
        polls = [driver.now_ms()]

        def released() -> int:
            swept = driver.sweep("alive")
            polls.append(driver.now_ms())
            return swept.released

        driver.until(released)
        silence_ms = max(later - earlier for earlier, later in itertools.pairwise(polls))
        in_time = silence_ms < silence_max_ms(driver.lease_ms)
        assert polls[-1] < claim.now_ms + 1.8 * driver.lease_ms or not in_time

    def test_timers_are_due_even_after_a_silence(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.sweep()
        claim = driver.claimed("a")
        driver.update(claim, wait=Wait.TIMER, delay_ms=1)
        driver.tick(silence_max_ms(driver.lease_ms) / 1000 + 0.1)
        assert "a" in driver.due()


# ---- owners of runs -------------------------------------------------------------------------
# The lease of the process that owns a run, in the store's time.


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

    def test_the_lease_of_another_owner_does_not_count(self, driver: Driver) -> None:
        _start(driver, "w")
        driver.claimed("a", owner="w:1")
        driver.store.renew(["w:2", "", "W", " w"], ttl_s=_HOUR_S)
        assert not driver.load().owner_alive

    def test_an_unknown_owner_is_not_alive(self, driver: Driver) -> None:
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


# ---- held threads ---------------------------------------------------------------------------
# A call that stores its thread when it ends holds it until then, also a new thread.

_HOUR_MS = 3_600_000


def _held(driver: Driver, holder: str = "call", ms: int = _HOUR_MS) -> CommitResult:
    new = driver.store.load(driver.thread_id) is None
    return driver.commit(holder=holder, hold_ms=ms, expect_new=new)


class HoldingContract(Contract):
    """Holds."""

    def test_a_hold_changes_nothing_of_the_thread(self, driver: Driver) -> None:
        driver.start("a")
        before = observed(driver.store, [driver.thread_id])
        assert _held(driver).refused is None
        assert observed(driver.store, [driver.thread_id]) == before

    def test_a_thread_that_is_only_held_does_not_exist(self, driver: Driver) -> None:
        assert _held(driver).refused is None
        assert driver.store.load(driver.thread_id) is None
        assert driver.store.history(driver.thread_id) == []
        assert driver.store.threads() == []
        assert driver.events() == []

    def test_a_held_thread_refuses_the_commits_of_others(self, driver: Driver) -> None:
        driver.start("a")
        assert _held(driver).refused is None
        for refused in (
            _held(driver, "another"),
            driver.commit(status=RunStatus.CANCELLED),
            driver.commit(holder="another", hold_ms=0, status=RunStatus.CANCELLED),
        ):
            assert (refused.refused, refused.detail) == (Refusal.HELD, "call")
        assert driver.load().head.status is not RunStatus.CANCELLED

    def test_a_held_thread_is_not_made_by_others(self, driver: Driver) -> None:
        assert _held(driver).refused is None
        refused = driver.store.commit(drafts.starting(driver.thread_id, "a"))
        assert (refused.refused, refused.detail) == (Refusal.HELD, "call")
        assert driver.store.load(driver.thread_id) is None

    def test_a_held_thread_is_not_deleted(self, driver: Driver) -> None:
        driver.start("a")
        driver.finish("a")
        driver.change(status=RunStatus.SUCCEEDED)
        assert _held(driver).refused is None
        for keep_head in (True, False):
            refused = driver.store.delete(driver.thread_id, keep_head=keep_head)
            assert refused is Refusal.WRONG_STATUS
        assert _held(driver, ms=0).refused is None
        assert driver.store.delete(driver.thread_id) is None

    def test_the_holder_commits_and_ends_the_hold_at_once(self, driver: Driver) -> None:
        assert _held(driver).refused is None
        driver.start("a", holder="call", hold_ms=0)
        driver.change(status=RunStatus.CANCELLED)
        assert driver.load().head.status is RunStatus.CANCELLED

    def test_a_hold_can_end_without_a_change(self, driver: Driver) -> None:
        assert _held(driver).refused is None
        assert _held(driver, ms=0).refused is None
        assert driver.store.load(driver.thread_id) is None
        driver.start("a")

    def test_a_holder_may_come_late_if_the_thread_is_as_it_was(self, driver: Driver) -> None:
        driver.start("a")
        head = driver.head_id()
        assert _held(driver).refused is None
        assert _held(driver, ms=0).refused is None
        driver.change(holder="call", hold_ms=0, expect_head=head, status=RunStatus.CANCELLED)

    def test_a_hold_runs_out_unless_it_is_prolonged(self, driver: Driver) -> None:
        driver.start("a")
        began = _held(driver, ms=200)
        last = _held(driver, ms=400)
        assert last.refused is None
        taken = driver.until(lambda: _free(driver))
        assert taken.now_ms >= last.now_ms + 400 > began.now_ms + 200
        late = driver.commit(holder="call", hold_ms=0, status=RunStatus.CANCELLED)
        assert (late.refused, late.detail) == (Refusal.HELD, "another")

    def test_preconditions_hold_for_a_hold(self, driver: Driver) -> None:
        driver.start("a")
        wrong = driver.commit(holder="call", hold_ms=_HOUR_MS, expect_head=driver.head_id() + 1)
        assert wrong.refused is Refusal.HEAD_MOVED
        driver.change(status=RunStatus.CANCELLED)

    def test_a_claimed_step_is_committed_also_if_another_call_holds_the_thread(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        assert _held(driver).refused is None
        assert driver.commit(guard=guard(claim), completed=b"done").refused is None


def _free(driver: Driver) -> CommitResult | None:
    taken = _held(driver, "another")
    return taken if taken.refused is None else None
