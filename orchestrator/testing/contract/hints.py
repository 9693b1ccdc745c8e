"""Messages are hints: what was lost is handed out again, what is not ready never is. (INV-7)"""

from __future__ import annotations

from orchestrator import limits
from orchestrator.checkpoint.commit import StepUpdate, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

__all__ = ["HintsContract", "UnsentContract"]

_HOUR_MS = 3_600_000


def _sent(driver: Driver, *nodes: str) -> tuple[int, int]:
    """Mark steps as sent; return between which two times that was."""
    steps = [driver.step(node).step for node in nodes]
    before_ms = driver.now_ms()
    driver.store.mark_sent(steps)
    return before_ms, driver.now_ms()


class HintsContract(Contract):
    """Lost messages and stuck supersteps."""

    def test_a_message_that_a_later_one_overtook_by_the_grace_was_lost(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        _, after_ms = _sent(driver, "a", "b")
        driver.claimed("b", sent_ms=after_ms + driver.grace_ms + 1)
        assert driver.due() == ["a"]

    def test_a_message_within_the_grace_is_still_on_its_way(self, driver: Driver) -> None:
        driver.start("a", "b")
        before_ms, _ = _sent(driver, "a", "b")
        driver.claimed("b", sent_ms=before_ms + driver.grace_ms)
        assert driver.due() == []

    def test_a_message_nobody_overtook_is_still_on_its_way(self, driver: Driver) -> None:
        driver.start("a", "b")
        before_ms, _ = _sent(driver, "a", "b")
        driver.claimed("b", sent_ms=before_ms)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == []

    def test_what_was_handed_out_again_is_on_its_way_again(self, driver: Driver) -> None:
        driver.start("a", "b")
        _sent(driver, "a", "b")
        driver.tick(1.2 * driver.settings.hint_grace_s)
        driver.claimed("b", sent_ms=driver.now_ms())
        again = driver.sweep().due
        assert [step.node for step in again] == ["a"]
        driver.store.mark_sent(again)
        assert driver.due() == []

    def test_an_early_message_does_not_take_the_watermark_back(self, driver: Driver) -> None:
        driver.start("a", "b", "c", "d")
        _, after_ms = _sent(driver, *"abcd")
        driver.claimed("b", sent_ms=after_ms + driver.grace_ms + 1)
        driver.claimed("c", sent_ms=1)
        driver.claimed("d", sent_ms=0)
        assert driver.due() == ["a"]

    def test_messages_of_other_queues_overtake_nothing(self, driver: Driver) -> None:
        a, b = (
            drafts.ready(driver.thread_id, drafts.FIRST, node, queue=queue)
            for node, queue in (("a", "slow"), ("b", "slow:2"))
        )
        driver.start(ready=(a, b))
        _, after_ms = _sent(driver, "a", "b")
        driver.claimed("b", sent_ms=after_ms + _HOUR_MS)
        assert driver.due() == []

    def test_what_is_not_ready_was_not_lost(self, driver: Driver) -> None:
        driver.start("done", "claimed", "timer", "answer", "person", "last")
        _, after_ms = _sent(driver, "done", "claimed", "timer", "answer", "person")
        driver.finish("done")
        driver.claimed("claimed")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        driver.update(driver.claimed("answer"), wait=Wait.ANSWER)
        driver.update(driver.claimed("person"), wait=Wait.PERSON)
        driver.claimed("last", sent_ms=after_ms + _HOUR_MS)
        driver.store.mark_sent(
            [driver.step(n).step for n in ("claimed", "timer", "answer", "done")]
        )
        driver.tick(1.2 * driver.settings.hint_grace_s)
        driver.store.renew(["worker"], ttl_s=3600)
        assert driver.due() == []
        assert driver.step("timer").wait is Wait.TIMER

    def test_marking_what_is_gone_does_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        gone = [driver.step("a").step, driver.step("b").step]
        driver.advance("c")
        driver.store.mark_sent([*gone, drafts.ready("nobody", drafts.FIRST, "x")])
        driver.store.mark_sent([])
        driver.claimed("c", sent_ms=driver.now_ms() + _HOUR_MS)
        assert driver.due() == []
        assert driver.on("nobody").due() == []
        assert driver.store.load("nobody") is None

    def test_a_local_step_is_never_handed_out(self, driver: Driver) -> None:
        driver.start("ready", "timer", "dead", "last", queue="")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=0)
        driver.claimed("dead", owner="dead")
        driver.until(lambda: driver.sweep().released)
        driver.claimed("last", sent_ms=driver.now_ms() + _HOUR_MS)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == []
        driver.claimed("dead")

    def test_many_due_steps_are_handed_out_in_batches(self, driver: Driver) -> None:
        count = 2 * limits.SWEEP_BATCH_MAX + 10
        steps = tuple(
            drafts.ready(driver.thread_id, drafts.FIRST, "n", index=i) for i in range(count)
        )
        driver.start(ready=steps)
        driver.change(
            updates=tuple(StepUpdate(step=step, wait=Wait.TIMER, delay_ms=0) for step in steps)
        )
        sizes: list[int] = []
        seen: set[str] = set()
        while len(seen) < count and len(sizes) < 10:
            due = driver.sweep().due
            driver.store.mark_sent(due)
            sizes.append(len(due))
            seen |= {step.step_id for step in due}
        assert (len(seen), max(sizes), sum(sizes)) == (count, limits.SWEEP_BATCH_MAX, count)

    # ---- stuck supersteps ---------------------------------------------------------------

    def test_a_superstep_that_nobody_advances_is_told_after_the_grace(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.finish("a")
        ended = driver.finish("b")
        driver.until(driver.stuck)
        assert driver.now_ms() >= ended.now_ms + driver.grace_ms
        driver.until(driver.stuck)

    def test_a_superstep_whose_steps_wait_for_somebody_is_told_too(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        driver.update(driver.claimed("b"), wait=Wait.ANSWER, asks={"q": b"?"})
        driver.update(driver.claimed("c"), wait=Wait.PERSON)
        driver.until(driver.stuck)
        driver.change(status=RunStatus.PAUSED)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_superstep_that_was_advanced_is_not_told(self, driver: Driver) -> None:
        driver.start("a")
        driver.finish("a")
        driver.advance("b")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()
        driver.finish("b")
        driver.until(driver.stuck)
        driver.advance("c")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_superstep_with_open_steps_is_not_told(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        driver.update(driver.claimed("b"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_superstep_that_was_opened_again_is_not_told(self, driver: Driver) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.PERSON)
        driver.revive("a")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_local_run_is_not_told(self, driver: Driver) -> None:
        driver.start("a", queue="", head={"local": 1, "run_id": "r"})
        driver.finish("a")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_run_without_steps_disturbs_no_sweep(self, driver: Driver) -> None:
        other = driver.on("another")
        while other.partition != driver.partition:
            other = driver.on(other.thread_id + "+")
        driver.start()
        other.start("a")
        other.finish("a")
        driver.until(other.stuck)


class UnsentContract(Contract):
    """Of stores that leave sending to others: what was not sent is found."""

    def test_what_was_not_sent_is_handed_out_after_the_grace(self, driver: Driver) -> None:
        committed = driver.start("a", "b")
        due = driver.until(lambda: driver.sweep().due)
        assert driver.now_ms() >= committed.now_ms + driver.grace_ms
        assert {step.node for step in due} == {"a", "b"}
        assert set(due) == {driver.step("a").step, driver.step("b").step}

    def test_what_was_handed_out_and_sent_is_not_handed_out_again(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.store.mark_sent(driver.until(lambda: driver.sweep().due))
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == []

    def test_what_was_handed_out_is_not_handed_out_at_once_again(self, driver: Driver) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=0)
        from_ms = driver.now_ms()
        assert driver.due() == ["a"]
        assert driver.due() == [] or driver.now_ms() >= from_ms + driver.grace_ms

    def test_what_was_handed_out_and_not_sent_is_handed_out_again(self, driver: Driver) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=0)
        from_ms = driver.now_ms()
        assert driver.due() == ["a"]
        driver.until(lambda: "a" in driver.due())
        assert driver.now_ms() >= from_ms + driver.grace_ms

    def test_what_was_sent_is_not_handed_out(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.store.mark_sent([driver.step("a").step])
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == ["b"]

    def test_a_step_that_is_ready_again_is_unsent_again(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.store.mark_sent([driver.step("a").step, driver.step("b").step])
        update = driver.update(driver.claimed("a"), failed=True)
        assert driver.until(driver.due) == ["a"]
        assert driver.now_ms() >= update.now_ms + driver.grace_ms

    def test_what_the_dead_left_is_handed_out_unless_it_was_sent(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="dead")
        driver.claimed("b", owner="dead")
        a, b = sorted(driver.store.release("dead"), key=lambda step: step.node)
        driver.store.mark_sent([a])
        assert driver.until(lambda: driver.sweep().due) == (b,)

    def test_the_steps_of_a_revived_run_are_handed_out(self, driver: Driver) -> None:
        driver.start("timer", "ready", "done")
        driver.finish("done")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        driver.change(status=RunStatus.FAILED)
        driver.revive("timer", "ready", "done", status=RunStatus.RUNNING)
        assert driver.until(driver.due) == ["ready", "timer"]
