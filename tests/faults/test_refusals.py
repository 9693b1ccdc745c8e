"""A server that refuses commands for a while ends no process, and everything resumes after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
import redis

from orchestrator import RedisCheckpointer
from orchestrator.config import Settings
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.redisconnection import client_for, refuses_for_now
from tests.faults.proxy import Proxy
from tests.fixtures.own_server import own_server
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

REFUSED_S = 3.0  # Longer than a lease of these tests.
SETTINGS = {  # What makes a server refuse, and what ends it.
    "READONLY": (["REPLICAOF 127.0.0.1 1"], ["REPLICAOF NO ONE"]),
    "NOREPLICAS": (
        ["CONFIG SET min-replicas-to-write 1"],
        ["CONFIG SET min-replicas-to-write 0"],
    ),
    "MASTERDOWN": (
        ["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"],
        ["REPLICAOF NO ONE", "CONFIG SET replica-serve-stale-data yes"],
    ),
    "OOM": (["CONFIG SET maxmemory 1"], ["CONFIG SET maxmemory 0"]),
}


@contextmanager
def refusing(url: str, code: str) -> Iterator[None]:
    """Let the server at `url` answer with `code` while the block runs."""
    with redis.Redis.from_url(url) as server:
        if code == "BUSY":
            with busy(url):
                yield
            return
        before, after = SETTINGS[code]
        for command in before:
            server.execute_command(*command.split(" "))
        try:
            yield
        finally:
            for command in after:
                server.execute_command(*command.split(" "))


@contextmanager
def busy(url: str) -> Iterator[None]:
    """Let a script run without end."""
    with redis.Redis.from_url(url) as server, redis.Redis.from_url(url) as other:
        server.config_set("lua-time-limit", 10)

        def spin() -> None:
            with suppress(redis.RedisError):
                server.eval("while true do end", 0)

        thread = threading.Thread(target=spin)
        thread.start()
        with suppress(redis.ResponseError):
            while True:
                other.ping()
        try:
            yield
        finally:
            while thread.is_alive():
                with suppress(redis.RedisError):
                    other.script_kill()
                thread.join(0.1)


@pytest.mark.parametrize("code", [*SETTINGS, "BUSY"])
@pytest.mark.parametrize("separate", [False, True], ids=["one server", "another broker"])
def test_no_process_ends_and_the_run_resumes(tmp_path, code: str, separate: bool) -> None:
    with Fleet(tmp_path, own_broker=separate) as fleet:
        worker = fleet.start()
        fleet.submit("row", script={"two": ["wait"]})
        fleet.wait_for("two")
        fleet.wait_kept(worker)
        before = set(worker.pids())
        with refusing(fleet.server.url, code):
            with pytest.raises(CheckpointerUnavailableError, match=r"refuses|does not answer"):
                fleet.submit("row", "refused")
            fleet.open("two")
            time.sleep(REFUSED_S)
        if separate:
            with refusing(fleet.settings.broker_url, code):
                with pytest.raises(CheckpointerUnavailableError, match="are stored and will be"):
                    fleet.submit("row", "accepted")
                time.sleep(REFUSED_S)
            assert fleet.result("accepted")["total"] == 3
        assert fleet.result()["total"] == 3
        assert set(worker.pids()) == before
        fleet.submit("row", "later")
        assert fleet.result("later")["total"] == 3
        assert_settled(fleet, "t", "later")


@pytest.mark.parametrize("code", [*SETTINGS, "BUSY"])
def test_a_refusal_is_a_connection_error_and_drops_the_connection(fleet: Fleet, code: str) -> None:
    with client_for(fleet.server.url) as client:
        client.set("k", "v")
        connection = client.connection_pool.get_connection()
        client.connection_pool.release(connection)
        with refusing(fleet.server.url, code):
            with pytest.raises(redis.exceptions.ConnectionError, match=code) as caught:
                client.get("k") if code == "MASTERDOWN" else client.set("k", "w")
            assert refuses_for_now(caught.value)
            assert not connection.is_connected
        assert client.set("k", "w")


def test_scripts_are_loaded_where_they_are_called_while_one_server_replaces_another(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        own_server(tmp_path_factory.mktemp("first"), []) as first,
        own_server(tmp_path_factory.mktemp("second"), []) as second,
        Proxy(first.url()) as proxy,
        closing(RedisCheckpointer(settings=Settings.from_env({"REDIS_URL": proxy.url}))) as store,
        first.client() as admin,
    ):
        assert store.load("t") is None
        assert store.client.ping()  # By a connection of its own, which stays.
        proxy.lead_to(second.url())
        (calls,) = [each for each in admin.client_list() if each["cmd"] == "evalsha"]
        admin.client_kill_filter(_id=calls["id"])
        with suppress(CheckpointerUnavailableError):  # The connection is found closed.
            store.load("t")
        assert store.load("t") is None
