"""The Redis checkpointer keeps the contract on a real server."""

import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import takewhile
from multiprocessing import get_context
from time import sleep

import pytest
import redis

from orchestrator.checkpointer.redis import RedisCheckpointer, deletion
from orchestrator.checkpointer.redis.encode import commit_arguments
from orchestrator.dispatch.await_run import wait_for_rest
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.ids import child_thread
from orchestrator.model.audit import DamageCode
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Commit, EventDraft, Refusal, Take, Wait
from orchestrator.testing.concurrency import wait_until
from orchestrator.testing.contract import (
    SETTINGS,
    CheckpointerContract,
    PushingContract,
    UnsentContract,
)
from orchestrator.testing.contract.admission import AcceptingContract
from orchestrator.testing.contract.drafts import ALL_BYTES, QUEUE, checkpoint, plan
from orchestrator.testing.contract.driver import Driver, guard
from orchestrator.testing.contract.hints import HintsContract, render
from orchestrator.testing.contract.leases import LeasesContract
from orchestrator.testing.contract.step_attempts import TimingContract
from orchestrator.testing.contract.step_states import CompletingContract
from tests.fixtures.stores import kept_on


class OnServer:
    @pytest.fixture
    def settings(self, settings, lease_ttl_s):
        return replace(settings, lease_ttl_s=lease_ttl_s, hint_grace_s=SETTINGS.hint_grace_s)

    @pytest.fixture
    def renderer(self):
        return None

    @pytest.fixture
    def store(self, settings, renderer):
        store = RedisCheckpointer(settings=settings, renderer=renderer)
        yield store
        store.close()

    @pytest.fixture
    def damage(self, store):
        def damage(thread_id, step_id, what):
            prefix, own = store.keys.of_thread(thread_id)
            if what == "count":
                store.client.hincrby(f"{own}head", "open", 1)
            elif what == "lose":
                store.client.delete(f"{own}s:{step_id}")
                store.client.zrem(f"{prefix}ready:{QUEUE}", step_id + thread_id)
            else:
                store.client.hset(f"{own}s:{step_id}", "settled", 1)

        return damage

    def kept(self, store):
        return kept_on(store.client, f"{store.settings.namespace}*")

    def contents(self, store):
        keys = sorted(store.client.scan_iter(f"{store.settings.namespace}*", count=1000))
        return {key: store.client.dump(key) for key in keys}


class TestRedis(OnServer, CheckpointerContract, UnsentContract):
    """With a broker elsewhere: messages are sent after the commit."""

    def test_child_threads_of_an_earlier_version_are_found_and_deleted(self, driver):
        root = driver.on("doomed*[a]-thread")
        child = driver.on(child_thread(root.thread_id, "n:1|m"))
        other = driver.on(child_thread("doomedx[a]-thread", "n"))
        for each in (root, child, other):
            each.start("a", status=RunStatus.CANCELLED)
        own = driver.store.keys.of_thread(root.thread_id)[1]
        driver.store.client.delete(own + "children")
        assert driver.store.children(root.thread_id) == []
        driver.store.client.hdel(own + "head", "kin")
        assert driver.store.children(root.thread_id) == [child.thread_id]
        assert driver.store.delete(root.thread_id) is None
        assert not any(b"doomed*" in each for each in self.kept(driver.store))
        assert other.load().head.status is RunStatus.CANCELLED

    @pytest.mark.parametrize("calls", [1, 2, 3])
    def test_a_delete_that_was_cut_off_can_be_repeated(self, driver, monkeypatch, calls):
        monkeypatch.setattr(deletion, "_STEPS_MAX", 5)
        monkeypatch.setattr(deletion, "_CHILDREN_MAX", 2)
        root = driver.on("doomed-thread")
        root.start(*(f"n{n}" for n in range(12)), status=RunStatus.CANCELLED)
        for n in range(5):
            driver.on(child_thread(root.thread_id, f"n:{n}")).start("a", status=RunStatus.FAILED)
        scripts, made = driver.store._deletion.scripts, []

        def call(name, *given):
            if len(made) == calls:
                raise CheckpointerUnavailableError
            made.append(name)
            return type(scripts).call(scripts, name, *given)

        with monkeypatch.context() as patch:
            patch.setattr(scripts, "call", call)
            with pytest.raises(CheckpointerUnavailableError):
                driver.store.delete(root.thread_id)
        assert driver.store.delete(root.thread_id) is None
        assert not any(b"doomed" in each for each in self.kept(driver.store))

    def test_a_finished_run_leaves_nothing_behind_but_itself(self, driver):
        driver.start("done", "claimed", "timer", "asking", "sent", "unsent", "dead")
        driver.store.mark_sent([driver.step("sent").step])
        driver.finish("done")
        driver.claimed("claimed", owner="busy")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=3_600_000)
        driver.update(driver.claimed("asking"), wait=Wait.ANSWER, asks={"q": b"?"})
        driver.claimed("dead", owner="dead")
        driver.store.release("dead")
        driver.advance("last")
        driver.complete(
            driver.claimed("last"),
            expect_head=driver.head_id(),
            checkpoint=checkpoint(driver.head_id() + 1),
            status=RunStatus.SUCCEEDED,
        )
        prefix, own = driver.store.keys.of_thread(driver.thread_id)
        found = {key.decode() for key in driver.store.client.scan_iter(f"{prefix}*")}
        lasting = {f"{prefix}{name}" for name in ("leases", "threads", "queues", "marks", "stats")}
        assert found - lasting == {f"{own}{name}" for name in ("head", "data", "ids", "ev")}


class TestRedisAsBroker(
    OnServer,
    PushingContract,
    AcceptingContract,
    CompletingContract,
    TimingContract,
    LeasesContract,
    HintsContract,
):
    """With the broker on the same server: what messages have to do with, once more."""

    @pytest.fixture
    def queues(self, redis_client):
        names = set()
        yield names
        if names:
            redis_client.delete(*names)

    @pytest.fixture
    def renderer(self, settings, queues):
        def noted(step, now_ms):
            queue, message = render(step, now_ms)
            queues.add(settings.queue_prefix + queue)
            return settings.queue_prefix + queue, message

        return noted

    @pytest.fixture
    def queue(self, settings, redis_client):
        return lambda name: redis_client.lrange(settings.queue_prefix + name, 0, -1)[::-1]

    @pytest.fixture
    def drain(self, settings, redis_client):
        return lambda name: redis_client.delete(settings.queue_prefix + name)

    def test_what_is_sent_again_goes_to_the_front_and_tells_no_time(self, driver, queue):
        driver.start("a", "b")
        driver.store.push([driver.step("b").step])
        messages = [message[: -len(ALL_BYTES)] for message in queue(QUEUE)]
        assert [json.loads(message)[2] for message in messages] == ["b", "a", "b"]
        assert json.loads(messages[0])[3] == 0


def test_waiting_for_an_event_may_take_longer_than_the_client_waits_for_an_answer(settings):
    with redis.Redis.from_url(settings.url, socket_timeout=0.5) as client:
        driver = Driver(RedisCheckpointer(settings=settings, client=client), sleep, settings)
        driver.start("a")
        assert driver.store.events(driver.thread_id, after=1, wait_s=0.8) == []


def test_a_step_in_place_is_so_many_arguments_and_commands(settings, redis_client):
    store = RedisCheckpointer(settings=settings)
    driver = Driver(store, sleep, settings)
    driver.start("a", queue="")
    claim = driver.claimed("a", owner="taker")
    id_ = driver.head_id() + 1
    commit = Commit(
        thread_id=driver.thread_id,
        expect_head=driver.head_id(),
        guard=guard(claim),
        completed=b"did",
        checkpoint=checkpoint(id_),
        ready=plan(driver.thread_id, id_, "b", queue=""),
        events=(EventDraft("step_committed"),),
        take=Take("taker", "token", (), claim.head),
    )
    with redis_client.monitor() as monitor:
        assert store.commit(commit).claim
        redis_client.echo("that was all")
        told = takewhile(lambda said: said["command"][:4] != "ECHO", monitor.listen())
        ran = [said["command"].split()[0] for said in told if said["client_type"] == "lua"]
    reads = ["TIME", "HMGET", "HMGET", "HGET", "HMGET", "ZSCORE"]
    writes = ["HSET", "DEL", "ZADD", "HSET", "SADD", "SREM", "XADD", "HSET"]
    assert sorted(ran) == sorted([*reads, *writes])
    assert len(commit_arguments(commit, None, 0, 5000)[1]) == 25
    store.close()


@pytest.mark.parametrize(("width", "apart"), [(3, False), (200, True)])
def test_a_claim_does_not_read_a_wide_plan(settings, redis_client, width, apart):
    store = RedisCheckpointer(settings=settings)
    driver = Driver(store, sleep, settings)
    nodes = [f"node-{number}" for number in range(width)]
    driver.start(*nodes, status=RunStatus.RUNNING)
    own = store.keys.of_thread(driver.thread_id)[1]
    id_ = f"{driver.head_id():016x}"
    assert redis_client.hexists(f"{own}data", f"{id_}+") == apart
    assert redis_client.hstrlen(f"{own}data", id_) < 4096
    assert len(driver.load().steps) == width
    plan = [driver.step(node).step for node in nodes]

    def audited():
        found = store.audit(driver.partition, plan=lambda *_: plan, repair=True).found
        return [damage.code for damage in found]

    assert audited() == []
    field = f"{id_}+" if apart else id_
    whole = redis_client.hget(f"{own}data", field)
    redis_client.hset(f"{own}data", field, whole[:-33])  # One step less.
    assert audited() == [DamageCode.PLAN_ALTERED]
    assert redis_client.hget(f"{own}data", field) == whole
    assert driver.finish(*nodes[:-1]).open == 1
    last = driver.claimed(nodes[-1])
    driver.change(revoke=True)
    late = driver.commit(guard=guard(last), completed=b"late")
    assert late.refused is Refusal.STALE_FENCE
    driver.finish(nodes[-1])
    driver.advance("next")
    assert not redis_client.exists(f"{own}done", f"{own}s:{last.step.step_id}")
    store.close()


def test_where_channels_are_forbidden_the_log_is_read(settings, redis_client):
    redis_client.acl_setuser(
        "quiet", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"], reset=True
    )
    with redis.Redis.from_url(settings.url, username="quiet", password="secret") as client:
        driver = Driver(RedisCheckpointer(settings=settings, client=client), sleep, settings)
        driver.start("a", events=())
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.publish("anywhere", "")
        ended = (EventDraft("run_succeeded"),)
        with driver.store.news(driver.thread_id, after=0) as wait, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait, 60)
            driver.change(status=RunStatus.SUCCEEDED, events=ended)
            waiting.result(10)
    redis_client.acl_deluser("quiet")


def test_whoever_listens_survives_the_loss_of_the_connection(settings, redis_client):
    store = RedisCheckpointer(settings=settings)
    driver = Driver(store, sleep, settings)
    driver.start("a", events=())
    ended = (EventDraft("run_succeeded"),)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_rest, store, driver.thread_id, 60)
        wait_until(lambda: redis_client.client_kill_filter(_type="pubsub"))
        driver.change(status=RunStatus.SUCCEEDED, events=ended)
        waiting.result(10)
    store.close()


def test_a_forked_process_speaks_on_connections_of_its_own(settings):
    store = RedisCheckpointer(settings=settings)
    drivers = [Driver(store, sleep, settings, name) for name in ("parent", "child")]
    for driver in drivers:
        driver.start(f"node-of-{driver.thread_id}")

    def each_reads_its_own(driver):
        for _ in range(500):
            driver.step(f"node-of-{driver.thread_id}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # It forks beside other OS threads.
        child = get_context("fork").Process(target=each_reads_its_own, args=drivers[1:])
        child.start()
    each_reads_its_own(drivers[0])
    child.join()
    assert child.exitcode == 0
