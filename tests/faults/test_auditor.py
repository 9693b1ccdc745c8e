"""Real workers find damage by themselves and go on."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.integration.accounts import of_type
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]


def no_claims(fleet: Fleet, prefix: str, _: str, __: str) -> None:
    """Forget who has claimed what, so that nobody would take it away."""
    assert [fleet.redis.delete(key) for key in fleet.redis.scan_iter(f"{prefix}claims:*")]


def another_status(fleet: Fleet, _: str, own: str, __: str) -> None:
    """Let the run have ended that goes on."""
    fleet.redis.hset(f"{own}head", "status", "succeeded")


def no_record(fleet: Fleet, _: str, own: str, step: str) -> None:
    """Delete the record of the step that runs."""
    assert fleet.redis.delete(f"{own}s:{step}")


@pytest.mark.parametrize("damage", [no_claims, another_status, no_record])
def test_workers_repair_a_thread_that_is_damaged_while_a_node_runs(
    fleet: Fleet, damage: Callable[[Fleet, str, str, str], None]
) -> None:
    fleet.wait_kept(fleet.start(concurrency=2))
    fleet.submit("row", script={"two": ["wait"]})
    running = fleet.wait_for("two")
    damage(fleet, *fleet.store.keys.of_thread("t"), running.step)
    damaged_s = time.monotonic()
    fleet.wait_until(lambda: of_type(fleet.client.events("t"), "thread_repaired"), "it is repaired")
    print(f"repaired after {time.monotonic() - damaged_s:.3f} s")
    fleet.open("two")
    assert fleet.result()["total"] == 3
