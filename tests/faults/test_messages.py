"""Messages are hints: whatever happens to them, every step is committed once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet, stopped

pytestmark = [pytest.mark.server, pytest.mark.slow]


def lose(fleet: Fleet, thread: str) -> None:
    """Take the message of a thread off the queue."""
    for message in fleet.queues.lrange(fleet.queue, 0, -1):
        if json.loads(message)["headers"]["id"].startswith(f"{thread}:"):
            assert fleet.queues.lrem(fleet.queue, 1, message) == 1
            return
    pytest.fail(f"there is no message of {thread}")


def test_a_message_that_died_with_its_receiver_is_sent_again(fleet: Fleet) -> None:
    first = fleet.start()
    with stopped(first.pid):  # What it receives now it will never claim.
        fleet.submit("row")
        if fleet.queues.llen(fleet.queue):
            lose(fleet, "t")  # It was not waiting at that very moment.
        lost_s = time.time()
        first.kill_all()
    fleet.start()
    assert fleet.result()["total"] == 3
    print(f"found after {fleet.ran()[0].t - lost_s:.3f} s, a worker's start included")
    assert_settled(fleet)


def test_a_lost_message_is_sent_again_when_its_queue_is_empty(fleet: Fleet) -> None:
    fleet.wait_kept(fleet.start(queues="other"))  # Its keeper sweeps for all queues.
    fleet.submit("row")
    lose(fleet, "t")
    lost_s = time.time()
    fleet.wait_until(lambda: fleet.queues.llen(fleet.queue), "there is another message")
    assert fleet.settings.hint_grace_s < time.time() - lost_s
    print(f"sent again after {time.time() - lost_s:.3f} s")
    fleet.start()
    assert fleet.result()["total"] == 3
    assert_settled(fleet)


def test_a_lost_message_is_sent_again_when_later_ones_were_received(fleet: Fleet) -> None:
    fleet.submit("row", "lost")
    lose(fleet, "lost")
    lost_s = time.time()
    time.sleep(fleet.settings.hint_grace_s)  # What is sent from now on is later by the grace.
    others = [f"t{number}" for number in range(6)]
    for thread in others:
        slow = {name: ["sleep 0.3"] for name in ("one", "two", "three")}
        fleet.submit("row", thread, script=slow)
    fleet.start()

    def found() -> bool:
        assert fleet.queues.llen(fleet.queue)  # Never empty, so that tells nothing.
        return bool(fleet.ran("lost"))

    fleet.wait_until(found, "the lost message is found")
    print(f"found after {fleet.ran('lost')[0].t - lost_s:.3f} s, behind a queue")
    for thread in ("lost", *others):
        assert fleet.result(thread)["total"] == 3
    assert_settled(fleet, "lost", *others)


def test_messages_that_come_twice_make_nothing_run_twice(fleet: Fleet) -> None:
    fleet.submit("fan", width=2, script={"split": ["wait"], "piece:1": ["wait"]})
    (start,) = fleet.queues.lrange(fleet.queue, 0, -1)
    again(fleet, start, fleet.steps()["__start__"].step.step_id)  # It is ready.
    fleet.start(concurrency=2)
    again(fleet, start, fleet.wait_for("split").step)  # It is claimed.
    fleet.open("split")
    again(fleet, start, fleet.wait_for("piece:0").step)
    fleet.wait_for("piece:1")
    fleet.wait_until(lambda: fleet.steps()["piece:0"].completed, "one of two is completed")
    again(fleet, start, fleet.ran()[0].step)  # It is done, and its superstep is over.
    again(fleet, start, fleet.wait_for("piece:0").step)  # It is done, and its superstep is not.
    fleet.wait_until(lambda: not fleet.queues.llen(fleet.queue), "all are received")
    fleet.open("piece:1")
    assert fleet.result()["total"] == 22
    assert set(Counter(ran.name for ran in fleet.ran()).values()) == {1}
    assert fleet.stats("stale_refused") == 0
    assert_settled(fleet)


def test_messages_that_come_an_hour_late_and_in_another_order_change_nothing(fleet: Fleet) -> None:
    threads = [f"t{number}" for number in range(6)]
    for thread in threads:
        fleet.submit("row", thread)
    late = fleet.queues.lrange(fleet.queue, 0, -1)
    fleet.queues.delete(fleet.queue)
    fleet.start()
    for thread in threads:
        assert fleet.result(thread)["total"] == 3
    fleet.submit("row", "later", script={"two": ["wait"]})
    fleet.wait_for("two", thread="later")
    fleet.queues.lpush(fleet.queue, *[an_hour_older(message) for message in late])
    fleet.open("two")
    assert fleet.result("later")["total"] == 3
    fleet.wait_until(lambda: not fleet.queues.llen(fleet.queue), "all are received")
    fleet.submit("row", "last")
    assert fleet.result("last")["total"] == 3
    assert {ran.attempt for ran in fleet.ran()} == {1}
    assert fleet.stats("stale_refused") == 0
    assert_settled(fleet, *threads, "later", "last")


def an_hour_older(message: bytes) -> bytes:
    """Return a message as if it had been sent an hour before it was."""
    whole = json.loads(message)
    args, named, more = json.loads(whole["body"])
    body = json.dumps([args, {**named, "sent": named["sent"] - 3_600_000}, more])
    return json.dumps({**whole, "body": body}).encode()


def test_messages_in_the_wrong_order_are_all_done(fleet: Fleet) -> None:
    threads = [f"t{number}" for number in range(8)]
    for thread in threads:
        fleet.submit("fan", thread, width=2)
    messages = fleet.queues.lrange(fleet.queue, 0, -1)
    fleet.queues.delete(fleet.queue)
    fleet.queues.rpush(fleet.queue, *reversed(messages))
    fleet.start(concurrency=2)
    for thread in threads:
        assert fleet.result(thread)["total"] == 22
    assert {ran.attempt for ran in fleet.ran()} == {1}
    assert_settled(fleet, *threads)


def again(fleet: Fleet, message: bytes, step: str) -> None:
    """Send three messages for a step, as if it were ready."""
    body = json.dumps([[], {"thread": "t", "step": step, "sent": 0}, {}])
    same = json.dumps({**json.loads(message), "body": body})
    fleet.queues.lpush(fleet.queue, *[same] * 3)


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose messages go through a server of their own."""
    with Fleet(tmp_path, {"GRAPHSTALK_DISPATCH": "queue"}, own_broker=True) as fleet:
        yield fleet


def test_with_a_broker_of_its_own_lost_messages_are_sent_again(apart: Fleet) -> None:
    threads = [f"t{number}" for number in range(4)]
    for thread in threads:
        apart.submit("row", thread)
    assert apart.queues.llen(apart.queue) == len(threads)
    apart.queues.flushall()
    lost_s = time.time()
    apart.start()
    for thread in threads:
        assert apart.result(thread)["total"] == 3
    print(f"found after {apart.ran()[0].t - lost_s:.3f} s, a worker's start included")
    assert_settled(apart, *threads)


def test_a_worker_that_dies_between_commit_and_sending_loses_nothing(apart: Fleet) -> None:
    first = apart.start()
    apart.submit("row", script={"one": ["wait"]})
    apart.wait_for("one")
    assert apart.broker is not None
    assert apart.broker.pid is not None
    with stopped(apart.broker.pid):
        apart.open("one")
        apart.wait_until(lambda: "two" in apart.steps(), "the commit is there")
        first.kill_all()
    apart.queues.flushall()
    killed_s = time.time()
    apart.start()
    assert apart.result()["total"] == 3
    two = next(ran for ran in apart.ran() if ran.name == "two")
    print(f"sent again after {two.t - killed_s:.3f} s, a worker's start included")
    assert {ran.attempt for ran in apart.ran()} == {1}
    assert_settled(apart)


def test_a_broker_that_is_away_for_a_while_stops_nothing_for_good(apart: Fleet) -> None:
    apart.start()
    apart.submit("row", script={"one": ["wait"]})
    apart.wait_for("one")
    apart.restart_broker(while_down=lambda: apart.open("one"))
    back_s = time.time()
    assert apart.result()["total"] == 3
    print(f"went on {time.time() - back_s:.3f} s after the broker was back")
    assert_settled(apart)
