"""A worker that is told to stop gives its nodes their grace, then hands their steps back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.accounts import assert_settled, of_type
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

GRACE_S = 1.5
LEASE_S = 20.0  # Nothing that a test waits for comes from a lease that runs out.


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose workers give little grace, and whose leases are long."""
    settings = {"GRAPHSTALK_DRAIN_S": str(GRACE_S), "GRAPHSTALK_LEASE_TTL_S": str(LEASE_S)}
    with Fleet(tmp_path, settings) as fleet:
        yield fleet


def reasons(fleet: Fleet) -> list[str]:
    """Return why steps were resumed, by their records."""
    records = of_type(fleet.client.events("t"), "checkpoint_resume")
    return [record.fields["reason"].decode() for record in records]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_step_that_outlasts_the_grace_is_handed_back_and_runs_elsewhere_at_once(
    impatient: Fleet, pool: str
) -> None:
    fleet = impatient
    fleet.start_many(2, pool=pool)
    fleet.submit("row", script={"two": ["wait"]})
    running = fleet.wait_for("two")
    goes = fleet.worker_of(running.pid)
    told_s = time.time()
    assert fleet.stop(goes) == [0]
    again = fleet.wait_for("two", attempt=2)
    print(f"runs elsewhere {again.t - told_s - GRACE_S:.3f} s after its grace")
    assert GRACE_S - 0.1 < again.t - told_s < LEASE_S / 2
    assert fleet.result()["total"] == 3
    assert [ran.attempt for ran in fleet.ran() if ran.name == "two"] == [1, 2]
    (released,) = of_type(fleet.client.events("t"), "step_released")
    assert released.fields["owner"].decode() == running.worker
    assert reasons(fleet) == ["deploy"]
    assert_settled(fleet)


def test_a_step_is_not_parked_however_many_workers_were_stopped_under_it(impatient: Fleet) -> None:
    fleet = impatient
    worker = fleet.start()
    fleet.submit("row", script={"two": ["wait"] * 3})
    for attempt in (1, 2, 3):  # So many deaths park a step.
        fleet.wait_for("two", attempt=attempt)
        following = fleet.start()
        assert fleet.stop(worker) == [0]
        worker = following
    assert fleet.result()["total"] == 3
    assert reasons(fleet) == ["deploy"] * 3
    assert_settled(fleet)


def test_a_rolling_restart_under_load_fails_no_run_and_repeats_no_step(fleet: Fleet) -> None:
    old = fleet.start_many(2, concurrency=2)
    slow = {f"piece:{index}": ["sleep 0.1"] for index in range(4)}
    threads: list[str] = []
    for worker in old:
        for _ in range(8):
            threads.append(f"t{len(threads)}")
            fleet.submit("fan", threads[-1], width=4, script=slow)
        pids = set(worker.pids())
        fleet.wait_until(lambda pids=pids: any(r.pid in pids for r in fleet.ran()), "it works")
        fleet.start(concurrency=2)  # Its successor, before it goes.
        assert fleet.stop(worker) == [0]
    for thread in threads:
        assert fleet.result(thread)["total"] == 42
    assert set(Counter((ran.thread, ran.step) for ran in fleet.ran()).values()) == {1}
    assert_settled(fleet, *threads)
