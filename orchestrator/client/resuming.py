"""The record that each resume leaves: load, reconstruct, continue, in figures."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from orchestrator.checkpoint.commit import Commit, EventDraft, LoadedThread
from orchestrator.checkpoint.model import RunStatus
from orchestrator.ids import checkpoint_text

__all__ = ["EVENT", "Resume"]

EVENT = "checkpoint_resume"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resume:
    """One resume, measured.

    Attributes:
        reason: why the run goes on: `answer`, `pause`, `failure`, `crash` or `cancel`.
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
        steps = loaded.steps.values()
        left = [step.step for step in steps if not step.completed]
        fields: dict[str, str | int | bytes] = {
            "run_id": loaded.head.run_id,
            "checkpoint_id": checkpoint_text(loaded.head.checkpoint_id),
            "step": left[0].number if left else 0,
            "phase": " ".join(dict.fromkeys(step.node for step in left)),
            "age_ms": max(0, loaded.now_ms - loaded.head.updated_ms),
            "load_ms": f"{self.load_ms:.3f}",
            "reconstruct_ms": f"{self.reconstruct_ms:.3f}",
            "skipped_steps": sum(step.completed for step in steps),
            "reason": self.reason,
        }
        return replace(commit, events=(*commit.events, EventDraft(EVENT, fields)))

    @staticmethod
    def log(commit: Commit) -> None:
        """Say it in the log of the process, once it is committed."""
        if _log.isEnabledFor(logging.INFO):
            for event in commit.events:
                if event.type == EVENT:
                    told = " ".join(f"{key}={value!s}" for key, value in event.fields.items())
                    _log.info("event=%s thread_id=%s %s", EVENT, commit.thread_id, told)
