"""Runs enter a thread: accepted once, queued behind another run, answered. (INV-1)"""

from __future__ import annotations

from functools import partial

import pytest

from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Answer, Refusal, StepUpdate, Wait
from orchestrator.model.events import RunAccepted
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver

# ---- accepted runs --------------------------------------------------------------------------
# A run is accepted once, whole, and under its idempotency key. (INV-1)


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
        assert [e.type for e in driver.events()] == [RunAccepted.type]

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

    def test_a_used_key_is_reported_also_to_a_caller_that_expects_a_new_thread(
        self, driver: Driver
    ) -> None:
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


# ---- queued runs ----------------------------------------------------------------------------
# Queued runs wait until the current run of their thread has ended.

_FINAL = [status for status in RunStatus if status.final]
_NOT_FINAL = [status for status in RunStatus if not status.final]


def _notified(driver: Driver) -> bool:
    """Return whether a sweep reports that the thread's next run may begin."""
    return driver.thread_id in driver.sweep().waiting


class QueuedRunsContract(Contract):
    """`enqueue`, `dequeue` and who is notified."""

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
    def test_the_process_that_ends_a_run_is_notified_that_others_wait(
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
        assert not _notified(driver)

    def test_an_empty_queue_notifies_no_process(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        driver.change(status=RunStatus.SUCCEEDED)
        assert not driver.change(dequeue="run-2").waiting
        driver.tick(3 * driver.settings.hint_grace_s)
        assert not _notified(driver)
        assert not driver.change(status=RunStatus.FAILED).waiting

    def test_a_run_enqueued_too_late_is_reported_too(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(status=RunStatus.SUCCEEDED)
        assert driver.change(enqueue=("run-2", b"")).waiting
        driver.until(lambda: _notified(driver))

    def test_the_next_run_begins_as_the_last_leaves(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        driver.change(enqueue=("run-3", b""))
        driver.change(status=RunStatus.SUCCEEDED)
        result = driver.advance("b", dequeue="run-2", status=RunStatus.QUEUED)
        assert not result.waiting
        driver.tick(3 * driver.settings.hint_grace_s)
        assert not _notified(driver)
        assert driver.change(status=RunStatus.CANCELLED).waiting

    def test_a_sweep_reports_that_the_next_run_was_not_begun(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        assert not _notified(driver)
        ended = driver.change(status=RunStatus.FAILED).now_ms
        driver.until(lambda: _notified(driver))
        assert driver.now_ms() >= ended + driver.grace_ms
        driver.until(lambda: _notified(driver))  # Until a process begins it.
        driver.change(dequeue="run-2", status=RunStatus.QUEUED)
        driver.tick(3 * driver.settings.hint_grace_s)
        assert not _notified(driver)

    def test_a_sweeper_that_does_not_lead_gets_no_report(self, driver: Driver) -> None:
        driver.start("a")
        driver.change(enqueue=("run-2", b""))
        driver.change(status=RunStatus.FAILED)
        driver.until(lambda: _notified(driver))
        assert driver.sweep("another leader").waiting == ()


# ---- answers --------------------------------------------------------------------------------
# An answer is durable, used once, and only for the question it answers. (INV-8)


def _asking(driver: Driver, **asks: bytes) -> str:
    """Let the step of node `a` ask; return its id."""
    driver.start("a", "b")
    driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks=asks)
    return driver.step("a").step.step_id


class AnsweringContract(Contract):
    """Interrupts."""

    def test_a_question_waits_with_its_step(self, driver: Driver) -> None:
        _asking(driver, q1=b"?1", q2=b"?2")
        step = driver.step("a")
        assert (step.wait, step.asks, step.answers) == (Wait.ANSWER, {"q1": b"?1", "q2": b"?2"}, {})
        assert sorted(step.questions) == ["q1", "q2"]
        assert driver.claim("a").refused is Refusal.WAITING

    def test_an_answer_is_stored_and_brought_by_the_next_claim(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.change(
            answers=(Answer(step_id, "q", drafts.ALL_BYTES),),
            updates=(StepUpdate(step=driver.step("a").step, reset=True),),
            status=RunStatus.RUNNING,
        )
        assert driver.step("a").answers == {"q": drafts.ALL_BYTES}
        claim = driver.claimed("a")
        assert (claim.asks, claim.answers) == ({"q": b"?"}, {"q": drafts.ALL_BYTES})

    def test_a_question_is_answered_once(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.change(answers=(Answer(step_id, "q", b"first"),))
        result = driver.commit(answers=(Answer(step_id, "q", b"second"),))
        assert (result.refused, result.detail) == (Refusal.NO_INTERRUPT, "q")
        assert driver.step("a").answers == {"q": b"first"}

    def test_an_empty_answer_is_an_answer(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.change(answers=(Answer(step_id, "q", b""),))
        assert driver.step("a").answers == {"q": b""}
        assert driver.commit(answers=(Answer(step_id, "q", b"x"),)).refused is Refusal.NO_INTERRUPT

    def test_of_racing_answers_one_is_taken(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")

        def answer(number: int) -> Refusal | None:
            return driver.commit(answers=(Answer(step_id, "q", b"%d" % number),)).refused

        refusals = race([partial(answer, n) for n in range(6)])
        assert sorted(refusals, key=str) == [None, *[Refusal.NO_INTERRUPT] * 5]
        assert driver.step("a").answers == {"q": b"%d" % refusals.index(None)}

    def test_an_unknown_question_is_refused(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        for wrong in ("Q", "q ", "", "q2", "*"):
            result = driver.commit(answers=(Answer(step_id, wrong, b"!"),))
            assert (result.refused, result.detail) == (Refusal.NO_INTERRUPT, wrong)
        assert driver.step("a").answers == {}

    def test_a_question_of_another_step_is_refused(self, driver: Driver) -> None:
        _asking(driver, q=b"?")
        for step_id in (driver.step("b").step.step_id, "no-such-step"):
            result = driver.commit(answers=(Answer(step_id, "q", b"!"),))
            assert result.refused is Refusal.NO_INTERRUPT

    def test_of_several_answers_all_or_none_are_taken(self, driver: Driver) -> None:
        step_id = _asking(driver, q1=b"?", q2=b"?")
        both = (Answer(step_id, "q1", b"1"), Answer(step_id, "q2", b"2"))
        before = observed(driver.store, [driver.thread_id])
        refused = driver.commit(answers=(*both, Answer(step_id, "q3", b"3"))).refused
        assert refused is Refusal.NO_INTERRUPT
        assert observed(driver.store, [driver.thread_id]) == before
        driver.change(answers=both)
        assert driver.step("a").answers == {"q1": b"1", "q2": b"2"}

    def test_later_questions_join_the_earlier_ones(self, driver: Driver) -> None:
        step_id = _asking(driver, q1=b"?1")
        driver.change(answers=(Answer(step_id, "q1", b"1"),))
        driver.revive("a")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q2": b"?2"})
        step = driver.step("a")
        assert (step.asks, step.answers) == ({"q1": b"?1", "q2": b"?2"}, {"q1": b"1"})
        assert step.questions == ("q2",)

    # ---- a question is open only while its step waits for the answer ---------------------

    def test_a_completed_step_takes_no_answer(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.revive("a")
        driver.finish("a")
        before = observed(driver.store, [driver.thread_id])
        refused = driver.commit(answers=(Answer(step_id, "q", b"late"),)).refused
        assert refused is Refusal.NO_INTERRUPT
        assert observed(driver.store, [driver.thread_id]) == before

    def test_a_step_that_runs_without_the_answer_takes_none(self, driver: Driver) -> None:
        step_id = _asking(driver, q=b"?")
        driver.revive("a")
        claim = driver.claimed("a")
        refused = driver.commit(answers=(Answer(step_id, "q", b"late"),)).refused
        assert refused is Refusal.NO_INTERRUPT
        driver.update(claim, wait=Wait.ANSWER, asks={"q": b"?"})
        driver.change(answers=(Answer(step_id, "q", b"in time"),))
        assert driver.step("a").answers == {"q": b"in time"}

    def test_names_of_questions_do_not_mix_with_those_of_answers(self, driver: Driver) -> None:
        step_id = _asking(driver, **{"q": b"?", "ask:q": b"?", "ans:q": b"?", "wait": b"?"})
        driver.change(answers=(Answer(step_id, "ask:q", b"1"), Answer(step_id, "wait", b"2")))
        step = driver.step("a")
        assert step.answers == {"ask:q": b"1", "wait": b"2"}
        assert sorted(step.questions) == ["ans:q", "q"]
        assert step.wait is Wait.ANSWER
