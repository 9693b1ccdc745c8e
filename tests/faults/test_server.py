"""While the server is away everything waits; when it is back, everything goes on."""

from __future__ import annotations

import resource
import time

import pytest
import redis

from orchestrator.errors import CheckpointerUnavailableError
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_run_that_the_server_could_not_accept_is_not_half_there(fleet: Fleet) -> None:
    def refuse() -> None:
        with pytest.raises(CheckpointerUnavailableError):
            fleet.submit("row")

    fleet.restart_server(while_down=refuse)
    assert fleet.redis.keys("*t:t:*") == []
    fleet.start()
    fleet.submit("row")
    assert fleet.result()["total"] == 3
    assert_settled(fleet)


def test_idle_workers_find_a_server_that_was_killed_and_came_back(fleet: Fleet) -> None:
    fleet.start()
    fleet.submit("row", "before")
    fleet.result("before")
    fleet.restart_server()
    back_s = time.time()
    fleet.submit("row")
    assert fleet.result()["total"] == 3
    print(f"went on {fleet.ran('t')[0].t - back_s:.3f} s after the server was back")
    assert_settled(fleet, "before", "t")


@pytest.mark.parametrize(
    ("pool", "ends"),
    [("prefork", "while"), ("prefork", "after"), ("threads", "while"), ("solo", "while")],
)
def test_a_node_that_ran_while_the_server_was_killed_commits(
    fleet: Fleet, pool: str, ends: str
) -> None:
    fleet.start(pool=pool)
    fleet.submit("row", script={"two": ["wait"]})
    fleet.wait_for("two")
    fleet.restart_server(while_down=lambda: ends == "while" and fleet.open("two"))
    back_s = time.time()
    fleet.open("two")
    assert fleet.result()["total"] == 3
    print(f"went on {fleet.ran()[-1].t - back_s:.3f} s after the server was back")
    assert [ran.attempt for ran in fleet.ran()] == [1, 1, 1]
    fleet.submit("row", "later")
    assert fleet.result("later")["total"] == 3
    assert_settled(fleet, "t", "later")


@pytest.mark.parametrize("why", ["out of memory", "read only"])
def test_a_server_that_refuses_writes_is_waited_for(fleet: Fleet, why: str) -> None:
    fleet.start()
    fleet.submit("row", script={"two": ["wait"]})
    fleet.wait_for("two")
    refuse, accept = {
        "out of memory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        "read only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    }[why]
    fleet.redis.execute_command(*refuse)
    with pytest.raises(CheckpointerUnavailableError, match="refuses commands for now"):
        fleet.submit("row", "refused")
    fleet.open("two")
    time.sleep(1)  # Time in which the commit is refused.
    fleet.redis.execute_command(*accept)
    assert fleet.result()["total"] == 3
    assert fleet.store.load("refused") is None
    assert [ran.attempt for ran in fleet.ran()] == [1, 1, 1]
    assert_settled(fleet)


def test_a_server_whose_disk_is_full_is_waited_for(fleet: Fleet) -> None:
    fleet.start()
    fleet.submit("row", script={"two": ["wait"]})
    fleet.wait_for("two")
    assert fleet.server.pid is not None
    limits = resource.prlimit(fleet.server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(fleet.server.pid, resource.RLIMIT_FSIZE, (1, limits[1]))  # No file may grow.

    def refused() -> bool:
        try:
            fleet.submit("row", f"filling-{time.time_ns()}")
        except CheckpointerUnavailableError as error:
            return "refuses commands for now" in str(error)
        return False

    fleet.wait_until(refused, "the server notices")
    fleet.open("two")
    time.sleep(1)  # Time in which the commit is refused.
    assert not fleet.steps()["two"].completed
    resource.prlimit(fleet.server.pid, resource.RLIMIT_FSIZE, limits)
    assert fleet.result()["total"] == 3
    assert [ran.attempt for ran in fleet.ran("t")] == [1, 1, 1]
    fleet.submit("row", "later")
    assert fleet.result("later")["total"] == 3
    assert_settled(fleet, "t", "later")


def test_connections_that_are_cut_again_and_again_lose_nothing(fleet: Fleet) -> None:
    fleet.start(concurrency=2)
    threads = [f"t{number}" for number in range(8)]
    for thread in threads:
        slow = {f"piece:{index}": ["sleep 0.1"] for index in range(3)}
        fleet.submit("fan", thread, width=3, script=slow)
    for _ in range(6):
        with redis.Redis.from_url(fleet.server.url) as admin:
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(0.3)
    for thread in threads:
        assert fleet.result(thread)["total"] == 32
    assert {ran.attempt for ran in fleet.ran()} == {1}
    assert_settled(fleet, *threads)
