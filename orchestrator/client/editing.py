"""Changing a thread's state by hand, as if nodes had returned the change; going back, branching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from orchestrator.checkpoint.commit import Commit, EventDraft, LoadedThread
from orchestrator.checkpoint.model import Checkpoint, Head, PlannedStep, RunStatus
from orchestrator.core.accepting import RunConfig, branch_of, check_idle, new_head
from orchestrator.core.advance import Frame, Next, advance
from orchestrator.core.branches import branched
from orchestrator.core.steering import Spot
from orchestrator.core.stepping import Placement, Stepping
from orchestrator.errors import InvalidUpdateError, ParentCommand
from orchestrator.graph.inspecting import INJECTED
from orchestrator.graph.routing import END, START
from orchestrator.ids import checkpoint_text, mint_checkpoint_id
from orchestrator.step.call import writes_after

__all__ = ["Editor", "StateUpdate"]

_INPUT, _COPY = "__input__", "__copy__"


class StateUpdate(NamedTuple):
    """One update of a superstep that `bulk_update_state` makes; LangGraph's name.

    Attributes:
        values: what the node would have returned.
        as_node: whose return it is.
        task_id: accepted as in LangGraph; the checkpoint made here has steps of its own.
    """

    values: Any
    as_node: str | None = None
    task_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """One superstep that is made by hand.

    Attributes:
        stepping: the decisions for the graph.
        thread_id: the thread.
        loaded: the thread at its head; `None` if there is none.
        base: the thread at the checkpoint that the change stands on.
        run: what the thread is started with, if it does not exist.
        now_ms: the time.
    """

    stepping: Stepping
    thread_id: str
    loaded: LoadedThread | None
    base: LoadedThread | None
    run: RunConfig
    now_ms: int

    def edit(self, updates: Sequence[StateUpdate]) -> Commit:
        """Return the commit of a new head: the state as if nodes had returned `updates`.

        What was planned before is planned anew from the new state. A run that has steps left rests
        until somebody resumes it.

        Raises:
            ThreadBusyError: if the thread's run is active.
            InvalidUpdateError: if a node is unknown or cannot be told, or an update is none.
        """
        if self.loaded is not None:
            check_idle(self.thread_id, self.loaded)
        first = updates[0]
        if first.as_node in {END, _INPUT, _COPY} and len(updates) > 1:
            msg = f"an update as {first.as_node!r} stands alone in its superstep"
            raise InvalidUpdateError(msg)
        if first.as_node == END and first.values is None:
            return self._commit(self._settled(), "settled")
        if first.as_node == _COPY:
            return self._copied(first.values)
        frame = self._frame()
        results = [self._result(frame, update) for update in updates]
        source = "input" if first.as_node == _INPUT else "update"
        following = self._advance(frame, results, source)
        return self._commit(following, " ".join(step.node for step, _ in results))

    def _frame(self) -> Frame:
        records = self.stepping.records
        if self.base is None:
            return Frame(Checkpoint(id=0, step=-1), {})
        stored = self.base.checkpoint
        checkpoint = records.checkpoint(stored.header, stored.plan)
        stop = self.loaded.head.stop if self.loaded else 0
        values = records.values(checkpoint, self.base.blobs)
        return Frame(checkpoint, values, stop, changes=values.changes)

    def _result(self, frame: Frame, update: StateUpdate) -> tuple[PlannedStep, Any]:
        spec = self.stepping.spec
        as_node = START if update.as_node == _INPUT else update.as_node
        name = author_of(self.stepping, frame.checkpoint, as_node)
        extras = dict.fromkeys(INJECTED) | {"config": {}}
        checkpoint = replace(frame.checkpoint, control={})
        try:
            writes = writes_after(
                spec, replace(frame, checkpoint=checkpoint), spec.nodes[name], update.values, extras
            )
        except ParentCommand:
            msg = "an update is no Command for a graph around: leave out graph=…"
            raise InvalidUpdateError(msg) from None
        return PlannedStep(name), writes

    def _settled(self) -> Next:
        """Return the state with what had completed, and nothing left to do."""
        frame, records = self._frame(), self.stepping.records
        outcomes = self.base.outcomes if self.base else {}
        keys = self.stepping.spec.state_keys
        results: list[tuple[PlannedStep, Any]] = []
        for step in frame.checkpoint.plan:
            stored = outcomes.get(step.id_in(frame.checkpoint))
            writes = records.outcome(stored).writes if stored is not None else ()
            results.append((step, tuple(w for w in writes if w[0] in keys)))
        try:
            following = self._advance(frame, results, "update")
        except InvalidUpdateError:  # Over this the superstep has failed: it is dropped whole.
            nothing = [(step, ()) for step, _ in results]
            following = self._advance(frame, nothing, "update")
        writers = following.checkpoint.writers or frame.checkpoint.writers
        checkpoint = replace(following.checkpoint, plan=(), writers=writers)
        return replace(following, checkpoint=checkpoint, sends=())

    def _advance(self, frame: Frame, results: list[tuple[PlannedStep, Any]], source: str) -> Next:
        newest = self.loaded.head.checkpoint_id if self.loaded else 0
        following = advance(
            self.stepping.spec,
            frame,
            results,
            new_id=mint_checkpoint_id(newest, self._now()),
            now_ms=self._now(),
            source=source,
        )
        checkpoint = following.checkpoint
        if self.base is None:
            return replace(following, checkpoint=replace(checkpoint, parent=None))
        if frame.checkpoint.id != newest:
            checkpoint = branched(checkpoint, self.thread_id, frame.checkpoint.id)
        return replace(following, checkpoint=checkpoint)

    def _now(self) -> int:
        return self.loaded.now_ms if self.loaded else self.now_ms

    # ---- going back ---------------------------------------------------------------------------

    def _copied(self, values: Any) -> Commit:
        if self.base is None:
            raise InvalidUpdateError("there is no checkpoint to copy: the thread does not exist")
        if values is None:
            return self.branch("fork", sibling=True)
        frame = self._frame()
        updates = [StateUpdate(*item) for item in values]
        results = [self._result(frame, update) for update in updates]
        return self._commit(self._advance(frame, results, "fork"), "copy")

    def branch(
        self,
        source: str,
        *,
        sibling: bool = False,
        spot: Spot | None = None,
    ) -> Commit:
        """Return the commit that makes the base the head again, as a new checkpoint.

        Nothing is erased: what came after the base stays where it is, as another branch.

        Args:
            source: what the new checkpoint is shown as.
            sibling: whether its parent is that of the base, not the base.
            spot: what the steps and their subgraphs begin with, if not as they did.
        """
        if self.loaded is not None:
            check_idle(self.thread_id, self.loaded)
        assert self.base is not None
        assert self.loaded is not None
        before = self._frame().checkpoint
        now_ms = self._now()
        checkpoint = branch_of(
            before,
            self.thread_id,
            new_id=mint_checkpoint_id(self.loaded.head.checkpoint_id, now_ms),
            now_ms=now_ms,
            spot=spot,
            source=source,
        )
        if sibling:
            checkpoint = replace(checkpoint, parent=before.parent)
        return self._commit(Next(checkpoint, {}, {}), source)

    # ---- committing ---------------------------------------------------------------------------

    def _commit(self, following: Next, what: str) -> Commit:
        spec, records = self.stepping.spec, self.stepping.records
        where = Placement(self.thread_id, spec.name, self.stepping.default_queue)
        head = Head(
            graph=spec.name,
            fingerprint=spec.fingerprint,
            run_id=self.run.run_id,
            status=RunStatus.PAUSED,
            checkpoint_id=0,
            stop=self.run.recursion_limit,
        )
        fields: Mapping[str, Any] = new_head(records, where, self.run, 0)
        if self.loaded is not None:
            old = self.loaded.head
            graph = old.graph if "|" in old.graph else spec.name
            head = replace(old, graph=graph, fingerprint=spec.fingerprint)
            fields = {"error": b"", "graph": graph, "fingerprint": spec.fingerprint}
        commit = self.stepping.next(self.thread_id, head, following)
        edited = {"checkpoint": checkpoint_text(following.checkpoint.id), "node": what}
        return replace(
            commit,
            expect_new=self.loaded is None,
            expect_head=self.loaded.head.checkpoint_id if self.loaded else None,
            expect_status=() if self.loaded is None else (self.loaded.head.status,),
            status=RunStatus.PAUSED if following.checkpoint.plan else RunStatus.SUCCEEDED,
            head=fields,
            events=(EventDraft("state_edited", edited), commit.events[0]),
        )


def author_of(stepping: Stepping, before: Checkpoint, as_node: str | None) -> str:
    """Return the node as which the state is changed.

    Raises:
        InvalidUpdateError: if it is unknown, or cannot be told.
    """
    nodes = stepping.spec.nodes
    if as_node is not None:
        known = {stepping.spec.shown(node): node for node in nodes}
        if as_node not in nodes and as_node not in known:
            names = ", ".join(repr(node) for node in known if node != START)
            msg = f"cannot update as {as_node!r}, which is no node. The nodes are: {names}"
            raise InvalidUpdateError(msg)
        return as_node if as_node in nodes else known[as_node]
    if not before.writers:
        return START
    if len(before.writers) > 1:
        msg = f"several nodes ran last ({', '.join(before.writers)}): say which, as_node=…"
        raise InvalidUpdateError(msg)
    if before.writers[0] not in nodes:
        msg = f"{before.writers[0]!r} ran last, which this graph does not have: say as_node=…"
        raise InvalidUpdateError(msg)
    return before.writers[0]
