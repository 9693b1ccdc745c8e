"""Whatever is killed, the run goes on from its last commit, by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StepFailedError
from tests.integration import graphs
from tests.integration.accounts import assert_settled, of_type
from tests.integration.fleet import Fleet, Ran, twin

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def slow_to_expire(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet with the leases of production, so that a takeover by expiry can be told."""
    production = {"GRAPHSTALK_LEASE_TTL_S": "5", "GRAPHSTALK_BEAT_S": "0.5"}
    with Fleet(tmp_path, production) as fleet:
        yield fleet


def kill(pid: int) -> float:
    """Kill a process and return when."""
    at = time.time()
    os.kill(pid, signal.SIGKILL)
    return at


def undisturbed(tmp_path: Path, width: int = 3) -> object:
    """Return what the graph `fan` gives when nothing happens to it."""
    return twin(graphs.fan, tmp_path, width=width)[1]


def attempts(fleet: Fleet, thread: str = "t") -> dict[str, int]:
    """Return how often each node really ran."""
    names = [ran.name for ran in fleet.ran(thread)]
    return {name: names.count(name) for name in names}


def busy_child(fleet: Fleet, name: str = "piece:1") -> Ran:
    """Let a run come to a node that waits; return who runs it."""
    fleet.submit("fan", width=3, script={name: ["wait"]})
    return fleet.wait_for(name)


def test_a_killed_pool_process_is_taken_over_at_once(slow_to_expire: Fleet, tmp_path: Path) -> None:
    fleet = slow_to_expire
    fleet.wait_kept(fleet.start(concurrency=2))
    victim = busy_child(fleet)
    fleet.wait_until(lambda: "piece:2" in attempts(fleet), "the others are through")
    killed_s = kill(victim.pid)
    again = fleet.wait_for("piece:1", attempt=2)
    print(f"taken over after {again.t - killed_s:.3f} s")
    assert again.t - killed_s < fleet.settings.lease_ttl_s / 2  # Noticed, not waited for.
    assert fleet.result() == undisturbed(tmp_path)
    assert attempts(fleet) == {"split": 1, "piece:0": 1, "piece:1": 2, "piece:2": 1, "gather": 1}
    (released,) = of_type(fleet.client.events("t"), "step_released")
    assert released.fields["owner"].decode() == victim.worker
    assert_settled(fleet)


def test_a_killed_machine_is_taken_over_when_its_lease_runs_out(
    slow_to_expire: Fleet, tmp_path: Path
) -> None:
    fleet = slow_to_expire
    first = fleet.start()
    victim = busy_child(fleet)
    fleet.wait_until(lambda: leads(fleet, first.keeper), "the victim's keeper sweeps")
    second = fleet.start()
    fleet.wait_kept(first, second)
    killed_s = time.time()
    first.kill_all()
    again = fleet.wait_for("piece:1", attempt=2)
    print(f"taken over after {again.t - killed_s:.3f} s")
    assert 4 < again.t - killed_s < fleet.settings.lease_ttl_s + 3  # 1 s, and a busy machine.
    assert (fleet.worker_of(again.pid).pid, victim.attempt) == (second.pid, 1)
    assert fleet.result() == undisturbed(tmp_path)
    assert attempts(fleet)["piece:1"] == 2
    assert_settled(fleet)


def leads(fleet: Fleet, keeper: int) -> bool:
    """Whether the sweeper of a keeper leads all partitions."""
    keys = [fleet.store.keys.partition(p) + "sweep" for p in range(fleet.store.partitions)]
    return all((fleet.redis.hget(k, "leader") or b"").endswith(b":%d" % keeper) for k in keys)


def test_a_killed_keeper_is_replaced_and_nothing_is_taken_over(
    slow_to_expire: Fleet, tmp_path: Path
) -> None:
    fleet = slow_to_expire
    worker = fleet.start(concurrency=2)
    running = busy_child(fleet)
    fleet.wait_kept(worker)
    keeper = worker.keeper
    kill(keeper)
    fleet.wait_until(lambda: worker.keeper not in {0, keeper}, "there is another keeper")
    time.sleep(fleet.settings.lease_ttl_s + 0.5)  # Time in which somebody must have renewed.
    assert fleet.steps()["piece:1"].owner == running.worker
    fleet.open("piece:1")
    assert fleet.result() == undisturbed(tmp_path)
    assert set(attempts(fleet).values()) == {1}
    assert_settled(fleet)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_killed_main_process_is_taken_over_at_once(
    slow_to_expire: Fleet, tmp_path: Path, pool: str
) -> None:
    fleet = slow_to_expire
    fleet.start_many(2, pool=pool)
    victim = busy_child(fleet)
    first = fleet.worker_of(victim.pid)
    killed_s = kill(first.pid)
    again = fleet.wait_for("piece:1", attempt=2)
    print(f"taken over after {again.t - killed_s:.3f} s")
    assert again.t - killed_s < fleet.settings.lease_ttl_s / 2
    assert fleet.result() == undisturbed(tmp_path)
    assert (attempts(fleet)["piece:1"], again.worker != victim.worker) == (2, True)
    fleet.wait_until(lambda: not first.is_running(), "what is left of the worker ends")
    assert_settled(fleet)


def test_a_superstep_whose_worker_died_before_advancing_it_is_advanced_by_another(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.start_many(2)
    fleet.submit("fan", width=3, script={"turn": ["wait"]})
    victim = fleet.turned()  # Between the last commit of a superstep and the next plan.
    killed_s = time.time()
    victim.kill_all()
    assert fleet.result() == undisturbed(tmp_path)
    print(f"advanced after {fleet.ran()[-1].t - killed_s:.3f} s")
    assert set(attempts(fleet).values()) == {1}
    assert_settled(fleet)


def test_a_step_that_kills_its_workers_is_parked_and_its_siblings_are_kept(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.start(concurrency=2)
    fleet.submit("fan", width=3, script={"piece:1": ["die", "die", "die"]})
    with pytest.raises(StepFailedError, match="lost its worker 3 times") as failed:
        fleet.result()
    assert failed.value.record["type"] == "WorkerLostError"
    assert len(of_type(fleet.client.events("t"), "step_released")) == 3
    assert attempts(fleet) == {"split": 1, "piece:0": 1, "piece:1": 3, "piece:2": 1}
    fleet.client.carry_on("t")
    assert fleet.result() == undisturbed(tmp_path)
    assert attempts(fleet) == {"split": 1, "piece:0": 1, "piece:1": 4, "piece:2": 1, "gather": 1}
    assert_settled(fleet)


def test_a_worker_that_loses_a_process_before_it_is_ready_says_that_it_failed(fleet: Fleet) -> None:
    def start_and_kill() -> None:
        worker = fleet.start(wait=False)  # It waits for the broker, with its pool at hand.

        def pool() -> set[int]:
            return set(worker.pids()) - {worker.pid, worker.keeper} if worker.keeper else set()

        os.kill(min(fleet.wait_until(pool, "there is a pool")), signal.SIGKILL)

    fleet.restart_server(while_down=start_and_kill)
    [worker] = fleet.workers
    fleet.wait_until(lambda: not worker.is_running(), "the worker has given up", 15)
    assert worker.child.exit_code() == 1
    fleet.start()
    fleet.submit("row")
    assert fleet.result()["total"] == 3
    assert_settled(fleet)


def test_a_worker_removes_the_folders_of_workers_that_were_killed_and_no_others(
    fleet: Fleet,
) -> None:
    def folders() -> set[Path]:
        return set(fleet.scratch.iterdir())

    killed = fleet.start()
    fleet.wait_kept(killed)
    (left,) = folders()
    killed.kill_all()
    fleet.start()
    (alive,) = folders()
    assert alive != left
    fleet.start()
    assert alive in folders()
    assert len(folders()) == 2
