"""The state API of a graph, by LangGraph's names: read its threads and change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from orchestrator.channels import MISSING
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.graph_base import GraphBase
from orchestrator.client.options import (
    ConfigError,
    ThreadConfig,
    merged,
    parse_config,
)
from orchestrator.client.snapshot import StateSnapshot, config_of, snapshot
from orchestrator.client.thread_calls import Calls
from orchestrator.client.thread_copies import fork_of
from orchestrator.engine.branches import parents_of
from orchestrator.engine.edit import INPUT, Editor, StateUpdate, copied
from orchestrator.engine.settle import Stepping
from orchestrator.errors import InvalidUpdateError, UnknownThreadError
from orchestrator.ids import ThreadId, child_thread, new_uuid, root_thread
from orchestrator.model.checkpoint import PlannedStep
from orchestrator.model.commit import Commit, LoadedThread
from orchestrator.step import invoke

_Config = Mapping[str, Any] | ThreadId | None


class StateFace(GraphBase):
    """The calls of a compiled graph that read threads or change them."""

    def get_state(self, config: _Config, *, subgraphs: bool = False) -> StateSnapshot:
        """Return the thread's latest snapshot, or that of the checkpoint the config names.

        A thread that does not exist has an empty snapshot, as in LangGraph.

        Args:
            config: names the thread, a checkpoint of it, or the namespace of a subgraph.
            subgraphs: whether the `state` of a step that runs a subgraph is its snapshot.

        Raises:
            UnknownThreadError: if the checkpoint is none of the thread's.
        """
        parsed = merged(self.config, config)
        thread_id, store = parsed.thread(), self.store_of_threads()
        loaded = store.load(thread_id, checkpoint_id=parsed.checkpoint_id)
        if loaded is None and parsed.checkpoint_id is not None:
            Calls(store, self.records).at(thread_id, parsed.checkpoint_id)
        if loaded is None:
            return _nothing(thread_id)
        latest = parsed.checkpoint_id is None
        inside = self._inside(store, thread_id) if subgraphs else None
        return self._snapshot(thread_id, loaded, latest=latest, inside=inside)

    def _snapshot(
        self,
        thread_id: str,
        loaded: LoadedThread,
        *,
        latest: bool,
        inside: Callable[[PlannedStep, str], Any] | None = None,
    ) -> StateSnapshot:
        graph = self.graph_of(root_thread(thread_id)[1], loaded.head.fingerprint)
        records = graph.records if graph else self.records
        spec = graph.spec if graph else None
        return snapshot(thread_id, loaded, records, spec, latest=latest, inside=inside)

    def _inside(self, store: Checkpointer, thread_id: str) -> Callable[[PlannedStep, str], Any]:
        """Return a function that reads the subgraph of a step of a thread."""
        root, _ = root_thread(thread_id)

        def read(step: PlannedStep, ns: str) -> Any:
            del step
            child = child_thread(root, ns)
            loaded = store.load(child)
            if loaded is None:
                return None
            return self._snapshot(child, loaded, latest=True, inside=self._inside(store, child))

        return read

    def get_state_history(
        self,
        config: _Config,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: _Config = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """Iterate over the thread's snapshots, newest first by succession.

        Args:
            config: names the thread.
            filter: what the `metadata` of a snapshot must hold to be shown.
            before: a config with a `checkpoint_id`; only older ones are shown.
            limit: how many at most.
        """
        parsed, store = merged(self.config, config), self.store_of_threads()
        thread_id = parsed.thread()
        older = parse_config(before).before() if before is not None else None
        wanted = dict(filter or {})
        left = limit
        for checkpoint_id in _ids(store, thread_id, older, None if wanted else limit):
            loaded = store.load(thread_id, checkpoint_id=checkpoint_id)
            if loaded is None or left == 0:
                continue
            found = self._snapshot(thread_id, loaded, latest=False)
            held = found.metadata or {}
            if all(held.get(key, MISSING) == value for key, value in wanted.items()):
                left = None if left is None else left - 1
                yield found

    # ---- changing ---------------------------------------------------------------------------

    def update_state(
        self,
        config: _Config,
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> Mapping[str, Any]:
        """Change the state as if `as_node` had returned `values`; its edges and routers apply.

        Args:
            config: names the thread, which is created if it does not exist; or a checkpoint of it,
                from which the change branches off; or the namespace of a subgraph.
            values: what the node would have returned. `None` as `END`: nothing is left to do.
            as_node: whose return it is; if absent, the node that ran last, if that is clear.
            task_id: accepted as in LangGraph, without effect.

        Returns:
            the config of the new checkpoint.

        Raises:
            ThreadBusyError: if the thread's run is active.
            UnknownThreadError: if the checkpoint is none of the thread's.
            InvalidUpdateError: if the node is unknown or not clear, or the update is none.
        """
        return self.bulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    def bulk_update_state(
        self,
        config: _Config,
        supersteps: Sequence[Sequence[StateUpdate]],
    ) -> Mapping[str, Any]:
        """Make supersteps by hand, each of the updates of one or several nodes.

        Returns:
            the config of the last checkpoint.

        Raises:
            InvalidUpdateError: if there are none; and as `update_state`.
        """
        if not supersteps:
            msg = "No supersteps provided: bulk_update_state() needs one at least"
            raise InvalidUpdateError(msg)
        if not all(supersteps):
            msg = "No updates provided: each superstep of bulk_update_state() needs one at least"
            raise InvalidUpdateError(msg)
        parsed = merged(self.config, config)
        thread_id, at = parsed.thread(), parsed.checkpoint_id
        commit: Commit | None = None
        after_input = False
        for updates in supersteps:
            updates_ = [StateUpdate(*update) for update in updates]
            commit = self._edit(parsed, at, partial(_made, updates_, after_input=after_input))
            at, after_input = None, updates_[0].as_node == INPUT
            if following := copied(updates_):
                commit = self._edit(parsed, at, partial(_made, following))
        assert commit is not None
        return self._config_of(thread_id, commit)

    def _config_of(self, thread_id: str, commit: Commit) -> Mapping[str, Any]:
        """Return the config of the checkpoint that a commit brings."""
        assert commit.checkpoint is not None
        graph = self.graph_of(root_thread(thread_id)[1])
        records = graph.records if graph else self.records
        made = records.checkpoint(commit.checkpoint.header)
        return config_of(thread_id, made.id, parents_of(made.metadata))

    def rollback(self, config: _Config) -> Mapping[str, Any]:
        """Make an earlier snapshot the thread's latest again, as a new checkpoint.

        Nothing is erased: the snapshots in between stay readable, as another branch. If the
        snapshot has steps left, `invoke(None, …)` runs them.

        Args:
            config: names the thread and the checkpoint, as `snapshot.config` does.

        Returns:
            the config of the new checkpoint.

        Raises:
            ConfigError: if the config names no checkpoint.
            ThreadBusyError: if the thread's run is active.
            UnknownThreadError: if the checkpoint is none of the thread's.
        """
        parsed = merged(self.config, config)
        _needs_checkpoint(parsed, "rollback")
        commit = self._edit(parsed, parsed.checkpoint_id, lambda editor: editor.branch("fork"))
        return self._config_of(parsed.thread(), commit)

    def fork(self, config: _Config, thread_id: ThreadId | None = None) -> Mapping[str, Any]:
        """Make a new thread that begins with a snapshot of another one.

        Args:
            config: names the thread, and the checkpoint if it is not the latest.
            thread_id: the new thread's id; by default one is made up.

        Returns:
            the config of the new thread's checkpoint.

        Raises:
            ConfigError: if the new thread exists already.
            UnknownThreadError: if there is no such thread or checkpoint.
        """
        parsed, store = merged(self.config, config), self.store_of_threads()
        new_id = parse_config(thread_id).thread() if thread_id is not None else new_uuid()
        return fork_of(self, store, parsed, new_id)

    def _edit(
        self,
        parsed: ThreadConfig,
        at: int | None,
        make: Callable[[Editor], Commit],
    ) -> Commit:
        store, thread_id = self.store_of_threads(), parsed.thread()
        graph = self.graph_of(parsed.ns)
        if graph is None:
            msg = f"no node of the graph {self.spec.name!r} is the subgraph {parsed.ns!r}"
            raise InvalidUpdateError(msg)
        queue = self.executor.default_queue
        queue = queue and (self.spec.queue or queue)
        calls = Calls(store, graph.records, queue)

        def decide(loaded: LoadedThread | None) -> Commit:
            base = loaded if at is None else calls.at(thread_id, at)
            if parsed.ns and loaded is None:
                msg = f"the subgraph {parsed.ns!r} of {parsed.thread_id!r} has not begun"
                raise UnknownThreadError(msg)
            editor = Editor(
                stepping=Stepping(graph.spec, graph.records, queue),
                returns=invoke,
                thread_id=thread_id,
                loaded=loaded,
                base=base,
                run=self.run_config(parsed, {}),
                now_ms=calls.clock.now_ms(),
                at=lambda id_: store.load(thread_id, checkpoint_id=id_, values=False),
            )
            return make(editor)

        try:
            return calls.edit(thread_id, decide)
        except InvalidUpdateError as error:
            if error.raised is None:
                raise
            raise error.as_raised from None


def _made(updates: Sequence[StateUpdate], editor: Editor, *, after_input: bool = False) -> Commit:
    return editor.edit(updates, after_input=after_input)


def _ids(
    store: Checkpointer, thread_id: str, before: int | None, limit: int | None
) -> Iterator[int]:
    """Iterate over checkpoint ids, a page at a time."""
    left = limit
    while left is None or left > 0:
        page = store.history(
            thread_id, before=before, limit=100 if left is None else min(left, 100)
        )
        yield from page
        if len(page) < 100:
            return
        before = page[-1]
        left = None if left is None else left - len(page)


def _needs_checkpoint(parsed: ThreadConfig, what: str) -> None:
    if parsed.before() is None:
        msg = (
            f"{what}() needs to know where to: give the config of a snapshot, which holds a "
            f"checkpoint_id"
        )
        raise ConfigError(msg)


def _nothing(thread_id: str) -> StateSnapshot:
    root, ns = root_thread(thread_id)
    configurable = {"thread_id": root, **({"checkpoint_ns": ns} if ns else {})}
    return StateSnapshot(
        values={},
        next=(),
        config={"configurable": configurable},
        metadata=None,
        created_at=None,
        parent_config=None,
        tasks=(),
    )
