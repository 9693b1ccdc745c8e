"""Commits that are made behind the steps that go on: in order, by an OS thread of their own."""

from __future__ import annotations

import threading
from collections import deque

from orchestrator import limits
from orchestrator.checkpoint.commit import Claim, Commit
from orchestrator.checkpointer.replay import Replay

__all__ = ["Behind", "NotMadeError"]


class NotMadeError(Exception):
    """A commit failed behind the steps; not to be tried again, as that has been done."""

    def __init__(self, cause: Exception) -> None:
        """Remember what was raised."""
        super().__init__(str(cause))
        self.cause = cause


class Behind:
    """A line of commits, and who makes them.

    A commit that is refused or fails ends the line: what comes after it is dropped.
    """

    def __init__(self, replay: Replay) -> None:
        """Begin to make what is put here."""
        self._replay = replay
        self._line: deque[tuple[Commit, Claim | None]] = deque()
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._stopped = False
        self.refused = False  # Whether the thread is another's by now.
        self._thread = threading.Thread(target=self._work, name="graphstalk-behind", daemon=True)
        self._thread.start()

    def put(self, commit: Commit, taken: Claim | None) -> None:
        """Let a commit be made when those before it are; wait while too many are in line.

        Args:
            commit: what was committed.
            taken: the claim that it took.

        Raises:
            NotMadeError: if one before it failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._line) < limits.BEHIND_MAX)
            self._check()
            if not self.refused:
                self._line.append((commit, taken))
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
        """Make what is in line, and end.

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
                commit, taken = self._line[0]
            error, refused = None, None
            try:
                refused = self._replay.commit(commit, taken)
            except Exception as raised:  # noqa: BLE001 - it is raised in the call
                error = raised
            with self._changed:
                self._line.popleft()  # Only now: whoever waits for all waits for this one, too.
                if error is not None or refused is not None:
                    self._error, self.refused = error, refused is not None
                    self._line.clear()
                self._changed.notify_all()
