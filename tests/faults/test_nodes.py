"""What a node does to its process: it runs out of memory, or it never ends."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from orchestrator.errors import StepFailedError
from tests.integration import graphs
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet, twin

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_node_that_runs_out_of_memory_fails_its_run_and_nothing_else(
    fleet: Fleet, tmp_path: Path, pool: str
) -> None:
    fleet.start(pool=pool)
    fleet.submit("fan", width=3, script={"piece:1": ["hoard"]})
    with pytest.raises(StepFailedError) as failed:
        fleet.result()
    assert failed.value.record["type"] == "MemoryError"
    fleet.submit("row", "later")
    assert fleet.result("later")["total"] == 3  # The process is of use as before.
    fleet.client.carry_on("t")
    assert fleet.result() == twin(graphs.fan, tmp_path, width=3)[1]
    assert {ran.worker for ran in fleet.ran("t")} == {ran.worker for ran in fleet.ran("later")}
    assert_settled(fleet, "t", "later")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_node_that_never_ends_is_stopped_by_its_timeout(fleet: Fleet, pool: str) -> None:
    fleet.start(pool=pool)
    fleet.submit("bounded", script={"spin": ["spin", "sleep 30"]})
    assert fleet.result()["total"] == 2
    ran = fleet.ran()
    assert [(one.name, one.attempt) for one in ran] == [
        *(("spin", attempt) for attempt in (1, 2, 3)),
        *(("wait", attempt) for attempt in (1, 2)),
    ]
    fleet.submit("row", "later")
    assert fleet.result("later")["total"] == 3
    assert_settled(fleet, "t", "later")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_native_code_that_never_ends_is_reported_and_its_pool_process_replaced(
    tmp_path: Path, pool: str
) -> None:
    with Fleet(tmp_path, {"GRAPHSTALK_STUCK_S": "0.5"}) as fleet:
        worker = fleet.start(pool=pool)
        fleet.submit("bounded", script={"spin": ["grind"]})
        assert fleet.result()["total"] == 2
        first = fleet.ran()[0].pid

        def said() -> bool:
            return b"node 'spin' still runs" in worker.log.read_bytes()

        fleet.wait_until(said, "the node is reported")
        if pool == "prefork":
            fleet.wait_until(lambda: not psutil.pid_exists(first), "the process is replaced")
        fleet.submit("row", "later")
        assert fleet.result("later")["total"] == 3
        pids = {ran.pid for ran in fleet.ran("later")}
        assert (first in pids) == (pool == "threads")
        assert b" died in " not in worker.log.read_bytes()
        assert_settled(fleet, "t", "later")
