"""Waiting until a thread's run is at rest."""

from __future__ import annotations

import time

from orchestrator.checkpoint.commit import LoadedThread
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.errors import (
    CheckpointerUnavailableError,
    RunNotFinishedError,
    UnknownThreadError,
)

__all__ = ["wait_for_rest"]

_LOOK_S = 2.0  # How long one look at the events waits, at most.


def wait_for_rest(
    store: Checkpointer, thread_id: str, timeout_s: float | None = None
) -> LoadedThread:
    """Return the thread once its run is not active: it waits, has ended or failed.

    A server that is away for a while is waited for.

    Raises:
        RunNotFinishedError: if that takes longer than `timeout_s`; the run goes on.
        UnknownThreadError: if there is no such thread.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    seen = 0
    while True:
        left = _LOOK_S if end is None else end - time.monotonic()
        try:
            loaded = store.load(thread_id, values=False)
            if loaded is None:
                msg = f"there is no thread {thread_id!r}"
                raise UnknownThreadError(msg)
            if not loaded.head.status.active:
                return loaded
            if left <= 0:
                raise RunNotFinishedError(_late(thread_id, loaded, timeout_s))
            events = store.events(thread_id, after=seen, wait_s=min(left, _LOOK_S))
            seen = events[-1].seq if events else seen
        except CheckpointerUnavailableError:
            if left <= 0:
                raise
            time.sleep(min(0.2, left))


def _late(thread_id: str, loaded: LoadedThread, timeout_s: float | None) -> str:
    waiting = [step for step in loaded.steps.values() if not step.completed]
    steps = ", ".join(f"{s.step.node} ({s.reason or s.owner or 'ready'})" for s in waiting[:5])
    return (
        f"the run of thread {thread_id!r} is {loaded.head.status} after {timeout_s} s and goes on; "
        f"open steps: {steps or 'none'}"
    )
