"""Policies of a node: when a failed step is retried, and how long an attempt may take.

Attempts are counted in the stored thread and wait in its timers, so neither a crash nor a long
delay loses the count or blocks a worker. (INV-5)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from orchestrator.errors import GraphstalkError, NodeTimeoutError

# Faults of the program, not of its environment: a retry gives the same. LangGraph's list.
_NOT_WORTH_IT = (
    ValueError,
    TypeError,
    ArithmeticError,
    ImportError,
    LookupError,
    NameError,
    SyntaxError,
    RuntimeError,
    ReferenceError,
    StopIteration,
    StopAsyncIteration,
    OSError,
    GraphstalkError,
)


def default_retry_on(error: BaseException) -> bool:
    """Return whether an error may be temporary: lost connections, server errors, unknown classes.

    As LangGraph's default: HTTP errors of httpx and requests count by their status (5xx).
    """
    if isinstance(error, (ConnectionError, NodeTimeoutError)):
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return 500 <= status < 600
    return isinstance(error, Exception) and not isinstance(error, _NOT_WORTH_IT)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed step is retried; the names are LangGraph's.

    Attributes:
        initial_interval: seconds before the second attempt.
        backoff_factor: by which each further delay grows.
        max_interval: seconds no delay exceeds (before jitter).
        max_attempts: the most attempts, the first one included.
        jitter: adds up to a second at random, so that many failed steps are not retried at once.
        retry_on: an exception class, several, or a function that returns whether to retry.
    """

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: (
        type[BaseException] | Sequence[type[BaseException]] | Callable[[BaseException], bool]
    ) = default_retry_on

    def matches(self, error: BaseException) -> bool:
        """Return whether this policy applies to `error`; if its `retry_on` raises, it does not."""
        if isinstance(self.retry_on, type):
            return isinstance(error, self.retry_on)
        if not callable(self.retry_on):
            return isinstance(error, tuple(self.retry_on))
        try:
            return bool(self.retry_on(error))
        except Exception:  # noqa: BLE001 - the step's own error is the one to show
            return False

    def delay_s(self, failures: int, chance: float) -> float | None:
        """Return the seconds to wait after `failures` attempts; `None`: do not retry.

        `chance` is a random number from 0 to 1, for the jitter.
        """
        if failures >= self.max_attempts:
            return None
        try:
            delay = self.initial_interval * self.backoff_factor ** (failures - 1)
        except OverflowError:
            delay = self.max_interval
        delay = min(self.max_interval, delay)
        return delay + chance if self.jitter else delay


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """The limits of time of one attempt at a node; the names are LangGraph's.

    They apply to synchronous nodes too: the attempt fails, and its later result is not committed.

    Attributes:
        run_timeout: seconds (or a `timedelta`) an attempt may take.
        idle_timeout: seconds it may take without progress.
        refresh_on: what counts as progress: `auto`, also stream writes and tasks; `heartbeat`, only
            `runtime.heartbeat()`.
    """

    run_timeout: float | timedelta | None = None
    idle_timeout: float | timedelta | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    @classmethod
    def coerce(cls, value: float | timedelta | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """Return a policy in seconds, or `None` if it has no limit.

        Raises:
            ValueError: if a limit is not greater than 0, or `refresh_on` is unknown.
        """
        if value is None:
            return None
        given = value if isinstance(value, TimeoutPolicy) else cls(run_timeout=value)
        if given.refresh_on not in {"auto", "heartbeat"}:
            msg = f"refresh_on must be 'auto' or 'heartbeat' (refresh_on={given.refresh_on!r})"
            raise ValueError(msg)
        run_s = _seconds("run_timeout", given.run_timeout)
        idle_s = _seconds("idle_timeout", given.idle_timeout)
        if run_s is None and idle_s is None:
            return None
        return cls(run_timeout=run_s, idle_timeout=idle_s, refresh_on=given.refresh_on)


def _seconds(name: str, value: float | timedelta | None) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds <= 0:
        msg = f"{name} must be greater than 0 ({name}={value!r})"
        raise ValueError(msg)
    return seconds


def policies_of(
    given: RetryPolicy | Sequence[RetryPolicy] | None,
) -> tuple[RetryPolicy, ...]:
    """Return one or several policies as a tuple.

    Raises:
        TypeError: if one is of another class, such as LangGraph's, whose instances are tuples.
    """
    is_one = isinstance(given, RetryPolicy) or hasattr(given, "_fields")
    policies: Any = (given,) if is_one else given
    for policy in (found := tuple(policies or ())):
        if not isinstance(policy, RetryPolicy):
            kind = f"{type(policy).__module__}.{type(policy).__qualname__}"
            msg = (
                f"retry_policy must be an orchestrator.RetryPolicy, or a sequence of them "
                f"({kind}: {policy!r:.80})"
            )
            raise TypeError(msg)
    return found


def delay_after(
    policies: Sequence[RetryPolicy], error: BaseException, failures: int, chance: float
) -> float | None:
    """Return the delay by the first policy that applies to `error`; `None`: do not retry."""
    policy = next((p for p in policies if p.matches(error)), None)
    return policy.delay_s(failures, chance) if policy else None
