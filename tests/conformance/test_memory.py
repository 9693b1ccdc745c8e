"""The memory checkpointer keeps the contract it specifies."""

import copy

import pytest

from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.testing.clock import ManualClock
from orchestrator.testing.contract import CheckpointerContract, UnsentContract


class TestMemory(CheckpointerContract, UnsentContract):
    @pytest.fixture
    def clock(self):
        return ManualClock()

    @pytest.fixture
    def store(self, settings, clock):
        return MemoryCheckpointer(settings=settings, clock=clock)

    @pytest.fixture
    def tick(self, clock):
        return clock.sleep

    def contents(self, store):
        kept = store._threads, store._leases, store._marks, store._leaders, store._trust
        return copy.deepcopy(kept)
