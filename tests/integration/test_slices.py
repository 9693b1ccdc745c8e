"""For a slice of time a process takes messages of quick steps itself, in the order of the queue."""

from __future__ import annotations

import pytest
from celery import Celery

from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet
from tests.integration.test_inline import messages

pytestmark = [pytest.mark.server, pytest.mark.slow]


def fleet_of(fleet: Fleet, slice_ms: int) -> Fleet:
    fleet.variables |= {"GRAPHSTALK_SLICE_MS": str(slice_ms), "GRAPHSTALK_DISPATCH": "queue"}
    return fleet


def test_many_threads_of_quick_steps_take_few_messages_through_celery(fleet: Fleet) -> None:
    fleet_of(fleet, 1000).start()
    threads = [fleet.submit("row", f"t{number}") for number in range(60)]
    for thread in threads:
        assert fleet.result(thread)["total"] == 3
    assert messages(fleet) < 60 * 4 / 5
    assert_settled(fleet, *threads)


def test_without_a_slice_every_message_comes_through_celery(fleet: Fleet) -> None:
    fleet_of(fleet, 0).start()
    threads = [fleet.submit("hopper", f"t{number}", width=5) for number in range(4)]
    for thread in threads:
        assert fleet.result(thread)["total"] == 5
    assert messages(fleet) == 4 * 6


def test_steps_of_slow_nodes_come_through_celery(fleet: Fleet) -> None:
    worker = fleet_of(fleet, 200).start()
    script = {"two": ["sleep 0.3"]}
    for thread in [fleet.submit("row", f"t{number}", script=script) for number in range(6)]:
        fleet.result(thread)
    log = worker.log.read_text("utf-8")
    for number in range(6):
        assert f"Task row.two[t{number}:2:two] received" in log


def test_a_message_that_is_not_ours_is_left_to_celery(fleet: Fleet) -> None:
    worker = fleet_of(fleet, 2000).start()
    fleet.submit("ticker", "first", width=30)
    Celery(broker=fleet.server.url).send_task("of.another", queue=fleet.queue)
    for thread in [fleet.submit("ticker", f"t{number}", width=30) for number in range(3)]:
        assert fleet.result(thread)["total"] == 30
    assert fleet.result("first")["total"] == 30
    assert "Received unregistered task of type 'of.another'" in worker.log.read_text("utf-8")
