"""Runs that wait in a thread's line until the run there is has ended."""

from __future__ import annotations

import pytest

from orchestrator.checkpoint.commit import Refusal
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

__all__ = ["LiningContract"]

_FINAL = [status for status in RunStatus if status.final]
_NOT_FINAL = [status for status in RunStatus if not status.final]


def _told(driver: Driver) -> bool:
    """Return whether a sweep tells that the thread's next run may begin."""
    return driver.thread_id in driver.sweep().waiting


class LiningContract(Contract):
    """`enqueue`, `dequeue` and who is told."""

    def test_runs_wait_in_the_order_in_which_they_came(self, driver: Driver) -> None:
        driver.start("a")
        assert driver.load().line == {}
        begins = {f"run-{n}": b"%d " % n + drafts.ALL_BYTES for n in (3, 1, 2)}
        for each in begins.items():
            driver.change(enqueue=each)
        assert list(driver.load().line.items()) == list(begins.items())
        driver.change(dequeue="run-1")
        assert list(driver.load().line) == ["run-3", "run-2"]

    def test_a_run_leaves_the_line_once(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        driver.change(dequeue="run-2", enqueue=("run-3", b""))
        result = driver.commit(dequeue="run-2")
        assert (result.refused, result.detail) == (Refusal.NOT_WAITING, "run-2")
        assert list(driver.load().line) == ["run-3"]

    def test_the_lines_of_threads_are_their_own(self, driver: Driver) -> None:
        other = driver.on("other")
        for each in (driver, other):
            each.start("a")
        driver.change(enqueue=("run-2", b"mine"))
        other.change(enqueue=("run-2", b"other"))
        driver.change(dequeue="run-2")
        assert (driver.load().line, other.load().line) == ({}, {"run-2": b"other"})

    @pytest.mark.parametrize("status", _FINAL, ids=str)
    def test_who_ends_a_run_is_told_that_others_wait(
        self, driver: Driver, status: RunStatus
    ) -> None:
        driver.start("a")
        assert not driver.change(enqueue=("run-2", b"")).waiting
        assert driver.change(status=status).waiting

    @pytest.mark.parametrize("status", _NOT_FINAL, ids=str)
    def test_a_run_that_has_not_ended_keeps_others_waiting(
        self, driver: Driver, status: RunStatus
    ) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        assert not driver.change(status=status).waiting
        driver.tick(3 * driver.settings.hint_grace_s)
        assert not _told(driver)

    def test_nobody_is_told_of_an_empty_line(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        driver.change(status=RunStatus.SUCCEEDED)
        assert not driver.change(dequeue="run-2").waiting
        driver.tick(3 * driver.settings.hint_grace_s)
        assert not _told(driver)
        assert not driver.change(status=RunStatus.FAILED).waiting

    def test_who_enqueues_too_late_is_told_too(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(status=RunStatus.SUCCEEDED)
        assert driver.change(enqueue=("run-2", b"")).waiting
        driver.until(lambda: _told(driver))

    def test_the_next_run_begins_as_the_last_leaves(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        driver.change(enqueue=("run-3", b""))
        driver.change(status=RunStatus.SUCCEEDED)
        result = driver.advance("b", dequeue="run-2", status=RunStatus.QUEUED)
        assert not result.waiting
        driver.tick(3 * driver.settings.hint_grace_s)
        assert not _told(driver)
        assert driver.change(status=RunStatus.CANCELLED).waiting

    def test_a_sweep_tells_when_nobody_began_the_next(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        assert not _told(driver)
        ended = driver.change(status=RunStatus.FAILED).now_ms
        driver.until(lambda: _told(driver))
        assert driver.now_ms() >= ended + driver.grace_ms
        driver.until(lambda: _told(driver))  # As long as nobody does.
        driver.change(dequeue="run-2", status=RunStatus.QUEUED)
        driver.tick(3 * driver.settings.hint_grace_s)
        assert not _told(driver)

    def test_who_does_not_lead_is_told_nothing(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        driver.change(status=RunStatus.FAILED)
        driver.until(lambda: _told(driver))
        assert driver.sweep("another leader").waiting == ()
