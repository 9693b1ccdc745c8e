"""Stored threads as LangGraph's savers show them, over the seam that every checkpointer has."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from orchestrator import limits
from orchestrator.channels import MISSING
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.options import ConfigError, ThreadConfig, parse_config
from orchestrator.client.snapshot import as_written, snapshot
from orchestrator.client.thread_calls import Calls
from orchestrator.client.thread_copies import copy_of
from orchestrator.engine.apply import NO_CHANNELS, RETURN, SENDS
from orchestrator.engine.branches import base_of
from orchestrator.engine.carryover import kept_in
from orchestrator.engine.records import Records
from orchestrator.errors import GraphstalkError, UnknownThreadError
from orchestrator.frozen import frozen, replace
from orchestrator.graph.routing import START, channel_name
from orchestrator.graph.schema import CONTROL
from orchestrator.ids import check_thread_id, checkpoint_text
from orchestrator.model.checkpoint import Checkpoint, PlannedStep
from orchestrator.model.commit import LoadedStep, LoadedThread
from orchestrator.serde.codec import UNKNOWN_PLAIN, Codec
from orchestrator.step.context import PREVIOUS

_LAYOUT = 4  # LangGraph's number for a checkpoint of this shape.
_TASKS, _ERROR, _INTERRUPT, _RESUME = "__pregel_tasks", "__error__", "__interrupt__", "__resume__"
_INPUT = "__input__"
_PAGE = 100
_STRATEGIES = ("keep_latest", "delete")

_Config = Mapping[str, Any] | str
Write = tuple[str, str, Any]
_Versions = dict[str, int]


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
    facts: dict[tuple[str, int], Facts]

    @classmethod
    def of(
        cls,
        store: Checkpointer,
        classes: Mapping[str, type],
        facts: dict[tuple[str, int], Facts],
    ) -> SavedThreads:
        """Show the threads of `store`.

        Args:
            store: where they are.
            classes: whose values are shown as instances.
            facts: what was derived of checkpoints before; it is added to.
        """
        codec = Codec()
        for each in classes.values():
            with suppress(ValueError):  # Another class has its tag; values are shown as plain data.
                codec.register_class(each)
        records = Records(codec.encode, partial(codec.decode, placeholders=UNKNOWN_PLAIN))
        return cls(store, records, facts)

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
            empty = _checkpoint_of(Checkpoint(id=loaded.checkpoint.id), Facts(), "", {})
            return CheckpointTuple(shot.config, empty, metadata, None, [])
        checkpoint = self.records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
        facts = self._facts(thread_id, _Past.of(checkpoint, loaded, self.records))
        if PREVIOUS in facts.versions:
            facts = _of_workflow(facts, loaded.head.graph)
        return CheckpointTuple(
            config=shot.config,
            checkpoint=_checkpoint_of(
                checkpoint,
                facts,
                shot.created_at or "",
                dict(shot.values),
            ),
            metadata=metadata,
            parent_config=shot.parent_config,
            pending_writes=[
                write
                for step in checkpoint.plan
                for write in self._writes(step, checkpoint, loaded)
            ],
        )

    def _facts(self, thread_id: str, past: _Past) -> Facts:
        """Return what the ancestors of a checkpoint say of its channels and nodes."""
        line: list[_Past] = []
        each: _Past | None = past
        known = self.facts.get((thread_id, past.checkpoint.id))
        while each is not None and known is None:
            line.append(each)
            each = self._before(thread_id, each.checkpoint)
            known = self.facts.get((thread_id, each.checkpoint.id)) if each else None
        known = known or Facts()
        while line:
            following = line.pop()
            known = _following(known, each, following.checkpoint)
            if len(self.facts) >= limits.SAVED_FACTS_MAX:
                self.facts.clear()
            self.facts[thread_id, following.checkpoint.id] = known
            each = following
        return known

    def _before(self, thread_id: str, checkpoint: Checkpoint) -> _Past | None:
        """Return the checkpoint before one; before a copy of one beside it, that one."""
        parent = self._past(thread_id, checkpoint.parent)
        if checkpoint.source != "fork" or (
            parent is not None and parent.checkpoint.versions == checkpoint.versions
        ):
            return parent
        copied = self._past(thread_id, base_of(checkpoint.metadata, thread_id))
        is_copy = copied is not None and copied.checkpoint.versions == checkpoint.versions
        return copied if is_copy else parent

    def _past(self, thread_id: str, checkpoint_id: int | None) -> _Past | None:
        if checkpoint_id is None:
            return None
        loaded = self.store.load(thread_id, checkpoint_id=checkpoint_id, values=False)
        if loaded is None:
            return None
        try:
            stored = loaded.checkpoint
            return _Past.of(
                self.records.checkpoint(stored.header, stored.plan), loaded, self.records
            )
        except GraphstalkError:  # What is damaged says nothing.
            return None

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
            error = self.records.error(outcome.error)
            if error is not None:
                yield step_id, _ERROR, str(error)
            if outcome.interrupts:
                yield step_id, _INTERRUPT, list(outcome.interrupts)
        elif live is not None:
            yield from self._open_writes(step_id, live)

    def _open_writes(self, step_id: str, live: LoadedStep) -> Iterator[Write]:
        asked = [self.records.interrupt(live.asks[question]) for question in live.questions]
        error = self.records.error(live.error)
        if error is not None:
            yield step_id, _ERROR, str(error)
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


@frozen(kw_only=False)
class Facts:
    """What LangGraph keeps in every checkpoint and this project derives from those before it.

    Attributes:
        versions: of every channel that was ever written, also of those that hold nothing now.
        seen: node → channel that triggers it → the version that was there when the node ran.
    """

    versions: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@frozen(kw_only=False)
class _Past:
    """A checkpoint, and whether its steps asked or failed before they completed."""

    checkpoint: Checkpoint
    stopped: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint, loaded: LoadedThread, records: Records) -> _Past:
        """Return a loaded checkpoint."""
        outcomes = []
        with suppress(GraphstalkError):
            outcomes = [records.outcome(stored) for stored in loaded.outcomes.values()]
        return cls(checkpoint, any(o.interrupts or o.error for o in outcomes))


def _following(known: Facts, before: _Past | None, checkpoint: Checkpoint) -> Facts:
    """Return the facts of a checkpoint by those of the one before: LangGraph's `apply_writes`."""
    c, held = checkpoint, _held(checkpoint)
    seen = {node: dict(channels) for node, channels in known.seen.items()}
    versions = dict(known.versions)
    follows = before is not None and before.checkpoint.step + 1 == c.step
    if not follows:
        _start_unstored(c, seen, versions)
    if before is not None:
        is_replay = c.source == "fork" and c.parent == before.checkpoint.id
        if is_replay or (c.source == "loop" and follows and before.stopped):
            seen[_INTERRUPT] = dict(known.versions)
        if c.source in {"loop", "input"} and not kept_in(c):
            _see(before.checkpoint.plan, known.versions, seen)
        gone = _held(before.checkpoint).keys() - held.keys()
        versions |= dict.fromkeys(gone, c.id)
    if c.source == "input":
        seen.setdefault(_INPUT, {})
    elif c.source == "update":
        for node in c.writers:
            seen.setdefault(node, {})
    for node, channels in c.seen.items():
        seen.setdefault(node, {}).update({_channel(k): v for k, v in channels.items()})
    return Facts(versions | held, seen)


def _start_unstored(
    checkpoint: Checkpoint, seen: dict[str, _Versions], versions: _Versions
) -> None:
    """Add that START has run, where `durability="exit"` has not stored the input before it."""
    if START in checkpoint.writers and checkpoint.source == "loop":
        seen[_INPUT] = {}
        seen[START] = {START: checkpoint.id - 1}  # The latest that it may have had.
        versions[START] = checkpoint.id


def _see(
    plan: Iterable[PlannedStep], versions: Mapping[str, int], seen: dict[str, _Versions]
) -> None:
    """Add what nodes saw that ran, or that a new input dropped."""
    for step in plan:
        own = seen.setdefault(step.node, {})
        if step.index < 0:
            triggers = {_channel(each) for each in step.triggers}
            own |= {k: v for k, v in versions.items() if k in triggers or _leads(k, step.node)}


def _of_workflow(facts: Facts, graph: str) -> Facts:
    """Return facts in which a workflow has its name; a graph keeps it as the step of its START."""
    name = graph.rpartition("|")[2]
    return replace(facts, seen={name if k == START else k: v for k, v in facts.seen.items()})


def _leads(channel: str, node: str) -> bool:
    """Return whether a channel is one that triggers a node: LangGraph sees them all at once."""
    is_join = channel.startswith("join:") and channel.endswith(f":{node}")
    return is_join or channel == f"branch:to:{node}"


def _held(checkpoint: Checkpoint) -> _Versions:
    """Return the versions of the channels that hold something, by LangGraph's names."""
    c = checkpoint
    keys = (k for k in c.versions if k not in c.control or _is_shown(k))
    found = {_channel(key): c.versions[key] for key in keys}
    return {**found, _TASKS: c.sends_version} if c.sends else found


def _checkpoint_of(
    checkpoint: Checkpoint, facts: Facts, ts: str, values: dict[str, Any]
) -> dict[str, Any]:
    c, held = checkpoint, _held(checkpoint)
    control = {_channel(key): value for key, value in c.control.items() if _is_shown(key)}
    return {
        "v": _LAYOUT,
        "id": checkpoint_text(c.id),
        "ts": ts,
        "channel_values": values | control,
        "channel_versions": dict(facts.versions),
        "versions_seen": {node: dict(channels) for node, channels in facts.seen.items()},
        "updated_channels": sorted(key for key, version in held.items() if version == c.id),
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
