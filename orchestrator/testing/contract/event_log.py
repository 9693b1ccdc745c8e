"""Events of a thread are numbered without gaps and wake up the readers that wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from orchestrator import limits
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import EventDraft, as_bytes
from orchestrator.model.events import RunResumed, RunSucceeded, RunWithdrawn, Superstep
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver, guard
from orchestrator.testing.contract.stored_values import NAMES

_LONG_S = 20.0  # Far longer than waking up takes.


_ENDED, _ENDED_EVENTS = RunStatus.SUCCEEDED, (EventDraft(RunSucceeded.type),)


def _heard(
    wait: Callable[[float], bool], happens: Callable[[], object], wait_s: float = _LONG_S
) -> bool:
    """Return whether a waiting reader is woken by `happens`."""
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        waiting = pool.submit(wait, wait_s)
        happens()
        heard = waiting.result(_LONG_S * 2)
        assert heard == (time.monotonic() - started < wait_s * 0.9)
        return heard


def _happened(*numbers: int) -> tuple[EventDraft, ...]:
    return tuple(EventDraft("happened", {"number": number}) for number in numbers)


def _wait(driver: Driver, after: int) -> list[int]:
    found = driver.store.events(driver.thread_id, after=after, wait_s=_LONG_S)
    return [event.seq for event in found]


class LoggingContract(Contract):
    """Events."""

    def test_a_run_may_end_without_any_event(self, driver: Driver) -> None:
        driver.start("a", events=())
        driver.change(status=RunStatus.CANCELLED)
        assert driver.load().head.status is RunStatus.CANCELLED
        assert driver.events() == []

    def test_events_are_numbered_from_one_without_gaps(self, driver: Driver) -> None:
        driver.start("a", "b", events=_happened(1, 2))
        driver.change(events=())
        driver.change(events=_happened(3))
        driver.commit(expect_head=1, events=_happened(99))
        driver.claimed("a", owner="dead")
        driver.store.release("dead")
        driver.change(events=_happened(5, 6))
        events = driver.events()
        assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
        numbers = [event.fields.get("number") for event in events]
        assert numbers == [b"1", b"2", b"3", None, b"5", b"6"]

    def test_numbers_have_no_gaps_when_many_commit_at_once(self, driver: Driver) -> None:
        driver.start("a", events=())
        race([partial(driver.change, events=_happened(n, n)) for n in range(8)])
        events = driver.events()
        assert [event.seq for event in events] == list(range(1, 17))
        pairs = [
            (a.fields["number"], b.fields["number"])
            for a, b in zip(events[::2], events[1::2], strict=True)
        ]
        assert all(first == second for first, second in pairs)

    def test_events_of_a_commit_bear_its_time(self, driver: Driver) -> None:
        now_ms = driver.start("a", events=_happened(1, 2)).now_ms
        assert [event.ts_ms for event in driver.events()] == [now_ms, now_ms]

    def test_fields_are_kept_as_bytes(self, driver: Driver) -> None:
        fields: dict[str, str | int | bytes]
        fields = {"text": "ünï\n", "bytes": drafts.ALL_BYTES, "number": -(2**53), "none": ""}
        driver.start("a", events=(EventDraft("happened", fields), EventDraft("bare")))
        happened, bare = driver.events()
        assert happened.fields == {
            "text": "ünï\n".encode(),
            "bytes": drafts.ALL_BYTES,
            "number": b"-9007199254740992",
            "none": b"",
        }
        assert (happened.type, bare.type, bare.fields) == ("happened", "bare", {})

    def test_fields_may_have_any_name(self, driver: Driver) -> None:
        fields = {name: f"value of {name}" for name in (*NAMES, "seq", "id")}
        driver.start("a", events=(EventDraft("happened", fields),))
        [event] = driver.events()
        assert event.type == "happened"
        assert event.fields == {name: value.encode() for name, value in fields.items()}

    def test_a_text_that_is_no_text_elsewhere_is_kept(self, driver: Driver) -> None:
        driver.start("a", events=(EventDraft("happened", {"file": "x\udcff"}),))
        [event] = driver.events()
        assert event.fields["file"].decode("utf-8", "surrogatepass") == "x\udcff"

    def test_ids_and_texts_like_ids_are_kept(self, driver: Driver) -> None:
        uuid = "09f3412f-3baa-4239-a378-20982ebdcd8e"
        ids: tuple[str | int | bytes, ...]
        ids = ("00ff", "00FF", "00 ff", "0ff", "", "\u0664\u0664", "ff\n", "é", 255, 2**70)
        ids += (uuid, uuid.upper(), uuid.replace("-", ""), "0-0f", b"00ff")
        drafts_ = tuple(EventDraft(Superstep.type, {"step": i, "run": i, "worker": i}) for i in ids)
        driver.start("a", events=drafts_)
        texts = [as_bytes(i) for i in ids]
        assert [event.fields for event in driver.events()] == [
            {"step": text, "run": text, "worker": text} for text in texts
        ]

    def test_an_event_may_have_many_fields(self, driver: Driver) -> None:
        fields = {f"field-{n}": n for n in range(1000)}
        driver.start("a", events=(EventDraft("happened", fields),))
        assert len(driver.events()[0].fields) == 1000

    # ---- reading ------------------------------------------------------------------------

    def test_events_are_read_after_a_number_and_up_to_a_limit(self, driver: Driver) -> None:
        driver.start("a", events=_happened(*range(1, 11)))

        def read(after: int, limit: int = 1000) -> list[int]:
            return [e.seq for e in driver.store.events(driver.thread_id, after=after, limit=limit)]

        assert read(0, 3) == [1, 2, 3]
        assert read(3, 3) == [4, 5, 6]
        assert read(9) == [10]
        assert read(10) == read(11) == read(10**9) == []

    def test_a_run_may_end_without_an_event(self, driver: Driver) -> None:
        driver.start("a", events=())
        driver.change(status=RunStatus.SUCCEEDED)
        assert driver.events() == []
        assert driver.load().head.status is RunStatus.SUCCEEDED

    def test_an_unknown_thread_has_no_events(self, driver: Driver) -> None:
        assert driver.store.events("unknown") == []
        assert driver.store.events("unknown", wait_s=0.01) == []

    def test_old_events_go_and_the_latest_stay(self, driver: Driver) -> None:
        driver.start("a", events=())
        for start in range(0, 3 * limits.EVENTS_MAX, 5000):
            driver.change(events=_happened(*range(start, start + 5000)))
        events = driver.events()
        assert limits.EVENTS_MAX <= len(events) <= 2 * limits.EVENTS_MAX
        last = 3 * limits.EVENTS_MAX
        assert [event.seq for event in events] == list(range(last - len(events) + 1, last + 1))

    # ---- waiting ------------------------------------------------------------------------

    def test_a_reader_that_waits_is_woken_by_each_event(self, driver: Driver) -> None:
        driver.start("a", events=())
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            for number in range(1, 21):
                waiting = pool.submit(_wait, driver, number - 1)
                driver.change(events=_happened(number))
                assert waiting.result(_LONG_S) == [number]
        assert time.monotonic() - started < _LONG_S

    def test_a_reader_that_waits_is_woken_by_the_store_s_own_events(self, driver: Driver) -> None:
        driver.start("a", "b", events=())
        stale = guard(driver.claimed("a", owner="dead"))
        driver.claimed("b", owner="slow")
        notes: tuple[Callable[[], object], ...] = (
            partial(driver.store.release, "dead"),
            partial(driver.commit, guard=stale, completed=b"late"),
            lambda: driver.until(lambda: driver.sweep().released),
        )
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            for seq, note in enumerate(notes, 1):
                waiting = pool.submit(_wait, driver, seq - 1)
                note()
                assert waiting.result(_LONG_S) == [seq]
        assert time.monotonic() - started < _LONG_S

    def test_a_thread_can_be_waited_for_before_it_exists(self, driver: Driver) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_wait, driver, 0)
            driver.start("a", events=_happened(1))
            assert waiting.result(_LONG_S / 2) == [1]

    def test_what_is_there_is_not_waited_for(self, driver: Driver) -> None:
        driver.start("a", events=_happened(1))
        started = time.monotonic()
        assert len(driver.store.events(driver.thread_id, wait_s=_LONG_S)) == 1
        assert time.monotonic() - started < _LONG_S / 2

    def test_waiting_ends_after_its_time(self, driver: Driver) -> None:
        driver.start("a", events=_happened(1))
        started = time.monotonic()
        assert driver.store.events(driver.thread_id, after=1, wait_s=0.05) == []
        assert 0.04 <= time.monotonic() - started < _LONG_S / 2

    def test_an_event_of_another_thread_wakes_no_reader(self, driver: Driver) -> None:
        other = driver.on("another")
        driver.start("a", events=())
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(driver.store.events, driver.thread_id, wait_s=0.2)
            other.start("a", events=_happened(1))
            assert waiting.result(_LONG_S) == []

    # ---- news of runs -------------------------------------------------------------------

    def test_a_listener_is_notified_that_a_run_pauses_or_ends(self, driver: Driver) -> None:
        driver.start("a", events=())
        with driver.store.news(driver.thread_id, after=0) as wait:
            assert _heard(wait, partial(driver.change, status=_ENDED, events=_ENDED_EVENTS))
            driver.change(status=RunStatus.RUNNING, events=(EventDraft(RunResumed.type),))
            assert _heard(wait, lambda: None)
            assert _heard(wait, partial(driver.change, status=_ENDED, events=_ENDED_EVENTS))

    def test_a_listener_is_notified_that_a_queued_run_is_withdrawn(self, driver: Driver) -> None:
        driver.start("a", events=())
        driver.change(enqueue=("next", b"begins"), events=())
        gone = (EventDraft(RunWithdrawn.type, {"run": "next"}),)
        with driver.store.news(driver.thread_id, after=0) as wait:
            assert _heard(wait, partial(driver.change, dequeue="next", events=gone))

    def test_what_happens_to_steps_and_elsewhere_is_no_news(self, driver: Driver) -> None:
        driver.start("a", events=())
        other = driver.on("another")
        other.start("a", events=())
        with driver.store.news(driver.thread_id, after=0) as wait:
            other.change(status=_ENDED, events=_ENDED_EVENTS)
            assert not _heard(wait, partial(driver.advance, "b", events=_happened(1)), 0.2)

    def test_one_may_listen_again_and_several_at_once(self, driver: Driver) -> None:
        driver.start("a", events=())
        with driver.store.news(driver.thread_id, after=0) as one:
            for number in range(3):
                seq = len(driver.events())
                with driver.store.news(driver.thread_id, after=seq) as two:
                    ends = partial(driver.change, status=_ENDED, events=_ENDED_EVENTS)
                    assert _heard(two, ends), number
                assert _heard(one, lambda: None), number
