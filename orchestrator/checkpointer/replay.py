"""Commits that were made in one checkpointer, made again in another.

Both must be in the same state when the first is replayed. Each commit that stands on a claim gets a
claim of the other store, so it is fenced there as anywhere. (INV-3)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from orchestrator.checkpoint.commit import Claim, Commit, CommitResult, Refusal, StepGuard
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.record import replace

__all__ = ["Patiently", "Replay"]

_T = TypeVar("_T")


class Patiently(Protocol):
    """Asks a store until it answers; see `Access.patiently`."""

    def __call__(self, ask: Callable[[], _T], /) -> _T:
        """Return what `ask` returns."""
        ...


class Replay:
    """Makes commits again."""

    def __init__(self, store: Checkpointer, owner: str, patiently: Patiently, name: str) -> None:
        """Replay into `store`.

        Args:
            store: where.
            owner: under which name steps are claimed.
            patiently: asks the store until it answers.
            name: tells the claims of this replay from others.
        """
        self._store, self._owner, self._patiently, self._name = store, owner, patiently, name
        self._fences: dict[StepGuard, int] = {}  # A claim there → its fence here.

    def commit(self, commit: Commit, taken: Claim | None = None) -> Refusal | None:
        """Make a commit again; return why it is refused, if it is.

        Args:
            commit: the commit as it was made there.
            taken: the claim that it took there, if it did.
        """
        own = self._translated(commit if taken else replace(commit, take=None))
        asked = 0

        def ask() -> CommitResult:
            nonlocal asked
            asked += 1
            return self._store.commit(own)

        result = self._patiently(ask)
        refused = result.refused
        if refused is not None and asked > 1 and self._is_made(own, refused):
            return None  # Only the answer was lost.
        if taken is not None and taken.step is not None and result.claim is not None:
            self._fences[StepGuard(taken.step.step_id, taken.fence)] = result.claim.fence
        return refused

    def _translated(self, commit: Commit) -> Commit:
        """Return a commit as it is made here."""
        commit = _at_once(commit)
        guard = commit.guard
        if guard is None:
            return commit
        if guard not in self._fences:
            self._fences[guard] = self._claimed(commit.thread_id, guard).fence
        fence = self._fences[guard] if commit.keeps_claim else self._fences.pop(guard)
        return replace(commit, guard=StepGuard(guard.step_id, fence))

    def _claimed(self, thread_id: str, guard: StepGuard) -> Claim:
        token = f"{self._name}:{guard.step_id}:{guard.fence}"
        return self._patiently(
            lambda: self._store.claim(thread_id, guard.step_id, owner=self._owner, token=token)
        )

    def _is_made(self, commit: Commit, refused: Refusal) -> bool:
        """Return whether a commit was made although its answer was lost."""
        if commit.checkpoint is None:
            return refused is not Refusal.HELD
        loaded = self._store.load(commit.thread_id, values=False)
        return loaded is not None and loaded.head.checkpoint_id == commit.checkpoint.id


def _at_once(commit: Commit) -> Commit:
    """Return a commit whose steps wait for no time: the process that runs them does."""
    if not any(update.delay_ms for update in commit.updates):
        return commit
    updates = tuple(replace(update, delay_ms=0) for update in commit.updates)
    return replace(commit, updates=updates)
