"""Every finding of the doctor is provoked on a real deployment, and made from facts it gathers."""

from __future__ import annotations

import ast
import json
import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpointer.fleet import Worker
from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.checkpointer.redis.rollback_guard import Epochs
from orchestrator.cli import findings
from orchestrator.cli.deployment import gather
from orchestrator.cli.embedded import HOST, free_port
from orchestrator.cli.findings import Finding, Level, judge
from orchestrator.config import Settings
from orchestrator.testing.concurrency import wait_until
from orchestrator.testing.contract import drafts
from tests.fixtures.deployment import ROOT
from tests.fixtures.own_server import OwnServer, own_server
from tests.fixtures.processes import running

pytestmark = [pytest.mark.server, pytest.mark.slow]

SAFE = ["--save", "", "--appendonly", "yes"]
GRAPHS = {"slow": "tests.integration.test_doctor:slow", "census": "examples.census:graph"}
PROVOKED: set[str] = set()


class Here:
    """The deployment that a test asks about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self.folder = monkeypatch, folder
        for name in ("REDIS_URL", "GRAPHSTALK_BROKER_URL", "CELERY_BROKER_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GRAPHSTALK_NAMESPACE", "doctor")

    def env(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(name, value)

    def ask(self, url: str, graphs: Mapping[str, str] | None = None) -> dict[str, Finding]:
        """Return what the doctor finds, by code."""
        found = judge(gather(url, GRAPHS if graphs is None else graphs))
        PROVOKED.update(each.code for each in found)
        assert all(each.remedy for each in found if each.level is not Level.OK)
        return {each.code: each for each in found}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server as it should be."""
    with own_server(tmp_path_factory.mktemp("doctor"), SAFE) as server:
        yield server


@contextmanager
def started(folder: Path, *options: str) -> Iterator[OwnServer]:
    folder.mkdir(exist_ok=True)
    with own_server(folder, options) as server:
        yield server


def __getattr__(name: str) -> Any:
    """Return the graph of `GRAPHS`, made when the doctor imports it."""
    if name != "slow":
        raise AttributeError(name)
    from orchestrator import START, StateGraph

    builder = StateGraph(dict)
    builder.add_node("quick", lambda state: state, timeout=5)
    builder.add_node("wait", lambda state: state, timeout=13 * 3600)
    return builder.add_edge(START, "quick").add_edge(START, "wait").compile()


@contextmanager
def rewritten(server: OwnServer, pattern: bytes, by: bytes) -> Iterator[str]:
    """Give the address of a server that says something else: bytes of the same length."""

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((HOST, server.port)) as there:
                back = threading.Thread(target=self.relay, args=(there,), daemon=True)
                back.start()
                while data := self.request.recv(65_536):
                    there.sendall(data)
                there.shutdown(socket.SHUT_WR)
                back.join(5)

        def relay(self, there: socket.socket) -> None:
            while data := there.recv(1 << 20):
                self.request.sendall(re.sub(pattern, by, data))

    with socketserver.ThreadingTCPServer((HOST, 0), Relay) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"redis://{HOST}:{proxy.server_address[1]}/0"
        proxy.shutdown()


# ---- the server ---------------------------------------------------------------------------------


def test_a_healthy_deployment_with_a_worker_has_only_good_findings(
    here: Here, server: OwnServer, tmp_path: Path
) -> None:
    env = {
        "REDIS_URL": server.url(),
        "GRAPHSTALK_NAMESPACE": "doctor",
        "GRAPHSTALK_HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
        "GRAPHSTALK_STATE_DIR": str(tmp_path / "state"),
    }
    argv = ["graphstalk", "worker", "--pool", "solo", "--graphs", "census=examples.census:graph"]
    found: dict[str, Finding] = {}

    def is_seen() -> bool:
        found.update(here.ask(server.url(), {"census": "examples.census:graph"}))
        return "WORKERS" in found

    with running(argv, env, tmp_path / "log") as worker:
        worker.wait_until(is_seen)
        found = here.ask(server.url(), {"census": "examples.census:graph"})
        assert worker.terminate() == 0
    assert set(found) == {"SERVER", "PERSISTENCE", "EVICTION", "GRAPHS", "WORKERS"}
    assert {each.level for each in found.values()} == {Level.OK}
    assert found["WORKERS"].what == "workers alive: 1"
    gone = wait_until(lambda: here.ask(server.url()).get("NO_WORKERS"))  # Its keeper ends later.
    assert gone.level is Level.WARN


def test_a_server_that_is_not_there(here: Here) -> None:
    found = here.ask(f"redis://{HOST}:{free_port()}/0")
    assert found["SERVER_UNREACHABLE"].level is Level.FAIL


def test_a_server_that_forbids_info(here: Here, tmp_path: Path) -> None:
    users = tmp_path / "users.acl"
    users.write_text("user default on nopass ~* &* +@all -info\n", encoding="utf-8")
    with started(tmp_path / "server", "--aclfile", str(users)) as server:
        assert here.ask(server.url())["INFO_FORBIDDEN"].level is Level.WARN


def test_a_server_that_is_too_old(here: Here, server: OwnServer) -> None:
    with rewritten(server, rb"redis_version:\d\.\d", b"redis_version:6.0") as url:
        assert here.ask(url)["SERVER_TOO_OLD"].level is Level.FAIL


def test_a_server_that_keeps_nothing_has_replicas_at_best(here: Here, tmp_path: Path) -> None:
    with started(tmp_path / "one", "--save", "", "--repl-diskless-sync-delay", "0") as server:
        assert here.ask(server.url())["PERSISTENCE_OFF"].level is Level.FAIL
        with started(tmp_path / "two", "--replicaof", f"{HOST} {server.port}") as replica:
            with server.client() as client:
                assert client.wait(1, 10_000) == 1
            found = here.ask(server.url())["PERSISTENCE_OFF"]
            assert (found.level, "replica" in found.what) == (Level.WARN, True)
            assert here.ask(replica.url())["READ_ONLY_REPLICA"].level is Level.FAIL


def test_a_server_whose_disk_fails(here: Here, server: OwnServer) -> None:
    with rewritten(server, rb"aof_last_write_status:ok", b"aof_last_write_status:er") as url:
        assert here.ask(url)["PERSISTENCE_BROKEN"].level is Level.FAIL


def test_a_server_that_evicts_and_is_nearly_full(here: Here, tmp_path: Path) -> None:
    with started(tmp_path / "server", *SAFE, "--maxmemory-policy", "allkeys-lru") as server:
        assert here.ask(server.url())["EVICTION"].level is Level.WARN
        with server.client() as client:
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", int(used * 1.04))
        found = here.ask(server.url())
    assert found["EVICTION"].level is Level.FAIL
    assert "graphstalk threads delete" in found["MEMORY_NEARLY_FULL"].remedy


def test_a_cluster_as_broker(here: Here, tmp_path: Path) -> None:
    bus = ["--cluster-port", str(free_port())]  # By default 10,000 above, where no port may be.
    with started(tmp_path / "server", *SAFE, "--cluster-enabled", "yes", *bus) as server:
        assert here.ask(server.url())["CLUSTER_AS_BROKER"].level is Level.FAIL


def test_a_server_whose_clock_is_wrong(here: Here, server: OwnServer) -> None:
    with rewritten(server, rb"^\*2\r\n\$10\r\n\d", b"*2\r\n$10\r\n3") as url:
        assert here.ask(url)["CLOCK_SKEW"].level is Level.WARN


def test_a_server_that_lost_what_it_had(here: Here, tmp_path: Path) -> None:
    settings = Settings(namespace="doctor", partitions=1)
    here.env(GRAPHSTALK_PARTITIONS="1")
    with started(tmp_path / "server", *SAFE) as server:
        store = RedisCheckpointer(settings=replace(settings, url=server.url()))
        store.epochs = Epochs()
        store.commit(drafts.starting("t", "a"))
        store.sweep(0, leader="me")
        with server.client() as client:
            client.flushall()
        store.sweep(0, leader="me")
        assert here.ask(server.url())["SERVER_EMPTIED"].level is Level.FAIL
        store.close()


def test_a_server_that_went_back(here: Here, tmp_path: Path) -> None:
    settings = Settings(namespace="doctor", partitions=1)
    here.env(GRAPHSTALK_PARTITIONS="1")
    with started(tmp_path / "server", *SAFE) as server:
        store = RedisCheckpointer(settings=replace(settings, url=server.url()))
        store.epochs = Epochs()
        store.commit(drafts.starting("t", "a"))
        store.sweep(0, leader="me")
        with server.client() as client:  # As a copy of a minute ago would have it.
            mark = int(client.hget("doctor:{0}:sweep", "mark") or 0)
            client.hset("doctor:{0}:sweep", "mark", mark - 60_000)
        store.sweep(0, leader="me")
        assert here.ask(server.url())["SERVER_WENT_BACK"].level is Level.FAIL
        store.close()


def test_another_number_of_partitions(here: Here, tmp_path: Path) -> None:
    with started(tmp_path / "server", *SAFE) as server:
        store = RedisCheckpointer(settings=Settings(url=server.url(), namespace="doctor"))
        store.check()
        store.close()
        here.env(GRAPHSTALK_PARTITIONS="8")
        assert here.ask(server.url())["PARTITIONS_DIFFER"].level is Level.FAIL


# ---- the broker ---------------------------------------------------------------------------------


def test_a_broker_that_no_worker_reads(here: Here, server: OwnServer) -> None:
    here.env(GRAPHSTALK_NAMESPACE="unread")
    settings = Settings(url=server.url(), broker_url="amqp://here", namespace="unread")
    fields = {"queues": ["q"], "pool": "solo", "concurrency": 1, "graphs": ["g"]}
    worker = Worker(name="w", host="h", pid=1, broker=settings.broker_name, **fields)
    RedisCheckpointer(settings=settings).fleet.announce(worker)
    here.env(GRAPHSTALK_BROKER_URL="amqp://here")
    assert "BROKER_NOT_READ" not in here.ask(server.url())
    here.env(GRAPHSTALK_BROKER_URL="amqp://elsewhere")
    found = here.ask(server.url())["BROKER_NOT_READ"]
    assert found.level is Level.FAIL
    assert "amqp://elsewhere; those that are alive read amqp://here" in found.what


def test_a_broker_of_its_own(here: Here, server: OwnServer) -> None:
    here.env(GRAPHSTALK_BROKER_URL="amqp://elsewhere")
    found = here.ask(server.url())
    assert found["SEPARATE_BROKER"].level is Level.WARN
    assert "VISIBILITY_TIMEOUT" not in found


def test_a_broker_that_is_away_or_refuses_writes(
    here: Here, server: OwnServer, tmp_path: Path
) -> None:
    with started(tmp_path / "broker", *SAFE) as broker:
        here.env(GRAPHSTALK_BROKER_URL=broker.url())
        assert "BROKER_UNAVAILABLE" not in here.ask(server.url())
        with broker.client() as client:
            client.replicaof(HOST, 1)
        found = here.ask(server.url())["BROKER_UNAVAILABLE"]
        assert found.level is Level.FAIL
        assert "accepts no messages: READONLY" in found.what
    assert "refused" in here.ask(server.url())["BROKER_UNAVAILABLE"].what


def test_a_broker_that_repeats_messages_of_slow_nodes(here: Here, server: OwnServer) -> None:
    assert "VISIBILITY_TIMEOUT" not in here.ask(server.url())
    here.env(GRAPHSTALK_BROKER_URL="sqs://key:secret@")
    found = here.ask(server.url())["VISIBILITY_TIMEOUT"]
    assert found.level is Level.WARN
    assert "slow.wait (46800 s)" in found.what
    assert "VISIBILITY_TIMEOUT" not in here.ask(server.url(), {"census": GRAPHS["census"]})


# ---- this machine -------------------------------------------------------------------------------


def test_graphs_that_cannot_be_imported_or_are_not_there(
    here: Here, server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = here.ask(server.url(), {"census": GRAPHS["census"], "lost": "no_such_module:graph"})
    assert "lost" in found["GRAPH_BROKEN"].what
    assert found["GRAPHS"].what == "graphs: census"
    monkeypatch.chdir(here.folder)
    assert here.ask(server.url(), {})["NO_GRAPHS"].level is Level.WARN


def test_names_that_lead_elsewhere(
    here: Here, server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here.folder / "workers").mkdir()
    (here.folder / "workers" / "__init__.py").touch()
    rival = here.folder / "rival-1.0.dist-info"
    rival.mkdir()
    (rival / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n", "utf-8")
    (rival / "top_level.txt").write_text("orchestrator\n", "utf-8")
    monkeypatch.chdir(here.folder)
    monkeypatch.syspath_prepend(str(here.folder))
    found = here.ask(server.url(), {"census": GRAPHS["census"]})
    assert str(here.folder) in found["IMPORT_SHADOWED"].what
    assert "rival" in found["IMPORT_CONTESTED"].what


def test_python_without_assertions(here: Here, server: OwnServer) -> None:
    del here
    argv = [sys.executable, "-O", "-m", "orchestrator.cli", "doctor", "--json"]
    done = subprocess.run(
        [*argv, "--url", server.url()], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    told = json.loads(done.stdout)
    [found] = [each for each in told["findings"] if each["code"] == "ASSERTIONS_OFF"]
    assert (done.returncode, found["level"]) == (1, "fail")
    PROVOKED.add("ASSERTIONS_OFF")


# ---- all of them --------------------------------------------------------------------------------


def codes() -> set[str]:
    """Return every code that the doctor's source has."""
    tree = ast.parse(Path(findings.__file__).read_text(encoding="utf-8"))
    made: Callable[[ast.AST], bool] = lambda node: (  # noqa: E731
        isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
    )
    found = set()
    for call in filter(made, ast.walk(tree)):
        for each in ast.walk(call):
            text = each.value if isinstance(each, ast.Constant) else None
            if isinstance(text, str) and re.fullmatch(r"[A-Z_]+", text):
                found.add(text)
    return found


def test_every_finding_is_provoked_by_a_test_here() -> None:
    """Runs last: a new finding needs a test that provokes it."""
    assert len(codes()) > 20
    if len(PROVOKED) > 15:  # Else only some of the tests were asked for.
        assert codes() == PROVOKED
