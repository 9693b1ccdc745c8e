"""A graph means the same on a fleet as in process: its state, its history, its placement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import Command, CompiledStateGraph
from orchestrator.dispatch.celery import CeleryExecutor
from tests.integration import graphs
from tests.integration.accounts import assert_settled, history_of
from tests.integration.fleet import Fleet, inputs, strip, twin

pytestmark = [pytest.mark.server, pytest.mark.slow]


def assert_as_in_process(fleet: Fleet, folder: Path, pool: str) -> None:
    """Run the graph with everything on a worker of a pool; compare with what it is in process."""
    fleet.start(pool=pool, concurrency=1 if pool == "solo" else 2)
    fleet.submit("tour", width=4)
    asked = fleet.result()["__interrupt__"]
    fleet.client.resume("t", {"yes": 1}, interrupt_id=asked[0].id)
    here, output = twin(graphs.tour, folder, [{"yes": 1}], width=4)
    assert fleet.result() == output
    assert history_of(fleet.client.history("t")) == history_of(here.get_state_history("t"))
    assert_settled(fleet)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_graph_with_everything_is_the_same_on_a_fleet_as_in_process(
    fleet: Fleet, tmp_path: Path, pool: str
) -> None:
    assert_as_in_process(fleet, tmp_path, pool)


def test_the_celery_executor_runs_a_graph_on_the_workers(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    executor = CeleryExecutor(settings=fleet.settings, timeout_s=60)
    graph = CompiledStateGraph(graphs.tour.spec, executor=executor)
    assert "__interrupt__" in graph.invoke(inputs(fleet.ledger), "t")
    output = strip(graph.invoke(Command(resume="fine"), "t"))
    assert output == twin(graphs.tour, tmp_path, ["fine"])[1]
    assert graph.get_state("t").values["answer"] == "fine"
    assert {fleet.worker_of(ran.pid).pid for ran in fleet.ran()} == {worker.pid}
    assert_settled(fleet)


def test_a_node_runs_only_on_the_workers_of_its_queue(fleet: Fleet) -> None:
    usual = fleet.start()
    threads = [f"t{n}" for n in range(6)]
    for thread in threads:
        fleet.submit("placed", thread)
    fleet.wait_until(
        lambda: fleet.queues.llen(fleet.settings.queue_prefix + "cpu") == len(threads),
        "they wait for a cpu worker",
    )
    cpu = fleet.start(queues="cpu")
    for thread in threads:
        assert fleet.result(thread)["seen"] == ["here", "there", "back"]
    places = {(ran.name, fleet.worker_of(ran.pid).pid) for ran in fleet.ran()}
    assert places == {("here", usual.pid), ("there", cpu.pid), ("back", usual.pid)}
    assert_settled(fleet, *threads)


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose messages go through a server of their own."""
    with Fleet(tmp_path, own_broker=True) as fleet:
        yield fleet


def test_with_a_broker_of_its_own_a_graph_is_the_same_too(apart: Fleet, tmp_path: Path) -> None:
    apart.start()
    apart.submit("tour")
    apart.result()
    apart.client.resume("t", "fine")
    assert apart.result() == twin(graphs.tour, tmp_path, ["fine"])[1]
    assert not apart.redis.exists(apart.queue)
    assert_settled(apart)


def test_messages_that_a_broker_of_its_own_lost_are_sent_again(apart: Fleet) -> None:
    apart.submit("fan", width=3)
    assert apart.queues.llen(apart.queue) == 1
    apart.queues.flushall()
    apart.start()
    assert apart.result()["total"] == 32
    assert_settled(apart)
