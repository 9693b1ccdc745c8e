"""An audit finds what nothing would move on, and leaves alone what is as it was written. (INV-7)"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from orchestrator.checkpoint.audit import Damage, DamageCode
from orchestrator.checkpoint.commit import EventDraft, ReadyStep, StoredCheckpoint, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.ids import child_thread
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver

__all__ = ["AuditingContract", "Damaging"]

# Damages a thread behind the store's back: the thread, the step's id, and what is done.
Damaging = Callable[[str, str, str], None]
_HEAD = {"graph": "graph", "fingerprint": "print", "run_id": drafts.RUN, "stop": 25, "config": b"c"}
_HOUR_MS = 3_600_000


class Plans:
    """The plans of the threads that a test has started: a draft's bytes hold none."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, int], Sequence[ReadyStep]] = {}

    def learn(self, driver: Driver) -> None:
        """Remember the head checkpoint's steps, while they are all there."""
        loaded = driver.load()
        steps = [kept.step for kept in loaded.steps.values()]
        self.steps[driver.thread_id, loaded.checkpoint.id] = steps

    def __call__(self, thread_id: str, _: str, stored: StoredCheckpoint) -> Sequence[ReadyStep]:
        return self.steps[thread_id, stored.id]


class AuditingContract(Contract):
    """What is damaged is found, told, and put right; a backend says how it is damaged."""

    @pytest.fixture
    def damage(self, store: Checkpointer) -> Damaging:
        """Damage a thread: `count` open steps wrong, `lose` a step, `settle` one that is not."""
        raise NotImplementedError

    @pytest.fixture
    def plans(self) -> Plans:
        return Plans()

    def audit(
        self, driver: Driver, plans: Plans, *, repair: bool = True, limit: int = 100
    ) -> tuple[list[Damage], int]:
        """Audit all threads; return what was found, and how many there are."""
        found: list[Damage] = []
        threads = 0
        for partition in range(driver.store.partitions):
            cursor, looks = "", 0
            while looks == 0 or cursor:
                audited = driver.store.audit(
                    partition, plan=plans, repair=repair, cursor=cursor, limit=limit
                )
                cursor, looks = audited.cursor, looks + 1
                found += audited.found
                threads += audited.threads
        return found, threads

    def started(self, driver: Driver, plans: Plans, *nodes: str) -> Driver:
        """Start a thread as the engine does."""
        driver.start(*nodes, head=_HEAD)
        plans.learn(driver)
        return driver

    def test_what_is_as_it_was_written_is_left_alone(self, driver: Driver, plans: Plans) -> None:
        self.started(driver, plans, "done", "claimed", "timer", "asking", "parked", "ready")
        driver.finish("done")
        driver.claimed("claimed")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        driver.update(driver.claimed("asking"), wait=Wait.ANSWER, asks={"q": b"?"})
        driver.update(driver.claimed("parked"), wait=Wait.PERSON)
        before = observed(driver.store, [driver.thread_id])
        assert self.audit(driver, plans)[0] == []
        assert observed(driver.store, [driver.thread_id]) == before

    def test_a_thread_that_ended_or_rests_is_left_alone(self, driver: Driver, plans: Plans) -> None:
        for status in (s for s in RunStatus if not s.active):
            other = self.started(driver.on(f"{status}-thread"), plans, "a", "b")
            other.change(status=status, events=(EventDraft(f"run_{status}"),))
        assert self.audit(driver, plans)[0] == []

    def test_a_settled_superstep_is_left_to_the_sweeper(self, driver: Driver, plans: Plans) -> None:
        self.started(driver, plans, "a", "b")
        driver.finish("a", "b")
        assert self.audit(driver, plans)[0] == []
        driver.until(driver.stuck)
        assert self.audit(driver, plans)[0] == []

    def test_every_thread_is_looked_at_a_few_at_a_time(self, driver: Driver, plans: Plans) -> None:
        names = [f"thread-{number}" for number in range(12)]
        names += [child_thread(name, "sub") for name in names[:3]]
        for name in names:
            self.started(driver.on(name), plans, "a")
        found, threads = self.audit(driver, plans, limit=2)
        assert (found, threads) == ([], len(names))

    def test_a_wrong_count_is_put_right_and_the_log_says_so(
        self, driver: Driver, plans: Plans, damage: Damaging
    ) -> None:
        self.started(driver, plans, "a", "b")
        damage(driver.thread_id, driver.step("a").step.step_id, "count")
        [found] = self.audit(driver, plans)[0]
        assert (found.thread_id, found.code) == (driver.thread_id, DamageCode.MISCOUNTED)
        assert found.repaired
        assert driver.load().head.open == 2
        [told] = driver.events("thread_repaired")
        assert told.fields["codes"] == b"MISCOUNTED"
        assert self.audit(driver, plans)[0] == []
        driver.finish("a", "b")
        driver.until(driver.stuck)

    def test_without_repair_nothing_is_changed_and_the_remedy_is_told(
        self, driver: Driver, plans: Plans, damage: Damaging
    ) -> None:
        self.started(driver, plans, "a", "b")
        damage(driver.thread_id, driver.step("a").step.step_id, "count")
        for _ in range(2):
            [found] = self.audit(driver, plans, repair=False)[0]
            assert found.remedy
            assert not found.repaired
        assert driver.events("thread_repaired") == []

    def test_a_step_that_is_gone_is_written_anew_and_handed_out(
        self, driver: Driver, plans: Plans, damage: Damaging
    ) -> None:
        self.started(driver, plans, "a", "b")
        planned: Mapping[str, object] = driver.load().steps
        driver.store.mark_sent([driver.step("a").step, driver.step("b").step])
        damage(driver.thread_id, driver.step("b").step.step_id, "lose")
        found = self.audit(driver, plans)[0]
        assert DamageCode.STEP_LOST in {damage.code for damage in found}
        assert all(damage.repaired for damage in found)
        assert list(driver.load().steps) == list(planned)
        assert self.audit(driver, plans)[0] == []
        assert driver.until(driver.due) == ["b"]
        driver.finish("a", "b")
        driver.until(driver.stuck)

    def test_a_ready_step_that_counts_as_settled_keeps_its_superstep_open_again(
        self, driver: Driver, plans: Plans, damage: Damaging
    ) -> None:
        self.started(driver, plans, "a", "b")
        damage(driver.thread_id, driver.step("b").step.step_id, "settle")
        found = self.audit(driver, plans)[0]
        assert {damage.code for damage in found} == {DamageCode.STEP_ALTERED}
        assert self.audit(driver, plans)[0] == []
        driver.finish("a")
        assert not driver.stuck()
        driver.finish("b")
        driver.until(driver.stuck)
