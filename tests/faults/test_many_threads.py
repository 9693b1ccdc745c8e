"""Thousands of threads whose workers all die go on together: none is forgotten, none starves."""

from __future__ import annotations

import time

import pytest

from tests.faults.nightly import chosen
from tests.integration.accounts import leftovers
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

# From when there are workers again. It takes 30 at most where nothing else runs.
PROGRESS_S = 300.0
SLOTS = 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", chosen([5000], [200]))
def test_threads_whose_workers_all_died_all_go_on(fleet: Fleet, count: int) -> None:
    fleet.start_many(2, concurrency=SLOTS // 2)
    threads = [f"t{number}" for number in range(count)]
    waiting = set(threads[:: count // 20])  # More than can run, so that the work comes to a stop.
    for thread in threads:
        fleet.submit("row", thread, script={"two": ["wait"]} if thread in waiting else {})

    def is_stuck() -> bool:
        return len([r for r in fleet.ran() if r.name == "two" and r.thread in waiting]) == SLOTS

    fleet.wait_until(is_stuck, "all processes stand in a node")
    for worker in fleet.workers:
        worker.kill_all()
    killed_s = time.time()
    fleet.open("two")
    done = {ran.thread for ran in fleet.ran() if ran.name == "three"}
    assert len(done) < count / 2  # The others are in flight.
    fleet.start_many(2, concurrency=SLOTS // 2)
    ready_s = time.time()

    def missing() -> set[str]:
        return set(threads) - done - {ran.thread for ran in fleet.ran() if ran.t > killed_s}

    fleet.wait_until(lambda: not missing(), "every thread has gone on", PROGRESS_S)
    print(f"{count - len(done)} threads went on within {time.time() - ready_s:.1f} s")
    for thread in threads:
        assert fleet.result(thread, PROGRESS_S)["total"] == 3
    fleet.wait_until(lambda: not leftovers(fleet), "nothing is left behind")
