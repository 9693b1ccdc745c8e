"""Whatever the network does between workers and their server, every run goes on when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path

import pytest

from tests.faults.nightly import chosen
from tests.faults.proxy import Proxy
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

LASTS_S = 1.0  # How long the network is as it is; shorter than a lease.
RECOVERY_S = 10.0  # How long workers may take to notice that it is over.

FAULTS: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {
    "cut": lambda proxy: nullcontext(proxy.cut()),
    "refused": Proxy.refusing,
    "half open": Proxy.swallowing,
    "slow": lambda proxy: proxy.slow(0.1),
}


EVERY = list(product(FAULTS, ["prefork", "threads"]))
UNDER_LOAD = [*product(FAULTS, ["prefork"]), ("half open", "threads")]


@pytest.mark.parametrize(("fault", "pool"), chosen(EVERY, UNDER_LOAD))
def test_a_network_that_fails_under_load_loses_and_doubles_nothing(
    proxied: tuple[Fleet, Proxy], fault: str, pool: str
) -> None:
    fleet, proxy = proxied
    fleet.start(pool=pool, concurrency=2)
    slow = {f"piece:{index}": ["sleep 0.1"] for index in range(3)}
    threads = [f"t{number}" for number in range(8)]
    for thread in threads:
        fleet.submit("fan", thread, width=3, script=slow)
    fleet.wait_until(lambda: len(fleet.ran()) > 4, "they are at work")
    with FAULTS[fault](proxy):
        time.sleep(LASTS_S)
    over_s = time.time()
    fleet.wait_until(lambda: fleet.ran()[-1].t > over_s, "they go on", RECOVERY_S)
    print(f"went on {next(ran.t for ran in fleet.ran() if ran.t > over_s) - over_s:.3f} s after")
    for thread in threads:
        assert fleet.result(thread)["total"] == 32
    assert_settled(fleet, *threads)


EVERY = list(product(FAULTS, ["prefork", "threads"]))
UNDER_LOAD = [*product(FAULTS, ["prefork"]), ("refused", "threads"), ("half open", "threads")]


def test_a_lost_connection_leaves_no_dump_of_messages(
    proxied: tuple[Fleet, Proxy], tmp_path: Path
) -> None:
    fleet, proxy = proxied
    folder = tmp_path / "tmp"
    folder.mkdir()
    fleet.variables["TMPDIR"] = str(folder)
    worker = fleet.start()
    before = {path for path in folder.iterdir() if path.is_file()}
    fleet.submit("row", script={"two": ["wait"]})
    fleet.wait_for("two")
    with proxy.refusing():
        lost = b"Connection to broker lost"
        fleet.wait_until(lambda: lost in worker.log.read_bytes(), "the worker notices")
        time.sleep(LASTS_S)
    fleet.open("two")
    assert fleet.result()["total"] == 3
    assert {path for path in folder.iterdir() if path.is_file()} == before
    said = worker.log.read_text("utf-8").lower()
    assert "emergency" not in said
    assert "unable to restore" not in said


@pytest.mark.parametrize(("fault", "pool"), chosen(EVERY, [("half open", "prefork")]))
def test_an_idle_worker_takes_steps_after_the_network_has_failed(
    proxied: tuple[Fleet, Proxy], fault: str, pool: str
) -> None:
    fleet, proxy = proxied
    fleet.start(pool=pool)
    fleet.submit("row", "before")
    fleet.result("before")
    with FAULTS[fault](proxy):
        time.sleep(LASTS_S)
    over_s = time.time()
    fleet.submit("row")
    fleet.wait_until(lambda: fleet.ran("t"), "it goes on", RECOVERY_S)
    print(f"went on {fleet.ran('t')[0].t - over_s:.3f} s after")
    assert fleet.result()["total"] == 3
    assert_settled(fleet, "before", "t")
