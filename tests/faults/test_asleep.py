"""A node that sleeps needs no worker until its time has come, and then any will do."""

from __future__ import annotations

import pytest

from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

SLEEP_S = 4.0
LATE_S = 1.5  # A sweep, a message, two busy cores.


@pytest.mark.parametrize("dies", [False, True])
def test_a_node_wakes_on_time_although_its_worker_died_meanwhile(
    fleet: Fleet,
    dies: bool,
) -> None:
    worker = fleet.start()
    fleet.submit("row", script={"two": [f"doze {SLEEP_S}"] * 9})
    first = fleet.wait_for("two")
    fleet.submit("row", "other")
    assert fleet.result("other")["total"] == 3  # The only slot there is was free.
    assert fleet.client.explain("t").reasons[0].code == "ASLEEP"
    if dies:
        worker.kill_all()
        fleet.start()
    assert fleet.result()["total"] == 3
    assert [ran.attempt for ran in fleet.ran("t") if ran.name == "two"] == [1, 2]
    slept_s = fleet.wait_for("two", attempt=2).t - first.t
    print(f"slept {slept_s:.3f} s")
    assert SLEEP_S - 0.1 < slept_s < SLEEP_S + LATE_S
    assert_settled(fleet, "t", "other")
