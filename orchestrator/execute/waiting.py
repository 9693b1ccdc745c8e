"""Waiting until a run is at rest, and finding what became of it if others came after it."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from orchestrator.checkpoint.commit import Event, LoadedThread
from orchestrator.checkpoint.model import RunStatus
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.errors import (
    CheckpointerUnavailableError,
    RunNotFinishedError,
    UnknownRunError,
    UnknownThreadError,
)
from orchestrator.ids import parse_checkpoint_id

__all__ = ["run_of", "wait_for_rest"]

_LOOK_S = 2.0  # After so long without news a thread is looked at anew.


def wait_for_rest(
    store: Checkpointer, thread_id: str, timeout_s: float | None = None, run_id: str = ""
) -> None:
    """Return once a run is not active: it waits, has ended or failed.

    A server that is away for a while is waited for.

    Args:
        store: where the thread is.
        thread_id: the thread.
        timeout_s: how long to wait at most.
        run_id: the run, if not the one that is there.

    Raises:
        RunNotFinishedError: if that takes longer than `timeout_s`; the run goes on.
        UnknownThreadError: if there is no such thread.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            return _wait_for_rest(store, thread_id, run_id, end, timeout_s)
        except CheckpointerUnavailableError:
            left = _left_s(end)
            if left <= 0:
                raise
            time.sleep(min(0.2, left))


def _wait_for_rest(
    store: Checkpointer, thread_id: str, run_id: str, end: float | None, timeout_s: float | None
) -> None:
    seq = _active_at(store, thread_id, run_id, end, timeout_s)
    if seq is None:
        return
    with store.news(thread_id, after=seq) as wait:
        while _active_at(store, thread_id, run_id, end, timeout_s) is not None:
            wait(min(_left_s(end), _LOOK_S))


def _active_at(
    store: Checkpointer, thread_id: str, run_id: str, end: float | None, timeout_s: float | None
) -> int | None:
    """Return the number of the thread's last event while the run is active; `None` once it is not.

    Raises:
        RunNotFinishedError: if it is active at its `end`.
        UnknownThreadError: if there is no such thread.
    """
    loaded = store.load(thread_id, values=False)
    if loaded is None:
        msg = f"there is no thread {thread_id!r}"
        raise UnknownThreadError(msg)
    mine = run_id in {"", loaded.head.run_id}
    if not loaded.head.status.active if mine else run_id not in loaded.line:
        return None
    if _left_s(end) <= 0:
        raise RunNotFinishedError(_late(thread_id, loaded, timeout_s))
    return loaded.seq


def _left_s(end: float | None) -> float:
    return math.inf if end is None else end - time.monotonic()


def run_of(
    store: Checkpointer, thread_id: str, run_id: str = "", *, values: bool = True
) -> LoadedThread | None:
    """Return a thread as a run has it, or left it if others came after it.

    Args:
        store: where the thread is.
        thread_id: the thread.
        run_id: the run; empty: the one that is there.
        values: whether the values are wanted, too.

    Raises:
        UnknownRunError: if the thread has no such run, or no longer remembers it.
    """
    loaded = store.load(thread_id, values=values)
    if loaded is None or run_id in {"", loaded.head.run_id}:
        return loaded
    head = replace(loaded.head, run_id=run_id, config=b"", error=b"")
    if run_id in loaded.line:
        return replace(loaded, head=replace(head, status=RunStatus.QUEUED))
    event = _successor(store, thread_id, run_id)
    if event.type == "run_withdrawn":
        return replace(loaded, head=replace(head, status=RunStatus.CANCELLED))
    fields = event.fields
    left = parse_checkpoint_id(fields["before_checkpoint"].decode())
    then = store.load(thread_id, checkpoint_id=left, values=values)
    status = RunStatus(fields["before_status"].decode())
    status = status if status.final else RunStatus.CANCELLED  # It was asking; nobody can answer.
    head = replace(head, status=status, error=fields["before_error"], checkpoint_id=left)
    return replace(then or loaded, head=head, steps={})


def _successor(store: Checkpointer, thread_id: str, run_id: str) -> Event:
    """Return the event that tells what became of a run when the next one began."""
    seq, name = 0, run_id.encode()
    while events := store.events(thread_id, after=seq):
        for event in events:
            of = "before" if event.type == "run_accepted" else "run"
            if event.type in {"run_accepted", "run_withdrawn"} and event.fields.get(of) == name:
                return event
        seq = events[-1].seq
    msg = (
        f"the thread {thread_id!r} has no run {run_id!r}, or no longer remembers it: look at its "
        f"history"
    )
    raise UnknownRunError(msg)


def _late(thread_id: str, loaded: LoadedThread, timeout_s: float | None) -> str:
    waiting = [step for step in loaded.steps.values() if not step.completed]
    steps = ", ".join(f"{s.step.node} ({s.reason or s.owner or 'ready'})" for s in waiting[:5])
    return (
        f"the run of thread {thread_id!r} is {loaded.head.status} after {timeout_s} s and goes on; "
        f"open steps: {steps or 'none'}"
    )
