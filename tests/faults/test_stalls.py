"""What stands still loses its claims if it is stopped, keeps them if it only works hard."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.nightly import chosen
from tests.integration import graphs
from tests.integration.accounts import assert_settled, of_type
from tests.integration.fleet import Fleet, Worker, stopped, twin

pytestmark = [pytest.mark.server, pytest.mark.slow]

LOCK_S = chosen([60], [2])[0]  # Longer than a lease of these tests.


def test_a_stopped_process_that_wakes_up_late_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start(concurrency=2)
    fleet.submit("fan", width=3, script={"piece:1": ["wait"]})
    zombie = fleet.wait_for("piece:1")
    stopped_s = time.time()
    with stopped(zombie.pid):
        again = fleet.wait_for("piece:1", attempt=2)
        print(f"taken over after {again.t - stopped_s:.3f} s")
        assert fleet.result() == twin(graphs.fan, tmp_path, width=3)[1]
        before = fleet.client.get_state("t")
        fleet.open("piece:1")
    refused = fleet.wait_until(
        lambda: of_type(fleet.client.events("t"), "commit_refused"), "its commit is refused"
    )
    assert [event.fields["step"].decode() for event in refused] == [zombie.step]
    assert fleet.stats("stale_refused") == 1
    assert fleet.client.get_state("t") == before
    assert_settled(fleet)


@pytest.mark.parametrize("seconds", chosen([1, 3, 10, 30], [1]))
def test_a_process_that_stands_still_for_a_while_loses_its_claim_with_its_lease(
    tmp_path: Path, seconds: int
) -> None:
    lease_s = 5
    with Fleet(tmp_path, {"GRAPHSTALK_LEASE_TTL_S": str(lease_s)}) as fleet:
        fleet.start_many(2)
        fleet.submit("row", script={"two": ["wait"]})
        running = fleet.wait_for("two")
        with stopped(running.pid):
            time.sleep(seconds)  # How long it stands still is what is tested.
        fleet.open("two")
        assert fleet.result()["total"] == 3
        attempts = [ran.attempt for ran in fleet.ran() if ran.name == "two"]
        assert attempts == ([1] if seconds < lease_s else [1, 2])
        assert_settled(fleet)


def test_a_late_commit_changes_nothing_while_the_step_runs_again(
    fleet: Fleet, tmp_path: Path
) -> None:
    worker = fleet.start(concurrency=2)
    fleet.submit("fan", width=3, script={"piece:1": ["wait", "wait second"]})
    zombie = fleet.wait_for("piece:1")
    with stopped(zombie.pid):
        again = fleet.wait_for("piece:1", attempt=2)
        fleet.open("piece:1")
    fleet.wait_until(lambda: busy(worker) == 1, "the late one has ended")
    step = fleet.steps()["piece:1"]
    assert (step.completed, step.owner) == (False, again.worker)
    assert fleet.stats("stale_refused") == 1
    fleet.open("second")
    assert fleet.result() == twin(graphs.fan, tmp_path, width=3)[1]
    assert_settled(fleet)


def test_a_late_commit_changes_nothing_while_its_superstep_is_still_open(
    fleet: Fleet, tmp_path: Path
) -> None:
    worker = fleet.start(concurrency=3)
    fleet.submit("fan", width=3, script={"piece:0": ["wait"], "piece:1": ["wait"]})
    zombie = fleet.wait_for("piece:1")
    with stopped(zombie.pid):
        fleet.wait_for("piece:1", attempt=2)
        fleet.wait_until(lambda: fleet.steps()["piece:1"].completed, "it is done by another")
        fleet.open("piece:1")
    fleet.wait_until(lambda: busy(worker) == 1, "both have ended, the one at piece 0 waits")
    fleet.open("piece:0")
    assert fleet.result() == twin(graphs.fan, tmp_path, width=3)[1]
    ran = Counter(ran.name for ran in fleet.ran())
    assert ran == {"split": 1, "piece:0": 1, "piece:1": 2, "piece:2": 1, "gather": 1}
    assert_settled(fleet)


def returned(worker: Worker) -> int:
    """Return how often Celery says that a task of the worker has returned."""
    return worker.log.read_text("utf-8").count("s: None")


def busy(worker: Worker) -> int:
    """Return how many processes have a message, whatever others they took in its slice."""
    return worker.log.read_text("utf-8").count("] received") - returned(worker)


def test_a_superstep_is_advanced_once_however_many_try(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start_many(2)
    fleet.submit("fan", width=3, script={"turn": ["wait"], "gather": ["wait"]})
    late = fleet.turned()  # It waits between the last commit and the next plan.
    fleet.wait_for("gather")  # Somebody else has made that plan.
    before = fleet.client.get_state("t"), fleet.client.events("t")
    done = returned(late)
    fleet.open("turn")
    fleet.wait_until(lambda: returned(late) > done, "the late one has tried too")
    assert (fleet.client.get_state("t"), fleet.client.events("t")) == before
    fleet.open("gather")
    assert fleet.result() == twin(graphs.fan, tmp_path, width=3)[1]
    assert {ran.attempt for ran in fleet.ran()} == {1}
    assert_settled(fleet)


def test_a_frozen_machine_that_wakes_up_late_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    both = fleet.start_many(2)
    fleet.submit("row", script={"two": ["wait"]})
    first = fleet.worker_of(fleet.wait_for("two").pid)
    (second,) = [worker for worker in both if worker.pid != first.pid]
    with stopped(*first.pids()):
        again = fleet.wait_for("two", attempt=2)
        assert fleet.worker_of(again.pid).pid == second.pid
        assert fleet.result() == twin(graphs.row, tmp_path)[1]
        fleet.open("two")
    fleet.wait_until(lambda: fleet.stats("stale_refused") == 1, "the late commit is refused")
    second.kill_all()
    fleet.submit("row", "later")  # The machine that was frozen is of use again.
    assert fleet.result("later")["total"] == 3
    assert_settled(fleet, "t", "later")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_node_that_holds_the_interpreter_lock_keeps_its_claim(fleet: Fleet, pool: str) -> None:
    fleet.start_many(2, pool=pool)
    leases = fleet.store.keys.of_thread("t")[0] + "leases"
    fleet.wait_until(lambda: fleet.redis.zcard(leases) == 2, "both keepers know whom they keep")
    fleet.submit("row", script={"two": [f"lock {LOCK_S}"]})
    running = fleet.wait_for("two")
    assert fleet.result(timeout_s=40.0 + LOCK_S)["total"] == 3
    (three,) = [ran for ran in fleet.ran() if ran.name == "three"]
    assert three.t - running.t > LOCK_S - 0.1 > fleet.settings.lease_ttl_s
    assert [ran.attempt for ran in fleet.ran()] == [1, 1, 1]
    assert not of_type(fleet.client.events("t"), "step_released")
    assert_settled(fleet)


def test_after_a_stall_of_the_server_keepers_have_time_to_renew(fleet: Fleet) -> None:
    fleet.start_many(2)
    fleet.submit("row", script={"two": ["wait"]})
    running = fleet.wait_for("two")
    keeper = fleet.worker_of(running.pid).keeper
    assert fleet.server.pid is not None
    with stopped(keeper):  # It is the slower one; the other worker's sweeper looks first.
        with stopped(fleet.server.pid):
            time.sleep(1.5 * fleet.settings.lease_ttl_s)  # The stall is what is tested.
        time.sleep(fleet.settings.lease_ttl_s / 2)
        assert fleet.steps()["two"].owner == running.worker
    time.sleep(fleet.settings.lease_ttl_s)  # Time for a sweeper to be wrong in.
    assert fleet.steps()["two"].owner == running.worker
    fleet.open("two")
    assert fleet.result()["total"] == 3
    assert [ran.attempt for ran in fleet.ran()] == [1, 1, 1]
    assert_settled(fleet)
