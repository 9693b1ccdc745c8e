"""deploy/valkey.acl lets graphstalk and Celery work, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from redis.exceptions import NoPermissionError

from orchestrator.client.client import Client
from tests.fixtures.deployment import ROOT
from tests.fixtures.own_server import OwnServer, own_server
from tests.fixtures.processes import exit_code, running

pytestmark = pytest.mark.server

ACL = ROOT / "deploy" / "valkey.acl"
PASSWORD = "a-password-of-the-test"  # For a server that lives as long as the test.
SCRIPT = "redis.call('INCR', KEYS[1]) return redis.call('TIME')"

ALLOWED: dict[str, Callable[[redis.Redis], object]] = {
    "scripts": lambda r: r.evalsha(r.script_load(SCRIPT), 1, "n"),
    "hashes": lambda r: (r.hset("h", "f", "v"), r.hgetall("h"), r.hdel("h", "f")),
    "sorted sets": lambda r: (r.zadd("z", {"m": 1}), r.zrangebyscore("z", 0, 2), r.zrem("z", "m")),
    "streams": lambda r: (r.xadd("x", {"f": "v"}), r.xread({"x": "0"}), r.xtrim("x", maxlen=1)),
    "lists": lambda r: (
        r.lpush("l", "a", "b"),
        r.llen("l"),
        r.rpop("l"),
        r.brpop(["l"], timeout=1),
    ),
    "sets": lambda r: (r.sadd("s", "m"), r.smembers("s"), r.srem("s", "m")),
    "strings": lambda r: (r.set("k", "v", nx=True, px=1000), r.get("k"), r.pexpire("k", 1000)),
    "keys": lambda r: (r.exists("k"), r.delete("k"), r.unlink("k"), list(r.scan_iter("k*"))),
    "publishing": lambda r: (r.publish("c", "m"), r.pubsub().subscribe("c")),
    "transactions": lambda r: r.transaction(lambda pipe: pipe.get("k"), "k"),
    "locks": lambda r: r.lock("lock", timeout=5).acquire(blocking=False),
    "durability": lambda r: (r.wait(0, 1), r.waitaof(0, 0, 1)),
    "time": lambda r: r.time(),
    "info": lambda r: r.info("persistence"),
}

FORBIDDEN = [
    "ACL LIST",
    "ACL SETUSER graphstalk +@all",
    "BGREWRITEAOF",
    "CLIENT KILL TYPE normal",
    "CLIENT LIST",
    "CLIENT PAUSE 1",
    "CONFIG GET *",
    "CONFIG SET maxmemory 1",
    "EVAL return(0) 0",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION FLUSH",
    "KEYS *",
    "MIGRATE h 1 k 0 1",
    "MODULE LIST",
    "MONITOR",
    "REPLICAOF h 1",
    "SAVE",
    "SCRIPT FLUSH",
    "SHUTDOWN NOSAVE",
    "SLOWLOG GET",
    "SWAPDB 0 1",
]


def start(folder: Path, rules: str) -> Iterator[OwnServer]:
    """Run a server whose users are these rules."""
    users = folder / "users.acl"
    users.write_text(rules, encoding="utf-8")
    with own_server(folder, ["--save", "", "--aclfile", str(users)]) as server:
        yield server


@pytest.fixture(scope="module")
def as_shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server with the file as it is."""
    yield from start(tmp_path_factory.mktemp("shipped"), ACL.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server with the file after passwords were added as docs/deployment.md says."""
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    rules = ACL.read_text(encoding="utf-8").replace(" on ", f" on #{digest} ")
    yield from start(tmp_path_factory.mktemp("acl"), rules)


@pytest.fixture
def client(server: OwnServer) -> Iterator[redis.Redis]:
    """A client that may do what the file allows."""
    with server.client(PASSWORD, "graphstalk") as client:
        yield client


@pytest.mark.parametrize("user", ["default", "graphstalk", "operator"])
def test_as_shipped_the_file_lets_nobody_in(as_shipped: OwnServer, user: str) -> None:
    with as_shipped.client("guess", user) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_without_a_password_nothing_works(server: OwnServer) -> None:
    with server.client() as client, pytest.raises(redis.AuthenticationError):
        client.get("k")


@pytest.mark.parametrize("ability", ALLOWED)
def test_what_the_project_needs_is_allowed(client: redis.Redis, ability: str) -> None:
    ALLOWED[ability](client)


@pytest.mark.parametrize("command", FORBIDDEN)
def test_what_it_does_not_need_is_forbidden(client: redis.Redis, command: str) -> None:
    with pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


def test_a_script_cannot_do_what_its_caller_cannot(client: redis.Redis) -> None:
    digest = client.script_load("return redis.call('FLUSHALL')")
    with pytest.raises(redis.ResponseError, match=r"ACL failure|can't run this command"):
        client.evalsha(str(digest), 0)


@pytest.mark.slow
def test_a_fleet_needs_no_more(server: OwnServer, tmp_path: Path) -> None:
    """Worker, client, remote control and doctor ask for nothing that is refused."""
    sources = tmp_path / "sources" / "package"
    sources.mkdir(parents=True)
    (sources / "module.py").write_text("def f():\n    return 1\n", encoding="utf-8")
    url = server.url(PASSWORD, "graphstalk")
    env = {"REDIS_URL": url, "GRAPHSTALK_HEARTBEAT_FILE": str(tmp_path / "heartbeat")}
    argv = ["graphstalk", "worker", "--queues", "graphstalk", "--concurrency", "1"]

    with server.client(PASSWORD, "operator") as operator:
        operator.acl_log_reset()
        with running(argv, env, tmp_path / "log") as worker, Celery(broker=url) as app:
            worker.wait_until(lambda: bool(app.control.ping(timeout=2)))
            with Client(url) as client:
                run = client.submit("census", {"path": str(sources.parent)}, thread_id="acl")
                assert "package" in run.result(timeout=60)["report_markdown"]
            exit_code(["graphstalk", "doctor", "--json"], env)
            app.control.broadcast("enable_events")
            assert worker.terminate() == 0
        assert operator.acl_log() == []


def test_what_is_refused_is_logged(server: OwnServer, client: redis.Redis) -> None:
    """What the test above relies on."""
    with server.client(PASSWORD, "operator") as operator:
        operator.acl_log_reset()
        with pytest.raises(NoPermissionError):
            client.config_get("save")
        assert [entry["object"] for entry in operator.acl_log()] == ["config|get"]


def test_the_operator_may_do_everything(server: OwnServer) -> None:
    with server.client(PASSWORD, "operator") as client:
        assert client.config_get("maxmemory-policy")
        assert client.acl_users() == ["default", "graphstalk", "operator"]
