"""Tasks: functions whose results are stored with the step that calls them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from orchestrator.graph.identity import Unbound, code_of
from orchestrator.graph.introspection import name_of
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy, policies_of
from orchestrator.graph.scope import TaskCall, scope_of

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class TaskResult(Protocol[R_co]):
    """The future result of a task: a `concurrent.futures.Future`."""

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for the result."""
        ...

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the task; return its exception."""
        ...

    def done(self) -> bool:
        """Return whether the task has ended."""
        ...

    def __await__(self) -> Generator[Any, Any, R_co]:
        """Await the result."""
        ...


class TaskFunction(Generic[P, R]):
    """A function that a node or entrypoint calls as a task: the call returns a future."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        retry: tuple[RetryPolicy, ...] = (),
        cache: Any = None,
        timeout: TimeoutPolicy | None = None,
    ) -> None:
        """Wrap a function; use `task` instead."""
        functools.update_wrapper(self, function)
        self.func = function
        self.name: str = name or name_of(function)
        self.retry, self.cache_policy, self.timeout = retry, cache, timeout
        self._code = ""
        if cache is not None and "<" in str(getattr(function, "__qualname__", "<")):
            with suppress(Unbound):  # A captured variable may be set before the first call.
                self._identity()  # A function of a module is identified by its name there.

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[R]:
        """Begin the task; return a future: call `result()`, or await it.

        Raises:
            RuntimeError: outside of a node or entrypoint.
        """
        found: TaskResult[R] = scope_of(f"the task {self.name!r}").host.call(
            TaskCall(
                name=self.name,
                function=self.func,
                args=args,
                kwargs=kwargs,
                retry=self.retry,
                timeout=self.timeout,
                cache=self.cache_policy,
                code="" if self.cache_policy is None else self._identified(),
            )
        )
        return found

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def clear_cache(self, cache: Any) -> None:
        """Remove the task's results from a cache."""
        cache.clear([self._namespace()])

    async def aclear_cache(self, cache: Any) -> None:
        """Remove the task's results from a cache."""
        await cache.aclear([self._namespace()])

    def _namespace(self) -> tuple[str, ...]:
        return task_namespace(self.func, self._identified())

    def _identified(self) -> str:
        """Return the digest of the function's code, computed at the first call."""
        self._code = self._code or self._identity()
        return self._code

    def _identity(self) -> str:
        name = getattr(self.cache_policy, "name", None)
        return code_of(f"the task {self.name!r}", self.func if name is None else name)


def task_namespace(function: Any, code: str) -> tuple[str, ...]:
    """Return the namespace of a task's results in a cache."""
    module = getattr(function, "__module__", "") or ""
    qualname = getattr(function, "__qualname__", type(function).__qualname__)
    return ("graphstalk", "task", f"{module}.{qualname}", code)


class _MakesTask(Protocol):
    """The decorator that `task(…)` with options returns."""

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> TaskFunction[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...


@overload
def task(function: Callable[P, Awaitable[R]], /) -> TaskFunction[P, R]: ...


@overload
def task(function: Callable[P, R], /) -> TaskFunction[P, R]: ...


@overload
def task(
    *,
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: Any = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
) -> _MakesTask: ...


def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: Any = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
) -> Any:
    """Make a function a task: its result is stored, and not computed again when the step is.

    Calls are identified by their order in the entrypoint or node, so this order must not depend on
    chance. Arguments and results must be storable.

    Args:
        function: the function, plain or `async`.
        name: its name for people, by default the function's.
        retry_policy: when to try again after an error; of several, the first that fits.
        cache_policy: when a cached result is reused, in other runs too.
        timeout: seconds, a `timedelta` or a `TimeoutPolicy` for one attempt.

    Raises:
        NotImplementedError: for a generator.
        InvalidGraphError: with a cache policy, if the function's code cannot be identified.
    """

    def wrap(wrapped: Callable[..., Any]) -> TaskFunction[Any, Any]:
        if inspect.isgeneratorfunction(wrapped) or inspect.isasyncgenfunction(wrapped):
            msg = f"a task must not be a generator function ({name_of(wrapped)!r})"
            raise NotImplementedError(msg)
        return TaskFunction(
            wrapped,
            name=name,
            retry=policies_of(retry_policy),
            cache=cache_policy,
            timeout=TimeoutPolicy.coerce(timeout),
        )

    return wrap if function is None else wrap(function)
