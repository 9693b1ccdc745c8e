"""What a worker's own clock says decides nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import graphs
from tests.integration.accounts import assert_settled
from tests.integration.fleet import ROOT, Fleet, twin

pytestmark = [pytest.mark.server, pytest.mark.slow]

HOUR_S = 3600
WRONG_CLOCK = """
import os, time
ahead_s = int(os.environ["CLOCK_AHEAD_S"])
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + ahead_s
time.time_ns = lambda: now_ns() + ahead_s * 1_000_000_000
"""


@pytest.fixture
def unsteady(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose processes start with the clock that the environment names."""
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK, "utf-8")
    with Fleet(tmp_path, {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}) as fleet:
        yield fleet


def test_clocks_of_workers_that_differ_by_hours_change_nothing(
    unsteady: Fleet, tmp_path: Path
) -> None:
    fleet = unsteady
    for ahead_s in (-HOUR_S, HOUR_S):
        fleet.variables["CLOCK_AHEAD_S"] = str(ahead_s)
        fleet.wait_kept(fleet.start())
    threads = [f"t{number}" for number in range(6)]
    for thread in threads:
        fleet.submit("fan", thread, width=3, script={"piece:1": ["sleep 0.2"]})
    fleet.submit("patient", "later", script={"try": ["lose", "lose"]})
    fleet.submit("fan", "killed", width=3, script={"piece:1": ["wait"]})
    victim = fleet.wait_for("piece:1", thread="killed")
    for worker in fleet.workers:
        fleet.wait_until(lambda pids=worker.pids(): ran_by(fleet, pids), "both take part")  # noqa: B008
    os.kill(victim.pid, signal.SIGKILL)
    expected = twin(graphs.fan, tmp_path, width=3)[1]
    for thread in (*threads, "killed"):
        assert fleet.result(thread) == expected
    assert fleet.result("later")["total"] == 2
    assert_settled(fleet, *threads, "killed", "later")


def ran_by(fleet: Fleet, pids: list[int]) -> bool:
    """Whether one of these processes has run a node."""
    return any(ran.pid in pids for ran in fleet.ran())
