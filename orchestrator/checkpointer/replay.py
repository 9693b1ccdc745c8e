"""Commits that were made in one checkpointer, made again in another.

Both must be in the same state when the first is replayed. Each commit under a claim gets a
claim of the other store, so it is fenced there as anywhere. (INV-3)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from orchestrator import limits
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.frozen import replace
from orchestrator.model.commit import Claim, Commit, CommitResult, Refusal, StepGuard

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
            name: distinguishes the claims of this replay from others.
        """
        self._store, self._owner, self._patiently, self._name = store, owner, patiently, name
        self._fences: dict[StepGuard, int] = {}  # A claim there → its fence here.

    def commit(self, commit: Commit, claim: Claim | None = None) -> Refusal | None:
        """Make a commit again; return why it is refused, if it is.

        Args:
            commit: the commit as it was made there.
            claim: the claim that it made there, if it did.
        """
        own = self._translated(commit if claim else replace(commit, take=None))
        asked = 0

        def ask() -> CommitResult:
            nonlocal asked
            asked += 1
            return self._store.commit(own)

        result = self._patiently(ask)
        refused = result.refused
        if refused is not None and asked > 1 and self._is_made(own, refused):
            return None  # Only the answer was lost.
        if claim is not None and claim.step is not None and result.claim is not None:
            self._fences[StepGuard(claim.step.step_id, claim.fence)] = result.claim.fence
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


class NotMadeError(Exception):
    """A commit failed behind the steps; not to be tried again, as that has been done."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Behind:
    """A queue of commits, and the OS thread that makes them.

    A commit that is refused or fails ends the queue: those after it are dropped.
    """

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._line: deque[tuple[Commit, Claim | None]] = deque()
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._stopped = False
        self.refused = False  # Whether another call has changed the thread.
        self._thread = threading.Thread(target=self._work, name="graphstalk-behind", daemon=True)
        self._thread.start()

    def put(self, commit: Commit, claim: Claim | None) -> None:
        """Let a commit be made when those before it are; wait while the queue is full.

        Args:
            commit: what was committed.
            claim: the claim that it made.

        Raises:
            NotMadeError: if one before it failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._line) < limits.BEHIND_MAX)
            self._check()
            if not self.refused:
                self._line.append((commit, claim))
                self._changed.notify_all()

    def settle(self) -> None:
        """Wait until all are made.

        Raises:
            NotMadeError: if one failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._line)
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise NotMadeError(self._error)

    def stop(self) -> None:
        """Make all queued commits, and end.

        Raises:
            NotMadeError: if one failed.
        """
        try:
            self.settle()
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._stopped)
                if not self._line:
                    return
                commit, claim = self._line[0]
            error, refused = None, None
            try:
                refused = self._replay.commit(commit, claim)
            except Exception as raised:  # noqa: BLE001 - it is raised in the call
                error = raised
            with self._changed:
                self._line.popleft()  # Only now: `settle` waits for this one, too.
                if error is not None or refused is not None:
                    self._error, self.refused = error, refused is not None
                    self._line.clear()
                self._changed.notify_all()
