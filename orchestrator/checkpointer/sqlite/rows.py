"""Rows of the tables, and the records that they hold."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from orchestrator.envelope.damage import check_damage
from orchestrator.envelope.seal import seal, unseal
from orchestrator.envelope.sealed_records import (
    HEAD_FIELDS,
    head_seal,
    is_whole,
    opened_config,
    opened_error,
)
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import LoadedStep, ReadyStep, Wait, as_bytes

_ERRORS = "surrogatepass"  # Names of files may hold lone surrogates.
# One for all: plain values are packed in one go.
_pack: Callable[[Any], bytes] = msgpack.Packer(unicode_errors=_ERRORS).pack


def to_text(text: str) -> str | bytes:
    """Return text to be stored; as bytes, which equal no text, if it is no Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", _ERRORS)
    return text


def text(stored: str | bytes) -> str:
    """Return stored text."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", _ERRORS)


def pack_names(names: Sequence[str]) -> bytes:
    """Return names in their order."""
    return _pack(names)


def unpack_names(data: bytes) -> tuple[str, ...]:
    """Return stored names."""
    return tuple(_unpack(data))


def pack_step(step: ReadyStep) -> bytes:
    """Return of a step what has no column of its own, sealed."""
    s = step
    fields = (s.checkpoint_id, s.graph, s.node, s.ns, s.index, s.number, s.solo, s.triggers, s.arg)
    return seal(_place(s.thread_id, s.step_id, s.queue), _pack(fields))


def _place(thread_id: str, step_id: str, queue: str) -> str:
    return f"{thread_id}\x1fstep\x1f{step_id}\x1f{queue}"


def unpack_step(thread_id: str, step_id: str, queue: str, data: bytes) -> ReadyStep:
    """Return a stored step.

    Raises:
        StateCorruptedError: if it is not what was stored.
    """
    record = unseal(_place(thread_id, step_id, queue), data)
    check_damage(record)
    checkpoint_id, graph, node, ns, index, number, solo, triggers, arg = _unpack(record)
    return ReadyStep(
        thread_id=thread_id,
        step_id=step_id,
        checkpoint_id=checkpoint_id,
        graph=graph,
        node=node,
        ns=ns,
        index=index,
        number=number,
        queue=queue,
        solo=solo,
        triggers=tuple(triggers),
        arg=arg,
    )


def pack_fields(fields: Mapping[str, str | int | bytes]) -> bytes:
    """Return the fields of an event, their values as bytes."""
    return _pack({key: as_bytes(value) for key, value in fields.items()})


def unpack_fields(data: bytes) -> dict[str, bytes]:
    """Return the stored fields of an event."""
    fields: dict[str, bytes] = _unpack(data)
    return fields


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, unicode_errors=_ERRORS)


HEAD = (  # The columns of `head`.
    *("thread", "status", "checkpoint_id", "open", "updated_ms", "idle_since_ms", "seq", "fence"),
    *("graph", "fingerprint", "run_id", "stop", "breaks_seen", "resumes", "local", "owner"),
    *("child", "created_ms", "seal"),
)

HeadFields = dict[str, Any]  # Those columns of one thread, to be changed and written back.


class HeadRow(NamedTuple):
    """All that is kept of a head."""

    config: bytes
    error: bytes
    fields: HeadFields

    def head(self, thread_id: str) -> Head:
        """Return it as it is shown to others."""
        fields = self.fields
        sealed = sealed_fields(fields, self.config, self.error)
        whole = fits(thread_id, fields["seal"], sealed)
        return Head(
            graph=text(fields["graph"]),
            fingerprint=text(fields["fingerprint"]),
            run_id=text(fields["run_id"]),
            status=RunStatus(fields["status"]),
            checkpoint_id=fields["checkpoint_id"],
            config=opened_config(thread_id, self.config, whole=whole),
            stop=fields["stop"],
            breaks_seen=fields["breaks_seen"],
            open=fields["open"],
            resumes=fields["resumes"],
            local=bool(fields["local"]),
            owner=text(fields["owner"]),
            created_ms=fields["created_ms"],
            updated_ms=fields["updated_ms"],
            error=opened_error(thread_id, self.error),
            seal=fields["seal"],
        )


class StepRow(NamedTuple):
    """The columns of `step`, then those of its claim, which are `None` without a claim."""

    thread: int
    plan: int
    id: str
    place: int
    ready: bytes
    queue: str | bytes
    live: int
    wait: str
    tried: int  # How often it was claimed before.
    failures: int
    deaths: int
    settled: int
    due_ms: int
    since_ms: int
    sent_ms: int
    reason: str | bytes
    error: bytes
    outcome: bytes | None  # Not `None`: the step is completed.
    owner: str | bytes | None
    token: str | bytes | None
    fence: int | None
    claim: int | None  # Which attempt the claim is.

    @property
    def key(self) -> tuple[int, int, str]:
        """Return what names the row."""
        return self.thread, self.plan, self.id

    @property
    def completed(self) -> bool:
        """Return whether the step has its one result. (INV-2)"""
        return self.outcome is not None

    @property
    def attempt(self) -> int:
        """Return how often the step was claimed."""
        return self.tried if self.claim is None else self.claim

    def step(self, thread_id: str) -> ReadyStep:
        """Return the step as it is sent and run."""
        return unpack_step(thread_id, text(self.id), text(self.queue), self.ready)

    def loaded(
        self,
        thread_id: str,
        *,
        asks: Mapping[str, bytes],
        answers: Mapping[str, bytes],
        notes: Mapping[str, bytes],
    ) -> LoadedStep:
        """Return the step as it is shown to others."""
        return LoadedStep(
            step=self.step(thread_id),
            wait=Wait(self.wait),
            owner="" if self.owner is None else text(self.owner),
            completed=self.completed,
            attempt=self.attempt,
            failures=self.failures,
            deaths=self.deaths,
            reason=text(self.reason),
            due_ms=self.due_ms if self.wait == Wait.TIMER else 0,
            error=self.error,
            asks=asks,
            answers=answers,
            notes=notes,
        )


def sealed_fields(fields: HeadFields, config: bytes, error: bytes) -> tuple[Any, ...]:
    """Return what a head's seal covers, in the order of `HEAD_FIELDS`."""
    all_ = {**fields, "config": config, "error": error}
    return tuple(all_[name] for name in HEAD_FIELDS)


def seal_of(thread_id: str, sealed: tuple[Any, ...]) -> str:
    """Return the seal of a head."""
    return head_seal(thread_id, dict(zip(HEAD_FIELDS, map(as_bytes, sealed), strict=True)))


@functools.lru_cache(maxsize=32, typed=True)  # It stays the same from step to step of a run.
def fits(thread_id: str, made: str, sealed: tuple[Any, ...]) -> bool:
    """Return whether a head fits its seal."""
    fields = dict(zip(HEAD_FIELDS, map(as_bytes, sealed), strict=True))
    return is_whole(fields, made, thread_id)


def head_fields(row: Sequence[Any]) -> HeadFields:
    """Return a row of `head` by its columns."""
    return dict(zip(HEAD, row, strict=True))


def head_row(row: Sequence[Any]) -> HeadRow:
    """Return `config`, `error` and the columns of `head` as a row."""
    config, error, *rest = row
    return HeadRow(config, error, head_fields(rest))
