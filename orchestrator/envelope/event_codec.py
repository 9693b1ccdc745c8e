"""The codec of events: sealed, in few bytes, and returned as they were.

An idle thread is little more than its log. So a word that is in most events is stored as a number,
a number as one, and an id, which is hex digits, as the bytes of these digits. All other text is
stored as it is.

Rule 1: `_WORDS` is part of what is stored. A new word comes last; none is moved or removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import msgpack

from orchestrator import limits
from orchestrator.envelope.damage import Damaged
from orchestrator.envelope.seal import seal, unseal
from orchestrator.ids import hex_bytes, root_thread
from orchestrator.model.commit import Event, EventDraft, as_bytes
from orchestrator.model.events import (
    CheckpointResumed,
    CommitRefused,
    InterruptAnswered,
    RunAccepted,
    RunCancelled,
    RunFailed,
    RunPaused,
    RunResumed,
    RunSucceeded,
    StepCommitted,
    StepFailed,
    StepInterrupted,
    StepPaused,
    StepReleased,
    StepRetried,
    Superstep,
    TaskCompleted,
    Unreadable,
)

_BY_STORES = (CommitRefused.type, StepReleased.type)  # Events that a store makes, unsealed.
_SEALED = "sealed"  # The one field of an event that a caller made.
_WORDS = (
    *("step", "node", "number", "checkpoint", "attempt", "fence", "worker", "claimed_ms"),
    *("steps", "nodes", "live", "run", "graph", "abandoned", "interrupt", "value", "error"),
    *("reason", "delay_ms", "from", "done", "data", "name", "id", "ns", "break"),
    *(
        RunAccepted.type,
        StepCommitted.type,
        Superstep.type,
        StepInterrupted.type,
        InterruptAnswered.type,
    ),
    *(RunPaused.type, RunResumed.type, RunSucceeded.type, RunFailed.type, RunCancelled.type),
    *(
        StepFailed.type,
        StepRetried.type,
        StepPaused.type,
        TaskCompleted.type,
        CheckpointResumed.type,
    ),
)


def _uuid_bytes(text: Any) -> bytes | None:
    """Return the bytes of a UUID; `None` if the text is anything else."""
    try:
        made = UUID(text)
    except (TypeError, ValueError, AttributeError):
        return None
    return made.bytes if str(made) == text else None


_BYTES_OF = 64  # Added to the number of a word whose field is the bytes of hex digits.
_NUMBERS = {word: number for number, word in enumerate(_WORDS)}
# Fields that are ids, mostly: how to get their bytes and their text.
_IDS: Mapping[str, tuple[Callable[[Any], bytes | None], Callable[[bytes], str]]] = {
    **dict.fromkeys(("step", "checkpoint", "steps", "interrupt"), (hex_bytes, bytes.hex)),
    "run": (_uuid_bytes, lambda data: str(UUID(bytes=data))),
}

# One for all: plain values are packed in one go. A number that is too large is kept as text.
_pack = msgpack.Packer(default=as_bytes, unicode_errors="surrogatepass").pack
_unpack = partial(msgpack.unpackb, unicode_errors="surrogatepass", strict_map_key=False)

_Field = str | int | bytes


def sealed_event(log: str, draft: EventDraft) -> EventDraft:
    """Return an event of a log whose fields are one sealed record."""
    fields = _pack(_briefly(draft.fields))
    return EventDraft(draft.type, {_SEALED: seal(f"{log}\x1f{draft.type}", fields)})


def sealed_together(thread_id: str, drafts: Sequence[EventDraft]) -> bytes:
    """Return the events of one commit of a thread as one sealed record."""
    log, _ = root_thread(thread_id)
    packed = [(_NUMBERS.get(d.type, d.type), _briefly(d.fields)) for d in drafts]
    return seal(f"{log}\x1fevents", _pack(packed))


def opened_events(thread_id: str, events: list[Event]) -> list[Event]:
    """Return checked events; a damaged one becomes an event `damaged` without fields."""
    log, _ = root_thread(thread_id)
    return [_opened_event(log, event) for event in events]


def opened_together(
    thread_id: str, stored: bytes, last: int, count: int, ts_ms: int
) -> Iterator[Event]:
    """Return the events of one commit, checked.

    Args:
        thread_id: the thread in whose log they are.
        stored: their record.
        last: the number of the last one.
        count: how many there are; a damaged record proves no more.
        ts_ms: when the commit was made.
    """
    log, _ = root_thread(thread_id)
    record = unseal(f"{log}\x1fevents", stored)
    lost: list[tuple[str, dict[Any, Any]]] = [(Unreadable.type, {})]
    found = lost * min(count, limits.EVENTS_MAX) if isinstance(record, Damaged) else _unpack(record)
    for seq, (type_, fields) in enumerate(found, last + 1 - len(found)):
        yield Event(seq, ts_ms, _word(type_), _in_full(fields))


def _opened_event(log: str, event: Event) -> Event:
    stored = event.fields.get(_SEALED)
    if stored is None and event.type in _BY_STORES:
        return event
    fields = unseal(f"{log}\x1f{event.type}", stored or b"")
    if isinstance(fields, Damaged):
        return Event(event.seq, event.ts_ms, Unreadable.type, {})
    return Event(event.seq, event.ts_ms, event.type, _in_full(_unpack(fields)))


def _briefly(fields: Mapping[str, _Field]) -> dict[str | int, _Field]:
    made: dict[str | int, _Field] = {}
    for name, value in fields.items():
        digits = _IDS[name][0](value) if name in _IDS else None
        if digits is None:
            made[_NUMBERS.get(name, name)] = value
        else:
            made[_NUMBERS[name] + _BYTES_OF] = digits
    return made


def _in_full(fields: Mapping[str | int, _Field]) -> dict[str, bytes]:
    found = {}
    for key, value in fields.items():
        if isinstance(key, int) and key >= _BYTES_OF:
            assert isinstance(value, bytes)
            name = _WORDS[key - _BYTES_OF]
            found[name] = _IDS[name][1](value).encode()
        else:
            found[_word(key)] = as_bytes(value)
    return found


def _word(stored: str | int) -> str:
    return _WORDS[stored] if isinstance(stored, int) else stored
