"""A worker that is asked to stop finishes what it runs and gives back the rest."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_workers_stopped_under_load_lose_nothing_and_repeat_nothing(
    fleet: Fleet, pool: str
) -> None:
    concurrency = 1 if pool == "solo" else 2
    stays, *others = fleet.start_many(3, pool=pool, concurrency=concurrency)
    slow = {f"piece:{index}": ["sleep 0.1"] for index in range(4)}
    threads = [f"t{number}" for number in range(15)]
    for thread in threads:
        fleet.submit("fan", thread, width=4, script=slow)
    for goes in others:
        fleet.wait_until(lambda pids=goes.pids(): ran_by(fleet, pids) >= 2, "it takes part")  # noqa: B008
    assert fleet.queues.llen(fleet.queue)  # There is enough to do.
    assert fleet.stop(*others) == [0, 0]
    for thread in threads:
        assert fleet.result(thread)["total"] == 42
    assert stays.is_running()
    assert set(Counter((ran.thread, ran.step) for ran in fleet.ran()).values()) == {1}
    assert_settled(fleet, *threads)


def ran_by(fleet: Fleet, pids: list[int]) -> int:
    """Return how many attempts these processes have run."""
    return sum(ran.pid in pids for ran in fleet.ran())
