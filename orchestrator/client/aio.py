"""The asynchronous face of a graph: the same calls, from an event loop.

There is one engine, and it is synchronous; what is awaited here runs in an OS thread. Asynchronous
nodes run in the caller's event loop, so that what they share with the caller stays in one loop.
Cancelling an awaited call cancels its async nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from orchestrator import limits
from orchestrator.client.options import CallOptions, OptionError, ValueOptions
from orchestrator.client.results import GraphOutput
from orchestrator.client.snapshot import StateSnapshot
from orchestrator.graph.routing import Command
from orchestrator.graph.spec import ContextT, InputT, OfState, OutputT, StateT
from orchestrator.ids import ThreadId
from orchestrator.step.async_loop import Cancelled, CancelScope, callers_loop, cancel_scope

if TYPE_CHECKING:
    from orchestrator.engine.edit import StateUpdate


_T = TypeVar("_T")
_Config = Mapping[str, Any] | ThreadId | None
_END = object()
# Of its own: a node that awaits a graph must never wait for a thread that waits for the node.
_pool = ThreadPoolExecutor(limits.CALL_THREADS_MAX, "graphstalk-call")


async def in_thread(call: Callable[[], _T]) -> _T:
    """Return what `call` returns in an OS thread; its coroutines run in this event loop."""
    return await _begun(call, None)


def _begun(call: Callable[[], _T], scope: CancelScope | None) -> asyncio.Future[_T]:
    loop = asyncio.get_running_loop()
    context = copy_context()
    context.run(callers_loop.set, loop)
    if scope is not None:
        context.run(cancel_scope.set, scope)
    future: asyncio.Future[_T] = loop.run_in_executor(_pool, partial(context.run, call))
    future.add_done_callback(_seen)
    return future


def _seen(future: asyncio.Future[Any]) -> None:
    """Let asyncio log nothing of what a call raised that was cancelled meanwhile."""
    if not future.cancelled():
        future.exception()


class _Awaited:
    """One awaited call of a graph; cancelling it cancels what the graph runs."""

    def __init__(self) -> None:
        """Begin a scope inside that of the code which awaits."""
        self._scope = CancelScope(cancel_scope.get())
        self._thread: asyncio.Future[Any] | None = None

    async def result(self, call: Callable[[], _T]) -> _T:
        """Return what `call` returns in an OS thread.

        Raises:
            CancelledError: if the awaiting task was cancelled; the graph runs no longer then.
        """
        thread = self._thread = _begun(call, self._scope)
        with self._scope.inside():
            try:
                return await asyncio.shield(thread)
            except Cancelled:  # A scope around it was cancelled, and its task will be.
                raise asyncio.CancelledError from None
            except asyncio.CancelledError:
                await self.cancel()
                raise

    async def close(self, close: Callable[[], None]) -> None:
        """Close what the call reads, in an OS thread; later, if one still reads it."""
        thread = self._thread
        if thread is not None and not thread.done():
            await asyncio.wait([thread], timeout=limits.CANCEL_GRACE_S)
        if thread is None or thread.done():
            await _begun(close, self._scope)
        else:
            thread.add_done_callback(lambda _: _pool.submit(close))

    async def cancel(self) -> None:
        """Cancel the coroutines, wait until they have ended, and store that the runs pause."""
        ending = asyncio.ensure_future(self._cancel())
        while not ending.done():
            with suppress(asyncio.CancelledError):  # Cancelled again: nothing ends sooner.
                await asyncio.shield(ending)
        ending.result()

    async def _cancel(self) -> None:
        scope, thread = self._scope, self._thread
        scope.cancel()
        coroutines = [asyncio.wrap_future(future) for future in scope.coroutines()]
        if coroutines:
            await asyncio.wait(coroutines)
            for ended in coroutines:
                ended.cancelled() or ended.exception()  # It is raised where it is waited for.
        while thread is not None and not thread.done():
            await asyncio.wait([thread], timeout=limits.CANCEL_GRACE_S)
            if scope.has_runs:  # Their synchronous code may take long: it is not waited for.
                break
        await in_thread(scope.stop_runs)


class AsyncFace(OfState[StateT, ContextT, InputT, OutputT]):
    """The calls of a compiled graph, to be awaited."""

    @overload
    async def ainvoke(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: _Config = None,
        *,
        version: Literal["v2"],
        **options: Unpack[ValueOptions],
    ) -> GraphOutput[OutputT]: ...

    @overload
    async def ainvoke(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: _Config = None,
        **options: Unpack[CallOptions],
    ) -> dict[str, Any] | Any: ...

    async def ainvoke(
        self: Any,
        input: Any,  # noqa: A002 - LangGraph's name
        config: _Config = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Await `invoke`.

        If the awaiting task is cancelled, async nodes are cancelled at once, and the run pauses:
        what has been committed is kept, and the thread is free for the next call.
        """
        return await _Awaited().result(lambda: self.invoke(input, config, **options))

    async def astream(
        self: Any,
        input: Any,  # noqa: A002 - LangGraph's name
        config: _Config = None,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[Any]:
        """Iterate over what `stream` gives; closing the iterator cancels as for `ainvoke`."""
        call = _Awaited()
        parts = await call.result(lambda: self.stream(input, config, **options))
        try:
            while (part := await call.result(lambda: next(parts, _END))) is not _END:
                yield part
        except GeneratorExit:
            await call.cancel()
            raise
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                await call.close(close)

    async def astream_events(
        self: Any,
        input: Any,  # noqa: A002 - LangGraph's name
        config: _Config = None,
        *,
        version: Literal["v1", "v2"] = "v2",
        **options: Any,
    ) -> AsyncIterator[Any]:
        """Iterate over what langchain-core's handlers hear of a run, as its events.

        Args:
            input: as for `invoke`.
            config: as for `invoke`.
            version: the form of the events.
            **options: `include_names`, `include_types`, `include_tags`, `exclude_names`,
                `exclude_types` and `exclude_tags`, which choose events; and as for `stream`.

        Raises:
            ImportError: if langchain-core is not installed.
            OptionError: for another version.
        """
        if version not in {"v1", "v2"}:
            msg = f"version must be 'v1' or 'v2' (version={version!r}): use astream for other forms"
            raise OptionError(msg)
        is_id = config is not None and not isinstance(config, Mapping)
        given: dict[str, Any] = {"thread_id": config} if is_id else dict(config or {})  # type: ignore[arg-type]
        limited = "recursion_limit" in given or "recursion_limit" in self.config
        runnable = _runnable(self, limited=limited)
        async for event in runnable.astream_events(input, given, version=version, **options):
            yield event

    async def abatch(
        self: Any,
        inputs: Sequence[Any],
        config: _Config | Sequence[_Config] = None,
        *,
        return_exceptions: bool = False,
        **options: Unpack[CallOptions],
    ) -> list[Any]:
        """Await `batch`; cancelling it cancels as for `ainvoke`."""
        return await _Awaited().result(
            lambda: self.batch(inputs, config, return_exceptions=return_exceptions, **options)
        )

    async def aget_state(self: Any, config: _Config, *, subgraphs: bool = False) -> StateSnapshot:
        """Await `get_state`."""
        return await in_thread(lambda: self.get_state(config, subgraphs=subgraphs))

    async def aget_state_history(
        self: Any, config: _Config, **options: Any
    ) -> AsyncIterator[StateSnapshot]:
        """Iterate over what `get_state_history` gives."""
        found = self.get_state_history(config, **options)
        while (one := await in_thread(lambda: next(found, None))) is not None:
            yield one

    async def aupdate_state(
        self: Any,
        config: _Config,
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> Mapping[str, Any]:
        """Await `update_state`."""
        return await in_thread(lambda: self.update_state(config, values, as_node, task_id))

    async def abulk_update_state(
        self: Any,
        config: _Config,
        supersteps: Sequence[Sequence[StateUpdate]],
    ) -> Mapping[str, Any]:
        """Await `bulk_update_state`."""
        return await in_thread(lambda: self.bulk_update_state(config, supersteps))

    async def arollback(self: Any, config: _Config) -> Mapping[str, Any]:
        """Await `rollback`."""
        return await in_thread(lambda: self.rollback(config))

    async def afork(
        self: Any, config: _Config, thread_id: ThreadId | None = None
    ) -> Mapping[str, Any]:
        """Await `fork`."""
        return await in_thread(lambda: self.fork(config, thread_id))

    async def aclear_cache(self: Any, nodes: Sequence[str] | None = None) -> None:
        """Await `clear_cache`."""
        await in_thread(lambda: self.clear_cache(nodes))

    async def aget_graph(self: Any, config: _Config = None, *, xray: int | bool = False) -> Any:
        """Await `get_graph`."""
        return await in_thread(lambda: self.get_graph(config, xray=xray))


def _runnable(graph: Any, *, limited: bool) -> Any:
    """Return a graph as a runnable of langchain-core, whose events can be streamed."""
    try:
        from langchain_core.runnables import Runnable  # noqa: PLC0415 - optional, slow to import
    except ImportError:
        msg = "astream_events needs langchain-core: pip install langchain-core, or use astream"
        raise ImportError(msg) from None

    class GraphRunnable(Runnable[Any, Any]):
        name = graph.trace_name

        def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
            return graph.invoke(input, self._own(config), **kwargs)

        async def astream(
            self,
            input: Any,  # noqa: A002 - langchain-core's name
            config: Any = None,
            **kwargs: Any,
        ) -> AsyncIterator[Any]:
            async for part in graph.astream(input, self._own(config), **kwargs):
                yield part

        def _own(self, config: Any) -> Any:
            # The limit of langchain-core's own runnables is none that the caller gave.
            kept = {"recursion_limit"} if not limited else set()
            return {key: value for key, value in config.items() if key not in kept}

    return GraphRunnable()
