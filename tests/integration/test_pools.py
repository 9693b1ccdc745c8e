"""Celery's options of pools work in a worker, or are refused with a reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration import graphs
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet, Worker, twin

pytestmark = [pytest.mark.server, pytest.mark.slow]


def assert_no_deaths(fleet: Fleet, worker: Worker, *threads: str) -> None:
    assert b" died in " not in worker.log.read_bytes()
    assert {ran.attempt for ran in fleet.ran()} == {1}
    assert_settled(fleet, *threads)


@pytest.mark.parametrize("option", ["--max-tasks-per-child=2", "--max-memory-per-child=1000"])
def test_recycled_processes_are_followed_and_nothing_runs_twice(
    fleet: Fleet, tmp_path: Path, option: str
) -> None:
    worker = fleet.start(concurrency=2, options=[option])
    threads = [f"t{n}" for n in range(4)]
    for thread in threads:
        fleet.submit("fan", thread, width=3)
    output = twin(graphs.fan, tmp_path, width=3)[1]
    assert all(fleet.result(thread) == output for thread in threads)
    assert len({ran.pid for ran in fleet.ran()}) > 2  # There are two at a time.
    assert_no_deaths(fleet, worker, *threads)


def test_a_recycled_process_that_dies_in_a_step_is_taken_over(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start(options=["--max-tasks-per-child=1"])
    fleet.submit("row", script={"three": ["die"]})
    assert fleet.result() == twin(graphs.row, tmp_path)[1]
    assert [ran.attempt for ran in fleet.ran() if ran.name == "three"] == [1, 2]
    assert_settled(fleet)


def test_autoscale_adds_processes_for_work_and_takes_them_away(tmp_path: Path) -> None:
    with Fleet(tmp_path, {"AUTOSCALE_KEEPALIVE": "1"}) as fleet:
        worker = fleet.start(options=["--autoscale=3,1"])
        fleet.submit("fan", width=3, script={f"piece:{n}": ["wait gate"] for n in range(3)})
        for n in range(3):
            fleet.wait_for(f"piece:{n}")
        pids = {ran.pid for ran in fleet.ran() if ran.name.startswith("piece")}
        assert len(pids) == 3
        fleet.open("gate")
        fleet.wait_until(lambda: sum(map(psutil.pid_exists, pids)) == 1, "two processes are left")
        fleet.submit("row", "later")
        assert fleet.result("later")["total"] == 3
        assert_no_deaths(fleet, worker, "t", "later")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pool=gevent"], "one at a time. Use --pool threads"),
        (["--pool=eventlet"], "one at a time. Use --pool threads"),
        (["--pool=fibers"], "must be one of prefork, threads, solo (fibers)"),
        (["--pool=threads", "--max-tasks-per-child=2"], "needs --pool prefork (threads)"),
        (["--pool=solo", "--max-memory-per-child=2"], "needs --pool prefork (solo)"),
        (["--pool=threads", "--autoscale=3,1"], "needs --pool prefork (threads)"),
        (["--autoscale=1,3"], "MAX not below MIN (1,3)"),
        (["--autoscale=3"], "must be MAX,MIN"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(options: list[str], words: str) -> None:
    command = [sys.executable, "-m", "orchestrator.cli", "worker", *options]
    command += ["--graphs=row=tests.integration.graphs:row"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert words in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
