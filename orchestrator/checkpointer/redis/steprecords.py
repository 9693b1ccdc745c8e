"""A step as Redis keeps it beside its id: enough to send its message again.

A hash whose fields all are short takes a third of the memory of another. So a record has nothing
that stands elsewhere (its thread, its id, its checkpoint: these are its place, and sealed with it),
and ends before the fields that are as they mostly are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import msgpack

from orchestrator.checkpoint.commit import ReadyStep
from orchestrator.checkpointer.redis.keys import STEP_ID_CHARS
from orchestrator.damage import check_damage
from orchestrator.errors import StateCorruptedError
from orchestrator.seal import seal, unseal

__all__ = ["step_of", "step_record", "steps_in"]

_log = logging.getLogger(__name__)
_pack = msgpack.Packer(unicode_errors="surrogatepass").pack
_unpack = partial(msgpack.unpackb, unicode_errors="surrogatepass")
_MOSTLY: list[Any] = ["", 0, "", "", (), True, -1, "", ""]  # See `step_record`.


def _place(thread_id: str, step_id: str, cp: str) -> str:
    return f"{thread_id}\x1fstep\x1f{step_id}\x1f{cp}"


def step_record(step: ReadyStep) -> bytes:
    """Return a step as it is stored."""
    s = step
    fields = [s.node, s.number, s.graph, s.queue, s.triggers, s.solo, s.index, s.ns, s.arg]
    size = len(fields)
    while fields[size - 1] == _MOSTLY[size - 1]:
        size -= 1
    place = _place(s.thread_id, s.step_id, f"{s.checkpoint_id:016x}")
    return seal(place, _pack(fields[:size]))


def step_of(thread_id: str, step_id: str, cp: str, record: bytes) -> ReadyStep:
    """Return a stored step.

    Args:
        thread_id: its thread.
        step_id: its id.
        cp: its checkpoint, as it is stored beside the record.
        record: the record.

    Raises:
        StateCorruptedError: if that is not what was stored there.
    """
    packed = unseal(_place(thread_id, step_id, cp), record)
    check_damage(packed)
    fields = _unpack(packed)
    node, number, graph, queue, triggers, solo, index, ns, arg = fields + _MOSTLY[len(fields) :]
    return ReadyStep(
        thread_id=thread_id,
        step_id=step_id,
        checkpoint_id=int(cp, 16),
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


def steps_in(found: Sequence[Sequence[bytes]]) -> Iterator[ReadyStep]:
    """Return the steps that a script found: their members, checkpoints and records.

    One that is damaged stops none of the others; the auditor repairs it.
    """
    for member, cp, record in found:
        name = member.decode("utf-8", "surrogatepass")
        try:
            yield step_of(name[STEP_ID_CHARS:], name[:STEP_ID_CHARS], cp.decode("latin-1"), record)
        except StateCorruptedError as error:
            _log.error("%s", error)
