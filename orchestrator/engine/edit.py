"""Edits of a thread's state, as if nodes had returned them; new branches at old checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from orchestrator.engine.accept import (
    RunConfig,
    branch_of,
    check_idle,
    left_behind,
    new_head,
    plain,
)
from orchestrator.engine.advance import Frame, Next, accept_input, advance
from orchestrator.engine.apply import LEFT, RETURN
from orchestrator.engine.branches import branched, remarked
from orchestrator.engine.carryover import Spot, keeps_steps
from orchestrator.engine.settle import Decider, Placement, Stepping
from orchestrator.errors import InvalidUpdateError, ParentCommand
from orchestrator.frozen import replace
from orchestrator.graph.introspection import INJECTED
from orchestrator.graph.routing import END, START, branch_channel, own, plain_name
from orchestrator.graph.spec import GraphSpec, NodeSpec
from orchestrator.ids import mint_checkpoint_id
from orchestrator.model.checkpoint import Checkpoint, Head, Outcome, PlannedStep, RunStatus
from orchestrator.model.commit import Commit, LoadedThread
from orchestrator.model.events import StateEdited

INPUT, _COPY = "__input__", "__copy__"


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


class Returns(Protocol):
    """Reads what nodes return as writes; asks the routers of a node, which are the user's code."""

    def leads(self, result: Any, /) -> bool:
        """Return whether a node that returned `result` says where the run continues."""
        ...

    def updates_of(self, spec: GraphSpec, node: NodeSpec, result: Any, /) -> list[tuple[str, Any]]:
        """Return the update of the state that a node's `result` is."""
        ...

    def writes_of_edit(
        self,
        spec: GraphSpec,
        frame: Frame,
        node: NodeSpec,
        values: Any,
        targets: Iterable[Any],
        extras: Mapping[str, Any],
        /,
        *,
        routed_only: bool,
    ) -> tuple[tuple[str, Any], ...]:
        """Return what an edit writes: as if a node had returned it, and led to `targets`, too."""
        ...


def _nowhere(_checkpoint_id: int) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """One superstep that is made by hand.

    Attributes:
        stepping: the decisions for the graph.
        returns: reads what nodes return.
        thread_id: the thread.
        loaded: the thread at its head; `None` if there is none.
        base: the thread at the checkpoint that is changed.
        run: what the thread is started with, if it does not exist.
        now_ms: the time.
        at: loads the thread at another checkpoint.
    """

    stepping: Stepping
    returns: Returns
    thread_id: str
    loaded: LoadedThread | None
    base: LoadedThread | None
    run: RunConfig
    now_ms: int
    at: Callable[[int], LoadedThread | None] = _nowhere

    def edit(self, updates: Sequence[StateUpdate], *, after_input: bool = False) -> Commit:
        """Return the commit of a new head: the state as if nodes had returned `updates`.

        The steps that were planned before are planned anew from the new state, but for those to
        which a `Command` had led, if the edit names no node. A run that has steps left waits to be
        resumed. History shows an edit as the result of the step that it replaces, if there is one.

        Args:
            updates: what nodes would have returned.
            after_input: whether it follows an input by hand. If none of the updates is START's,
                that input is applied with them, and leads nowhere.

        Raises:
            ThreadBusyError: if the thread's run is active.
            InvalidUpdateError: if a node is unknown or not clear, or an update is none.
        """
        if self.loaded is not None:
            check_idle(self.thread_id, self.loaded)
        updates = [update._replace(values=own(update.values)) for update in updates]
        first = updates[0]
        if first.as_node in {END, INPUT, _COPY} and len(updates) > 1:
            msg = (
                f"an update as {first.as_node!r} must be the only one of its superstep "
                f"({len(updates)} updates): make it a superstep of its own"
            )
            raise InvalidUpdateError(msg)
        if first.as_node == INPUT:
            return self._commit(self._accepted(first.values), START)
        if first.as_node == END and first.values is None:
            return self._commit(self._settled(), "settled")
        if first.as_node == _COPY:
            return self._copied(first.values)
        frame = self._frame()
        results = [self._result(frame, update) for update in updates]
        if after_input and all(step.node != START for step, _ in results):
            value = frame.checkpoint.control[START]
            start = self.stepping.spec.start
            results.append(
                (
                    PlannedStep(START),
                    tuple(self.returns.updates_of(self.stepping.spec, start, value)),
                )
            )
        following = self._advance(frame, results, "update")
        commit = self._commit(following, " ".join(step.node for step, _ in results))
        replaced = self._replaced_by(frame.checkpoint, results)
        return replace(commit, results={**commit.results, **replaced})

    def _accepted(self, value: Any) -> Next:
        """Return the state with an input that waits for START."""
        spec, records, given = self.stepping.spec, self.stepping.records, plain(value)
        if given is None:
            raise InvalidUpdateError("an update as '__input__' is an input, which None is not")
        if spec.start.action is None:
            self.returns.updates_of(spec, spec.start, given)
        records.check("the input", given)
        base = self._frame().checkpoint if self.base is not None else None
        newest = self.loaded.head.checkpoint_id if self.loaded else 0
        checkpoint = accept_input(
            base,
            given,
            new_id=mint_checkpoint_id(newest, self._now()),
            now_ms=self._now(),
            metadata=remarked(base.metadata if base else {}, self.run.marks),
        )
        if base is None:
            checkpoint = replace(checkpoint, state_version=spec.lineage.version)
        elif base.id != newest:
            checkpoint = branched(checkpoint, self.thread_id, base.id)
        return Next(checkpoint, {}, {})

    def _replaced_by(
        self, checkpoint: Checkpoint, results: list[tuple[PlannedStep, Any]]
    ) -> dict[tuple[int, str], bytes]:
        """Return outcomes for the steps of a checkpoint that an edit replaces."""
        if self.base is None:
            return {}
        records, base = self.stepping.records, self.base
        shown = {i: records.outcome(data) for i, data in base.outcomes.items()}
        done = {i for i, outcome in shown.items() if (LEFT, True) not in outcome.writes}
        left = [step for step in checkpoint.plan if step.id_in(checkpoint) not in done]
        found: dict[tuple[int, str], bytes] = {}
        keys = self.stepping.spec.state_keys
        for edited, writes in results:
            step = next((step for step in left if step.node == edited.node), None)
            if step is None:
                continue
            left.remove(step)
            step_id = step.id_in(checkpoint)
            before = left_behind(records, base).get((checkpoint.id, step_id))
            was = records.outcome(before) if before else shown.get(step_id, Outcome(attempt=0))
            # One that changes nothing is shown as a step that never completed, as in LangGraph.
            changes = any(key == RETURN or key in keys for key, _ in writes)
            outcome = replace(was, writes=tuple(writes) if changes else ((LEFT, True),))
            found[checkpoint.id, step_id] = self.stepping.stored(outcome)
        return found

    def _frame(self) -> Frame:
        records = self.stepping.records
        if self.base is None:
            return Frame(Checkpoint(id=0, step=-1), {})
        stop = self.loaded.head.stop if self.loaded else 0
        return replace(records.frame(self.base), stop=stop)

    def _result(self, frame: Frame, update: StateUpdate) -> tuple[PlannedStep, Any]:
        spec = self.stepping.spec
        name = author_of(self.stepping, frame.checkpoint, update.as_node)
        keeps = update.as_node is None and not self.returns.leads(update.values)
        routed = keeps and name == START and self._is_routed(frame.checkpoint)
        way = self._way(frame.checkpoint, spec.nodes[name], routed=routed) if keeps else ()
        extras = dict.fromkeys(INJECTED) | {"config": {}}
        checkpoint = replace(frame.checkpoint, control={})
        try:
            writes = self.returns.writes_of_edit(
                spec,
                replace(frame, checkpoint=checkpoint),
                spec.nodes[name],
                update.values,
                way,
                extras,
                routed_only=routed,
            )
        except ParentCommand:
            msg = "an update is no Command for a graph around: leave out graph=…"
            raise InvalidUpdateError(msg) from None
        except InvalidUpdateError as error:
            if name != START or update.as_node is not None:
                raise
            msg = (
                f"{error}. No node of the thread has run yet, so an update without as_node is "
                f"taken for the input: name the node, as_node=…, or begin with "
                f"invoke(Command(update=…), config), which may update any key of the state"
            )
            raise InvalidUpdateError(msg) from None
        return PlannedStep(name), writes

    def _is_routed(self, checkpoint: Checkpoint) -> bool:
        """Return whether a Command made START lead elsewhere than its edges do."""
        while checkpoint.parent is not None and checkpoint.plan:
            before = self.at(checkpoint.parent)
            if before is None:
                break
            around = self.stepping.records.checkpoint(before.checkpoint.header)
            if checkpoint.source == "loop":
                return keeps_steps(around)
            checkpoint = replace(around, plan=checkpoint.plan)
        return False

    def _way(self, checkpoint: Checkpoint, node: NodeSpec, *, routed: bool) -> list[str]:
        """Return the nodes to which a Command had led, and the node that ran last alone would not.

        What it had sent is not among them: its arguments were made of the state before the edit.
        """
        if checkpoint.writers != (node.name,):
            return []
        routes = [] if routed else node.branches
        if any(branch.ends is None for branch in routes):
            return []  # A router may lead to any node, and chooses anew.
        ways = set() if routed else {channel for channel, _ in node.writes}
        ways |= {branch_channel(end) for branch in routes for end in (branch.ends or {}).values()}
        chosen = {
            step.node: branch_channel(step.node)
            for step in checkpoint.plan
            if step.index < 0 and (branch_channel(step.node) in step.triggers or not step.triggers)
        }
        return [name for name, channel in chosen.items() if channel not in ways]

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

    # ---- branches -----------------------------------------------------------------------------

    def _copied(self, values: Any) -> Commit:
        if self.base is None:
            raise InvalidUpdateError("there is no checkpoint to copy: the thread does not exist")
        before = self._frame().checkpoint
        for update in copied([StateUpdate(values, _COPY)]):
            author_of(self.stepping, before, update.as_node)
        run = replace(self.run, above={})  # As in LangGraph, a copy has no metadata of its call.
        return replace(self, run=run).branch("fork", sibling=True)

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
        fields: Mapping[str, Any] = new_head(Decider(records, where), self.run, 0)
        if self.loaded is not None:
            old = self.loaded.head
            graph = old.graph if "|" in old.graph else spec.name
            head = replace(old, graph=graph, fingerprint=spec.fingerprint)
            fields = {"error": b"", "graph": graph, "fingerprint": spec.fingerprint}
        metadata = remarked(following.checkpoint.metadata, self.run.marks)
        made = replace(following.checkpoint, metadata=metadata)
        following = replace(following, checkpoint=made)
        commit = self.stepping.next(self.thread_id, head, following)
        edited = StateEdited(checkpoint=following.checkpoint.id, node=what).draft()
        return replace(
            commit,
            expect_new=self.loaded is None,
            expect_head=self.loaded.head.checkpoint_id if self.loaded else None,
            expect_status=() if self.loaded is None else (self.loaded.head.status,),
            status=RunStatus.PAUSED if following.checkpoint.plan else RunStatus.SUCCEEDED,
            head=fields,
            results=left_behind(records, self.loaded) if self.loaded is not None else {},
            events=(edited, commit.events[0]),
        )


def copied(updates: Sequence[StateUpdate]) -> list[StateUpdate]:
    """Return the superstep that is made on a copy of a checkpoint, if that is what is asked for.

    Raises:
        InvalidUpdateError: if it is none.
    """
    values = updates[0].values
    if updates[0].as_node != _COPY or values is None:
        return []
    try:
        return [StateUpdate(*item) for item in values]
    except TypeError:
        msg = (
            f"an update as '__copy__' is None, or a list of updates, each (values, as_node): "
            f"{values!r:.100}"
        )
        raise InvalidUpdateError(msg) from None


def author_of(stepping: Stepping, before: Checkpoint, as_node: str | None) -> str:
    """Return the node as which the state is changed.

    Raises:
        InvalidUpdateError: if it is unknown, or not clear.
    """
    nodes, as_node = stepping.spec.nodes, plain_name(as_node)
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
