"""Notices that a claim was taken away while its step runs, and cancels what the step runs.

A run may be cancelled, or a step taken over by another process, while this process runs its node.
The commit would be refused (INV-3); the node should end before that.

Rule 1: only steps that last are asked for: one that ends within an interval costs no question.
Rule 2: a claim is lost only if the store says so. A store that does not answer says nothing.
Rule 3: one OS thread a process asks for all of its steps, while there are any.
"""

from __future__ import annotations

import contextlib
import threading
from contextvars import Token
from typing import TYPE_CHECKING

from orchestrator.checkpoint.commit import Claim
from orchestrator.errors import GraphstalkError
from orchestrator.step.cancelscope import CancelScope, cancel_scope

if TYPE_CHECKING:
    from orchestrator.step.access import Access

__all__ = ["POLL_S", "Held"]

POLL_S = 0.5  # Between two questions whether claims are still held.


class Held:
    """A claim while its step runs.

    Attributes:
        claim: the claim.
        access: through which it was made.
        scope: of all that the step runs.
        is_new: whether the step began since the latest question.
    """

    __slots__ = ("_token", "access", "claim", "is_new", "scope")

    def __init__(self, access: Access, claim: Claim) -> None:
        """Hold nothing yet."""
        self.access, self.claim, self.is_new = access, claim, True
        self.scope = CancelScope(cancel_scope.get())

    def __enter__(self) -> CancelScope:
        """Make the step's scope the one of the code inside the block, and watch its claim."""
        self._token: Token[CancelScope | None] = self.scope.enter()
        if self.access.watches:
            _watch.add(self)
        return self.scope

    def __exit__(self, *exception: object) -> None:
        """Stop watching."""
        if self.access.watches:
            _watch.remove(self)
        self.scope.leave(self._token)


class _Watch:
    """Asks for all claims of this process whose steps run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[Held] = set()
        self._thread: threading.Thread | None = None

    def add(self, held: Held) -> None:
        """Watch a claim."""
        with self._lock:
            self._held.add(held)
            # A forked process has the object of the OS thread, but not the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._loop, name="graphstalk-claims", daemon=True
                )
                self._thread.start()

    def remove(self, held: Held) -> None:
        """Watch a claim no longer."""
        with self._lock:
            self._held.discard(held)

    def _loop(self) -> None:
        pause = threading.Event()
        while not pause.wait(POLL_S):
            with self._lock:
                if not self._held:
                    self._thread = None
                    return
                old = [held for held in self._held if not held.is_new]
                for held in self._held:
                    held.is_new = False
            for access in {id(held.access): held.access for held in old}.values():
                self._ask(access, [held for held in old if held.access is access])

    def _ask(self, access: Access, held: list[Held]) -> None:
        with contextlib.suppress(GraphstalkError):  # The next question is soon.
            for one, is_lost in zip(held, access.lost([h.claim for h in held]), strict=True):
                if is_lost:
                    one.scope.lose()


_watch = _Watch()
