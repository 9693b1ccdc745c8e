"""Threads, checkpoints and history are found again, and in order."""

from __future__ import annotations

from functools import partial

from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver
from orchestrator.testing.racing import race

__all__ = ["ReadingContract"]


def _listed(driver: Driver, status: RunStatus | None = None, limit: int = 100) -> list[str]:
    return [thread_id for thread_id, _ in driver.store.threads(status=status, limit=limit)]


def _run_through(driver: Driver, number: int) -> None:
    refs, blobs = (f"blob-{number}",), {f"blob-{number}": b"%d" % number}
    driver.start("a", checkpoint=drafts.checkpoint(drafts.FIRST, refs), blobs=blobs)
    for step in range(1, 10):
        claim = driver.claimed("a")
        assert claim.blobs == blobs
        driver.complete(claim)
        driver.advance("a", checkpoint=drafts.checkpoint(drafts.FIRST + step, refs))


class ReadingContract(Contract):
    """Listing and loading."""

    def test_an_empty_store_holds_nothing(self, driver: Driver) -> None:
        assert driver.store.threads() == []
        assert driver.store.load("nobody") is None
        assert driver.store.history("nobody") == []
        assert all(
            driver.store.sweep(p, leader="l").due == () for p in range(driver.store.partitions)
        )

    def test_threads_are_listed_the_latest_changed_first(self, driver: Driver) -> None:
        names = [f"thread-{n}" for n in range(12)]
        for name in names:
            driver.on(name).start("a")
            driver.tick(0.002)
        assert _listed(driver) == names[::-1]
        driver.on("thread-3").change(status=RunStatus.FAILED)
        driver.tick(0.002)
        driver.on("thread-7").change(status=RunStatus.RUNNING)
        rest = [name for name in names[::-1] if name not in {"thread-7", "thread-3"}]
        assert _listed(driver) == ["thread-7", "thread-3", *rest]
        assert _listed(driver, limit=1) == ["thread-7"]
        assert _listed(driver, limit=5) == ["thread-7", "thread-3", *rest[:3]]
        assert _listed(driver, limit=0) == []

    def test_threads_are_listed_by_status(self, driver: Driver) -> None:
        for status in RunStatus:
            for n in range(3):
                driver.on(f"{status}-{n}").start("a", status=RunStatus.QUEUED)
                driver.on(f"{status}-{n}").change(status=status)
                driver.tick(0.002)
        for status in RunStatus:
            expected = [f"{status}-{n}" for n in (2, 1, 0)]
            assert _listed(driver, status) == expected
            assert _listed(driver, status, limit=2) == expected[:2]
        assert len(_listed(driver)) == 3 * len(RunStatus)

    def test_a_thread_is_listed_with_its_head(self, driver: Driver) -> None:
        driver.start("a", head={"run_id": "r", "config": drafts.ALL_BYTES})
        assert driver.store.threads() == [(driver.thread_id, driver.load().head)]

    def test_many_threads_are_listed_once_each(self, driver: Driver) -> None:
        names = {f"thread-{n}" for n in range(150)}
        for n, name in enumerate(sorted(names)):
            status = RunStatus.SUCCEEDED if n % 5 else RunStatus.PAUSED
            driver.on(name).start("a", status=status)
        listed = _listed(driver, limit=1000)
        assert (len(listed), set(listed)) == (150, names)
        assert len(_listed(driver)) == 100
        assert len(_listed(driver, RunStatus.PAUSED)) == 30

    # ---- history ------------------------------------------------------------------------

    def test_history_is_listed_newest_first_by_succession(self, driver: Driver) -> None:
        driver.start("a")
        ids = [drafts.FIRST]
        for step in (1, 2, 10, 100, 10**9, 10**12):
            ids.append(ids[-1] + step)
            driver.advance("a", checkpoint=drafts.checkpoint(ids[-1]))
        assert driver.store.history(driver.thread_id) == ids[::-1]

    def test_history_is_listed_in_pages(self, driver: Driver) -> None:
        driver.start("a")
        for _ in range(9):
            driver.advance("a")
        ids = driver.store.history(driver.thread_id)
        pages, before = [], None
        while page := driver.store.history(driver.thread_id, before=before, limit=4):
            pages.append(page)
            before = page[-1]
        assert pages == [ids[:4], ids[4:8], ids[8:]]
        assert driver.store.history(driver.thread_id, before=ids[3] + 1, limit=1) == [ids[3]]
        assert driver.store.history(driver.thread_id, before=ids[-1]) == []
        assert driver.store.history(driver.thread_id, limit=0) == []

    def test_a_checkpoint_off_the_line_is_in_the_history_in_its_place(self, driver: Driver) -> None:
        driver.start("a", checkpoint=drafts.checkpoint(drafts.FIRST + 5))
        driver.advance("a", checkpoint=drafts.checkpoint(drafts.FIRST + 2))
        assert driver.store.history(driver.thread_id) == [drafts.FIRST + 5, drafts.FIRST + 2]
        assert driver.head_id() == drafts.FIRST + 2

    # ---- loading ------------------------------------------------------------------------

    def test_another_checkpoint_is_loaded_with_its_own_bytes(self, driver: Driver) -> None:
        driver.start("a")
        driver.finish("a")
        driver.advance("b", "c")
        loaded = driver.load(drafts.FIRST)
        assert loaded.checkpoint == drafts.checkpoint(drafts.FIRST)
        assert loaded.head == driver.load().head
        assert loaded.steps == {}
        assert list(loaded.outcomes.values()) == [b"outcome of a"]

    def test_the_head_is_loaded_the_same_by_its_id(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.finish("a")
        by_id, by_head = driver.load(drafts.FIRST), driver.load()
        assert (by_id.steps, by_id.outcomes) == (by_head.steps, by_head.outcomes)

    def test_an_unknown_checkpoint_is_not_there(self, driver: Driver) -> None:
        driver.start("a")
        for checkpoint_id in (0, drafts.FIRST - 1, drafts.FIRST + 1):
            assert driver.store.load(driver.thread_id, checkpoint_id=checkpoint_id) is None

    def test_a_load_tells_the_time_of_the_store(self, driver: Driver) -> None:
        started = driver.start("a")
        driver.tick(0.01)
        loaded = driver.load()
        assert driver.now_ms() >= loaded.now_ms >= started.now_ms + 10

    def test_a_store_serves_any_number_of_os_threads_one_after_another(
        self, driver: Driver
    ) -> None:
        driver.start("a")
        for _ in range(300):
            assert race([driver.head_id]) == [drafts.FIRST]

    def test_a_store_serves_os_threads_side_by_side(self, driver: Driver) -> None:
        drivers = [driver.on(f"thread-{n}") for n in range(16)]
        race([partial(_run_through, each, n) for n, each in enumerate(drivers)])
        for n, each in enumerate(drivers):
            assert each.load().blobs == {f"blob-{n}": b"%d" % n}
            assert [event.seq for event in each.events()] == [1]

    def test_loading_changes_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        before = self.contents(driver.store)
        driver.load()
        driver.store.threads()
        driver.store.history(driver.thread_id)
        driver.events()
        assert self.contents(driver.store) == before
