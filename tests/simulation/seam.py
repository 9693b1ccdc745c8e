"""The checkpointer as one process of the world has it: between any two operations anything happens.

The store behind it is the real one. Before each operation and after it, before the answer is seen,
the process may end, freeze, or be told that the server does not answer. What really happened is
told to the accounts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.model.commit import (
    Claim,
    Commit,
    CommitResult,
    Event,
    LoadedThread,
    ReadyStep,
    Swept,
)
from tests.simulation.accounts import Accounts
from tests.simulation.world import Process

__all__ = ["Seam"]

_T = TypeVar("_T")


class Seam:
    """A `Checkpointer` over the one that all processes share."""

    shared = False  # Leases are kept by simulated keepers.
    pushes = False

    def __init__(self, process: Process, store: MemoryCheckpointer, accounts: Accounts) -> None:
        """Connect a process."""
        self.process, self.accounts, self._store = process, accounts, store
        self.partitions = store.partitions

    def _ask(self, ask: Callable[[], _T]) -> _T:
        process = self.process
        process.point("before")
        while process.world.stalled_until_ms > process.now_ms():
            process.sleep_ms(process.world.stalled_until_ms - process.now_ms())
        answer = ask()
        process.point("after")
        return answer

    def commit(self, commit: Commit, meanwhile: Callable[[], None] | None = None) -> CommitResult:
        def ask() -> CommitResult:
            if meanwhile is not None:
                meanwhile()
            return self.accounts.commit(self.process, commit)

        return self._ask(ask)

    def claim(self, thread_id: str, step_id: str, *, owner: str, **given: Any) -> Claim:
        return self._ask(
            lambda: self.accounts.claim(self.process, thread_id, step_id, owner, given)
        )

    def load(
        self, thread_id: str, *, checkpoint_id: int | None = None, values: bool = True
    ) -> LoadedThread | None:
        return self._ask(
            lambda: self._store.load(thread_id, checkpoint_id=checkpoint_id, values=values)
        )

    def renew(self, owners: Sequence[str], *, ttl_s: float) -> None:
        self._ask(lambda: self.accounts.renew(owners, ttl_s))

    def release(self, owner: str) -> list[ReadyStep]:
        return self._ask(lambda: self.accounts.release(self.process, owner))

    def sweep(self, partition: int, *, leader: str) -> Swept:
        return self._ask(lambda: self.accounts.sweep(self.process, partition, leader))

    def mark_sent(self, steps: Sequence[ReadyStep]) -> None:
        self._ask(lambda: self._store.mark_sent(steps))

    def history(self, thread_id: str, **given: Any) -> list[int]:
        return self._ask(lambda: self._store.history(thread_id, **given))

    def threads(self, **given: Any) -> list[Any]:
        return self._ask(lambda: self._store.threads(**given))

    def events(self, thread_id: str, **given: Any) -> list[Event]:
        return self._ask(lambda: self._store.events(thread_id, **given))

    def close(self) -> None:
        """Hold nothing."""
