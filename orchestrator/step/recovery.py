"""Rolls a thread back whose latest checkpoint is damaged; records each resume. (INV-10)

The damaged one is set aside: it stays in the history for inspection, the log of the thread and of
the process say what happened, and what came after the good one is done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter

from orchestrator.checkpointer.base import Checkpointer, commit_to
from orchestrator.engine import rollback
from orchestrator.engine.records import Records
from orchestrator.engine.rollback import damage_to_state, damage_to_steps
from orchestrator.engine.settle import Decider, append_event
from orchestrator.errors import StateCorruptedError
from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    CRASHED,
    HANDED_BACK,
    Claim,
    Commit,
    EventDraft,
    LoadedThread,
)
from orchestrator.model.events import CheckpointResumed
from orchestrator.step.store_access import Access

__all__ = ["Resume", "record_takeover", "roll_back"]

_log = logging.getLogger(__name__)
_PAGE = 100  # Checkpoints that are inspected at a time.


def roll_back(
    store: Checkpointer,
    records: Records,
    thread_id: str,
    queue: str,
    *,
    spec: GraphSpec | None = None,
    afresh: bool = False,
) -> Commit | None:
    """Set a thread back to its latest good checkpoint; return the commit, `None` if none is needed.

    Args:
        store: where the thread is.
        records: how it is stored.
        thread_id: the thread.
        queue: where its steps go; empty: they run in the process that calls.
        spec: the graph, if the caller has it.
        afresh: whether another run is about to begin. Else a run that has lost its input fails: it
            would do the steps of an earlier one.

    Raises:
        StateCorruptedError: if no checkpoint is good.
    """
    loaded = store.load(thread_id)
    if loaded is None:
        return None
    to_state = damage_to_state(records, loaded)
    why = to_state or damage_to_steps(loaded)
    if not why:
        return None
    is_good: Callable[[LoadedThread], bool] = lambda one: not damage_to_state(records, one)  # noqa: E731
    good = loaded if not to_state else _last_good(store, thread_id, loaded, is_good)
    if good is None:
        msg = (
            f"the thread {thread_id!r} cannot continue: {why}, and no checkpoint is whole. "
            f"Start anew with an input and on_corrupt='restart', or use another thread"
        )
        raise StateCorruptedError(msg)
    lost = not afresh and bool(to_state) and _loses_input(store, records, thread_id, loaded, good)
    decider = Decider.of(records, thread_id, loaded, queue)
    commit = rollback.roll_back(decider, loaded, good, why, spec=spec, lost=lost)
    if commit_to(store, commit).refused is not None:
        return None  # Another process has changed the thread.
    fields = commit.events[0].fields
    _log.error(
        "event=checkpoint_set_aside thread_id=%s checkpoint_id=%s back_to=%s reason=%s",
        *(thread_id, fields["checkpoint"], fields["back_to"], why),
    )
    return commit


def _last_good(
    store: Checkpointer,
    thread_id: str,
    loaded: LoadedThread,
    is_good: Callable[[LoadedThread], bool],
) -> LoadedThread | None:
    """Return the thread at its latest good checkpoint, in the order in which they were the head."""
    before = loaded.head.checkpoint_id
    while ids := store.history(thread_id, before=before, limit=_PAGE):
        for checkpoint_id in ids:
            one = store.load(thread_id, checkpoint_id=checkpoint_id)
            if one is not None and is_good(one):
                return one
        before = ids[-1]
    return None


def _loses_input(
    store: Checkpointer,
    records: Records,
    thread_id: str,
    loaded: LoadedThread,
    good: LoadedThread,
) -> bool:
    """Return whether the input of a run is among what is set aside, as far as that can be read."""
    before, passed = loaded.head.checkpoint_id + 1, True
    while passed and (ids := store.history(thread_id, before=before, limit=_PAGE)):
        passed = ids[-1] > good.checkpoint.id
        for checkpoint_id in (id_ for id_ in ids if id_ > good.checkpoint.id):
            one = store.load(thread_id, checkpoint_id=checkpoint_id, values=False)
            with suppress(StateCorruptedError):
                if one is not None and records.takes_input(one.checkpoint):
                    return True
        before = ids[-1]
    return False


@dataclass(frozen=True, slots=True)
class Resume:
    """One resume, measured.

    Attributes:
        reason: why the run continues: `answer`, `pause`, `failure`, `crash`, `deploy` or `cancel`.
        load_ms: how long loading the thread took.
        reconstruct_ms: how long it took to find out what is left to do.
    """

    reason: str
    load_ms: float
    reconstruct_ms: float

    def noted(self, loaded: LoadedThread, commit: Commit) -> Commit:
        """Return the commit with the record of the resume, if the run continues by it."""
        if commit.status is not RunStatus.RUNNING:
            return commit
        return replace(commit, events=(*commit.events, self.event(loaded)))

    def event(self, loaded: LoadedThread) -> EventDraft:
        """Return the record."""
        steps = loaded.steps.values()
        left = [step.step for step in steps if not step.completed]
        return CheckpointResumed(
            run_id=loaded.head.run_id,
            checkpoint_id=loaded.head.checkpoint_id,
            step=left[0].number if left else 0,
            phase=" ".join(dict.fromkeys(step.node for step in left)),
            age_ms=max(0, loaded.now_ms - loaded.head.updated_ms),
            load_ms=f"{self.load_ms:.3f}",
            reconstruct_ms=f"{self.reconstruct_ms:.3f}",
            skipped_steps=sum(step.completed for step in steps),
            reason=self.reason,
        ).draft()

    @staticmethod
    def log(commit: Commit) -> None:
        """Log the record, once it is committed."""
        if _log.isEnabledFor(logging.INFO):
            for event in commit.events:
                if event.type == CheckpointResumed.type:
                    shown = " ".join(f"{key}={value!s}" for key, value in event.fields.items())
                    _log.info("event=%s thread_id=%s %s", event.type, commit.thread_id, shown)


def record_takeover(access: Access, claim: Claim) -> None:
    """Record that a fleet continues a step which another process had to leave, if it does."""
    if claim.step is None or claim.reason not in {CRASHED, HANDED_BACK}:
        return
    thread_id, began = claim.step.thread_id, perf_counter()
    loaded = access.patiently(lambda: access.checkpointer.load(thread_id, values=False))
    if loaded is None:
        return
    # The step itself came with the claim: there is nothing to reconstruct.
    resume = Resume(claim.reason, load_ms=(perf_counter() - began) * 1000, reconstruct_ms=0.0)
    commit = append_event(thread_id, resume.event(loaded))
    access.commit(commit)
    Resume.log(commit)
