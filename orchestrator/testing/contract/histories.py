"""Threads and their checkpoints: named by any text, listed in order, deleted whole."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest

from orchestrator import limits
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.ids import child_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Answer, EventDraft, Refusal, Wait
from orchestrator.model.events import RunAccepted
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver, guard

# ---- lists and loads ------------------------------------------------------------------------
# Threads, checkpoints and history are listed and loaded in order.


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
        assert driver.store.load("unknown") is None
        assert driver.store.history("unknown") == []
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

    def test_a_load_holds_the_time_of_the_store(self, driver: Driver) -> None:
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


# ---- thread ids -----------------------------------------------------------------------------
# Thread ids are data: any text names its own thread and no other.

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


# ---- deletion -------------------------------------------------------------------------------
# Threads are deleted whole, and history up to the head is pruned.

_MARK = b"doomed"  # In every name and value of the thread that is deleted.
_ENDED = RunStatus.CANCELLED


def _doomed(driver: Driver, ns: str = "") -> Driver:
    return driver.on(child_thread("doomed-thread", ns))


def _filled(driver: Driver) -> Driver:
    """Return a thread that has one of everything that a store keeps, and has ended."""
    value = {"\x1fdoomed\x1f1": b"doomed value"}
    events = (EventDraft("doomed_event", {"doomed": b"doomed"}),)
    head = {"config": b"doomed config", "error": b"doomed error"}
    nodes = ("done", "claimed", "timer", "asks", "failed", "ready")
    driver.start(*nodes, blobs=value, events=events, key=("doomed-key", "doomed-run"))
    driver.change(head=head, enqueue=("doomed-waits", b"doomed begin"))
    driver.complete(driver.claimed("done"), completed=b"doomed outcome")
    later = driver.claimed("timer")
    driver.update(later, wait=Wait.TIMER, delay_ms=3_600_000, reason="doomed reason")
    driver.update(driver.claimed("asks"), wait=Wait.ANSWER, asks={"doomed-q": b"doomed ask"})
    driver.update(driver.claimed("failed"), wait=Wait.PERSON, error=b"doomed error", failed=True)
    driver.change(guard=guard(driver.claimed("ready")), notes={"doomed": b"doomed note"})
    driver.claimed("claimed", owner="doomed-owner")
    driver.change(status=_ENDED, dequeue="doomed-waits")
    return driver


class DeletingContract(Contract):
    """`delete` and `children`."""

    def kept(self, store: Checkpointer) -> Iterable[bytes] | None:
        """Return all names and values that the store keeps, but for owners with a lease."""
        del store
        return None

    # ---- whole threads --------------------------------------------------------------------

    def test_of_a_deleted_thread_nothing_is_left(self, driver: Driver) -> None:
        thread, child = _filled(_doomed(driver)), _filled(_doomed(driver, "node:1"))
        kept = self.kept(driver.store)
        assert kept is None or any(_MARK in each for each in kept)
        assert driver.store.delete(thread.thread_id) is None
        for each in (thread, child):
            assert driver.store.load(each.thread_id) is None
            assert driver.store.history(each.thread_id) == []
            assert each.events() == []
        assert driver.store.children(thread.thread_id) == []
        assert driver.store.threads() == []
        left = self.kept(driver.store)
        assert left is None or [each for each in left if _MARK in each] == []

    def test_other_threads_stay_as_they_are(self, driver: Driver) -> None:
        names = ["doomed-threa", "doomed-thread2", "doomed-thread:s", child_thread("doomed", "n")]
        others = [driver.on(name) for name in names]
        for other in others:
            other.start("a", "b")
            other.complete(other.claimed("a"))
        _filled(_doomed(driver))
        before = [observed(driver.store, [name])[1:] for name in names]
        assert driver.store.delete("doomed-thread") is None
        assert [observed(driver.store, [name])[1:] for name in names] == before

    def test_an_unknown_thread_cannot_be_deleted(self, driver: Driver) -> None:
        assert driver.store.delete("unknown") is Refusal.UNKNOWN_THREAD
        _filled(_doomed(driver))
        assert driver.store.delete("doomed-thread") is None
        assert driver.store.delete("doomed-thread") is Refusal.UNKNOWN_THREAD

    @pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING], ids=str)
    def test_a_busy_thread_is_refused_and_stays_as_it_is(
        self, driver: Driver, status: RunStatus
    ) -> None:
        driver.start("a", "b", status=status)
        child = driver.on(child_thread(driver.thread_id, "n:1"))
        child.start("a", status=_ENDED)
        before = observed(driver.store, [driver.thread_id, child.thread_id])
        for keep_head in (False, True):
            refused = driver.store.delete(driver.thread_id, keep_head=keep_head)
            assert refused is Refusal.WRONG_STATUS
        assert observed(driver.store, [driver.thread_id, child.thread_id]) == before

    def test_a_thread_with_runs_in_line_is_busy(self, driver: Driver) -> None:
        driver.start("a", status=RunStatus.SUCCEEDED)
        driver.change(enqueue=("run-2", b""))
        assert driver.store.delete(driver.thread_id) is Refusal.WRONG_STATUS
        driver.change(dequeue="run-2")
        assert driver.store.delete(driver.thread_id) is None

    @pytest.mark.parametrize("status", [s for s in RunStatus if not s.active], ids=str)
    def test_a_thread_that_has_no_active_run_can_be_deleted(
        self, driver: Driver, status: RunStatus
    ) -> None:
        driver.start("a", status=status)
        assert driver.store.delete(driver.thread_id) is None
        assert driver.store.load(driver.thread_id) is None

    def test_a_run_of_a_process_that_is_gone_does_not_keep_a_thread_busy(
        self, driver: Driver
    ) -> None:
        run = {"run_id": drafts.RUN, "local": 1, "owner": "caller"}
        driver.store.renew(["caller"], ttl_s=1)
        driver.start("a", queue="", head=run)
        assert driver.store.delete(driver.thread_id) is Refusal.WRONG_STATUS
        driver.tick(1.1)
        claim = driver.claimed("a", owner="step")
        assert driver.store.delete(driver.thread_id) is Refusal.WRONG_STATUS
        driver.store.release("step")
        assert driver.store.delete(driver.thread_id) is None
        late = driver.commit(guard=guard(claim), completed=b"late")
        assert late.refused is Refusal.UNKNOWN_THREAD

    def test_steps_of_a_deleted_thread_are_not_handed_out(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.change(status=_ENDED)
        driver.store.delete(driver.thread_id)
        driver.tick(3 * driver.settings.hint_grace_s)
        assert (driver.due(), driver.stuck()) == ([], False)
        assert driver.store.release("worker") == []

    def test_a_wide_thread_is_deleted_as_a_whole(self, driver: Driver) -> None:
        thread = _doomed(driver)
        nodes = [f"n{n}" for n in range(2_500)]
        thread.start(*nodes)
        thread.claimed(nodes[0])
        thread.change(status=_ENDED)
        assert driver.store.delete(thread.thread_id) is None
        left = self.kept(driver.store)
        assert left is None or [each for each in left if _MARK in each] == []

    def test_many_child_threads_are_deleted_with_their_root(self, driver: Driver) -> None:
        thread = _doomed(driver)
        thread.start("a", status=_ENDED)
        for n in range(600):
            _doomed(driver, f"n:{n}").start("a", status=_ENDED)
        assert len(driver.store.children(thread.thread_id)) == 600
        assert driver.store.delete(thread.thread_id) is None
        assert driver.store.children(thread.thread_id) == []
        left = self.kept(driver.store)
        assert left is None or [each for each in left if _MARK in each] == []

    # ---- afterwards -----------------------------------------------------------------------

    def test_a_late_commit_changes_nothing_after_a_delete(self, driver: Driver) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.change(status=_ENDED)
        driver.store.delete(driver.thread_id)
        late = driver.commit(guard=guard(claim), completed=b"late", blobs={"\x1fk\x1f1": b"v"})
        assert late.refused is Refusal.UNKNOWN_THREAD
        assert driver.store.load(driver.thread_id) is None
        assert driver.store.threads() == []

    def test_a_late_commit_changes_nothing_of_a_new_thread_of_the_same_name(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        claim = driver.claimed("a")
        driver.change(status=_ENDED)
        driver.store.delete(driver.thread_id)
        driver.start("a", "b")
        again = driver.claimed("a")
        assert again.fence > claim.fence
        late = driver.commit(guard=guard(claim), completed=b"late")
        assert late.refused is Refusal.STALE_FENCE
        assert driver.step("a").completed is False
        driver.complete(again)

    def test_a_new_thread_of_the_same_name_knows_nothing_of_the_old_one(
        self, driver: Driver
    ) -> None:
        thread = _filled(_doomed(driver))
        driver.store.delete(thread.thread_id)
        thread.start("a", key=("doomed-key", "run-2"))
        assert thread.store.history(thread.thread_id) == [drafts.FIRST]
        assert [(event.seq, event.type) for event in thread.events()] == [(1, RunAccepted.type)]
        assert (thread.load().blobs, thread.load().line) == ({}, {})
        assert thread.store.children(thread.thread_id) == []

    def test_a_child_thread_begins_only_below_the_step_that_runs_it(self, driver: Driver) -> None:
        child = driver.on(child_thread(driver.thread_id, "a:1"))
        driver.start("a")
        around = (driver.thread_id, driver.step("a").step.step_id)
        driver.change(status=_ENDED)
        driver.store.delete(driver.thread_id)
        start = drafts.starting(child.thread_id, "x", parent=around)
        assert driver.store.commit(start).refused is Refusal.UNKNOWN_STEP
        assert driver.store.load(child.thread_id) is None
        driver.start("b")
        assert driver.store.commit(start).refused is Refusal.UNKNOWN_STEP
        around = (driver.thread_id, driver.step("b").step.step_id)
        child.start("x", parent=around)
        assert driver.store.children(driver.thread_id) == [child.thread_id]

    # ---- child threads ----------------------------------------------------------------------

    def test_child_threads_are_listed_in_order(self, driver: Driver) -> None:
        driver.start("a")
        assert driver.store.children(driver.thread_id) == []
        names = [child_thread(driver.thread_id, ns) for ns in ("b:1", "a:2", "a:2|c:3", "ü")]
        for name in names:
            driver.on(name).start("a")
        driver.on(child_thread(driver.thread_id + "2", "x")).start("a")
        assert driver.store.children(driver.thread_id) == sorted(names)
        assert driver.store.children("unknown") == []

    def test_a_child_thread_can_be_deleted_alone(self, driver: Driver) -> None:
        driver.start("a")
        one, two = (driver.on(child_thread(driver.thread_id, ns)) for ns in ("a", "a|b"))
        for child in (one, two):
            child.start("a", status=_ENDED)
        assert driver.store.delete(one.thread_id) is None
        assert driver.store.children(driver.thread_id) == [two.thread_id]
        assert driver.load().head.open == 1

    # ---- all but the head ---------------------------------------------------------------------

    def test_the_history_can_be_deleted_without_the_head(self, driver: Driver) -> None:
        keys = [f"\x1fkey-{n}\x1f{n:x}" for n in range(3)]
        shared = "\x1fshared\x1f1"
        first = drafts.checkpoint(drafts.FIRST, refs=(shared, keys[0]))
        blobs = {shared: b"shared value", keys[0]: b"0"}
        driver.start("a", checkpoint=first, blobs=blobs)
        driver.finish("a")
        for n in (1, 2):
            point = drafts.checkpoint(drafts.FIRST + n, refs=(shared, keys[n]))
            driver.advance("a", checkpoint=point, blobs={keys[n]: b"%d" % n})
            driver.finish("a")
        driver.change(status=RunStatus.SUCCEEDED)
        before, events = driver.load(), driver.events()
        assert driver.store.delete(driver.thread_id, keep_head=True) is None
        assert driver.store.history(driver.thread_id) == [drafts.FIRST + 2]
        after = driver.load()
        assert (after.head, after.checkpoint, after.blobs) == (
            before.head,
            before.checkpoint,
            {shared: b"shared value", keys[2]: b"2"},
        )
        assert (after.steps, after.outcomes) == (before.steps, before.outcomes)
        assert driver.events() == events
        for n in (0, 1):
            assert driver.store.load(driver.thread_id, checkpoint_id=drafts.FIRST + n) is None
        kept = self.kept(driver.store)
        assert kept is None or [each for each in kept if b"key-0" in each] == []
        assert driver.store.delete(driver.thread_id, keep_head=True) is None
        driver.advance("b", status=RunStatus.RUNNING)
        driver.finish("b")

    def test_what_a_paused_thread_needs_stays_with_its_head(self, driver: Driver) -> None:
        grown = [f"\x1fl\x1f{n:x}" for n in range(3)]
        arg = "\x1f\x1f9.0"
        point = drafts.checkpoint(drafts.FIRST, refs=(grown[0],))
        driver.start("a", checkpoint=point, blobs={grown[0]: b"\x92\x01\x02"})
        driver.finish("a")
        for n in (1, 2):
            id_ = drafts.FIRST + n
            point = drafts.checkpoint(id_, refs=(grown[n],))
            step = drafts.ready(driver.thread_id, id_, "s", index=0, arg=arg, solo=True)
            driver.advance(
                checkpoint=point,
                ready=(step,),
                blobs={grown[n]: b"\x91" + bytes((2 + n,)), arg: b"argument %d" % n},
                tails={grown[n]: grown[n - 1]},
            )
            if n == 1:
                driver.finish("s")
        driver.update(driver.claimed("s"), wait=Wait.ANSWER, asks={"q": b"?"}, notes={"n": b"note"})
        driver.change(status=RunStatus.PAUSED)
        before = driver.load()
        assert driver.store.delete(driver.thread_id, keep_head=True) is None
        after = driver.load()
        assert (
            after.blobs == before.blobs == {grown[2]: b"\x94\x01\x02\x03\x04", arg: b"argument 2"}
        )
        assert after.steps == before.steps
