"""Two faults at once, or one that hits the recovery from the other: still nothing is lost."""

from __future__ import annotations

import time
from itertools import product

import pytest

from tests.faults.nightly import chosen
from tests.faults.points import POINTS, VICTIMS, Hit, bring, keep_up
from tests.faults.proxy import Proxy
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

RECOVERY_S = 20.0

AT_ONCE = [
    ("pool process", "keeper"),
    ("main process", "keeper"),
    ("pool process", "main process"),
    ("pool process", "server"),
    ("keeper", "server"),
    ("machine", "server"),
    ("pool process", "network"),
    ("machine", "network"),
]


def second_fault(fleet: Fleet, proxy: Proxy, hit: Hit, fault: str) -> None:
    """Do what is not done to a worker, or kill a process of it that is still there."""
    if fault == "server":
        fleet.restart_server()
    elif fault == "network":
        with proxy.refusing():
            time.sleep(1)
    else:
        hit.kill(fault)


@pytest.mark.parametrize(
    ("first", "second", "point"),
    chosen(
        [(*pair, point) for pair, point in product(AT_ONCE, POINTS)],
        [
            ("pool process", "keeper", "after its claim"),
            ("keeper", "server", "before its commit"),
            ("machine", "network", "after its commit"),
        ],
    ),
)
def test_two_faults_at_one_point_of_a_step_lose_and_double_nothing(
    proxied: tuple[Fleet, Proxy], first: str, second: str, point: str
) -> None:
    fleet, proxy = proxied
    keep_up(fleet, 2, "prefork")
    hit = bring(fleet, proxy, "t", point)
    hit.kill(first)
    second_fault(fleet, proxy, hit, second)
    hit.go_on(lost=first in {"pool process", "machine"})
    fleet.open("t.two")
    assert fleet.result("t", RECOVERY_S)["total"] == 3
    fleet.submit("row", "later")
    assert fleet.result("later", RECOVERY_S)["total"] == 3
    assert_settled(fleet, "t", "later")


@pytest.mark.parametrize(
    ("first", "second"),
    chosen(
        product(["pool process", "machine"], [*VICTIMS, "server", "network"]),
        [("pool process", "pool process"), ("machine", "server")],
    ),
)
def test_a_fault_that_hits_who_took_over_loses_and_doubles_nothing(
    proxied: tuple[Fleet, Proxy], first: str, second: str
) -> None:
    fleet, proxy = proxied
    keep_up(fleet, 3, "prefork")
    fleet.submit("row", script={"two": ["wait", "wait"]})
    running = fleet.wait_for("two")
    Hit(running.pid, fleet.worker_of(running.pid)).kill(first)
    again = fleet.wait_for("two", attempt=2)
    second_fault(fleet, proxy, Hit(again.pid, fleet.worker_of(again.pid)), second)
    fleet.open("two")
    assert fleet.result("t", RECOVERY_S)["total"] == 3
    attempts = [ran.attempt for ran in fleet.ran() if ran.name == "two"]
    assert attempts in ([1, 2], [1, 2, 3])
    assert_settled(fleet)


@pytest.mark.parametrize("first", chosen(["pool process", "main process", "machine"], ["machine"]))
def test_a_server_that_is_killed_before_a_death_is_noticed_changes_nothing(
    proxied: tuple[Fleet, Proxy], first: str
) -> None:
    fleet, _ = proxied
    keep_up(fleet, 2, "prefork")
    fleet.submit("row", script={"two": ["wait"]})
    running = fleet.wait_for("two")
    hit = Hit(running.pid, fleet.worker_of(running.pid))
    fleet.restart_server(while_down=lambda: hit.kill(first))
    assert fleet.result("t", RECOVERY_S)["total"] == 3
    assert [ran.attempt for ran in fleet.ran() if ran.name == "two"] == [1, 2]
    assert_settled(fleet)
