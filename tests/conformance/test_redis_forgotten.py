"""Claims on a real server whose owners do not work on them."""

from dataclasses import replace
from time import sleep

import pytest

from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.ids import child_thread
from orchestrator.testing.contract.driver import Driver, guard
from workers.lease_check import BusyFile, LeaseCheck, busy_path

PID = 7


@pytest.fixture
def settings(settings):
    return replace(settings, partitions=2)


@pytest.fixture
def store(settings):
    made = RedisCheckpointer(settings=settings)
    yield made
    made.close()


@pytest.fixture
def driver(store, settings):
    return Driver(store, sleep, settings)


@pytest.fixture
def sent():
    return []


@pytest.fixture
def voucher(store, tmp_path, sent):
    (tmp_path / f"{PID}").write_text("worker", "utf-8")
    return LeaseCheck(tmp_path, store, sent.extend)


@pytest.fixture
def busy(tmp_path):
    return BusyFile(busy_path(tmp_path, PID))


def forgotten(store, driver):
    stats = store.keys.partition(driver.partition) + "stats"
    return int(store.client.hget(stats, "forgotten") or 0)


def test_a_claim_that_its_owner_has_forgotten_is_taken_away_at_the_second_look(
    driver, store, voucher, busy, sent
):
    driver.start("a")
    claim = driver.claimed("a")
    busy.begin("another thread")
    assert voucher.once() == 0
    assert driver.step("a").owner == "worker"
    assert voucher.once() == 1
    step = driver.step("a")
    assert (step.owner, step.deaths, step.reason) == ("", 0, "crash")
    assert sent == [claim.step]
    assert (forgotten(store, driver), voucher.once(), store.fleet.claims_of(["worker"])) == (
        1,
        0,
        [],
    )
    assert driver.commit(guard=guard(claim), completed=b"late").refused == "stale_fence"
    driver.complete(driver.claimed("a"))


def test_a_claim_on_which_its_owner_works_is_kept(driver, voucher, busy):
    place = busy.begin(driver.thread_id)
    driver.start("a", "b")
    driver.claimed("a")
    driver.claimed("b", owner="of another worker")
    assert [voucher.once() for _ in range(3)] == [0, 0, 0]
    assert driver.step("a").owner == "worker"
    busy.end(place)
    assert [voucher.once(), voucher.once()] == [0, 1]
    assert driver.step("b").owner == "of another worker"


def test_the_steps_of_a_subgraph_are_those_of_the_thread_around_it(driver, voucher, busy):
    child = driver.on(child_thread(driver.thread_id, "inner"))
    child.start("a")
    child.claimed("a")
    place = busy.begin(driver.thread_id)
    assert [voucher.once(), voucher.once()] == [0, 0]
    busy.end(place)
    assert [voucher.once(), voucher.once()] == [0, 1]


def test_another_claim_of_the_same_step_is_another_doubt(driver, store, voucher, busy):
    driver.start("a")
    driver.claimed("a")
    assert voucher.once() == 0
    store.release("worker")
    driver.claimed("a")
    assert voucher.once() == 0
    assert voucher.once() == 1


def test_a_claim_that_changed_since_it_was_seen_is_kept(driver, store):
    driver.start("a")
    driver.claimed("a")
    (seen,) = store.fleet.fenced(store.fleet.claims_of(["worker", "nobody"]))
    store.release("worker")
    driver.claimed("a")
    assert store.release_forgotten(seen) == (0, [])
    assert driver.step("a").owner == "worker"
    assert [claim.step_id for claim in store.fleet.claims_of(["worker"])] == [seen.step_id]


def test_only_the_claim_that_is_meant_is_taken_away(driver, store):
    driver.start("a", "b")
    kept = driver.claimed("a")
    driver.claimed("b")
    claims = {
        claim.step_id: claim for claim in store.fleet.fenced(store.fleet.claims_of(["worker"]))
    }
    count, steps = store.release_forgotten(claims[driver.step("b").step.step_id])
    assert (count, [step.node for step in steps]) == (1, ["b"])
    assert driver.step("a").owner == "worker"
    assert store.client.zscore(store.keys.partition(driver.partition) + "leases", "worker")
    driver.complete(kept)


def test_nobody_is_doubted_who_says_nothing(driver, voucher):
    driver.start("a")
    driver.claimed("a")
    assert [voucher.once() for _ in range(3)] == [0, 0, 0]


def test_what_is_damaged_does_not_keep_others_waiting(driver, store, voucher, busy):
    other = driver.on("other")
    for one in (driver, other):
        one.start("a")
        one.claimed("a")
    record = f"{store.keys.of_thread('thread')[1]}s:{driver.step('a').step.step_id}"
    store.client.delete(record)
    store.client.set(record, "no hash")
    index = store.keys.partition(other.partition) + "claims:worker"
    store.client.sadd(index, b"\xff" * 40, "short")
    assert [voucher.once(), voucher.once()] == [0, 1]
    assert other.step("a").owner == ""
    store.client.delete(index)
    store.client.set(index, "no set")
    assert voucher.once() == 0
