"""Revoking the task of a step, from Celery or Flower, strands no step and loses none."""

from __future__ import annotations

import pytest
from celery import Celery

from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_step_is_run_although_its_task_was_revoked(fleet: Fleet, pool: str) -> None:
    worker = fleet.start(pool=pool)
    fleet.submit("row", "first", script={"one": ["wait"]})
    fleet.wait_for("one", thread="first")
    fleet.submit("row")
    with Celery(broker=fleet.server.url, set_as_current=False) as app:
        assert app.control.revoke(["t:0:__start__", "t:2:two"], reply=True, timeout=5)
        fleet.open("one")
        assert fleet.result("first")["total"] == 3
        assert fleet.result()["total"] == 3
    assert {ran.attempt for ran in fleet.ran()} == {1}
    said = worker.log.read_text("utf-8")
    assert "the task t:0:__start__ was revoked, and is run all the same" in said
    assert "Discarding" not in said
    assert_settled(fleet, "first", "t")


def test_a_step_whose_process_was_ended_by_a_revoke_is_done_by_another(fleet: Fleet) -> None:
    fleet.start()
    fleet.submit("row", script={"two": ["wait"]})
    fleet.wait_for("two")
    with Celery(broker=fleet.server.url, set_as_current=False) as app:
        app.control.revoke("t:2:two", terminate=True, signal="SIGKILL")
        fleet.wait_for("two", attempt=2)
        fleet.open("two")
        assert fleet.result()["total"] == 3
    assert_settled(fleet)
