"""The fixtures that a backend gives, and the driver made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.config import Settings
from orchestrator.testing.concurrency import Tick, wait_until
from orchestrator.testing.contract.driver import Driver

SETTINGS = Settings(lease_ttl_s=0.4, hint_grace_s=0.2)  # Short, for stores whose time is real.


class Contract:
    """The fixtures of every suite. A backend overrides `store`, and `tick` if it owns its time."""

    @pytest.fixture
    def lease_ttl_s(self) -> float:
        return SETTINGS.lease_ttl_s

    @pytest.fixture
    def settings(self, lease_ttl_s: float) -> Settings:
        return replace(SETTINGS, lease_ttl_s=lease_ttl_s)

    @pytest.fixture
    def store(self, settings: Settings) -> Checkpointer:
        raise NotImplementedError

    @pytest.fixture
    def tick(self, store: Checkpointer) -> Tick:
        def tick(seconds: float) -> None:
            clock = Driver(store, tick, SETTINGS)
            end = clock.now_ms() + seconds * 1000
            wait_until(lambda: clock.now_ms() >= end, step_s=min(seconds, 0.02) / 2)

        return tick

    @pytest.fixture
    def driver(self, store: Checkpointer, tick: Tick, settings: Settings) -> Driver:
        return Driver(store, tick, settings)

    def contents(self, store: Checkpointer) -> object:
        """Return all that the store keeps, to be compared; by default what can be loaded serves."""
        del store
        return None


def observed(store: Checkpointer, threads: Sequence[str]) -> list[object]:
    """Return everything that can be read of these threads, but for the time of reading."""
    seen: list[object] = [sorted(store.threads(limit=1000), key=lambda pair: pair[0])]
    for thread_id in threads:
        ids = store.history(thread_id, limit=1000)
        for checkpoint_id in (None, *ids):
            loaded = store.load(thread_id, checkpoint_id=checkpoint_id)
            seen.append(loaded and (loaded.head, loaded.checkpoint, loaded.blobs))
            seen.append(loaded and (loaded.steps, loaded.outcomes))
        seen += [ids, store.events(thread_id, limit=100_000)]
    return seen
