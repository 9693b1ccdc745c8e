"""How tests wait and race, tested themselves."""

import threading

import pytest

from orchestrator.testing.concurrency import race, wait_until
from orchestrator.testing.manual_clock import ManualClock


def test_a_clock_moves_only_when_it_is_told_to():
    clock = ManualClock(1_000)
    assert clock.now_ms() == clock.now_ms() == 1_000
    clock.sleep(0.25)
    assert clock.now_ms() == 1_250


def test_a_clock_never_goes_back():
    clock = ManualClock(1_000)
    clock.set(900)
    assert clock.now_ms() == 1_000
    clock.set(1_100)
    assert clock.now_ms() == 1_100


def test_waiting_ends_with_what_was_waited_for():
    clock = ManualClock(0)
    found = wait_until(
        lambda: "found" if clock.now_ms() >= 100 else None, tick=clock.sleep, step_s=0.01
    )
    assert (found, clock.now_ms()) == ("found", 100)


def test_what_is_there_is_not_waited_for():
    clock = ManualClock(0)
    assert wait_until(lambda: [1], tick=clock.sleep) == [1]
    assert clock.now_ms() == 0


def test_waiting_in_vain_fails_after_its_time():
    clock = ManualClock(0)
    with pytest.raises(AssertionError, match="within 2 s"):
        wait_until(lambda: False, tick=clock.sleep, timeout_s=2, step_s=0.5)
    assert clock.now_ms() == 2_000


def test_a_race_runs_all_at_once_and_returns_in_order():
    meeting = threading.Barrier(3)

    def meet(number):
        meeting.wait(timeout=10)
        return number

    assert race([lambda: meet(0), lambda: meet(1), lambda: meet(2)]) == [0, 1, 2]


def test_a_race_raises_what_a_call_raises():
    with pytest.raises(ZeroDivisionError):
        race([lambda: 1, lambda: 1 // 0])
