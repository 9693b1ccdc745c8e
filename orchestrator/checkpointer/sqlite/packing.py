"""Names, steps and event fields as SQLite can keep them: without loss, whatever they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from orchestrator.checkpoint.commit import ReadyStep, as_bytes
from orchestrator.damage import check_damage
from orchestrator.seal import seal, unseal

__all__ = [
    "pack_fields",
    "pack_names",
    "pack_step",
    "text",
    "to_text",
    "unpack_fields",
    "unpack_names",
    "unpack_step",
]

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
