"""Copying a thread with its history and its subgraphs to a new one, by commits as any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator import limits
from orchestrator.checkpointer.base import Checkpointer, commit_to
from orchestrator.client.graph_base import GraphBase
from orchestrator.client.options import ConfigError, ThreadConfig
from orchestrator.client.snapshot import config_of
from orchestrator.client.thread_calls import Calls
from orchestrator.engine.accept import check_idle
from orchestrator.engine.fork import copy_checkpoint, copy_head, copy_outcome, copy_waits, fork
from orchestrator.engine.records import Records
from orchestrator.engine.resume import missing
from orchestrator.engine.settle import Decider, Placement
from orchestrator.errors import NotSupportedError
from orchestrator.frozen import replace
from orchestrator.ids import child_thread, new_uuid, root_thread
from orchestrator.model.commit import LoadedThread, ReadyStep
from orchestrator.model.tails import is_list, tail_of

_OWNER = "copy"
_PAGE = 100


def copy_of(store: Checkpointer, records: Records, source: str, target: str) -> None:
    """Copy a thread; see `BaseCheckpointSaver.copy_thread`. The root comes last.

    Raises:
        UnknownThreadError: if there is no source.
        ConfigError: if the target exists.
        ThreadBusyError: if the run of the source is active.
        NotSupportedError: if it asks something, or a step has begun and not ended.
    """
    loaded = store.load(source, values=False)
    if loaded is None:
        raise missing(source)
    check_idle(source, loaded)
    if store.load(target, values=False) is not None:
        raise _exists(target)
    children = store.children(source)
    heads = [found.head for child in children if (found := store.load(child, values=False))]
    inner = any(not head.status.final for head in heads)
    for name in (source, *children):
        _Copy(store, records, name, child_thread(target, root_thread(name)[1]), inner).check()
    for name in (*children, source):
        _Copy(store, records, name, child_thread(target, root_thread(name)[1]), inner).make()


def _exists(target: str) -> ConfigError:
    return ConfigError(f"the thread {target!r} exists: copy to a new one, or delete it first")


@dataclass(slots=True)
class _Copy:
    """One thread that is copied."""

    store: Checkpointer
    records: Records
    source: str
    target: str
    inner: bool  # Whether it is, or has, the thread of a subgraph that has not ended.
    grown: dict[str, tuple[str, bytes, int]] = field(default_factory=dict)  # See `_values`.
    known: set[str] = field(default_factory=set)

    def make(self) -> None:
        """Copy the checkpoints, the oldest first, so that the latest becomes the head."""
        head = self.check()
        ids = list(self._ids())
        for place, id_ in enumerate(reversed(ids)):
            loaded = head if id_ == head.head.checkpoint_id else self._at(id_)
            self._put(loaded, is_first=place == 0)
        self._settle(head)

    def _ids(self) -> Iterable[int]:
        before = None
        while page := self.store.history(self.source, before=before, limit=_PAGE):
            yield from page
            before = page[-1]

    def _at(self, checkpoint_id: int | None) -> LoadedThread:
        loaded = self.store.load(self.source, checkpoint_id=checkpoint_id)
        if loaded is None:
            raise missing(self.source)
        return loaded

    def check(self) -> LoadedThread:
        """Return the head; refuse what belongs to a thread by its id, or needs risky claims."""
        head = self._at(None)
        check_idle(self.source, head)
        open_ = [step for step in head.steps.values() if not step.completed]
        why = ""
        if any(step.asks for step in open_):
            why = "it asks a question, whose answer can only be given to this thread"
        elif any(step.notes for step in open_) or self.inner:
            why = "a step has begun, and what it has done is kept for this thread"
        elif len(open_) < len(head.steps) and any(step.step.queue for step in open_):
            why = "some of the steps that run side by side on its fleet have ended, and others not"
        if why:
            msg = (
                f"the thread {self.source!r} cannot be copied now: {why}. Copy it when its run has "
                f"ended, or use graph.fork(config, thread_id), whose new thread repeats those steps"
            )
            raise NotSupportedError(msg)
        return head

    def _put(self, loaded: LoadedThread, *, is_first: bool) -> None:
        """Copy one checkpoint with the outcomes of its steps."""
        ready = tuple(self._steps(loaded))
        values = self._values(loaded)
        commit = copy_checkpoint(self.target, loaded, ready, values, is_first=is_first)
        if commit_to(self.store, commit).refused is not None:
            raise _exists(self.target)
        for step in ready:
            outcome = loaded.outcomes.get(step.step_id)
            if outcome is not None:
                claim = self.store.claim(self.target, step.step_id, owner=_OWNER, token=new_uuid())
                commit_to(self.store, copy_outcome(step, claim.fence, outcome))

    def _steps(self, loaded: LoadedThread) -> Iterable[ReadyStep]:
        if loaded.steps:
            for live in loaded.steps.values():
                yield replace(live.step, thread_id=self.target)
            return
        stored = loaded.checkpoint
        checkpoint = self.records.checkpoint(stored.header, stored.plan)
        for step in checkpoint.plan:
            yield ReadyStep(
                thread_id=self.target,
                step_id=step.id_in(checkpoint),
                checkpoint_id=checkpoint.id,
                graph=loaded.head.graph,
                node=step.node,
                ns=checkpoint.ns,
                index=step.index,
                number=checkpoint.step + 1,
                triggers=step.triggers,
            )

    def _values(self, loaded: LoadedThread) -> tuple[dict[str, bytes], dict[str, str]]:
        """Return the values that the copy lacks; of a list that grew, what it grew by.

        Of each channel is known its latest list: name, bytes, and of how many parts it consists.
        """
        blobs, tails = dict[str, bytes](), dict[str, str]()
        for name, data in loaded.blobs.items():
            if name in self.known:
                continue
            self.known.add(name)
            blobs[name] = data
            channel = name.rpartition("\x1f")[0]
            before, count = self.grown.get(channel), 0
            if before is not None and len(data) > _whole_max(before[2]):
                tail = tail_of(before[1], data)
                if tail is not None:
                    blobs[name], tails[name], count = tail, before[0], before[2] + 1
            if is_list(data):
                self.grown[channel] = name, data, count
        return blobs, tails

    def _settle(self, head: LoadedThread) -> None:
        """Let the steps of the head wait for what they waited for, and the thread with them."""
        commit_to(self.store, copy_waits(self.target, head))
        commit_to(self.store, copy_head(self.target, self.source, head.head))


def _whole_max(tails: int) -> int:
    return max(limits.LIST_WHOLE_BYTES_MAX, limits.TAIL_BYTES_MIN * tails)


def fork_of(
    graph: GraphBase, store: Checkpointer, parsed: ThreadConfig, new_id: str
) -> Mapping[str, Any]:
    """Copy a snapshot to a new thread; return the config of its one checkpoint.

    Raises:
        ConfigError: if the new thread exists already.
        UnknownThreadError: if there is no such thread or checkpoint.
    """
    records, thread_id = graph.records, parsed.thread()
    calls = Calls(store, records, graph.default_queue)
    if parsed.checkpoint_id is not None:
        loaded = calls.at(thread_id, parsed.checkpoint_id)
    else:
        found = store.load(thread_id)
        if found is None:
            raise missing(thread_id)
        loaded = found
    decider = Decider(records, Placement(new_id, graph.name, graph.executor.default_queue))
    commit = fork(decider, graph.spec, graph.run_config(parsed, {}), thread_id, loaded)
    _check_arguments(loaded.blobs, [step.arg for step in commit.ready if step.arg])
    if commit_to(store, commit).refused is not None:
        msg = f"the thread {new_id!r} exists already: fork to a new one"
        raise ConfigError(msg)
    assert commit.checkpoint is not None
    return config_of(new_id, commit.checkpoint.id)


def _check_arguments(blobs: Mapping[str, bytes], names: list[str]) -> None:
    absent = [name for name in names if name not in blobs]
    if absent:
        msg = (
            f"the snapshot has {len(absent)} steps that were sent an argument, which is loaded "
            f"with the latest snapshot only: roll the thread back to it, or fork the latest"
        )
        raise ConfigError(msg)
