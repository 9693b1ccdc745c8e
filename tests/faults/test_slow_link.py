"""A large value on a slow link: it has the time that it needs, or its step fails and says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StepFailedError
from tests.faults.points import behind
from tests.faults.proxy import Proxy
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

WIDTH = 4_000_000
BEATS = {"GRAPHSTALK_LEASE_TTL_S": "5"}


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[tuple[Fleet, Proxy]]:
    with Fleet(tmp_path, BEATS, names=("bulky", "row")) as fleet, Proxy(fleet.server.url) as proxy:
        behind(fleet, proxy)
        yield fleet, proxy


def test_a_large_value_has_the_time_that_it_needs(linked: tuple[Fleet, Proxy]) -> None:
    fleet, proxy = linked
    worker = fleet.start()
    with proxy.throttled(1_000_000):  # Longer than any answer is waited for.
        before = proxy.sent_bytes
        fleet.submit("bulky", width=WIDTH)
        assert fleet.result()["answer"] == WIDTH
        assert proxy.sent_bytes - before < 1.5 * WIDTH  # It was sent once.
    assert b"was not answered" not in worker.log.read_bytes()
    assert_settled(fleet)


def test_a_value_that_does_not_get_there_fails_its_step(linked: tuple[Fleet, Proxy]) -> None:
    fleet, proxy = linked
    worker = fleet.start()
    with proxy.throttled(150_000):
        fleet.submit("bulky", width=WIDTH)
        with pytest.raises(StepFailedError, match=r"4\.0 MB .* 3 times in a row.* object store"):
            fleet.result(timeout_s=90)
    record = fleet.client.get_state("t").tasks[0].error
    assert record.type == "ValueTooLargeError"
    said = worker.log.read_text("utf-8")
    assert said.count("a command of 4.0 MB was not answered within") >= 3
    assert "(attempt 1 of 3)" in said
    fleet.submit("row", "later")
    assert fleet.result("later")["total"] == 3  # The process serves others.
    fleet.client.carry_on("t")
    assert fleet.result()["answer"] == WIDTH
