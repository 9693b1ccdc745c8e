"""The methods of LangGraph's savers, for every checkpointer: they read and delete, never write.

How a stored thread is shown is known above this layer: in `client/saved.py`, which is imported when
a method is first called.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn, Self, get_args

from orchestrator.errors import NotSupportedError
from orchestrator.model.events import RunEvent
from orchestrator.serde.classes import tag_of

__all__ = ["BaseCheckpointSaver", "check_serde"]

_RUN_EVENTS = frozenset(entry.type for entry in get_args(RunEvent))
_PAUSE_PART, _PAUSE_MAX_S = 0.03, 0.01  # Between two reads of the log.
_Config = Mapping[str, Any] | str
_NO_SERDE = (
    "unexpected keyword argument 'serde': it must be left out, since values are stored by the one "
    "codec of this project, which keeps their types (serde={serde!r:.80}). Give types that it does "
    "not know to orchestrator.register_type"
)
_NO_PUT = (
    "{name}() is not supported: only runs and edits make checkpoints, so that no thread gets a "
    "state that its graph never had. Use graph.update_state(config, values) to change a thread"
)
_NO_RUNS = (
    "{name}() is not supported: a checkpoint holds what several runs have written. Use "
    "prune(thread_ids) to delete the history of threads, or delete_thread(thread_id)"
)


class BaseCheckpointSaver:
    """What LangGraph's savers can do besides keeping threads; a base of every checkpointer."""

    def learn(self, classes: Iterable[type]) -> None:
        """Let values of these classes be shown as instances; a graph that is compiled calls it."""
        known: dict[str, type] = vars(self).setdefault("_classes", {})
        known.update({tag_of(cls): cls for cls in classes})

    def setup(self) -> None:
        """Do nothing: there is nothing to set up. LangGraph's savers need this call."""

    # ---- reading ------------------------------------------------------------------------

    def get_tuple(self, config: _Config) -> Any:
        """Return a `CheckpointTuple`, by default the latest of a thread; `None` if there is none.

        A value of a type that neither this process has registered nor a graph that was compiled
        with this saver names is shown as the plain data that it consists of.

        Args:
            config: names the thread, and a `checkpoint_ns` and `checkpoint_id` if wanted.

        Raises:
            StateCorruptedError: if the latest checkpoint is damaged.
        """
        return self._saved().one(config)

    def get(self, config: _Config) -> dict[str, Any] | None:
        """Return the `checkpoint` of `get_tuple`."""
        found = self.get_tuple(config)
        checkpoint: dict[str, Any] | None = found and found.checkpoint
        return checkpoint

    def list(
        self,
        config: _Config | None,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: _Config | None = None,
        limit: int | None = None,
    ) -> Iterator[Any]:
        """Iterate over `CheckpointTuple`s, newest first.

        Args:
            config: names the thread; without a `checkpoint_ns`, its subgraphs' checkpoints are
                among them. `None`: all threads, one after the other.
            filter: what the `metadata` of a checkpoint must hold.
            before: a config with a `checkpoint_id`; only older ones are returned.
            limit: how many at most.
        """
        yield from self._saved().many(config, dict(filter or {}), before, limit)

    async def aget_tuple(self, config: _Config) -> Any:
        """Await `get_tuple`."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def aget(self, config: _Config) -> dict[str, Any] | None:
        """Await `get`."""
        return await asyncio.to_thread(self.get, config)

    async def alist(
        self,
        config: _Config | None,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: _Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Any]:
        """Iterate over what `list` returns."""
        found = self.list(config, filter=filter, before=before, limit=limit)
        while (each := await asyncio.to_thread(next, found, None)) is not None:
            yield each

    # ---- waiting --------------------------------------------------------------------------

    @contextmanager
    def news(self: Any, thread_id: str, *, after: int) -> Iterator[Callable[[float], bool]]:
        """Wait for run events by polling the thread's log; see `Checkpointer.news`.

        Step events are ignored. The poll interval grows with the wait, so that it stays a small
        part of the time that the run takes.
        """
        began, seen = time.monotonic(), after

        def wait(wait_s: float) -> bool:
            nonlocal seen
            end = time.monotonic() + wait_s
            while (left := end - time.monotonic()) > 0:
                events = self.events(thread_id, after=seen, wait_s=left)
                seen = events[-1].seq if events else seen
                if any(event.type in _RUN_EVENTS for event in events):
                    return True
                time.sleep(min(left, _PAUSE_MAX_S, _PAUSE_PART * (time.monotonic() - began)))
            return False

        yield wait

    # ---- deleting and copying -------------------------------------------------------------

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread with everything that belongs to it; an unknown one is no error.

        Raises:
            ThreadBusyError: if its run is active.
        """
        self._saved().delete(thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the history of threads; an unknown one is no error.

        Args:
            thread_ids: the threads.
            strategy: `"keep_latest"` keeps the latest checkpoint of each namespace, `"delete"`
                nothing.

        Raises:
            ThreadBusyError: if the run of one is active; those before it are done.
            ConfigError: if the strategy is neither.
        """
        self._saved().prune(thread_ids, strategy)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread that has no active run, with its history and its subgraphs, to a new one.

        Raises:
            UnknownThreadError: if there is no source.
            ConfigError: if the target exists.
            ThreadBusyError: if the run of the source is active.
            NotSupportedError: if it asks something, or a step has begun and not ended.
        """
        self._saved().copy(source_thread_id, target_thread_id)

    async def adelete_thread(self, thread_id: str) -> None:
        """Await `delete_thread`."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Await `prune`."""
        await asyncio.to_thread(lambda: self.prune(thread_ids, strategy=strategy))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Await `copy_thread`."""
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    # ---- what is refused ------------------------------------------------------------------

    def put(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: a saver here is not written from outside.

        Raises:
            NotSupportedError: always.
        """
        raise NotSupportedError(_NO_PUT.format(name="put"))

    def put_writes(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse, as `put`."""
        raise NotSupportedError(_NO_PUT.format(name="put_writes"))

    def delete_for_runs(self, run_ids: Sequence[str]) -> NoReturn:
        """Refuse: runs share checkpoints.

        Raises:
            NotSupportedError: always.
        """
        del run_ids
        raise NotSupportedError(_NO_RUNS.format(name="delete_for_runs"))

    async def aput(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse, as `put`."""
        raise NotSupportedError(_NO_PUT.format(name="aput"))

    async def aput_writes(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse, as `put`."""
        raise NotSupportedError(_NO_PUT.format(name="aput_writes"))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> NoReturn:
        """Refuse, as `delete_for_runs`."""
        del run_ids
        raise NotSupportedError(_NO_RUNS.format(name="adelete_for_runs"))

    # ---- how ------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back connections, where there are any."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _saved(self) -> Any:
        # It lives in a layer that this one does not know. The package loads its public names when
        # they are first asked for, from a table of its own; `SavedThreads` comes with one.
        package = sys.modules[__name__.partition(".")[0]]
        module = sys.modules[package.CheckpointTuple.__module__]
        own = vars(self)
        return module.SavedThreads.of(self, own.get("_classes", {}), own.setdefault("_facts", {}))


def check_serde(serde: object) -> None:
    """Refuse LangGraph's `serde`.

    Raises:
        NotSupportedError: if one is given.
    """
    if serde is not None:
        raise NotSupportedError(_NO_SERDE.format(serde=serde))
