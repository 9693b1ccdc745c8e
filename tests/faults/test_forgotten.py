"""A claim on which its process does not work is taken away, and only such a one."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Self

import pytest

from tests.faults.points import bring
from tests.faults.proxy import Proxy
from tests.integration.accounts import assert_settled, assert_whole, of_type
from tests.integration.fleet import Fleet, Worker, stopped

pytestmark = [pytest.mark.server, pytest.mark.slow]

NOTICED_S = 8.0  # Two looks, a second apart, on a machine that is busy.
LOOKS_S = 4.0  # Time for several looks to be wrong in.
KEPT = {"sweep", "gaps", "leases", "stats"}  # A loss this short leaves no trace for sweepers.


@dataclass(frozen=True, slots=True)
class Moment:
    """What a server had of a partition at a moment, without what keepers and sweepers write."""

    fleet: Fleet
    prefix: str
    had: dict[bytes, bytes]

    @classmethod
    def now(cls, fleet: Fleet, thread: str) -> Self:
        """Take note of it."""
        prefix = fleet.store.keys.of_thread(thread)[0]
        return cls(fleet, prefix, {k: fleet.redis.dump(k) for k in cls._keys(fleet, prefix)})

    @staticmethod
    def _keys(fleet: Fleet, prefix: str) -> list[bytes]:
        found = fleet.redis.scan_iter(f"{prefix}*", count=1000)
        return [key for key in found if key.decode().removeprefix(prefix) not in KEPT]

    def return_to(self) -> None:
        """Lose all that came after it, at once."""
        now = self._keys(self.fleet, self.prefix)
        with self.fleet.redis.pipeline(transaction=True) as pipe:
            pipe.delete(*now)
            for key, value in self.had.items():
                pipe.restore(key, 0, value)
            pipe.execute()


def forget(fleet: Fleet, thread: str) -> None:
    """Run a thread to its end, then lose everything since the claim of its second step."""
    fleet.submit("row", thread, script={"two": [f"wait {thread}"]})
    fleet.wait_for("two", thread=thread)
    moment = Moment.now(fleet, thread)
    fleet.open(thread)
    assert fleet.result(thread)["total"] == 3
    moment.return_to()
    assert fleet.steps(thread)["two"].owner


def assert_noticed(fleet: Fleet, thread: str, worker: Worker) -> None:
    """Check that the claim was taken away, said so, and that the run ends as it should."""
    fleet.wait_until(lambda: fleet.stats("forgotten") == 1, "the claim is taken away", NOTICED_S)
    assert fleet.result(thread)["total"] == 3
    assert [ran.attempt for ran in fleet.ran(thread) if ran.name == "two"] == [1, 2]
    assert [ran.attempt for ran in fleet.ran(thread) if ran.name == "one"] == [1]
    assert_whole(fleet, thread)
    log = worker.log.read_text("utf-8")
    assert f"has forgotten its claim of {thread!r}" in log
    assert fleet.stats("forgotten") == 1


def assert_nothing_taken(fleet: Fleet, *threads: str) -> None:
    """Check that each step ran once, and that nobody lost a claim."""
    for thread in threads:
        assert not of_type(fleet.client.events(thread), "step_released")
    assert {ran.attempt for ran in fleet.ran()} == {1}
    assert (fleet.stats("forgotten"), fleet.stats("released")) == (0, 0)
    assert_settled(fleet, *threads)


# ---- forgotten --------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_step_whose_commit_is_lost_without_its_claim_runs_again(fleet: Fleet, pool: str) -> None:
    worker = fleet.start(pool=pool)
    forget(fleet, "t")
    lost_s = time.time()
    assert_noticed(fleet, "t", worker)
    print(f"ran again after {fleet.ran('t')[-2].t - lost_s:.3f} s")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_claim_is_taken_away_also_while_its_process_does_something_else(
    fleet: Fleet, pool: str
) -> None:
    worker = fleet.start(pool=pool)
    forget(fleet, "t")
    fleet.submit("row", "other", script={"two": ["wait other"]})
    fleet.wait_for("two", thread="other")
    fleet.wait_until(lambda: fleet.stats("forgotten") == 1, "the claim is taken away", NOTICED_S)
    assert fleet.steps("other")["two"].owner
    fleet.open("other")
    assert fleet.result("other")["total"] == 3
    assert_noticed(fleet, "t", worker)
    assert {ran.attempt for ran in fleet.ran("other")} == {1}


# ---- in ordinary life -------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_long_node_keeps_its_claim(fleet: Fleet, pool: str) -> None:
    fleet.start(pool=pool)
    fleet.submit("row", script={"two": [f"sleep {LOOKS_S}"]})
    assert fleet.result()["total"] == 3
    assert_nothing_taken(fleet, "t")


def test_a_new_keeper_takes_nothing_away(fleet: Fleet) -> None:
    worker = fleet.start(concurrency=2)
    fleet.submit("fan", width=2, script={f"piece:{n}": ["wait go"] for n in range(2)})
    fleet.wait_for("piece:1")
    fleet.wait_kept(worker)
    os.kill(worker.keeper, signal.SIGKILL)
    time.sleep(LOOKS_S)
    fleet.open("go")
    assert fleet.result()["total"] == 22
    assert_nothing_taken(fleet, "t")


def test_a_slow_network_takes_nothing_away(proxied: tuple[Fleet, Proxy]) -> None:
    fleet, proxy = proxied
    fleet.variables["GRAPHSTALK_LEASE_TTL_S"] = str(LOOKS_S)  # To renew it takes three answers.
    fleet.start(concurrency=2)
    with proxy.slow(0.2):
        for thread in ("a", "b"):
            fleet.submit("row", thread, script={"two": [f"sleep {LOOKS_S}"]})
        for thread in ("a", "b"):
            assert fleet.result(thread)["total"] == 3
    assert_nothing_taken(fleet, "a", "b")


@pytest.mark.parametrize("point", ["after its claim", "before its commit"])
def test_an_answer_that_is_long_in_coming_takes_nothing_away(
    proxied: tuple[Fleet, Proxy], point: str
) -> None:
    fleet, proxy = proxied
    fleet.start()
    hit = bring(fleet, proxy, "t", point)
    second = proxy.trap(fleet.store.script_hashes()["commit"], "call", ":t:t:")
    time.sleep(LOOKS_S)  # It asks again after 2.5 s, and is held again.
    hit.go_on(lost=True)
    second.lose()
    fleet.open("t.two")
    assert fleet.result()["total"] == 3
    assert_nothing_taken(fleet, "t")


def test_a_frozen_process_keeps_its_claim_for_its_lease(fleet: Fleet) -> None:
    fleet.variables["GRAPHSTALK_LEASE_TTL_S"] = str(3 * LOOKS_S)
    worker = fleet.start()
    fleet.wait_kept(worker)
    fleet.submit("row", script={"two": ["wait"]})
    running = fleet.wait_for("two")
    with stopped(running.pid):
        time.sleep(LOOKS_S)  # How long it stands still is what is tested.
        assert fleet.steps()["two"].owner == running.worker
    fleet.open("two")
    assert fleet.result()["total"] == 3
    assert_nothing_taken(fleet, "t")
