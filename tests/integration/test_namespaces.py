"""Deployments that share a server, each under a namespace of its own, leave each other alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import Client
from orchestrator.config import Settings
from tests.integration.fleet import Fleet, inputs

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("own_broker", [False, True], ids=["one server", "another broker"])
def test_a_worker_takes_no_message_of_another_namespace(tmp_path: Path, own_broker: bool) -> None:
    with Fleet(tmp_path, own_broker=own_broker) as fleet:
        mine = dict(fleet.variables)
        fleet.variables["GRAPHSTALK_NAMESPACE"] = "other"
        with Client(settings=Settings.from_env(fleet.variables)) as other:
            fleet.start()
            fleet.submit("row")
            other.submit("row", inputs(fleet.ledger), thread_id="o")
            assert other.result("o", timeout_s=20)["total"] == 3
            assert fleet.queues.llen(fleet.queue) == 1  # It waits for a worker of its own.
            fleet.wait_until(other.workers, "its keeper announces it")
            assert [worker.queues for worker in other.workers()] == [[fleet.settings.queue]]
            assert fleet.client.workers() == []
            assert "none is alive" in str(fleet.client.explain("t"))
            fleet.variables = mine
            fleet.start()
            assert fleet.result()["total"] == 3


def test_a_queue_may_have_the_name_of_a_key(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        fleet.wait_kept(fleet.start(queues="workers,graphs,partitions"))
        assert [worker.queues for worker in fleet.client.workers()] == [
            ["graphs", "partitions", "workers"]
        ]


def test_steps_in_queues_of_an_earlier_version_are_sent_again(fleet: Fleet) -> None:
    fleet.submit("row")
    fleet.redis.rename(fleet.queue, fleet.settings.queue)  # As an earlier version named it.
    fleet.start()
    assert fleet.result()["total"] == 3
