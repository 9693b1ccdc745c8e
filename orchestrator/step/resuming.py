"""The record that each resume leaves: load, reconstruct, continue, in figures."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from time import perf_counter

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
from orchestrator.step.access import Access

__all__ = ["Resume", "record_takeover"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resume:
    """One resume, measured.

    Attributes:
        reason: why the run goes on: `answer`, `pause`, `failure`, `crash`, `deploy` or `cancel`.
        load_ms: how long loading the thread took.
        reconstruct_ms: how long it took to find out what is left to do.
    """

    reason: str
    load_ms: float
    reconstruct_ms: float

    def noted(self, loaded: LoadedThread, commit: Commit) -> Commit:
        """Return the commit with the record of the resume, if it lets the run go on."""
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
    """Record that a fleet goes on with a step which a process had to leave, if that is so."""
    if claim.step is None or claim.reason not in {CRASHED, HANDED_BACK}:
        return
    thread_id, began = claim.step.thread_id, perf_counter()
    loaded = access.patiently(lambda: access.checkpointer.load(thread_id, values=False))
    if loaded is None:
        return
    # The step itself came with the claim: there is nothing to reconstruct.
    resume = Resume(claim.reason, load_ms=(perf_counter() - began) * 1000, reconstruct_ms=0.0)
    commit = Commit(thread_id=thread_id, events=(resume.event(loaded),))
    access.commit(commit)
    Resume.log(commit)
