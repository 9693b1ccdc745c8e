"""The memory checkpointer keeps the contract it specifies."""

import copy
from dataclasses import replace

import pytest

from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.testing.contract import CheckpointerContract, UnsentContract
from orchestrator.testing.manual_clock import ManualClock


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

    @pytest.fixture
    def damage(self, store):
        def damage(thread_id, step_id, what):
            thread = store._threads[thread_id]
            if what == "count":
                thread.head = replace(thread.head, open=thread.head.open + 1)
            elif what == "lose":
                del thread.steps[step_id]
            else:
                thread.steps[step_id].settled = True

        return damage

    def contents(self, store):
        kept = store._threads, store._leases, store._marks, store._leaders, store._trust
        return copy.deepcopy(kept)

    def kept(self, store):
        kept = store._threads, store._marks, store._leaders, store._trust, store._fence_floor
        return [repr(kept).encode()]
