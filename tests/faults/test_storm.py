"""A fleet under load whose processes are killed again and again loses and doubles nothing."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.integration.accounts import alive, assert_settled, of_type
from tests.integration.fleet import Fleet, pid_of

pytestmark = [pytest.mark.server, pytest.mark.slow]

SEED = 20261122
KILLS = "process", "process", "machine", "process", "process", "machine", "process"


def test_kills_under_load_lose_nothing_and_double_nothing(fleet: Fleet) -> None:
    chance = random.Random(SEED)
    fleet.start_many(2, concurrency=2)
    slow = {f"piece:{index}": ["sleep 0.2"] for index in range(4)}
    threads = [f"t{number}" for number in range(16)]
    for thread in threads:
        fleet.submit("fan", thread, width=4, script=slow)
    for what in KILLS:
        victim = fleet.wait_until(lambda: busy(fleet, threads, chance), "somebody is busy")
        if what == "machine":
            fleet.worker_of(victim).kill_all()
            fleet.start(concurrency=2, wait=False)
        else:
            os.kill(victim, signal.SIGKILL)
        time.sleep(chance.uniform(0.1, 0.5))
    for thread in threads:
        assert fleet.result(thread)["total"] == 42
    events = [event for thread in threads for event in fleet.client.events(thread)]
    released = len(of_type(events, "step_released"))
    assert released  # Not every kill hits: a step may just have ended.
    assert len(fleet.ran()) <= len(threads) * 6 + released  # What ran again had lost its process.
    assert_settled(fleet, *threads)


def busy(fleet: Fleet, threads: list[str], chance: random.Random) -> int:
    """Return a process that runs a step which no kill has hit before, 0 if there is none."""
    steps = [step for thread in threads for step in fleet.steps(thread).values()]
    owners = {step.owner for step in steps if step.owner and not step.deaths}
    pids = sorted(pid_of(owner) for owner in owners if alive(owner))
    return chance.choice(pids) if pids else 0
