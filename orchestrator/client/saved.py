"""Stored threads as LangGraph's savers show them, over the seam that every checkpointer has."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from orchestrator import limits
from orchestrator.channels import MISSING
from orchestrator.checkpoint.commit import LoadedStep, LoadedThread
from orchestrator.checkpoint.model import Checkpoint, PlannedStep
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.calls import Calls
from orchestrator.client.copying import copy_of
from orchestrator.client.snapshot import as_written, snapshot
from orchestrator.client.threadconfig import ConfigError, ThreadConfig, parse_config
from orchestrator.core.apply import NO_CHANNELS, RETURN, SENDS
from orchestrator.core.records import Records
from orchestrator.errors import UnknownThreadError
from orchestrator.graph.routing import START, channel_name
from orchestrator.graph.schema import CONTROL
from orchestrator.ids import check_thread_id, checkpoint_text
from orchestrator.serde.codec import UNKNOWN_PLAIN, Codec

__all__ = ["CheckpointTuple", "SavedThreads"]

_LAYOUT = 4  # LangGraph's number for a checkpoint of this shape.
_TASKS, _ERROR, _INTERRUPT, _RESUME = "__pregel_tasks", "__error__", "__interrupt__", "__resume__"
_PAGE = 100
_STRATEGIES = ("keep_latest", "delete")

_Config = Mapping[str, Any] | str
Write = tuple[str, str, Any]


class CheckpointTuple(NamedTuple):
    """One checkpoint of a thread, in the shape of LangGraph's savers.

    Attributes:
        config: names the checkpoint.
        checkpoint: `v`, `id`, `ts`, `channel_values`, `channel_versions`, `versions_seen`,
            `updated_channels`.
        metadata: `source`, `step`, `parents`, and what the caller added.
        parent_config: names the checkpoint before, or `None`.
        pending_writes: what steps that this checkpoint planned have written, asked and answered:
            step id, channel, value.
    """

    config: Mapping[str, Any]
    checkpoint: dict[str, Any]
    metadata: Mapping[str, Any]
    parent_config: Mapping[str, Any] | None = None
    pending_writes: list[Write] | None = None


@dataclass(frozen=True, slots=True)
class SavedThreads:
    """The threads of one checkpointer."""

    store: Checkpointer
    records: Records

    @classmethod
    def of(cls, store: Checkpointer, classes: Mapping[str, type]) -> SavedThreads:
        """Show the threads of `store`, with values of these classes as instances."""
        codec = Codec()
        for each in classes.values():
            with suppress(ValueError):  # Another class has its tag; values are shown as plain data.
                codec.register_class(each)
        return cls(store, Records(codec.encode, partial(codec.decode, placeholders=UNKNOWN_PLAIN)))

    # ---- reading ------------------------------------------------------------------------

    def one(self, config: _Config) -> CheckpointTuple | None:
        """Return a checkpoint, by default the latest; see `BaseCheckpointSaver.get_tuple`."""
        parsed = parse_config(config)
        return self._tuple(parsed.thread(), parsed.checkpoint_id)

    def many(
        self,
        config: _Config | None,
        filter_: Mapping[str, Any],
        before: _Config | None,
        limit: int | None,
    ) -> Iterator[CheckpointTuple]:
        """Iterate over checkpoints; see `BaseCheckpointSaver.list`."""
        older = parse_config(before).checkpoint_id if before is not None else None
        found = self._checkpoints(config, older)
        if filter_:
            found = (each for each in found if _holds(each.metadata, filter_))
        return found if limit is None else islice(found, max(limit, 0))

    def _checkpoints(self, config: _Config | None, before: int | None) -> Iterator[CheckpointTuple]:
        if config is None:
            for thread_id, _ in self.store.threads(limit=limits.THREADS_PAGE_MAX):
                yield from self._checkpoints(thread_id, before)
            return
        parsed = parse_config(config)
        histories = [self._ids(name, parsed, before) for name in self._names(config, parsed)]
        for id_, name in heapq.merge(*histories, reverse=True):
            found = self._tuple(name, id_)
            if found is not None:
                yield found

    def _names(self, config: _Config, parsed: ThreadConfig) -> list[str]:
        """Return the threads of a config: without a namespace, those of its subgraphs, too."""
        named = isinstance(config, Mapping) and (
            "checkpoint_ns" in config or "checkpoint_ns" in config.get("configurable", {})
        )
        thread_id = parsed.thread()
        return [thread_id] if named else [thread_id, *self.store.children(thread_id)]

    def _ids(
        self, thread_id: str, parsed: ThreadConfig, before: int | None
    ) -> Iterator[tuple[int, str]]:
        if parsed.checkpoint_id is not None:
            if before is None or parsed.checkpoint_id < before:
                yield parsed.checkpoint_id, thread_id
            return
        while page := self.store.history(thread_id, before=before, limit=_PAGE):
            yield from ((id_, thread_id) for id_ in page)
            before = page[-1]

    def _tuple(self, thread_id: str, checkpoint_id: int | None) -> CheckpointTuple | None:
        loaded = self.store.load(thread_id, checkpoint_id=checkpoint_id)
        if loaded is None:
            return None
        shot = snapshot(thread_id, loaded, self.records, None, latest=False)
        metadata = shot.metadata or {}
        if metadata.get("source") == "damaged":
            if checkpoint_id is None:  # Raises what is wrong with it.
                snapshot(thread_id, loaded, self.records, None, latest=True)
            empty = _checkpoint_of(None, loaded.checkpoint.id, "", {})
            return CheckpointTuple(shot.config, empty, metadata, None, [])
        checkpoint = self.records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
        return CheckpointTuple(
            config=shot.config,
            checkpoint=_checkpoint_of(
                checkpoint, checkpoint.id, shot.created_at or "", dict(shot.values)
            ),
            metadata=metadata,
            parent_config=shot.parent_config,
            pending_writes=[
                write
                for step in checkpoint.plan
                for write in self._writes(step, checkpoint, loaded)
            ],
        )

    def _writes(
        self, step: PlannedStep, checkpoint: Checkpoint, loaded: LoadedThread
    ) -> Iterator[Write]:
        """Iterate over what a step has written, or asks, or failed with."""
        step_id = step.id_in(checkpoint)
        stored, live = loaded.outcomes.get(step_id), loaded.steps.get(step_id)
        if stored is not None:
            outcome = self.records.outcome(stored)
            for channel, value in outcome.writes:
                if channel not in NO_CHANNELS or channel == RETURN:
                    yield step_id, _channel(channel), as_written(value)
            if outcome.interrupts:
                yield step_id, _INTERRUPT, list(outcome.interrupts)
        elif live is not None:
            yield from self._open_writes(step_id, live)

    def _open_writes(self, step_id: str, live: LoadedStep) -> Iterator[Write]:
        asked = [self.records.interrupt(live.asks[question]) for question in live.questions]
        error = self.records.error(live.error)
        if error is not None:
            yield step_id, _ERROR, f"{error.type}({error.message!r})"
        if asked:
            yield step_id, _INTERRUPT, asked
        if live.answers:
            yield step_id, _RESUME, [self.records.decode(a) for a in live.answers.values()]

    # ---- deleting and copying -------------------------------------------------------------

    def delete(self, thread_id: str) -> None:
        """Delete a thread; see `BaseCheckpointSaver.delete_thread`."""
        try:
            self._calls.delete(check_thread_id(thread_id))
        except UnknownThreadError:
            for child in self.store.children(thread_id):  # Of a copy that was cut off.
                self.store.delete(child)

    @property
    def _calls(self) -> Calls:
        return Calls(self.store, self.records)

    def prune(self, thread_ids: Sequence[str], strategy: str) -> None:
        """Delete the history of threads; see `BaseCheckpointSaver.prune`."""
        if strategy not in _STRATEGIES:
            msg = f"strategy must be one of {', '.join(_STRATEGIES)} (strategy={strategy!r:.80})"
            raise ConfigError(msg)
        if isinstance(thread_ids, str):
            msg = f"thread_ids must be a list of thread ids (thread_ids={thread_ids!r:.80})"
            raise ConfigError(msg)
        for thread_id in map(check_thread_id, thread_ids):
            if strategy == "delete":
                self.delete(thread_id)
                continue
            with suppress(UnknownThreadError):
                self._calls.delete(thread_id, keep_head=True)
                for child in self.store.children(thread_id):
                    self._calls.delete(child, keep_head=True)

    def copy(self, source: str, target: str) -> None:
        """Copy a thread; see `BaseCheckpointSaver.copy_thread`."""
        copy_of(self.store, self.records, check_thread_id(source), check_thread_id(target))


def _checkpoint_of(
    checkpoint: Checkpoint | None, id_: int, ts: str, values: dict[str, Any]
) -> dict[str, Any]:
    c = checkpoint or Checkpoint(id=id_)
    held = {key: value for key, value in c.control.items() if _is_shown(key)}
    versions = {key: version for key, version in c.versions.items() if key in values or key in held}
    return {
        "v": _LAYOUT,
        "id": checkpoint_text(id_),
        "ts": ts,
        "channel_values": values | {_channel(key): value for key, value in held.items()},
        "channel_versions": {_channel(key): version for key, version in versions.items()},
        "versions_seen": {
            node: {_channel(key): version for key, version in seen.items()}
            for node, seen in c.seen.items()
        },
        "updated_channels": sorted(
            _channel(k) for k, version in versions.items() if version == id_
        ),
    }


def _is_shown(key: str) -> bool:
    return key == START or key.startswith(CONTROL)


def _channel(name: str) -> str:
    """Return LangGraph's name of a channel."""
    if name == SENDS:
        return _TASKS
    return channel_name(name)


def _holds(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(metadata.get(key, MISSING) == value for key, value in wanted.items())
