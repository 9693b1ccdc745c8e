"""Of a wide fan-out so many steps are sent at a time, so that others have their turn."""

from __future__ import annotations

import pytest

from orchestrator import limits
from orchestrator.dispatch.broker import open_store
from orchestrator.engine.settle import defer
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

WINDOW = limits.FAN_OUT_WINDOW
WIDTH = 2 * WINDOW + 90


def later(fleet: Fleet, thread: str = "t") -> int:
    return fleet.redis.zcard(fleet.store.keys.of_thread(thread)[1] + "later")


def split(fleet: Fleet, width: int = WIDTH) -> None:
    """Begin a wide run, and stop once its pieces are planned."""
    worker = fleet.start()
    script = {f"piece:{number}": ["wait gate"] for number in range(9)}
    fleet.submit("fan", width=width, script=script)
    fleet.wait_until(lambda: later(fleet), "the pieces are planned")
    worker.kill_all()


def test_a_wide_fan_out_sends_a_window_of_steps_and_ends_as_ever(fleet: Fleet) -> None:
    split(fleet)
    assert fleet.queues.llen(fleet.queue) <= WINDOW
    assert later(fleet) == WIDTH - WINDOW
    fleet.open("gate")
    fleet.start_many(2)
    longest = 0
    while not fleet.client.status("t").final:
        longest = max(longest, fleet.queues.llen(fleet.queue))
    assert longest <= WINDOW
    assert fleet.result()["seen"] == ["split", *(f"piece:{n}" for n in range(WIDTH)), "gather"]
    assert_settled(fleet)


def test_others_have_their_turn_while_a_wide_fan_out_runs(fleet: Fleet) -> None:
    split(fleet, 6 * WINDOW)
    fleet.open("gate")
    fleet.submit("row", "other")
    fleet.start()
    assert fleet.result("other")["total"] == 3
    assert later(fleet) > 0
    fleet.result()
    assert sorted(ran.attempt for ran in fleet.ran("t")) == [1] * (6 * WINDOW + 2)


def test_a_machine_that_dies_in_a_wide_fan_out_loses_and_doubles_nothing(fleet: Fleet) -> None:
    split(fleet)
    one, _ = fleet.start_many(2)
    fleet.wait_until(lambda: fleet.ran("t")[1:], "pieces run")
    fleet.open("gate")
    fleet.wait_until(lambda: later(fleet) < WIDTH - WINDOW, "more were sent")
    one.kill_all()
    assert fleet.result()["total"] == 10 * WIDTH + 2
    assert_settled(fleet)


def test_each_step_that_waits_for_a_time_lets_another_be_sent(fleet: Fleet) -> None:
    split(fleet)
    store, before = open_store(fleet.settings), later(fleet)
    steps = [step.step for step in fleet.steps().values() if not step.owner][:20]
    for number, step in enumerate(steps, 1):
        claim = store.claim("t", step.step_id, owner="w", token=step.step_id)
        result = store.commit(defer(step, claim.fence, "not here", 60_000))
        assert (result.refused, len(result.due)) == (None, 1)
        assert later(fleet) == before - number
    store.close()


def test_what_would_never_be_sent_is_found_and_sent(fleet: Fleet) -> None:
    split(fleet)
    _, own = fleet.store.keys.of_thread("t")
    prefix, _ = fleet.store.keys.of_thread("t")
    everything = {id_: n for n, id_ in enumerate(fleet.store.load("t", values=False).steps)}
    fleet.redis.zadd(own + "later", everything)
    fleet.redis.delete(fleet.queue, prefix + "unsent", prefix + "ready:graphstalk")
    fleet.open("gate")
    fleet.start_many(1)
    assert fleet.result()["total"] == 10 * WIDTH + 2
