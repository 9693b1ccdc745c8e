"""A worker whose configuration cannot work says so in one sentence and ends, and starts nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import Client
from orchestrator.cli.embedded import HOST, free_port
from orchestrator.config import Settings
from tests.fixtures.own_server import OwnServer, own_server
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0


def run_worker(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "workers", "--graphs=census=examples.census:graph", "-P", "solo"]
    return subprocess.run(
        argv,
        env={
            **{k: v for k, v in os.environ.items() if "URL" not in k},
            "PYTHONPATH": str(ROOT),
            "GRAPHSTALK_HEARTBEAT_FILE": str(folder / "heartbeat"),
            **env,
        },
        timeout=WAIT_S,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server with a password."""
    with own_server(tmp_path_factory.mktemp("server"), ["--requirepass", "right"]) as server:
        yield server


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    """Return the address of a server that speaks another protocol."""
    argv = [sys.executable, "-m", "http.server", "--bind", HOST]
    port = free_port()
    process = subprocess.Popen([*argv, str(port)], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port)):
                break
        yield f"{HOST}:{port}"
    finally:
        process.kill()
        process.wait()


ADDRESSES = {
    "a cluster": ("redis+cluster://{there}", "REDIS_URL must begin with"),
    "another scheme": ("postgres://u:secret@h/db", "REDIS_URL must begin with"),
    "a wrong password": ("redis://:secret@{there}/0", "REDIS_URL must hold a user and a password"),
    "no password": ("redis://{there}/0", "REDIS_URL must hold a user and a password"),
    "a database that is not there": ("redis://:right@{there}/99", "REDIS_URL must be the address"),
    "an unknown option": ("redis://:right@{there}/0?nonsense=1", "REDIS_URL must be the address"),
    "a port that is none": ("redis://:secret@h:port/0", "REDIS_URL must be the address"),
    "another protocol": ("redis://:secret@{http}/0", "REDIS_URL must be the address"),
    "TLS where there is none": ("rediss://:secret@{there}/0", "REDIS_URL must name a port"),
}
BROKERS = {
    "a scheme that is none": ("nonsense://u:secret@h", "GRAPHSTALK_BROKER_URL must be"),
    "TLS where a Redis has none": ("rediss://:secret@{there}/0", "GRAPHSTALK_BROKER_URL must name"),
    "RabbitMQ where a Redis is": ("amqp://u:secret@{there}//", "GRAPHSTALK_BROKER_URL must name"),
    "in files": ("filesystem://", "GRAPHSTALK_BROKER_URL must be a broker that other processes"),
    "in memory": ("memory://", "GRAPHSTALK_BROKER_URL must be a broker that other processes"),
    "a wrong password": ("redis://:secret@{there}/1", "GRAPHSTALK_BROKER_URL must hold a user"),
    "another protocol": ("redis://:secret@{http}/0", "GRAPHSTALK_BROKER_URL must be the address"),
    "a password with a slash": ("amqp://u:secret/word@h//", "GRAPHSTALK_BROKER_URL must be the"),
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_an_address_that_cannot_work_is_refused(
    server: OwnServer, http: str, tmp_path: Path, case: str
) -> None:
    url, words = ADDRESSES[case]
    url = url.format(there=f"{HOST}:{server.port}", http=http)
    refused(run_worker(tmp_path, REDIS_URL=url), words)


@pytest.mark.parametrize("case", BROKERS)
def test_a_broker_that_cannot_work_is_refused(
    server: OwnServer, http: str, tmp_path: Path, case: str
) -> None:
    url, words = BROKERS[case]
    url = url.format(there=f"{HOST}:{server.port}", http=http)
    there = server.url("right")
    refused(run_worker(tmp_path, REDIS_URL=there, GRAPHSTALK_BROKER_URL=url), words)


def test_a_node_of_a_cluster_is_refused(tmp_path: Path) -> None:
    bus = str(free_port())  # By default 10,000 above the other, which may be no port.
    with own_server(tmp_path, ["--cluster-enabled", "yes", "--cluster-port", bus]) as server:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                pass
        refused(run_worker(tmp_path, REDIS_URL=server.url()), "REDIS_URL must not be a node of")


@pytest.mark.parametrize("flag", ["CERT_REQUIRED", "required"])
def test_a_server_without_tls_is_refused(http: str, tmp_path: Path, flag: str) -> None:
    url = f"rediss://:secret@{http}/0?ssl_cert_reqs={flag}"
    refused(run_worker(tmp_path, REDIS_URL=url), "REDIS_URL must name a server whose certificate")


def test_a_socket_of_this_machine_carries_store_and_messages(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        path = tmp_path / "s"
        with own_server(tmp_path, ["--unixsocket", str(path)]):
            fleet.variables["REDIS_URL"] = f"unix://{path}?db=1"
            with Client(settings=Settings.from_env(fleet.variables)) as client:
                fleet.start()
                fleet.wait_until(client.workers, "its keeper announces it")
                client.submit("row", {"ledger": str(fleet.ledger)}, thread_id="t")
                assert client.result("t", timeout_s=20)["total"] == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRAPHSTALK_LEASE_TTL_S", "soon"),
        ("GRAPHSTALK_DISPATCH", "both"),
        ("GRAPHSTALK_BEAT_S", "5"),  # As long as the lease.
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    server: OwnServer, tmp_path: Path, name: str, value: str
) -> None:
    refused(run_worker(tmp_path, REDIS_URL=server.url("right"), **{name: value}), name)


def refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"graphstalk: {words}")
    assert "secret" not in line


def test_a_server_that_is_away_is_waited_for_and_a_line_says_so(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        port = free_port()
        fleet.variables["REDIS_URL"] = f"redis://:secret@{HOST}:{port}/0"
        worker = fleet.start(wait=False)
        fleet.wait_until(lambda: b"Check REDIS_URL" in worker.log.read_bytes(), "it says so")
        said = worker.log.read_text("utf-8")
        assert f"graphstalk: waiting for redis://:***@{HOST}:{port}/0" in said
        assert "secret" not in said


def test_a_keeper_that_cannot_start_ends_its_worker(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        broken = tmp_path / "path" / "sitecustomize.py"
        broken.parent.mkdir()
        ends = "import os, sys\nif 'workers.keeper' in sys.orig_argv:\n    os._exit(3)\n"
        broken.write_text(ends, "utf-8")
        path = f"{broken.parent}{os.pathsep}{ROOT}"
        fleet.variables["PYTHONPATH"] = path
        worker = fleet.start(wait=False)
        fleet.wait_until(lambda: not worker.is_running(), "it ends")
        assert worker.child.process.wait() == 1
        assert "5 times in a row" in worker.log.read_text("utf-8")


@pytest.mark.parametrize("same", [True, False], ids=["the same broker", "another broker"])
def test_a_client_whose_broker_no_worker_reads_is_warned(
    tmp_path: Path, same: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Fleet(tmp_path, own_broker=True) as fleet:
        fleet.wait_kept(fleet.start())
        variables = dict(fleet.variables)
        if not same:
            del variables["GRAPHSTALK_BROKER_URL"]
        with Client(settings=Settings.from_env(variables)) as client:
            client.submit("row", {"ledger": str(fleet.ledger)}, thread_id="t")
            client.submit("row", {"ledger": str(fleet.ledger)}, thread_id="u")
            warned = [r.getMessage() for r in caplog.records if "GRAPHSTALK_BROKER_URL" in r.msg]
            assert len(warned) == (0 if same else 1)
            assert client.result("t", timeout_s=20)["total"] == 3  # The sweeper sent it again.
