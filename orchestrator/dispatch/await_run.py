"""Waiting until a run is idle, and the outcome of a run that others came after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.errors import (
    CheckpointerUnavailableError,
    RunNotFinishedError,
    UnknownRunError,
    UnknownThreadError,
)
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import LoadedThread
from orchestrator.model.events import RunAccepted, RunWithdrawn, read_event
from orchestrator.step.async_loop import check_cancelled, elsewhere

__all__ = ["left_by", "run_of", "wait_for_rest", "wait_until"]

_POLL_S = 2.0  # Without news for this long, a thread is read again.


def wait_for_rest(
    store: Checkpointer, thread_id: str, timeout_s: float | None = None, run_id: str = ""
) -> LoadedThread:
    """Return the thread once a run is not active: it waits, has ended or failed.

    A server that is away for a while is waited for.

    Args:
        store: where the thread is.
        thread_id: the thread.
        timeout_s: how long to wait at most.
        run_id: the run, if not the one that is there.

    Raises:
        RunNotFinishedError: if that takes longer than `timeout_s`; the run continues.
        Cancelled: if the call that waits was cancelled; the run continues.
        UnknownThreadError: if there is no such thread.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            with elsewhere():
                return _wait_for_rest(store, thread_id, run_id, end, timeout_s)
        except CheckpointerUnavailableError:
            left = _left_s(end)
            if left <= 0:
                raise
            time.sleep(min(0.2, left))


def _wait_for_rest(
    store: Checkpointer, thread_id: str, run_id: str, end: float | None, timeout_s: float | None
) -> LoadedThread:
    loaded = _load(store, thread_id)
    if _is_idle(loaded, run_id):
        return loaded
    with store.news(thread_id, after=loaded.seq) as wait:
        whole = False  # Values are not loaded while the run is most likely active.
        while True:
            check_cancelled()
            loaded = _load(store, thread_id, values=whole)
            idle = _is_idle(loaded, run_id)
            if idle and whole:
                return loaded
            if not idle and _left_s(end) <= 0:
                raise RunNotFinishedError(_late(thread_id, loaded, timeout_s))
            whole = idle or wait(max(0.0, min(_left_s(end), _POLL_S)))


def wait_until(
    store: Checkpointer,
    thread_id: str,
    run_id: str,
    reached: Callable[[LoadedThread], bool],
    timeout_s: float | None = None,
) -> LoadedThread:
    """Return the thread once `reached` accepts it, as the run has it or left it.

    Args:
        store: where the thread is.
        thread_id: the thread.
        run_id: the run; empty: the one that is there.
        reached: called with the thread at first, and after each event of it.
        timeout_s: how long to wait at most.

    Raises:
        RunNotFinishedError: if that takes longer than `timeout_s`, or the run has ended before.
        Cancelled: if the call that waits was cancelled; the run continues.
        UnknownThreadError: if there is no such thread.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    with elsewhere():
        while True:
            check_cancelled()
            try:
                there = _load(store, thread_id)
            except CheckpointerUnavailableError:  # Waited for, as by `wait_for_rest`.
                if (left := _left_s(end)) <= 0:
                    raise
                time.sleep(min(0.2, left))
                continue
            loaded = left_by(store, thread_id, there, run_id)
            if reached(loaded):
                return loaded
            if loaded.head.status.final:
                msg = (
                    f"the run {loaded.head.run_id} of thread {thread_id!r} ended as "
                    f"{loaded.head.status}, without what was waited for"
                )
                raise RunNotFinishedError(msg)
            if _left_s(end) <= 0:
                raise RunNotFinishedError(_late(thread_id, loaded, timeout_s))
            with suppress(CheckpointerUnavailableError):
                store.events(thread_id, after=there.seq, wait_s=min(_left_s(end), _POLL_S))


def _load(store: Checkpointer, thread_id: str, *, values: bool = True) -> LoadedThread:
    loaded = store.load(thread_id, values=values)
    if loaded is None:
        msg = f"there is no thread {thread_id!r}: it was deleted, or never began. Check the id"
        raise UnknownThreadError(msg)
    return loaded


def _is_idle(loaded: LoadedThread, run_id: str) -> bool:
    if run_id in {"", loaded.head.run_id}:
        return not loaded.head.status.active
    return run_id not in loaded.line


def _left_s(end: float | None) -> float:
    return math.inf if end is None else end - time.monotonic()


def run_of(
    store: Checkpointer, thread_id: str, run_id: str = "", *, values: bool = True
) -> LoadedThread | None:
    """Return a thread as a run has it, or left it if others came after it; see `left_by`."""
    loaded = store.load(thread_id, values=values)
    return loaded and left_by(store, thread_id, loaded, run_id, values=values)


def left_by(
    store: Checkpointer,
    thread_id: str,
    loaded: LoadedThread,
    run_id: str = "",
    *,
    values: bool = True,
) -> LoadedThread:
    """Return a loaded thread as a run has it, or left it if others came after it.

    Args:
        store: where the thread is.
        thread_id: the thread.
        loaded: what there is of it.
        run_id: the run; empty: the one that is there.
        values: whether the values are wanted, too.

    Raises:
        UnknownRunError: if the thread has no such run, or no longer remembers it.
    """
    if run_id in {"", loaded.head.run_id}:
        return loaded
    head = replace(loaded.head, run_id=run_id, config=b"", error=b"")
    if run_id in loaded.line:
        return replace(loaded, head=replace(head, status=RunStatus.QUEUED))
    event = _successor(store, thread_id, run_id)
    if isinstance(event, RunWithdrawn):
        return replace(loaded, head=replace(head, status=RunStatus.CANCELLED))
    left, error = event.before_checkpoint, event.before_error
    assert left is not None  # It has a run before it.
    assert error is not None
    then = store.load(thread_id, checkpoint_id=left, values=values)
    status = RunStatus(event.before_status or "")
    status = status if status.final else RunStatus.CANCELLED  # It asked; no answer is possible.
    head = replace(head, status=status, error=error, checkpoint_id=left)
    return replace(then or loaded, head=head, steps={})


def _successor(store: Checkpointer, thread_id: str, run_id: str) -> RunAccepted | RunWithdrawn:
    """Return the event that ended a run's time on the thread: the next run, or its withdrawal."""
    seq = 0
    while events := store.events(thread_id, after=seq):
        for event in map(read_event, events):
            match event:
                case RunAccepted(before=run) | RunWithdrawn(run=run) if run == run_id:
                    return event
        seq = events[-1].seq
    msg = (
        f"the thread {thread_id!r} has no run {run_id!r}, or no longer remembers it: read its "
        f"history"
    )
    raise UnknownRunError(msg)


def _late(thread_id: str, loaded: LoadedThread, timeout_s: float | None) -> str:
    waiting = [step for step in loaded.steps.values() if not step.completed]
    steps = ", ".join(f"{s.step.node} ({s.reason or s.owner or 'ready'})" for s in waiting[:5])
    return (
        f"the run of thread {thread_id!r} is {loaded.head.status} after {timeout_s} s and "
        f"continues; open steps: {steps or 'none'}"
    )
