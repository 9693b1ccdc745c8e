"""Keeping the leases of a process that runs steps itself, without a keeper beside it.

A thread renews them, so a node that holds the interpreter lock for longer than a lease loses its
claim; workers have a process for that (`workers.keeper`).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.errors import CheckpointerUnavailableError

__all__ = ["LEASE_TTL_S", "keeping", "owner_is_dead"]

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
