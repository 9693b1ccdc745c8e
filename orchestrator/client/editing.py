"""Changing a thread's state by hand, as if a node had returned the change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.checkpoint.commit import Commit, EventDraft, LoadedThread
from orchestrator.checkpoint.model import Checkpoint, Head, PlannedStep, RunStatus
from orchestrator.core.advance import Frame, advance
from orchestrator.core.calling import RunConfig, check_idle, new_head
from orchestrator.core.stepping import Placement, Stepping
from orchestrator.errors import InvalidUpdateError
from orchestrator.graph.routing import START
from orchestrator.ids import checkpoint_text, mint_checkpoint_id
from orchestrator.step.call import writes_after

__all__ = ["edit"]


def edit(
    stepping: Stepping,
    thread_id: str,
    loaded: LoadedThread | None,
    values: Any,
    as_node: str | None,
    run: RunConfig,
    now_ms: int,
) -> Commit:
    """Return the commit of a new head: the state as if `as_node` had returned `values`.

    What was planned before is planned anew from the new state. A run that has steps left rests
    until somebody resumes it.

    Raises:
        ThreadBusyError: if the thread's run is active.
        InvalidUpdateError: if the node is unknown or cannot be told, or `values` is no update.
    """
    spec, records = stepping.spec, stepping.records
    where = Placement(thread_id, spec.name, stepping.default_queue)
    before = Checkpoint(id=0, step=-1)
    state: Mapping[str, Any] = {}
    fields: Mapping[str, Any] = new_head(records, where, run, 0)
    head = Head(
        graph=spec.name,
        fingerprint=spec.fingerprint,
        run_id=run.run_id,
        status=RunStatus.PAUSED,
        checkpoint_id=0,
        stop=run.recursion_limit,
    )
    if loaded is not None:
        check_idle(thread_id, loaded)
        before = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
        state = records.values(before, loaded.blobs)
        head = replace(loaded.head, graph=spec.name, fingerprint=spec.fingerprint)
        fields = {"error": b"", "graph": head.graph, "fingerprint": head.fingerprint}
    node = spec.nodes[_author(stepping, before, as_node)]
    frame = Frame(before, state)
    writes = writes_after(spec, frame, node, values, {"config": {}, "ctx": None})
    now_ms = loaded.now_ms if loaded else now_ms
    following = advance(
        spec,
        frame,
        [(PlannedStep(node.name), writes)],
        new_id=mint_checkpoint_id(before.id, now_ms),
        now_ms=now_ms,
        source="update",
    )
    if loaded is None:
        following = replace(following, checkpoint=replace(following.checkpoint, parent=None))
    commit = stepping.next(thread_id, head, following)
    edited = {"checkpoint": checkpoint_text(following.checkpoint.id), "node": node.name}
    return replace(
        commit,
        expect_new=loaded is None,
        expect_status=() if loaded is None else (loaded.head.status,),
        status=RunStatus.PAUSED if following.checkpoint.plan else RunStatus.SUCCEEDED,
        head=fields,
        events=(EventDraft("state_edited", edited), commit.events[0]),
    )


def _author(stepping: Stepping, before: Checkpoint, as_node: str | None) -> str:
    """Return the node as which the state is changed."""
    nodes = stepping.spec.nodes
    if as_node is not None:
        if as_node not in nodes:
            known = ", ".join(repr(node) for node in nodes if node != START)
            msg = f"cannot update as {as_node!r}, which is no node. The nodes are: {known}"
            raise InvalidUpdateError(msg)
        return as_node
    if not before.writers:
        return START
    if len(before.writers) > 1:
        msg = f"several nodes ran last ({', '.join(before.writers)}): say which, as_node=…"
        raise InvalidUpdateError(msg)
    if before.writers[0] not in nodes:
        msg = f"{before.writers[0]!r} ran last, which this graph does not have: say as_node=…"
        raise InvalidUpdateError(msg)
    return before.writers[0]
