"""Thread ids are data: any text names its own thread and no other."""

from __future__ import annotations

import pytest

from orchestrator import limits
from orchestrator.checkpoint.commit import Answer, Refusal, Wait
from orchestrator.checkpoint.model import RunStatus
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

__all__ = ["NamingContract"]

IDS = (
    *("t", "T", "t ", " t", "t:", "t:t", ":", "{t}", "{", "}", "{}", "{0}", "t{1}t", "t}t{"),
    *("*", "t*", "?", "[t]", "\\", "\\*", "%", "%s", "%d%%", "'", '"', "`", "$t", "#", "/", "../t"),
    *(
        "0",
        "00",
        "0.0",
        "1e3",
        "nil",
        "None",
        "head",
        "t:head",
        "t:ev",
        "é",
        "e\u0301",
        "ü→🜂",
        "中文",
    ),
    *("a" * limits.THREAD_ID_CHARS_MAX, "a" * (limits.THREAD_ID_CHARS_MAX - 1), "ß" * 255),
)


class NamingContract(Contract):
    """Thread ids."""

    @pytest.mark.parametrize("thread_id", IDS, ids=lambda text: ascii(text)[:12])
    def test_any_text_names_a_thread(self, driver: Driver, thread_id: str) -> None:
        thread = driver.on(thread_id)
        thread.start("a", "b", key=("key", "run-1"))
        thread.update(thread.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        thread.change(answers=(Answer(thread.step("a").step.step_id, "q", b"!"),))
        thread.revive("a")
        thread.claimed("a", owner="dead")
        assert [step.thread_id for step in thread.store.release("dead")] == [thread_id]
        assert [step.task_id for step in (thread.step("b").step,)] == [f"{thread_id}:1:b"]
        thread.update(thread.claimed("b"), wait=Wait.TIMER, delay_ms=0)
        assert "b" in thread.due()
        thread.finish("a", "b")
        thread.until(thread.stuck)
        thread.advance(status=RunStatus.SUCCEEDED)
        assert [name for name, _ in thread.store.threads()] == [thread_id]
        result = thread.commit(key=("key", "run-2"))
        assert (result.refused, result.detail) == (Refusal.KEY_USED, "run-1")
        assert thread.commit(expect_new=True).detail == thread_id
        seqs = [event.seq for event in thread.events()]
        assert seqs == list(range(1, len(seqs) + 1))

    def test_ids_that_differ_slightly_name_different_threads(self, driver: Driver) -> None:
        threads = [driver.on(thread_id) for thread_id in IDS]
        for n, thread in enumerate(threads):
            thread.start(f"node-{n}", blobs={"blob": b"%d" % n})
            thread.claimed(f"node-{n}", owner=f"w-{n}")
        assert sorted(name for name, _ in driver.store.threads(limit=1000)) == sorted(IDS)
        for n, thread in enumerate(threads):
            assert [step.step.node for step in thread.load().steps.values()] == [f"node-{n}"]
            assert len(thread.events()) == 1
            assert [step.thread_id for step in driver.store.release(f"w-{n}")] == [thread.thread_id]
            assert thread.step(f"node-{n}").deaths == 1
        assert all(len(thread.events()) == 2 for thread in threads)

    def test_step_ids_may_be_alike_in_different_threads(self, driver: Driver) -> None:
        one, two = driver.on("one"), driver.on("two")
        one.start("a", "b")
        two.start("a", "b")
        assert one.step("a").step.step_id == two.step("a").step.step_id
        one.complete(one.claimed("a"))
        assert not two.step("a").completed
        assert two.claimed("a").attempt == 1
        assert (one.load().head.open, two.load().head.open) == (1, 2)
