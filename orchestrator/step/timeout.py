"""Stopping an attempt at a node that takes too long, also one that is synchronous.

The node runs in an OS thread of its own, and the thread that waits for it gives up at the limit. A
coroutine is cancelled. Python cannot kill a thread, so an exception is thrown into it: code that
runs Python stops there, native code that does not return continues alone. What it still does is not
committed.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.errors import NodeTimeoutError
from orchestrator.graph.policy import TimeoutPolicy
from orchestrator.step.async_loop import CancelScope, cancel_scope

__all__ = ["Leftover", "Watch", "leftovers"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """An OS thread that continues although its attempt was given up."""

    node: str
    thread: threading.Thread
    since_s: float  # By the monotonic clock.

    @property
    def over_s(self) -> float:
        """Return for how long it has continued."""
        return time.monotonic() - self.since_s


_left: list[Leftover] = []


def leftovers(over_s: float = 0) -> list[Leftover]:
    """Return the threads that still run `over_s` seconds after their attempt was given up."""
    _left[:] = [one for one in _left if one.thread.is_alive()]
    return [one for one in _left if one.over_s >= over_s]


class _Stopped(BaseException):
    """Thrown into a thread whose attempt was given up."""


class Watch:
    """The time that one attempt takes, at a node or at its error handler."""

    def __init__(self, policy: TimeoutPolicy) -> None:
        self.policy = policy
        self._began = self._seen = time.monotonic()

    def restart(self) -> None:
        """Begin to measure anew."""
        self._began = self._seen = time.monotonic()

    def progress(self) -> None:
        """Take note of a sign of progress, if the policy counts it."""
        if self.policy.refresh_on == "auto":
            self._seen = time.monotonic()

    def heartbeat(self) -> None:
        """Take note that the node says it is alive."""
        self._seen = time.monotonic()

    def run(self, node: str, call: Callable[[], Any]) -> Any:
        """Return what `call` returns, if it does in time; else cancel what it awaits.

        Raises:
            NodeTimeoutError: if it does not.
        """
        future: Future[Any] = Future()
        context, scope = copy_context(), CancelScope(cancel_scope.get())

        def scoped() -> Any:
            with scope.entered():
                return call()

        thread = threading.Thread(
            target=_settle, args=(future, context.run, scoped), name="graphstalk-timed", daemon=True
        )
        thread.start()
        while not future.done():
            kind, left = self._left()
            if left <= 0:
                if not scope.coroutines():
                    _throw_into(thread)
                scope.cancel()
                leftovers()  # Those that have ended are forgotten.
                _left.append(Leftover(node, thread, time.monotonic()))
                raise self._error(node, kind)
            _wait(future, left)
        return future.result()

    def _left(self) -> tuple[Literal["run", "idle"], float]:
        """Return which limit comes next, and in how many seconds."""
        now, limits = time.monotonic(), []
        run_s, idle_s = self.policy.run_timeout, self.policy.idle_timeout
        if run_s is not None:
            limits.append((self._began + _float(run_s) - now, "run"))
        if idle_s is not None:
            limits.append((self._seen + _float(idle_s) - now, "idle"))
        left, kind = min(limits)
        return ("run" if kind == "run" else "idle"), left

    def _error(self, node: str, kind: Literal["run", "idle"]) -> NodeTimeoutError:
        run_s, idle_s = self.policy.run_timeout, self.policy.idle_timeout
        return NodeTimeoutError(
            node,
            kind=kind,
            elapsed=time.monotonic() - self._began,
            run_timeout=None if run_s is None else _float(run_s),
            idle_timeout=None if idle_s is None else _float(idle_s),
        )


def _float(seconds: Any) -> float:
    return float(seconds)


def _settle(
    future: Future[Any], run: Callable[[Callable[[], Any]], Any], call: Callable[[], Any]
) -> None:
    try:
        future.set_result(run(call))
    except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
        future.set_exception(error)


def _wait(future: Future[Any], seconds: float) -> None:
    try:
        future.exception(timeout=seconds)
    except TimeoutError:
        return


def _throw_into(thread: threading.Thread) -> None:
    identity = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(_Stopped))
