"""A run is accepted once, whole, and under its idempotency key. (INV-1)"""

from __future__ import annotations

from functools import partial

from orchestrator.checkpoint.commit import Refusal
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver
from orchestrator.testing.racing import race

__all__ = ["AcceptingContract"]


class AcceptingContract(Contract):
    """New threads and idempotency keys."""

    def test_an_accepted_run_is_stored_whole(self, driver: Driver) -> None:
        refs = ("blob-1", "blob-2")
        driver.start(
            *("a", "b"),
            checkpoint=drafts.checkpoint(drafts.FIRST, refs),
            blobs={"blob-1": drafts.ALL_BYTES, "blob-2": b""},
        )
        loaded = driver.load()
        assert loaded.checkpoint == drafts.checkpoint(drafts.FIRST, refs)
        assert loaded.blobs == {"blob-1": drafts.ALL_BYTES, "blob-2": b""}
        assert [s.step for s in sorted(loaded.steps.values(), key=lambda s: s.step.node)] == list(
            drafts.plan(driver.thread_id, drafts.FIRST, "a", "b")
        )
        assert (loaded.head.status, loaded.head.run_id) == (RunStatus.QUEUED, drafts.RUN)
        assert (loaded.head.open, loaded.head.checkpoint_id) == (2, drafts.FIRST)
        assert [e.type for e in driver.events()] == ["run_accepted"]

    def test_a_new_thread_needs_no_more_than_a_checkpoint(self, driver: Driver) -> None:
        driver.change(expect_new=True, checkpoint=drafts.checkpoint(drafts.FIRST))
        head = driver.load().head
        assert (head.graph, head.run_id, head.config, head.stop) == ("", "", b"", 0)
        assert (head.status, head.open, head.error) == (RunStatus.QUEUED, 0, b"")

    def test_a_thread_that_exists_is_not_started_again(self, driver: Driver) -> None:
        driver.start("a")
        before = observed(driver.store, [driver.thread_id])
        result = driver.store.commit(drafts.starting(driver.thread_id, "b"))
        assert (result.refused, result.detail) == (Refusal.THREAD_EXISTS, driver.thread_id)
        assert observed(driver.store, [driver.thread_id]) == before

    def test_an_unknown_thread_refuses_and_is_not_made(self, driver: Driver) -> None:
        result = driver.commit(blobs={"x": b"y"}, status=RunStatus.RUNNING)
        assert (result.refused, result.detail) == (Refusal.UNKNOWN_THREAD, driver.thread_id)
        assert driver.store.load(driver.thread_id) is None
        assert driver.store.history(driver.thread_id) == []
        assert driver.store.events(driver.thread_id) == []
        assert driver.store.threads() == []

    def test_of_racing_starts_one_is_accepted(self, driver: Driver) -> None:
        commits = [
            drafts.starting(driver.thread_id, "a", head={"run_id": f"run-{n}"}) for n in range(6)
        ]
        results = race([partial(driver.store.commit, commit) for commit in commits])
        refusals = sorted((r.refused or "" for r in results), key=str)
        assert refusals == ["", *[Refusal.THREAD_EXISTS] * 5]
        winner = next(n for n, result in enumerate(results) if result.refused is None)
        assert driver.load().head.run_id == f"run-{winner}"
        assert len(driver.events()) == 1

    # ---- idempotency keys ---------------------------------------------------------------

    def test_a_used_key_is_refused_with_the_run_that_used_it(self, driver: Driver) -> None:
        driver.start("a", key=("key", drafts.RUN))
        result = driver.commit(expect_head=drafts.FIRST, key=("key", "run-2"))
        assert (result.refused, result.detail) == (Refusal.KEY_USED, drafts.RUN)

    def test_a_used_key_is_told_also_to_whoever_expects_a_new_thread(self, driver: Driver) -> None:
        driver.start("a", key=("key", drafts.RUN))
        again = drafts.starting(driver.thread_id, "a", key=("key", "run-2"))
        result = driver.store.commit(again)
        assert (result.refused, result.detail) == (Refusal.KEY_USED, drafts.RUN)

    def test_a_key_is_used_on_an_existing_thread_too(self, driver: Driver) -> None:
        driver.start("a")
        driver.advance("b", key=("key", "run-2"))
        result = driver.commit(key=("key", "run-3"))
        assert (result.refused, result.detail) == (Refusal.KEY_USED, "run-2")

    def test_a_key_stays_used_after_its_run(self, driver: Driver) -> None:
        driver.start("a", key=("key", drafts.RUN))
        driver.finish("a")
        driver.advance(status=RunStatus.SUCCEEDED)
        driver.advance("a", status=RunStatus.QUEUED, key=("other", "run-2"))
        assert driver.commit(key=("key", "run-3")).detail == drafts.RUN
        assert driver.commit(key=("other", "run-3")).detail == "run-2"

    def test_a_refused_commit_uses_no_key(self, driver: Driver) -> None:
        driver.start("a")
        assert driver.commit(expect_head=1, key=("key", "x")).refused is Refusal.HEAD_MOVED
        driver.change(key=("key", "run-2"))

    def test_a_key_belongs_to_its_thread(self, driver: Driver) -> None:
        driver.start("a", key=("key", drafts.RUN))
        driver.on("another").start("a", key=("key", "run-9"))
        assert driver.on("another").commit(key=("key", "x")).detail == "run-9"

    def test_keys_that_differ_slightly_are_different(self, driver: Driver) -> None:
        driver.start("a")
        keys = ["k", "K", "k ", "k:", "k*", "k%s", "{k}", "kä", "ka\u0308", "0", "00"]
        for key in keys:
            driver.change(key=(key, f"run of {key}"))
        assert [driver.commit(key=(key, "x")).detail for key in keys] == [
            f"run of {key}" for key in keys
        ]
