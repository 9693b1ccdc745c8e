"""Notices that a claim was taken away while its step runs, and cancels what the step runs.

A run may be cancelled, or a step claimed by another process, while this process runs its node.
The commit would be refused (INV-3); the node should end before that.

Rule 1: only steps that last are asked for: one that ends within an interval costs no question.
Rule 2: a claim is lost only if the store says so. A store that does not answer says nothing.
Rule 3: one OS thread a process asks for all of its steps, while there are any.
Rule 4: a step that begins or ends changes a set and takes no lock.

Keeping the leases of a process that runs steps itself, without a keeper beside it.

A thread renews them, so a node that holds the interpreter lock for longer than a lease loses its
claim; workers have a process for that (`workers.keeper`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Token

import psutil

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.errors import CheckpointerUnavailableError, GraphstalkError
from orchestrator.model.commit import Claim
from orchestrator.step.async_loop import CancelScope, cancel_scope
from orchestrator.step.store_access import Access

__all__ = ["LEASE_TTL_S", "POLL_S", "Held", "keeping", "owner_is_dead"]

POLL_S = 0.5  # Between two questions whether claims are still held.


class Held(CancelScope):
    """A claim while its step runs, and the scope of all that the step runs.

    Attributes:
        claim: the claim.
        access: through which it was made.
        is_new: whether the step began since the latest question.
    """

    def __init__(self, access: Access, claim: Claim) -> None:
        super().__init__(cancel_scope.get())
        self.access, self.claim, self.is_new = access, claim, True

    def __enter__(self) -> CancelScope:
        self._token: Token[CancelScope | None] = self.enter()
        if self.access.watches:
            _held.add(self)
            if _watch.thread is None:
                _watch.start()
        return self

    def __exit__(self, *exception: object) -> None:
        _held.discard(self)
        self.leave(self._token)


_held: set[Held] = set()  # What is watched. Adding and discarding are atomic.


class _Watch:
    """Asks for all claims of this process whose steps run.

    Attributes:
        thread: the OS thread that asks, while it runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the OS thread, unless another step has."""
        with self._lock:
            if self.thread is None:
                self.thread = threading.Thread(
                    target=self._loop, name="graphstalk-claims", daemon=True
                )
                self.thread.start()

    def forget(self) -> None:
        """Watch nothing: a forked process has none of the OS threads and steps of its parent."""
        _held.clear()
        self._lock, self.thread = threading.Lock(), None

    def _loop(self) -> None:
        pause = threading.Event()
        while not pause.wait(POLL_S):
            if not _held and self._ends():
                return
            held = _held.copy()
            old = [each for each in held if not each.is_new]
            for each in held:
                each.is_new = False
            for access in {id(each.access): each.access for each in old}.values():
                self._ask(access, [each for each in old if each.access is access])

    def _ends(self) -> bool:
        """Return whether the OS thread ends. A step that begins now starts another."""
        with self._lock:
            mine, self.thread = self.thread, None
            if _held:  # A step began, and may have seen the OS thread.
                self.thread = mine
            return self.thread is None

    def _ask(self, access: Access, held: list[Held]) -> None:
        with contextlib.suppress(GraphstalkError):  # The next question is soon.
            for one, is_lost in zip(held, access.lost([h.claim for h in held]), strict=True):
                if is_lost:
                    one.lose()


_watch = _Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watch.forget)


LEASE_TTL_S = 5.0
_BEAT_S = 1.0


@contextmanager
def keeping(store: Checkpointer, owner: str) -> Iterator[None]:
    """Renew `owner`'s lease while the block runs, where other processes could take it for dead."""
    if not store.shared:
        yield
        return
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT_S):
            try:
                store.renew([owner], ttl_s=LEASE_TTL_S)
            except CheckpointerUnavailableError:
                continue  # The next beat tries again.

    thread = threading.Thread(target=beat, name="graphstalk-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


def owner_is_dead(owner: str) -> bool:
    """Return whether an owner was a process of this host that has ended."""
    host, pid, _ = owner.rsplit(":", 2)
    return (
        host == socket.gethostname() and int(pid) != os.getpid() and not psutil.pid_exists(int(pid))
    )
