"""The scripts of the Redis checkpointer, quickly: on a fake server whose time the test owns.

What counts is `test_redis.py`. This is the part of the contract that says who may do what and when.
"""

import fakeredis
import pytest

from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.testing.contract.children import ChildrenContract
from orchestrator.testing.contract.completing import CompletingContract
from orchestrator.testing.contract.deleting import DeletingContract
from orchestrator.testing.contract.fencing import FencingContract
from orchestrator.testing.contract.leading import LeadingContract
from orchestrator.testing.contract.leases import LeasesContract
from orchestrator.testing.contract.noting import NotingContract
from orchestrator.testing.contract.owning import OwningContract
from orchestrator.testing.contract.refusing import RefusingContract
from orchestrator.testing.contract.timing import TimingContract
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
