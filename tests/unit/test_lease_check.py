"""What a process says that it is busy with."""

import os
import resource

import pytest

from orchestrator.ids import child_thread
from workers.lease_check import BusyFile, busy_path, sign_of, signs_in


@pytest.fixture
def path(tmp_path):
    return busy_path(tmp_path, os.getpid())


def said(path):
    """Return the signs without that of places where nothing is done."""
    return signs_in(path) - {bytes(8)}


def test_a_thread_is_said_from_the_beginning_of_its_step_to_its_end(path):
    busy = BusyFile(path)
    assert said(path) == set()
    place = busy.begin("a")
    assert said(path) == {sign_of("a")}
    busy.end(place)
    assert said(path) == set()


def test_each_step_that_is_done_at_a_time_has_its_own_place(path):
    busy = BusyFile(path)
    first, second, third = (busy.begin(thread) for thread in ("a", "a", "b"))
    busy.end(first)
    assert said(path) == {sign_of("a"), sign_of("b")}
    busy.end(third)
    assert said(path) == {sign_of("a")}
    busy.end(second)
    assert said(path) == set()


def test_the_file_is_as_long_as_there_were_steps_at_a_time(path):
    busy = BusyFile(path)
    for number in range(100):
        places = [busy.begin(f"{number}"), busy.begin(f"{number}, too")]
        for place in places:
            busy.end(place)
    assert path.stat().st_size == 16


def test_a_subgraph_is_done_for_the_thread_around_it():
    assert sign_of(child_thread("a", "node|inner")) == sign_of("a")
    assert sign_of("a") != sign_of("b")


def test_no_thread_has_the_sign_of_an_empty_place():
    assert sign_of("") != bytes(8)  # Its checksum is zero.


def test_a_process_that_cannot_write_any_more_says_nothing(path):
    busy = BusyFile(path)
    busy.end(busy.begin("a"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        place = busy.begin("b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert signs_in(path) is None
    busy.end(place)
    assert signs_in(path) is None


def test_who_has_no_keeper_says_it_to_nobody(tmp_path):
    busy = BusyFile()
    busy.end(busy.begin("a"))
    assert list(tmp_path.iterdir()) == []
