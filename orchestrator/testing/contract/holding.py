"""A call that stores its thread when it ends holds it until then, also before the thread exists."""

from __future__ import annotations

from orchestrator.checkpoint.commit import CommitResult, Refusal
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver, guard

__all__ = ["HoldingContract"]

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

    def test_a_claimed_step_is_committed_whoever_holds_the_thread(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        assert _held(driver).refused is None
        assert driver.commit(guard=guard(claim), completed=b"done").refused is None


def _free(driver: Driver) -> CommitResult | None:
    taken = _held(driver, "another")
    return taken if taken.refused is None else None
