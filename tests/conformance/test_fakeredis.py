"""The scripts of the Redis checkpointer, quickly: on a fake server whose time the test owns.

What counts is `test_redis.py`. This is the part of the contract that says who may do what and when.
"""

import fakeredis
import pytest

from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.testing.contract.child_threads import ChildrenContract
from orchestrator.testing.contract.histories import DeletingContract
from orchestrator.testing.contract.leases import LeadingContract, LeasesContract, OwningContract
from orchestrator.testing.contract.preconditions import FencingContract, RefusingContract
from orchestrator.testing.contract.step_attempts import NotingContract, TimingContract
from orchestrator.testing.contract.step_states import CompletingContract
from tests.fixtures.stores import kept_on


class TestFakeRedis(
    RefusingContract,
    FencingContract,
    CompletingContract,
    TimingContract,
    LeasesContract,
    LeadingContract,
    ChildrenContract,
    NotingContract,
    OwningContract,
    DeletingContract,
):
    @pytest.fixture
    def store(self, settings, fake_clock):
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        return RedisCheckpointer(settings=settings, client=client)

    @pytest.fixture
    def tick(self, fake_clock):
        return fake_clock.sleep

    def kept(self, store):
        return kept_on(store.client, "*")

    def contents(self, store):
        return {key: store.client.dump(key) for key in sorted(store.client.keys())}
