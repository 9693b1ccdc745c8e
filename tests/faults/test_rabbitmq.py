"""Whatever happens to RabbitMQ and to connections to it, every run ends, and none runs twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import Client
from orchestrator.config import Settings
from orchestrator.dispatch.broker import broker_trouble
from orchestrator.errors import CheckpointerUnavailableError
from tests.e2e.test_cli import graphstalk
from tests.faults.proxy import Proxy
from tests.fixtures.own_rabbitmq import RabbitMQ, own_rabbitmq
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet
from workers.app import make_app
from workers.configuration import ConfigurationError
from workers.connections import try_connections

pytestmark = [pytest.mark.server, pytest.mark.slow]

CONSUMER_TIMEOUT_S = 2.0
HEARTBEATS_S = 15.0  # In which a worker gives up a connection whose other end is silent.


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A node that closes the channel of a consumer which keeps a message for long."""
    folder = tmp_path_factory.mktemp("rabbitmq")
    with own_rabbitmq(folder, CONSUMER_TIMEOUT_S) as node:
        yield node


@pytest.fixture
def fleet(tmp_path: Path, rabbit: RabbitMQ) -> Iterator[Fleet]:
    """A fleet whose messages go through RabbitMQ, in queues of its own."""
    env = {"GRAPHSTALK_NAMESPACE": tmp_path.name, "GRAPHSTALK_DISPATCH": "queue"}
    with Fleet(tmp_path, env, own_broker=rabbit.url) as fleet:
        yield fleet


POOLS = ["prefork", "threads"]


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_takes_messages_after_a_step_longer_than_the_consumer_timeout(
    fleet: Fleet, pool: str
) -> None:
    worker = fleet.start(pool=pool, concurrency=2)
    fleet.submit("row", "long", script={"two": ["wait"]})
    fleet.wait_for("two", thread="long")
    closed = b"PRECONDITION_FAILED"
    fleet.wait_until(lambda: closed in worker.log.read_bytes(), "the broker closes the channel")
    fleet.submit("row", "later")
    assert fleet.result("later")["total"] == 3
    fleet.open("two")
    assert fleet.result("long")["total"] == 3
    assert {ran.attempt for ran in fleet.ran()} == {1}
    assert worker.is_running()
    assert_settled(fleet, "long", "later")
    said = worker.log.read_text("utf-8")
    assert "the connection was lost before a message was acknowledged" in said
    assert "CRITICAL" not in said


def test_a_step_longer_than_the_consumer_timeout_leaves_a_worker_of_one_process_at_work(
    fleet: Fleet,
) -> None:
    fleet.start(pool="solo")
    fleet.submit("row", "long", script={"two": ["wait"]})
    fleet.wait_for("two", thread="long")
    time.sleep(2 * CONSUMER_TIMEOUT_S)  # Nothing says it: the worker's one OS thread runs the node.
    fleet.submit("row", "later")
    fleet.open("two")
    assert fleet.result("later")["total"] == 3
    assert fleet.result("long")["total"] == 3
    assert {ran.attempt for ran in fleet.ran()} == {1}


def test_a_virtual_host_that_is_missing_is_named_without_a_password(rabbit: RabbitMQ) -> None:
    url = rabbit.url.removesuffix("/") + "nosuch"
    settings = Settings.from_env({"GRAPHSTALK_BROKER_URL": url})
    with pytest.raises(ConfigurationError, match="must name a virtual host that exists") as refused:
        try_connections(replace(settings, url="redis://127.0.0.1:1/0"), make_app)
    assert "vhost nosuch not found" in str(refused.value)
    assert "guest:***@" in str(refused.value)
    assert "guest:guest" not in str(refused.value)


@pytest.mark.parametrize("pool", POOLS)
def test_a_broker_short_of_memory_refuses_at_once_and_its_steps_run_when_it_has_more(
    fleet: Fleet, rabbit: RabbitMQ, pool: str
) -> None:
    worker = fleet.start(pool=pool)
    fleet.submit("row", "before", script={"one": ["wait"]})
    fleet.wait_for("one", thread="before")
    assert broker_trouble(fleet.settings) == ""
    with rabbit.short_of_memory():
        began_s = time.monotonic()
        with pytest.raises(CheckpointerUnavailableError, match="short of memory"):
            fleet.submit("row")
        assert "short of memory" in broker_trouble(fleet.settings)
        assert time.monotonic() - began_s < CONSUMER_TIMEOUT_S
        fleet.open("one")
        fleet.wait_until(lambda: "two" in fleet.steps("before"), "its worker commits all the same")
    assert fleet.result("before")["total"] == 3
    assert fleet.result()["total"] == 3
    assert worker.is_running()
    assert_settled(fleet, "before", "t")


def test_two_namespaces_on_one_broker_leave_each_other_alone(
    tmp_path: Path, rabbit: RabbitMQ
) -> None:
    with Fleet(tmp_path, own_broker=rabbit.url) as fleet:
        fleet.variables["GRAPHSTALK_NAMESPACE"] = "other"
        with Client(settings=Settings.from_env(fleet.variables)) as other:
            fleet.start()
            fleet.submit("row")
            other.submit("row", {"ledger": str(fleet.ledger)}, thread_id="o")
            assert other.result("o", timeout_s=20)["total"] == 3
            assert {ran.thread for ran in fleet.ran()} == {"o"}
            waits = f"{fleet.queue}\t1"
            assert waits in rabbit.control("list_queues", "name", "messages").splitlines()


def test_a_broker_that_is_killed_and_started_again_loses_no_step(
    fleet: Fleet, rabbit: RabbitMQ
) -> None:
    worker = fleet.start()
    fleet.submit("row", script={"one": ["wait"]})
    fleet.wait_for("one")
    rabbit.kill()
    fleet.open("one")
    fleet.wait_until(lambda: "two" in fleet.steps(), "the commit is there")
    rabbit.start()
    back_s = time.time()
    assert fleet.result()["total"] == 3
    print(f"resumed {time.time() - back_s:.3f} s after the broker was back")
    assert worker.is_running()
    assert_settled(fleet)


FAULTS: dict[str, Callable[[Proxy], object]] = {
    "cut": Proxy.cut,
    "silent for ever": Proxy.swallow,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_idle_worker_takes_messages_after_its_connections_were_lost(
    tmp_path: Path, rabbit: RabbitMQ, fault: str
) -> None:
    env = {"GRAPHSTALK_NAMESPACE": tmp_path.name}
    with Fleet(tmp_path, env, own_broker=rabbit.url) as fleet, Proxy(rabbit.url) as proxy:
        fleet.variables["GRAPHSTALK_BROKER_URL"] = proxy.url
        worker = fleet.start()
        with Client(settings=Settings.from_env(fleet.variables)) as client:
            run = client.submit("row", {"ledger": str(fleet.ledger)}, thread_id="before")
            assert run.result(timeout=20)["total"] == 3
            FAULTS[fault](proxy)
            lost_s = time.time()
            client.submit("row", {"ledger": str(fleet.ledger)}, thread_id="t")
            assert time.time() - lost_s < HEARTBEATS_S
            assert fleet.result()["total"] == 3
        print(f"resumed {time.time() - lost_s:.3f} s after")
        assert time.time() - lost_s < 2 * HEARTBEATS_S
        assert worker.is_running()
        assert_settled(fleet, "before", "t")


@pytest.mark.parametrize("pool", [*POOLS, "solo"])
def test_a_worker_that_is_killed_leaves_its_steps_to_another(fleet: Fleet, pool: str) -> None:
    first = fleet.start(pool=pool)
    fleet.submit("row", script={"two": ["wait"]})
    fleet.wait_for("two")
    first.kill_all()
    fleet.start(pool=pool)
    fleet.open("two")
    assert fleet.result()["total"] == 3
    assert_settled(fleet)


def test_a_storm_of_faults_on_rabbitmq_loses_nothing_and_leaves_no_queue(
    rabbit: RabbitMQ,
) -> None:
    before = rabbit.queues()
    arguments = ["--minutes", "0.2", "--fault-every", "0.6", "--seed", "3", "--json"]
    done = graphstalk("chaos", *arguments, "--broker", rabbit.url)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["lost"], said["duplicated"], said["stranded"]) == (0, 0, 0)
    assert (said["different"], said["gaps"]) == (0, 0)
    assert {"lose_message", "double_message", "kill_process"} <= said["faults_by_kind"].keys()
    assert rabbit.queues() <= before
