"""The asynchronous face of a graph: the same calls, from an event loop.

There is one engine, and it is synchronous; what is awaited here runs in an OS thread. Asynchronous
nodes run in the caller's event loop, so that what they share with the caller stays in one loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from orchestrator import limits
from orchestrator.client.options import CallOptions
from orchestrator.client.snapshot import StateSnapshot
from orchestrator.ids import ThreadId
from orchestrator.step.loop import callers_loop

if TYPE_CHECKING:
    from orchestrator.client.editing import StateUpdate

__all__ = ["AsyncFace", "in_thread"]

_T = TypeVar("_T")
_Config = Mapping[str, Any] | ThreadId | None
_END = object()
# Of its own: a node that awaits a graph must never wait for a thread that waits for the node.
_pool = ThreadPoolExecutor(limits.CALL_THREADS_MAX, "graphstalk-call")


async def in_thread(call: Callable[[], _T]) -> _T:
    """Return what `call` returns in an OS thread; its coroutines run in this event loop."""
    loop = asyncio.get_running_loop()
    token = callers_loop.set(loop)
    try:
        context = copy_context()
    finally:
        callers_loop.reset(token)
    future: asyncio.Future[_T] = loop.run_in_executor(_pool, partial(context.run, call))
    return await future


class AsyncFace:
    """The calls of a compiled graph, to be awaited."""

    async def ainvoke(
        self: Any,
        input: Any,  # noqa: A002 - LangGraph's name
        config: _Config = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Await `invoke`."""
        return await in_thread(lambda: self.invoke(input, config, **options))

    async def astream(
        self: Any,
        input: Any,  # noqa: A002 - LangGraph's name
        config: _Config = None,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[Any]:
        """Iterate over what `stream` gives."""
        parts = await in_thread(lambda: self.stream(input, config, **options))
        try:
            while (part := await in_thread(lambda: next(parts, _END))) is not _END:
                yield part
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                await in_thread(close)

    async def abatch(
        self: Any,
        inputs: Sequence[Any],
        config: _Config | Sequence[_Config] = None,
        *,
        return_exceptions: bool = False,
        **options: Unpack[CallOptions],
    ) -> list[Any]:
        """Await `batch`."""
        return await in_thread(
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
