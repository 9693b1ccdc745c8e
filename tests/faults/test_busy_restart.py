"""A server that is killed and comes back while workers are busy gets all of them back, soon."""

from __future__ import annotations

import time
from itertools import product

import pytest

from tests.faults.nightly import chosen
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

RECOVERY_S = 10.0  # From when the server is back.


def assert_all_take_part(fleet: Fleet, since_s: float) -> None:
    """Check that every worker runs steps again, soon after the server was back."""
    for worker in fleet.workers:
        pids = set(worker.pids())
        what = f"worker {worker.pid} takes steps again"
        fleet.wait_until(
            lambda pids=pids: any(r.t > since_s and r.pid in pids for r in fleet.ran()),
            what,
            since_s + RECOVERY_S - time.time(),
        )
        first = min(r.t for r in fleet.ran() if r.t > since_s and r.pid in pids)
        print(f"worker {worker.pid} takes steps {first - since_s:.3f} s after")


@pytest.mark.parametrize(
    ("pool", "restarts"),
    chosen(product(["prefork", "threads"], [1, 2, 3]), [("prefork", 1), ("threads", 2)]),
)
def test_workers_that_were_busy_when_the_server_was_killed_take_steps_again(
    fleet: Fleet, pool: str, restarts: int
) -> None:
    fleet.start_many(2, pool=pool, concurrency=2)
    slow = {f"piece:{index}": ["sleep 0.1"] for index in range(6)}
    threads = [f"t{number}" for number in range(12)]
    for thread in threads:
        fleet.submit("fan", thread, width=6, script=slow)
    fleet.wait_until(lambda: len(fleet.ran()) > 20, "they are at work")
    for _ in range(restarts):  # The second one comes while they recover from the first.
        fleet.restart_server()
    back_s = time.time()
    assert_all_take_part(fleet, back_s)
    for thread in threads:
        assert fleet.result(thread)["total"] == 62
    assert_settled(fleet, *threads)
