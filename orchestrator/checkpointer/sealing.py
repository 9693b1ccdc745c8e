"""Sealing what a checkpointer is given to keep, and checking what it gives back. (INV-10)

Each checkpointer calls these at its own edge, so what is above never sees a seal, and what is below
never sees an unsealed record. Nothing here raises: a record that does not fit its seal comes back
as bytes that no codec decodes, and fails whoever needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.checkpoint.commit import (
    Answer,
    Claim,
    Commit,
    CommitResult,
    LoadedStep,
    LoadedThread,
    StepUpdate,
    StoredCheckpoint,
)
from orchestrator.checkpoint.model import Head
from orchestrator.seal import seal, unseal

__all__ = ["opened_claim", "opened_head", "opened_result", "opened_thread", "sealed"]

_Fields = Mapping[str, str | int | bytes]


def sealed(commit: Commit) -> Commit:
    """Return a commit whose records are sealed."""
    thread = commit.thread_id
    changes: dict[str, object] = {}
    if commit.checkpoint is not None:
        changes["checkpoint"] = _sealed_checkpoint(thread, commit.checkpoint)
    if commit.blobs:
        changes["blobs"] = _sealed(f"{thread}\x1fvalue\x1f", commit.blobs)
    if commit.guard is not None:
        step = commit.guard.step_id
        if commit.completed is not None:
            changes["completed"] = seal(_outcome(thread, step), commit.completed)
        if commit.notes:
            changes["notes"] = _sealed(_note(thread, step), commit.notes)
    if commit.answers:
        changes["answers"] = tuple(
            Answer(a.step_id, a.interrupt_id, seal(_answer(thread) + a.interrupt_id, a.value))
            for a in commit.answers
        )
    if commit.updates:
        changes["updates"] = tuple(_sealed_update(thread, update) for update in commit.updates)
    if "config" in commit.head or "error" in commit.head:
        changes["head"] = _sealed_head(thread, commit.head)
    if commit.enqueue is not None:
        run, begins = commit.enqueue
        changes["enqueue"] = run, seal(_waiting(thread) + run, begins)
    return replace(commit, **changes) if changes else commit  # type: ignore[arg-type]


def opened_thread(thread_id: str, loaded: LoadedThread) -> LoadedThread:
    """Return a thread whose records were checked."""
    steps = {i: _opened_step(thread_id, i, step) for i, step in loaded.steps.items()}
    return replace(
        loaded,
        head=opened_head(thread_id, loaded.head),
        checkpoint=_opened_checkpoint(thread_id, loaded.checkpoint),
        blobs=_opened(f"{thread_id}\x1fvalue\x1f", loaded.blobs),
        steps=steps,
        outcomes={i: unseal(_outcome(thread_id, i), o) for i, o in loaded.outcomes.items()},
        line=_opened(_waiting(thread_id), loaded.line),
    )


def opened_claim(thread_id: str, claim: Claim) -> Claim:
    """Return a claim whose records were checked."""
    if claim.refused is not None or claim.step is None or claim.head is None:
        return claim
    step = claim.step
    header = f"{thread_id}\x1fheader\x1f{step.checkpoint_id:x}"
    return replace(
        claim,
        head=opened_head(thread_id, claim.head),
        header=unseal(header, claim.header),
        blobs=_opened(f"{thread_id}\x1fvalue\x1f", claim.blobs),
        asks=_opened(_question(thread_id), claim.asks) if claim.asks else claim.asks,
        answers=_opened(_answer(thread_id), claim.answers) if claim.answers else claim.answers,
        notes=_opened(_note(thread_id, step.step_id), claim.notes) if claim.notes else claim.notes,
    )


def opened_result(thread_id: str, result: CommitResult) -> CommitResult:
    """Return what a commit did, with its claim checked."""
    if result.claim is None:
        return result
    return replace(result, claim=opened_claim(thread_id, result.claim))


def opened_head(thread_id: str, head: Head) -> Head:
    """Return a head whose records were checked."""
    config = unseal(f"{thread_id}\x1fconfig", head.config) if head.config else b""
    error = unseal(f"{thread_id}\x1ferror", head.error) if head.error else b""
    return replace(head, config=config, error=error)


def _sealed_head(thread: str, fields: _Fields) -> _Fields:
    made = dict(fields)
    for name in ("config", "error"):
        value = made.get(name)
        if isinstance(value, bytes) and value:
            made[name] = seal(f"{thread}\x1f{name}", value)
    return made


def _sealed_checkpoint(thread: str, stored: StoredCheckpoint) -> StoredCheckpoint:
    return replace(
        stored,
        header=seal(f"{thread}\x1fheader\x1f{stored.id:x}", stored.header),
        plan=seal(f"{thread}\x1fplan\x1f{stored.id:x}", stored.plan),
    )


def _opened_checkpoint(thread: str, stored: StoredCheckpoint) -> StoredCheckpoint:
    return replace(
        stored,
        header=unseal(f"{thread}\x1fheader\x1f{stored.id:x}", stored.header),
        plan=unseal(f"{thread}\x1fplan\x1f{stored.id:x}", stored.plan),
    )


def _sealed_update(thread: str, update: StepUpdate) -> StepUpdate:
    if not update.asks and update.error is None:
        return update
    error = update.error
    if error:
        error = seal(_failure(thread, update.step.step_id), error)
    return replace(update, asks=_sealed(_question(thread), update.asks), error=error)


def _opened_step(thread: str, step_id: str, step: LoadedStep) -> LoadedStep:
    if not (step.error or step.asks or step.notes):
        return step
    return replace(
        step,
        error=unseal(_failure(thread, step_id), step.error) if step.error else b"",
        asks=_opened(_question(thread), step.asks),
        answers=_opened(_answer(thread), step.answers),
        notes=_opened(_note(thread, step_id), step.notes),
    )


def _sealed(place: str, records: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: seal(place + name, record) for name, record in records.items()}


def _opened(place: str, records: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: unseal(place + name, record) for name, record in records.items()}


def _outcome(thread: str, step_id: str) -> str:
    return f"{thread}\x1foutcome\x1f{step_id}"


def _note(thread: str, step_id: str) -> str:
    return f"{thread}\x1fnote of {step_id}\x1f"


def _failure(thread: str, step_id: str) -> str:
    return f"{thread}\x1ffailure\x1f{step_id}"


def _question(thread: str) -> str:
    return f"{thread}\x1fquestion\x1f"


def _answer(thread: str) -> str:
    return f"{thread}\x1fanswer\x1f"


def _waiting(thread: str) -> str:
    return f"{thread}\x1fwaiting run\x1f"
