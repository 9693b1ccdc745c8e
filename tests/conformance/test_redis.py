"""The Redis checkpointer keeps the contract on a real server."""

from dataclasses import replace

import pytest

from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.testing.contract import (
    SETTINGS,
    CheckpointerContract,
    PushingContract,
    UnsentContract,
)
from orchestrator.testing.contract.accepting import AcceptingContract
from orchestrator.testing.contract.completing import CompletingContract
from orchestrator.testing.contract.hints import HintsContract
from orchestrator.testing.contract.leases import LeasesContract
from orchestrator.testing.contract.pushing import render
from orchestrator.testing.contract.timing import TimingContract


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

    def contents(self, store):
        keys = sorted(store.client.scan_iter(f"{store.settings.namespace}*", count=1000))
        return {key: store.client.dump(key) for key in keys}


class TestRedis(OnServer, CheckpointerContract, UnsentContract):
    """With a broker elsewhere: messages are sent after the commit."""


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
    def renderer(self, queues):
        def noted(step, now_ms):
            queues.add(step.queue)
            return render(step, now_ms)

        return noted

    @pytest.fixture
    def queue(self, redis_client):
        return lambda name: redis_client.lrange(name, 0, -1)[::-1]

    @pytest.fixture
    def drain(self, redis_client):
        return redis_client.delete
