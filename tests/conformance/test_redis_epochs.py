"""What sweepers on a real server find out about its past."""

from dataclasses import replace
from time import sleep

import pytest

from orchestrator import limits
from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.checkpointer.redis.rollback_guard import (
    EpochFile,
    Epochs,
    ServerWentBackError,
    accept,
    halted_at,
    halts,
)
from orchestrator.model.commit import Refusal, Take
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.driver import Driver, guard

PART = 0


@pytest.fixture
def settings(settings):
    return replace(settings, partitions=1, lease_ttl_s=2.0)


@pytest.fixture
def prefix(settings):
    return f"{settings.namespace}:{{{PART}}}:"


@pytest.fixture
def another(settings):
    """Make stores of other processes."""
    made = []

    def make(epochs=None):
        store = RedisCheckpointer(settings=settings)
        store.epochs = epochs or Epochs()
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(another):
    return another()


@pytest.fixture
def driver(store, settings):
    return Driver(store, sleep, settings)


class Copy:
    """A copy of all that a namespace has."""

    def __init__(self, client, namespace):
        self.client, self.namespace = client, namespace
        self.kept = {key: client.dump(key) for key in client.scan_iter(f"{namespace}*")}

    def put_back(self):
        self.client.delete(*self.client.scan_iter(f"{self.namespace}*"))
        for key, value in self.kept.items():
            self.client.restore(key, 0, value)


@pytest.fixture
def copied(redis_client, namespace):
    return lambda: Copy(redis_client, namespace)


def aged(redis_client, prefix, ms):
    """Let a copy be older than it is."""
    mark, shuts = (int(v) for v in redis_client.hmget(prefix + "sweep", ["mark", "shuts"]))
    redis_client.hset(prefix + "sweep", mapping={"mark": mark - ms, "shuts": shuts - ms})


def test_nothing_is_halted_while_everything_goes_its_way(store, another):
    other = another()
    for _ in range(10):
        store.sweep(PART, leader="one")
        other.sweep(PART, leader="two")
        sleep(0.05)
    assert halts(store) == {}
    assert store.client.hget(store.keys.partition(PART) + "stats", "went_back") is None


def test_a_pause_of_all_sweepers_is_no_loss(store, redis_client, prefix):
    store.sweep(PART, leader="one")
    sleep(2.7)
    for _ in range(3):
        store.sweep(PART, leader="one")
        sleep(0.12)
    assert redis_client.zcard(prefix + "gaps") == 1
    assert halts(store) == {}
    assert redis_client.hget(prefix + "stats", "went_back") is None


def test_a_claim_needs_a_look_that_is_not_old(driver, store, redis_client, prefix):
    driver.start("a")
    store.sweep(PART, leader="one")
    aged(redis_client, prefix, 60_000)
    with pytest.raises(ServerWentBackError, match="has not been swept"):
        driver.claim("a")
    aged(redis_client, prefix, -60_000)
    assert driver.claim("a").refused is None


def test_a_commit_takes_no_step_that_could_not_be_claimed(driver, store, redis_client, prefix):
    driver.start("a")
    store.sweep(PART, leader="one")
    claim = driver.claimed("a")
    aged(redis_client, prefix, 60_000)
    second = drafts.FIRST + 1
    [step] = drafts.plan(driver.thread_id, second, "b")
    result = driver.complete(
        claim, checkpoint=drafts.checkpoint(second), ready=(step,), take=Take("taker", "token")
    )
    assert (result.refused, result.claim) == (None, None)
    aged(redis_client, prefix, -60_000)
    assert driver.claim(step).refused is None


def test_who_has_seen_more_halts_the_partition_also_after_others_have_looked(
    driver, store, another, redis_client, prefix, copied
):
    driver.start("a", "b")
    store.sweep(PART, leader="one")
    copy = copied()
    sleep(0.2)
    store.sweep(PART, leader="one")
    copy.put_back()
    aged(redis_client, prefix, limits.LOSS_MS_MAX)
    fresh = another()
    assert not fresh.sweep(PART, leader="two").leading
    with pytest.raises(ServerWentBackError, match="has not been swept"):
        driver.claim("a")
    store.sweep(PART, leader="one")
    [halt] = halts(store).values()
    assert (halt.kind, halt.lost_ms // 100) == ("back", 32)
    assert "went back in time by 3 s" in str(halt)
    assert halted_at(store, driver.thread_id) == halt
    with pytest.raises(ServerWentBackError, match="accept-loss"):
        driver.claim("a")
    assert redis_client.hget(prefix + "stats", "went_back") == b"1"

    assert accept(store) == {PART: halt}
    assert accept(store) == {}
    for each in (store, fresh, another()):
        each.sweep(PART, leader="one")
    assert halts(store) == {}
    assert driver.claim("a").refused is None


def test_who_has_seen_nothing_opens_after_a_lease(driver, another, store, redis_client, prefix):
    driver.start("a")
    store.sweep(PART, leader="one")
    aged(redis_client, prefix, 60_000)
    fresh = another()
    fresh.sweep(PART, leader="two")
    with pytest.raises(ServerWentBackError):
        driver.claim("a")
    for _ in range(11):
        sleep(0.2)
        fresh.sweep(PART, leader="two")
    assert driver.claim("a").refused is None


def test_a_small_loss_takes_all_claims_away_and_goes_on(
    driver, store, redis_client, prefix, copied
):
    driver.start("a", "b")
    store.sweep(PART, leader="one")
    claim = driver.claimed("a", owner="lives")
    copy = copied()
    driver.complete(claim)
    sleep(0.2)
    store.sweep(PART, leader="one")
    copy.put_back()
    store.sweep(PART, leader="one")
    assert redis_client.hget(prefix + "stats", "went_back") == b"1"
    again = driver.claim("a", owner="another")
    assert (again.refused, again.deaths) == (None, 0)


@pytest.mark.parametrize("accepted", [False, True])
def test_a_fence_is_greater_than_any_that_was_lost(
    driver, store, redis_client, prefix, copied, accepted
):
    driver.start("a", "b")
    store.sweep(PART, leader="one")
    copy = copied()
    driver.claimed("a", owner="dies")
    store.release("dies")
    zombie = driver.claimed("a", owner="zombie")
    sleep(0.2)
    store.sweep(PART, leader="one")
    copy.put_back()
    if accepted:
        aged(redis_client, prefix, limits.LOSS_MS_MAX)
    store.sweep(PART, leader="one")
    assert len(accept(store)) == accepted
    store.sweep(PART, leader="one")
    driver.claimed("a", owner="dies")
    store.release("dies")
    again = driver.claimed("a", owner="lives")
    assert again.fence > zombie.fence
    late = driver.commit(guard=guard(zombie), completed=b"late")
    assert late.refused is Refusal.STALE_FENCE
    driver.complete(again)


def test_an_emptied_server_is_told_from_one_that_went_back(store, redis_client, prefix, namespace):
    store.sweep(PART, leader="one")
    redis_client.delete(*redis_client.scan_iter(f"{namespace}*"))
    store.sweep(PART, leader="one")
    [halt] = halts(store).values()
    assert halt.kind == "other"
    assert "nothing of what it had" in str(halt)
    accept(store)
    store.sweep(PART, leader="one")
    assert halts(store) == {}


def test_a_copy_from_before_anybody_looked_is_as_old_as_its_threads(
    driver, store, redis_client, prefix, copied
):
    driver.start("a")
    copy = copied()
    store.sweep(PART, leader="one")
    copy.put_back()
    store.sweep(PART, leader="one")
    [halt] = halts(store).values()
    assert halt.kind == "back"


def test_a_file_tells_later_processes_what_was_seen(
    driver, another, settings, redis_client, prefix, copied, tmp_path
):
    def files():
        return Epochs(EpochFile(tmp_path / "state", settings))

    driver.start("a")
    first = another(files())
    first.sweep(PART, leader="one")
    copy = copied()
    sleep(1.1)
    first.sweep(PART, leader="one")
    assert another(files()).sweep(PART, leader="two") is not None
    assert halts(first) == {}
    copy.put_back()
    aged(redis_client, prefix, limits.LOSS_MS_MAX)
    another(files()).sweep(PART, leader="two")
    [halt] = halts(first).values()
    assert halt.kind == "back"


def test_a_file_alone_does_not_halt_a_new_server_at_an_old_address(
    another, settings, redis_client, namespace, tmp_path, caplog
):
    def files():
        return Epochs(EpochFile(tmp_path / "state", settings))

    another(files()).sweep(PART, leader="one")
    redis_client.delete(*redis_client.scan_iter(f"{namespace}*"))
    later = another(files())
    later.sweep(PART, leader="one")
    assert halts(later) == {}
    assert "another server was at this address" in caplog.text


def test_a_folder_that_cannot_be_made_is_no_reason_to_stop(another, settings, tmp_path, caplog):
    (tmp_path / "state").write_text("a file")
    store = another(Epochs(EpochFile(tmp_path / "state", settings)))
    for _ in range(2):
        assert store.sweep(PART, leader="one").leading
    assert caplog.text.count("GRAPHSTALK_STATE_DIR") == 1


def test_a_damaged_file_is_no_file(another, settings, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    for content in ("{", "[]", '{"marks": 1, "places": {}}', '{"marks": {"a": "b"}, "places": {}}'):
        (folder / "epochs.json").write_text(content)
        file = EpochFile(folder, settings)
        assert file.find("p", "epoch").epoch == ""
        file.saw("p", "epoch", 7)
        assert EpochFile(folder, settings).find("p", "epoch").mark_ms == 7
