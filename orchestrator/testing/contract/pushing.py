"""A store that is also the broker: messages of ready steps are part of the commit.

The store is made with `render` as its renderer, so that a test can read what was pushed.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orchestrator import limits
from orchestrator.checkpoint.commit import Answer, ReadyStep, Refusal, StepUpdate, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

__all__ = ["PushingContract", "Queue", "render"]

Queue = Callable[[str], list[bytes]]  # The messages in a queue, the next to be received first.

_HOUR_MS = 3_600_000
_RESTING = [status for status in RunStatus if not status.active]


def render(step: ReadyStep, now_ms: int) -> tuple[str, bytes]:
    """Return the queue and a message that tells everything there is to tell."""
    text = json.dumps([step.thread_id, step.step_id, step.node, now_ms])
    return step.queue, text.encode() + drafts.ALL_BYTES


def _nodes(messages: list[bytes]) -> list[str]:
    return [json.loads(message[: -len(drafts.ALL_BYTES)])[2] for message in messages]


class PushingContract(Contract):
    """Messages that commits push."""

    @pytest.fixture
    def queue(self) -> Queue:
        raise NotImplementedError

    def test_the_store_says_that_it_pushes(self, driver: Driver) -> None:
        assert driver.store.pushes

    def test_each_ready_step_gets_its_message_in_the_order_of_the_plan(
        self, driver: Driver, queue: Queue
    ) -> None:
        before_ms = driver.now_ms()
        driver.start("c", "a", "b")
        messages = queue(drafts.QUEUE)
        assert _nodes(messages) == ["c", "a", "b"]
        thread_id, step_id, _, now_ms = json.loads(messages[0][: -len(drafts.ALL_BYTES)])
        assert (thread_id, step_id) == (driver.thread_id, driver.step("c").step.step_id)
        assert before_ms - 1000 <= now_ms <= driver.now_ms() + 1000
        assert all(message.endswith(drafts.ALL_BYTES) for message in messages)

    def test_each_message_goes_to_its_queue(self, driver: Driver, queue: Queue) -> None:
        queues = {"a": "one", "b": "two", "c": "one", "d": "", "e": "tw ö{1}"}
        steps = (
            drafts.ready(driver.thread_id, drafts.FIRST, n, queue=q) for n, q in queues.items()
        )
        driver.start(ready=tuple(steps))
        assert (_nodes(queue("one")), _nodes(queue("two"))) == (["a", "c"], ["b"])
        assert (_nodes(queue("tw ö{1}")), queue("")) == (["e"], [])

    def test_of_a_wide_superstep_more_is_sent_when_half_of_what_was_sent_is_done(
        self, driver: Driver, queue: Queue
    ) -> None:
        window = limits.FAN_OUT_WINDOW
        nodes = [f"n{n}" for n in range(1500)]
        driver.start(*nodes)
        assert _nodes(queue(drafts.QUEUE)) == nodes[:window]
        half = [driver.complete(driver.claimed(node)) for node in nodes[: window // 2]]
        assert [len(result.due) for result in half] == [0] * (window // 2 - 1) + [window // 2]
        assert [s.node for s in half[-1].due] == nodes[window : window + window // 2]
        driver.advance("next")
        assert driver.complete(driver.claimed("next")).due == ()

    def test_a_completion_pushes_what_follows(self, driver: Driver, queue: Queue) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        id_ = drafts.FIRST + 1
        following = drafts.plan(driver.thread_id, id_, "b", "c")
        driver.complete(claim, checkpoint=drafts.checkpoint(id_), ready=following)
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b", "c"]

    def test_a_refused_commit_pushes_nothing(self, driver: Driver, queue: Queue) -> None:
        driver.start("a")
        again = drafts.starting(driver.thread_id, "b")
        assert driver.store.commit(again).refused is Refusal.THREAD_EXISTS
        steps = drafts.plan(driver.thread_id, drafts.FIRST + 1, "b")
        stored = drafts.checkpoint(drafts.FIRST + 1)
        assert driver.commit(expect_head=1, checkpoint=stored, ready=steps).refused
        assert _nodes(queue(drafts.QUEUE)) == ["a"]

    @pytest.mark.parametrize("status", _RESTING, ids=str)
    def test_a_run_that_rests_gets_no_messages(
        self, driver: Driver, queue: Queue, status: RunStatus
    ) -> None:
        driver.start("a", status=status)
        assert queue(drafts.QUEUE) == []
        driver.revive("a", status=RunStatus.RUNNING)
        assert _nodes(queue(drafts.QUEUE)) == ["a"]

    def test_a_step_that_is_ready_again_gets_another_message(
        self, driver: Driver, queue: Queue
    ) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b"]
        driver.change(
            answers=(Answer(driver.step("a").step.step_id, "q", b"!"),),
            updates=(StepUpdate(step=driver.step("a").step),),
        )
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b", "a"]
        driver.update(driver.claimed("b"), failed=True)
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b", "a", "b"]

    @pytest.mark.parametrize("wait", [Wait.TIMER, Wait.ANSWER, Wait.PERSON], ids=str)
    def test_a_step_that_waits_gets_no_message(
        self, driver: Driver, queue: Queue, wait: Wait
    ) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=wait, delay_ms=_HOUR_MS)
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b"]

    def test_a_delayed_step_is_handed_out_by_a_sweep_when_it_is_due(
        self, driver: Driver, queue: Queue
    ) -> None:
        driver.start("a", "b")
        update = driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=100, failed=True)
        assert driver.until(driver.due) == ["a"]
        assert driver.now_ms() >= update.now_ms + 100
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b"]

    def test_what_is_not_ready_gets_no_message_by_an_update(
        self, driver: Driver, queue: Queue
    ) -> None:
        driver.start("done", "claimed", "waiting")
        driver.finish("done")
        driver.claimed("claimed")
        driver.update(driver.claimed("waiting"), wait=Wait.PERSON)
        driver.revive("done", "claimed", "waiting")
        assert _nodes(queue(drafts.QUEUE)) == ["done", "claimed", "waiting", "waiting"]

    def test_a_message_that_waits_in_its_queue_is_not_sent_again(
        self, driver: Driver, queue: Queue
    ) -> None:
        driver.start("a", "b")
        driver.tick(3 * driver.settings.hint_grace_s)
        assert driver.due() == []
        assert len(queue(drafts.QUEUE)) == 2

    def test_a_message_that_left_its_queue_without_a_claim_is_sent_again(
        self, driver: Driver, drain: Callable[[str], None]
    ) -> None:
        started = driver.start("a", "b")
        drain(drafts.QUEUE)
        assert driver.until(driver.due) == ["a", "b"]
        assert driver.now_ms() >= started.now_ms + driver.grace_ms

    @pytest.fixture
    def drain(self) -> Callable[[str], None]:
        raise NotImplementedError
