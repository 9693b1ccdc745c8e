"""A whole graph, or a whole run, has a queue: none of its steps waits behind those of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import Client
from orchestrator.cli import main as graphstalk
from orchestrator.client.options import OptionError
from tests.integration import graphs
from tests.integration.fleet import Fleet, Worker, inputs, twin

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def placed(tmp_path: Path) -> Iterator[tuple[Fleet, Worker, Worker]]:
    """A fleet whose default queue no worker reads: it is full of other work, as it were."""
    with Fleet(tmp_path, names=("layered", "urgent", "row")) as fleet:
        yield fleet, fleet.start(queues="urgent"), fleet.start(queues="gpu")


def assert_placed(fleet: Fleet, thread: str, urgent: Worker, gpu: Worker) -> None:
    places = {(ran.name, fleet.worker_of(ran.pid).pid) for ran in fleet.ran(thread)}
    names = ("first", "inner", "piece:0", "piece:1", "piece:2", "last")
    assert places == {("gpu", gpu.pid), *((name, urgent.pid) for name in names)}


def test_steps_go_to_the_queue_of_their_graph_or_of_their_run(
    placed: tuple[Fleet, Worker, Worker], tmp_path: Path
) -> None:
    fleet, *workers = placed
    output = twin(graphs.layered, tmp_path)[1]
    fleet.submit("urgent", "graph")
    stranger = Client(settings=fleet.settings)  # It has the graph's name only.
    stranger.submit("urgent", inputs(fleet.ledger), thread_id="name")
    stranger.submit("layered", inputs(fleet.ledger), thread_id="run", queue="urgent")
    fleet.client.submit("layered", inputs(fleet.ledger), thread_id="known", queue="urgent")
    stranger.close()
    for thread in ("graph", "name", "run", "known"):
        assert fleet.result(thread) == output
        assert_placed(fleet, thread, *workers)


def test_a_run_keeps_its_queue_in_line_and_when_it_is_resumed(
    placed: tuple[Fleet, Worker, Worker],
) -> None:
    fleet, *workers = placed
    script = {"first": ["wait"], "inner": ["fail"]}
    fleet.client.submit("row", inputs(fleet.ledger, script={"one": ["wait"]}), thread_id="t",
                        queue="urgent")  # fmt: skip
    fleet.wait_for("one")
    handle = fleet.client.submit(
        "layered",
        inputs(fleet.ledger, script=script),
        thread_id="t",
        queue="urgent",
        multitask_strategy="enqueue",
    )
    fleet.open("one")
    fleet.wait_for("first")
    fleet.open("first")
    fleet.wait_until(lambda: handle.status == "failed", "the run has failed")
    fleet.client.carry_on("t")
    assert fleet.result()["seen"][-1] == "last"
    row = [ran for ran in fleet.ran() if ran.name in {"one", "two", "three"}]
    assert {fleet.worker_of(ran.pid).pid for ran in row} == {workers[0].pid}


@pytest.mark.parametrize("queue", ["", "a,b", "a b", "a\nb", "x" * 256, 5])
def test_a_queue_that_no_worker_could_take_from_is_refused(fleet: Fleet, queue: object) -> None:
    with pytest.raises(OptionError, match="queue must be"):
        fleet.client.submit("row", {}, queue=queue)


def test_the_command_submits_to_a_queue(
    placed: tuple[Fleet, Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, *workers = placed
    monkeypatch.setenv("REDIS_URL", fleet.server.url)
    for name, value in fleet.variables.items():
        monkeypatch.setenv(name, value)
    given = f'{{"ledger": "{fleet.ledger}"}}'
    command = ["submit", "layered", given, "--thread", "t", "--queue", "urgent", "--wait"]
    assert graphstalk(command) == 0
    assert_placed(fleet, "t", *workers)
