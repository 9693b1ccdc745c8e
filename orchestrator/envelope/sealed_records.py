"""Records of commits, sealed before they are stored and checked when they are read. (INV-10)

Each checkpointer calls these at its own edge, so the engine never sees a seal, and the store never
sees an unsealed record. Nothing here raises: a record that does not fit its seal comes back as
`Damaged`, and the reader that needs it fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Any, TypeVar

from orchestrator.envelope.damage import Damaged, damaged
from orchestrator.envelope.event_codec import sealed_event
from orchestrator.envelope.list_tails import (
    opened_naming,
    opened_values,
    sealed_naming,
    sealed_values,
)
from orchestrator.envelope.seal import SEAL_BYTES, seal, unseal
from orchestrator.errors import GraphstalkError, StateCorruptedError
from orchestrator.frozen import replace
from orchestrator.ids import root_thread
from orchestrator.model.checkpoint import Head
from orchestrator.model.commit import (
    Answer,
    Claim,
    Commit,
    LoadedStep,
    LoadedThread,
    StepUpdate,
    StoredCheckpoint,
)

# The fields that callers set. The others change at every step, and are counted and checked.
HEAD_FIELDS = (
    *("graph", "fingerprint", "run_id", "config", "stop", "breaks_seen", "resumes", "local"),
    *("owner", "error"),
)
_SEALED_REASON = "\x01"
_DAMAGED_REASON = "(the stored reason is damaged)"
_NO_SEAL = "-"  # Of a server that cannot make one: fakeredis has no `redis.sha1hex`.

_Fields = Mapping[str, str | int | bytes]
_Row = TypeVar("_Row")

_log = logging.getLogger(__name__)


def sealed(commit: Commit, *, compact: bool = False) -> Commit:
    """Return a commit whose records are sealed.

    Args:
        commit: the commit to be stored.
        compact: whether to compress those of its records that may be large, and to let an input
            name its values. Its events are left as they are then, for `sealed_together`.
    """
    thread = commit.thread_id
    changes: dict[str, Any] = {}
    if commit.checkpoint is not None:
        changes["checkpoint"] = _sealed_checkpoint(thread, commit.checkpoint, compact=compact)
    if commit.blobs:
        changes["blobs"] = sealed_values(thread, commit, compact=compact)
    if commit.guard is not None:
        step = commit.guard.step_id
        if commit.completed is not None:
            place, record = _outcome(thread, step), commit.completed
            changes["completed"] = sealed_naming(
                place, record, commit.blobs, compact=compact
            ) or seal(place, record, compact=compact)
        if commit.notes:
            changes["notes"] = _sealed(_note(thread, step), commit.notes, compact=compact)
    if commit.answers:
        changes["answers"] = tuple(
            Answer(a.step_id, a.interrupt_id, seal(_answer(thread) + a.interrupt_id, a.value))
            for a in commit.answers
        )
    if commit.results:
        changes["results"] = {
            (at, step): seal(_outcome(thread, step), record, compact=compact)
            for (at, step), record in commit.results.items()
        }
    if commit.updates:
        changes["updates"] = tuple(_sealed_update(thread, update) for update in commit.updates)
    if "config" in commit.head or "error" in commit.head:
        changes["head"] = _sealed_head(thread, commit.head)
    if commit.events and not compact:
        log, _ = root_thread(thread)
        changes["events"] = tuple(sealed_event(log, draft) for draft in commit.events)
    if commit.input is not None and compact:
        changes["input"] = _sealed_input(thread, commit.input, commit.blobs)
    if commit.enqueue is not None:
        run, begins = commit.enqueue
        changes["enqueue"] = run, seal(_waiting(thread) + run, begins, compact=compact)
    return replace(commit, **changes) if changes else commit


def opened_thread(thread_id: str, loaded: LoadedThread, named: Mapping[str, bytes]) -> LoadedThread:
    """Return a thread whose records were checked; `named`: the values that records name."""
    steps = {i: _opened_step(thread_id, i, step) for i, step in loaded.steps.items()}
    args = (step.step.arg for step in loaded.steps.values())
    blobs, broken = opened_values(thread_id, loaded.blobs, (*loaded.checkpoint.refs, *args))
    for name in broken:
        del blobs[name]  # The value that it continues is gone.
    return replace(
        loaded,
        checkpoint=opened_checkpoint(thread_id, loaded.checkpoint, named),
        blobs=blobs,
        steps=steps,
        outcomes={
            i: opened_naming(thread_id, _outcome(thread_id, i), stored, named)
            for i, stored in loaded.outcomes.items()
        },
        line=_opened(_waiting(thread_id), loaded.line),
    )


def opened_claim(thread_id: str, claim: Claim) -> Claim:
    """Return a claim whose records were checked."""
    if claim.step is None:
        return claim  # It was refused.
    step = claim.step
    header = _opened_header(thread_id, step.checkpoint_id, claim.refs, claim.header, {})
    changes: dict[str, Any] = {"header": header}
    if claim.blobs:
        wanted = (*claim.refs, step.arg)
        changes["blobs"], changes["tails"] = opened_values(thread_id, claim.blobs, wanted)
    if claim.asks:
        changes["asks"] = _opened(_question(thread_id), claim.asks)
        changes["answers"] = _opened(_answer(thread_id), claim.answers)
    if claim.reason:
        changes["reason"] = _opened_reason(thread_id, step.step_id, claim.reason)
    if claim.notes:
        changes["notes"] = _opened(_note(thread_id, step.step_id), claim.notes)
    return replace(claim, **changes)


def readable(
    rows: Iterable[tuple[str, _Row]], head: Callable[[str, _Row], Head]
) -> Iterator[tuple[str, Head]]:
    """Return threads with their heads. One that cannot be read is logged, and hides no other."""
    for thread_id, row in rows:
        try:
            with parsing(thread_id):
                found = head(thread_id, row)
        except StateCorruptedError as error:
            _log.error("%s: graphstalk doctor --threads says what", error)
        else:
            yield thread_id, found


def head_seal(thread_id: str, fields: Mapping[str, bytes]) -> str:
    """Return the seal of the `HEAD_FIELDS`, as `commit.lua` makes it."""
    values = (fields.get(name, b"") for name in HEAD_FIELDS)
    parts = b"".join(b"%d:%s" % (len(value), value) for value in values)
    name = thread_id.encode("utf-8", "surrogatepass")
    return sha1(name + parts, usedforsecurity=False).hexdigest()[:16]


def is_whole(fields: Mapping[str, bytes], made: str, thread_id: str) -> bool:
    """Return whether a head fits its seal."""
    if made == _NO_SEAL or not (made or any(fields.values())):
        return True
    return made == head_seal(thread_id, fields)


def opened_config(thread_id: str, config: bytes, *, whole: bool = True) -> bytes:
    """Return the config of a head, checked; if the head does not fit its seal, `Damaged`.

    A process needs the config to continue a run; so no run continues on a head that is not what
    was stored.
    """
    if not whole:
        return damaged(f"{thread_id}\x1fhead")
    return unseal(f"{thread_id}\x1fconfig", config) if config else b""


def opened_error(thread_id: str, error: bytes) -> bytes:
    """Return the error of a head, checked."""
    return unseal(f"{thread_id}\x1ferror", error) if error else b""


@contextmanager
def parsing(thread_id: str) -> Iterator[None]:
    """Turn errors about stored bytes that are no record at all into `StateCorruptedError`.

    Raises:
        StateCorruptedError: if the block cannot parse what is stored.
    """
    try:
        yield
    except GraphstalkError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"what is stored of the thread {thread_id!r} is damaged ({error!r:.200})"
        raise StateCorruptedError(msg) from error


def _sealed_head(thread: str, fields: _Fields) -> _Fields:
    made = dict(fields)
    for name in ("config", "error"):
        value = made.get(name)
        if isinstance(value, bytes) and value:
            made[name] = seal(f"{thread}\x1f{name}", value)
    return made


def _sealed_checkpoint(thread: str, stored: StoredCheckpoint, *, compact: bool) -> StoredCheckpoint:
    return StoredCheckpoint(
        id=stored.id,
        ns=stored.ns,
        refs=stored.refs,
        header=seal(_header(thread, stored.id, stored.refs), stored.header, compact=compact),
        plan=seal(_plan(thread, stored.id), stored.plan),
    )


def _sealed_input(
    thread: str, stored: StoredCheckpoint, values: Mapping[str, bytes]
) -> StoredCheckpoint | None:
    """Return a checkpoint whose header names what of it is one of the values; `None` if none is."""
    place = _header(thread, stored.id, stored.refs)
    header = sealed_naming(place, stored.header, values, compact=True)
    return None if header is None else replace(stored, header=header)


def opened_checkpoint(
    thread: str, stored: StoredCheckpoint, named: Mapping[str, bytes] | None = None
) -> StoredCheckpoint:
    """Return a checkpoint whose records were checked; `named`: the values that its header names."""
    return StoredCheckpoint(
        id=stored.id,
        ns=stored.ns,
        refs=stored.refs,
        header=_opened_header(thread, stored.id, stored.refs, stored.header, named or {}),
        plan=unseal(_plan(thread, stored.id), stored.plan),
    )


def _sealed_update(thread: str, update: StepUpdate) -> StepUpdate:
    if not update.asks and update.error is None and not update.reason:
        return update
    error, step_id = update.error, update.step.step_id
    if error:
        error = seal(_failure(thread, step_id), error)
    reason = _sealed_reason(thread, step_id, update.reason) if update.reason else ""
    asks = _sealed(_question(thread), update.asks)
    return replace(update, asks=asks, error=error, reason=reason)


def _sealed_reason(thread: str, step_id: str, reason: str) -> str:
    """Return a reason with its checksum in front: it is text, also where it is stored."""
    record = reason.encode("utf-8", "surrogatepass")
    made = seal(f"{thread}\x1freason\x1f{step_id}", record)[:SEAL_BYTES]
    return f"{_SEALED_REASON}{made.hex()}{reason}"


def _opened_reason(thread: str, step_id: str, stored: str) -> str:
    """Return a reason that was checked; one of a store itself, or of an earlier version, has none.

    It is shown and compared, never decoded, so damage is said in its place.
    """
    if not stored.startswith(_SEALED_REASON):
        return stored
    reason = stored[1 + 2 * SEAL_BYTES :]
    return reason if stored == _sealed_reason(thread, step_id, reason) else _DAMAGED_REASON


def _opened_step(thread: str, step_id: str, step: LoadedStep) -> LoadedStep:
    if not (step.error or step.asks or step.notes or step.reason):
        return step
    return replace(
        step,
        reason=_opened_reason(thread, step_id, step.reason),
        error=unseal(_failure(thread, step_id), step.error) if step.error else b"",
        asks=_opened(_question(thread), step.asks),
        answers=_opened(_answer(thread), step.answers),
        notes=_opened(_note(thread, step_id), step.notes),
    )


def _sealed(place: str, records: Mapping[str, bytes], *, compact: bool = False) -> dict[str, bytes]:
    return {name: seal(place + name, record, compact=compact) for name, record in records.items()}


def _opened(place: str, records: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: unseal(place + name, record) for name, record in records.items()}


def _header(thread: str, checkpoint_id: int, refs: Sequence[str]) -> str:
    """Return the place of a header; its seal covers what the checkpoint refers to, too."""
    return "\n".join((f"{thread}\x1fheader\x1f{checkpoint_id:x}", *refs))


def _opened_header(
    thread: str,
    checkpoint_id: int,
    refs: Sequence[str],
    header: bytes,
    named: Mapping[str, bytes],
) -> bytes:
    record = opened_naming(thread, _header(thread, checkpoint_id, refs), header, named)
    return damaged(_header(thread, checkpoint_id, ())) if isinstance(record, Damaged) else record


def _plan(thread: str, checkpoint_id: int) -> str:
    return f"{thread}\x1fplan\x1f{checkpoint_id:x}"


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
