"""Threads of subgraphs are stored beside their parent thread and write its log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from orchestrator import limits
from orchestrator.ids import child_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Answer, EventDraft, Refusal, Wait
from orchestrator.model.events import CommitRefused, RunAccepted, StepReleased
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver, guard

_LONG_S = 20.0  # Far longer than waking up takes.
_NAMESPACES = (
    *("node", "node:1", "node|inner", "*", "{1}", "head", "ü→🜂", "n" * limits.NAMESPACE_CHARS_MAX),
)


def _child(driver: Driver, ns: str = "node") -> Driver:
    return driver.on(child_thread(driver.thread_id, ns))


def _types(driver: Driver) -> list[tuple[int, str]]:
    return [(event.seq, event.type) for event in driver.events()]


def _happened(*names: str) -> tuple[EventDraft, ...]:
    return tuple(EventDraft(name) for name in names)


class ChildrenContract(Contract):
    """Threads of subgraphs, and logs of other threads."""

    @pytest.mark.parametrize("ns", _NAMESPACES, ids=lambda text: ascii(text)[:12])
    def test_the_thread_of_a_subgraph_is_a_thread(self, driver: Driver, ns: str) -> None:
        driver.start("a", "b")
        child = _child(driver, ns)
        assert child.partition == driver.partition
        child.start("a", "b", key=("key", "run-1"))
        child.update(child.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        child.change(answers=(Answer(child.step("a").step.step_id, "q", b"!"),))
        child.revive("a")
        child.claimed("a", owner="dead")
        assert [s.thread_id for s in child.store.release("dead")] == [child.thread_id]
        child.update(child.claimed("b"), wait=Wait.TIMER, delay_ms=0)
        assert "b" in child.due()
        child.finish("a", "b")
        child.until(child.stuck)
        child.advance(status=RunStatus.SUCCEEDED)
        assert child.commit(key=("key", "run-2")).detail == "run-1"
        assert {(s.attempt, s.completed) for s in driver.load().steps.values()} == {(0, False)}

    def test_threads_of_subgraphs_are_not_listed(self, driver: Driver) -> None:
        driver.start("a")
        for ns in _NAMESPACES:
            child = _child(driver, ns)
            child.start("a", status=RunStatus.QUEUED)
            child.change(status=RunStatus.RUNNING)
        _child(driver.on("another")).start("a")
        assert [name for name, _ in driver.store.threads()] == [driver.thread_id]
        assert driver.store.threads(status=RunStatus.RUNNING) == []
        found = driver.store.threads(status=RunStatus.QUEUED, limit=1)
        assert [name for name, _ in found] == [driver.thread_id]

    # ---- one log ------------------------------------------------------------------------

    def test_events_go_to_the_log_that_is_named(self, driver: Driver) -> None:
        child = _child(driver)
        driver.start("a", events=_happened("one"))
        child.start("a", events=_happened("two", "three"), log=driver.thread_id)
        driver.change(events=_happened("four"))
        now_ms = child.change(events=_happened("five"), log=driver.thread_id).now_ms
        driver.change(events=_happened("six"))
        assert _types(driver) == list(enumerate(["one", "two", "three", "four", "five", "six"], 1))
        assert driver.events("five")[0].ts_ms == now_ms
        assert child.events() == []

    def test_a_commit_to_another_log_changes_nothing_else_of_its_thread(
        self, driver: Driver
    ) -> None:
        child = _child(driver)
        driver.start("a", "b")
        claim = driver.claimed("a")
        before = observed(driver.store, [driver.thread_id])
        child.start("a", log=driver.thread_id)
        driver.tick(0.01)
        child.complete(child.claimed("a"), events=_happened("two"), log=driver.thread_id)
        assert observed(driver.store, [driver.thread_id])[:-1] == before[:-1]
        driver.complete(claim)

    def test_a_log_that_does_not_exist_is_replaced_by_the_threads_own(self, driver: Driver) -> None:
        child = _child(driver)
        child.start("a", events=_happened("one"), log=driver.thread_id)
        child.change(events=_happened("two"), log="unknown")
        assert _types(child) == [(1, "one"), (2, "two")]
        assert driver.events() == []
        assert driver.store.load(driver.thread_id) is None
        driver.start("a", events=())
        child.change(events=_happened("three"), log=driver.thread_id)
        assert (_types(driver), len(child.events())) == ([(1, "three")], 2)

    def test_a_thread_may_name_its_own_log(self, driver: Driver) -> None:
        driver.start("a", events=_happened("one"), log=driver.thread_id)
        driver.change(events=_happened("two"), log=driver.thread_id)
        driver.change(events=_happened("three"))
        assert _types(driver) == [(1, "one"), (2, "two"), (3, "three")]

    def test_events_alone_can_be_appended(self, driver: Driver) -> None:
        child = _child(driver)
        driver.start("a", "b")
        child.start("a", "b", events=())
        claim = child.claimed("a")
        result = child.change(
            expect_run=drafts.RUN, events=_happened("progress"), log=driver.thread_id
        )
        assert result.open == 2
        assert [event.type for event in driver.events()] == [RunAccepted.type, "progress"]
        refused = child.commit(expect_run="run-0", events=_happened("late"), log=driver.thread_id)
        assert refused.refused is Refusal.WRONG_RUN
        assert len(driver.events()) == 2
        child.complete(claim)

    def test_numbers_have_no_gaps_when_a_tree_of_threads_writes_at_once(
        self, driver: Driver
    ) -> None:
        children = [_child(driver, f"n{n}") for n in range(4)]
        driver.start("a", events=())
        for child in children:
            child.start("a", events=())
        events = _happened("x", "y")
        race(
            [
                *(partial(c.change, events=events, log=driver.thread_id) for c in children * 2),
                *(partial(driver.change, events=events) for _ in range(4)),
            ]
        )
        assert _types(driver) == list(enumerate(["x", "y"] * 12, 1))
        assert all(child.events() == [] for child in children)

    def test_a_reader_that_waits_for_a_log_is_woken_by_another_thread(self, driver: Driver) -> None:
        child = _child(driver)
        driver.start("a", events=())
        child.start("a", events=())
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(driver.store.events, driver.thread_id, wait_s=_LONG_S)
            child.change(events=_happened("one"), log=driver.thread_id)
            assert [event.type for event in waiting.result(_LONG_S / 2)] == ["one"]

    # ---- what the store notes itself ----------------------------------------------------

    def test_a_refused_fence_is_noted_in_the_log_that_is_named(self, driver: Driver) -> None:
        child = _child(driver, "node|inner")
        driver.start("a", events=())
        child.start("a", "b", events=())
        stale = guard(child.claimed("a", owner="dead"))
        child.change(revoke=True)
        log = driver.thread_id
        result = child.commit(guard=stale, completed=b"late", events=_happened("x"), log=log)
        assert result.refused is Refusal.STALE_FENCE
        assert (_types(driver), child.events()) == ([(1, CommitRefused.type)], [])
        assert driver.events()[0].fields == {
            "step": stale.step_id.encode(),
            "reason": b"stale_fence",
            "fence": str(stale.fence).encode(),
            "ns": b"node|inner",
        }
        assert child.commit(guard=stale, completed=b"late").refused is Refusal.STALE_FENCE
        assert _types(child) == [(1, CommitRefused.type)]
        driver.change(events=_happened("next"))
        assert _types(driver)[-1] == (2, "next")

    def test_a_death_in_a_subgraph_is_noted_in_the_log_of_the_thread_around(
        self, driver: Driver
    ) -> None:
        child = _child(driver)
        driver.start("a", events=_happened("one"))
        child.start("a", "b", events=())
        first = child.claimed("a", owner="dead")
        child.store.release("dead")
        child.claimed("b", owner="slow")
        child.until(lambda: child.sweep().released)
        driver.change(events=_happened("four"))
        expected = ["one", StepReleased.type, StepReleased.type, "four"]
        assert _types(driver) == list(enumerate(expected, 1))
        assert driver.events(StepReleased.type)[0].fields == {
            "step": guard(first).step_id.encode(),
            "owner": b"dead",
            "fence": str(first.fence).encode(),
            "ns": b"node",
        }
        assert child.events() == []
        assert child.claimed("a").fence > first.fence

    def test_a_death_without_a_thread_around_is_noted_in_the_threads_own_log(
        self, driver: Driver
    ) -> None:
        child = _child(driver)
        child.start("a", "b", events=())
        child.claimed("a", owner="dead")
        child.store.release("dead")
        assert _types(child) == [(1, StepReleased.type)]
        assert child.events()[0].fields["ns"] == b"node"

    # ---- how far a log is ---------------------------------------------------------------

    def test_a_loaded_thread_names_the_end_of_its_own_log(self, driver: Driver) -> None:
        child = _child(driver)
        driver.start("a", "b", events=())
        assert driver.load().seq == 0
        driver.change(events=_happened("one", "two"))
        child.start("a", events=_happened("three"), log=driver.thread_id)
        assert (driver.load().seq, child.load().seq) == (3, 0)
        driver.claimed("a", owner="dead")
        driver.store.release("dead")
        assert driver.load().seq == driver.events()[-1].seq == 4
        driver.advance("c", events=_happened("five"))
        assert (driver.load().seq, driver.load(drafts.FIRST).seq) == (5, 5)
        child.change(events=_happened("own"))
        assert (child.load().seq, driver.load().seq) == (1, 5)
