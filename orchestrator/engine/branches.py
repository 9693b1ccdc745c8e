"""Which branch of a thread a checkpoint is on, and what that branch has left behind. Pure.

A subgraph with `checkpointer=True` has one thread for all of its runs, on whatever branch of the
graph around it they are. Its checkpoints name those of the graphs around it under which they were
made; and a branch names the checkpoints that it has left behind. So a run on a branch continues
from the newest state that was made on that branch, or before it began.

Both are in the metadata of checkpoints, under a key that people do not see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.frozen import replace
from orchestrator.ids import checkpoint_text, parse_checkpoint_id, root_thread
from orchestrator.model.checkpoint import Checkpoint

_BRANCH = "__graphstalk__"
# Namespace → the text of the checkpoint under which the run was made.
_PARENTS = "parents"
# Namespace → [first, next]: checkpoints of that thread from `first` on, and before `next`, which
# are not on the branch.
_LEFT = "left"
_STEP = "step"  # The step whose subgraph the run is.
_CROWD = "crowd"  # Whether other steps may run beside it, or beside one of those around it.


def _part(metadata: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = metadata.get(_BRANCH, {}).get(part, {})
    return found


def parents_of(metadata: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the checkpoints of the graphs around under which one was made, by namespace."""
    return _part(metadata, _PARENTS)


def caller_of(metadata: Mapping[str, Any]) -> str:
    """Return the id of the step whose subgraph the run is; empty: it is none, or is not known."""
    step: str = metadata.get(_BRANCH, {}).get(_STEP, "")
    return step


def leaves(metadata: Mapping[str, Any]) -> bool:
    """Return whether the branch of a checkpoint has left anything behind."""
    return bool(_part(metadata, _LEFT))


def without_branch(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that a caller gave."""
    return {key: value for key, value in metadata.items() if key != _BRANCH}


def remarked(metadata: Mapping[str, Any], marks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a checkpoint with other entries of a caller."""
    own = without_branch(marks)
    return {**own, _BRANCH: metadata[_BRANCH]} if _BRANCH in metadata else own


def crowded(metadata: Mapping[str, Any]) -> bool:
    """Return whether other steps may run beside one of those around a run."""
    return _CROWD in metadata.get(_BRANCH, {})


def below(
    checkpoint: Checkpoint, thread_id: str, step_id: str, *, alone: bool = True
) -> Mapping[str, Any]:
    """Return what the run of a subgraph knows of the graphs around it; see `given`.

    Args:
        checkpoint: what planned the step that runs it.
        thread_id: the thread of the checkpoint.
        step_id: the step.
        alone: whether no other step may run beside it.
    """
    ns, metadata = root_thread(thread_id)[1], checkpoint.metadata
    found: dict[str, Any] = {
        _PARENTS: {**parents_of(metadata), ns: checkpoint_text(checkpoint.id)},
        _STEP: step_id,
    }
    if not alone or crowded(metadata):
        found[_CROWD] = True
    if leaves(metadata):
        found[_LEFT] = _part(metadata, _LEFT)
    return found


def given(
    metadata: Mapping[str, Any],
    branch: Mapping[str, Any],
    before: Checkpoint | None,
    thread_id: str,
) -> dict[str, Any]:
    """Return the metadata of the first checkpoint of a run.

    Args:
        metadata: what the caller gave.
        branch: what the run knows of the graphs around it, if there are any.
        before: the checkpoint whose state the run begins with, if there is one.
        thread_id: its thread.
    """
    own = without_branch(metadata)
    ns = root_thread(thread_id)[1]
    behind = _part(before.metadata, _LEFT).get(ns) if before is not None else None
    if not branch and not behind:
        return own
    left = {**branch.get(_LEFT, {}), **({ns: behind} if behind else {})}
    return {**own, _BRANCH: {**branch, **({_LEFT: left} if left else {})}}


def branched(checkpoint: Checkpoint, thread_id: str, base: int) -> Checkpoint:
    """Return a new checkpoint that says what it leaves behind: all from its base up to itself.

    The steps that the base had planned are run again, so what was made under it is not on the
    branch, either.
    """
    ns, held = root_thread(thread_id)[1], checkpoint.metadata.get(_BRANCH, {})
    spans = [list(span) for span in held.get(_LEFT, {}).get(ns, ())]
    while spans and spans[-1][1] >= base:
        base = min(base, spans.pop()[0])
    left = {**held.get(_LEFT, {}), ns: [*spans, [base, checkpoint.id]]}
    metadata = {**checkpoint.metadata, _BRANCH: {**held, _LEFT: left}}
    return replace(checkpoint, metadata=metadata)


def base_of(metadata: Mapping[str, Any], thread_id: str) -> int | None:
    """Return the first checkpoint that the newest branch of a thread has left behind: its base.

    `None`: there is none. Of a branch that began within another, that one's base.
    """
    spans = _part(metadata, _LEFT).get(root_thread(thread_id)[1], ())
    return spans[-1][0] if spans else None


def belongs(metadata: Mapping[str, Any], checkpoint_id: int, branch: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint of a subgraph was made on the branch of a run.

    Args:
        metadata: of the checkpoint.
        checkpoint_id: its id, which shows about when it was made where nothing else does.
        branch: what the run knows of the graphs around it; see `below`.
    """
    parents = parents_of(metadata)
    for ns, spans in branch.get(_LEFT, {}).items():
        around = parse_checkpoint_id(parents[ns]) if ns in parents else None
        if not parents and not ns:
            around = checkpoint_id
        if around is not None and _within(around, spans):
            return False
    return True


def _within(checkpoint_id: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(first <= checkpoint_id < end for first, end in spans)
