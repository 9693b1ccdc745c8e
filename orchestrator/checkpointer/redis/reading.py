"""What is read from Redis, as records: replies of scripts, hashes, stream entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis

from orchestrator.checkpoint.commit import (
    Claim,
    Event,
    LoadedStep,
    LoadedThread,
    StoredCheckpoint,
    Wait,
)
from orchestrator.checkpoint.model import Head, RunStatus
from orchestrator.checkpointer.redis.arguments import step_from_json

__all__ = ["claim", "event", "load", "threads"]


def claim(answer: Sequence[Any]) -> Claim:
    """Return the claim that `claim.lua` gave."""
    _, _, now, head, step, header, refs, blobs = answer
    fields = _pairs(step)
    return Claim(
        now_ms=now,
        step=step_from_json(fields[b"step"]),
        fence=int(fields[b"fence"]),
        attempt=int(fields[b"attempt"]),
        failures=int(fields.get(b"failures", 0)),
        deaths=int(fields.get(b"deaths", 0)),
        head=_head(_pairs(head)),
        header=header,
        refs=_lines(refs),
        blobs={name.decode(): value for name, value in _pairs(blobs).items()},
        asks=_prefixed(fields, b"ask:"),
        answers=_prefixed(fields, b"ans:"),
    )


def load(
    client: redis.Redis, thread: str, checkpoint_id: int | None, *, values: bool
) -> LoadedThread | None:
    """Return a thread at its head or another checkpoint, as of one instant for the head."""
    while True:
        pipe = client.pipeline(transaction=True)
        pipe.hgetall(thread + "head")
        pipe.smembers(thread + "steps")
        pipe.smembers(thread + "done")
        pipe.time()
        fields, step_ids, done, (seconds, micros) = pipe.execute()
        if not fields:
            return None
        head = _head(fields)
        wanted = head.checkpoint_id if checkpoint_id is None else checkpoint_id
        at_head = wanted == head.checkpoint_id
        ids = sorted(step_ids) if at_head else []
        pipe = client.pipeline(transaction=True)
        pipe.hget(thread + "head", "checkpoint_id")
        pipe.hmget(thread + "cp", [f"{wanted:016x}:{part}" for part in "hprs"])
        for step_id in ids:
            pipe.hgetall(f"{thread}s:{step_id.decode()}")
        now_id, stored, *records = pipe.execute()
        if at_head and int(now_id, 16) != wanted:
            continue  # The head moved between the two looks.
        if stored[0] is None:
            return None
        checkpoint = StoredCheckpoint(
            id=wanted, header=stored[0], plan=stored[1], refs=_lines(stored[2])
        )
        steps = {
            step_id.decode(): _loaded_step(record, completed=step_id in done)
            for step_id, record in zip(ids, records, strict=True)
        }
        blobs = _blobs(client, thread, checkpoint, steps) if values else {}
        return LoadedThread(
            head=head,
            checkpoint=checkpoint,
            blobs=blobs,
            steps=steps,
            outcomes=_outcomes(client, thread, wanted, stored[3] or b""),
            now_ms=seconds * 1000 + micros // 1000,
        )


def _blobs(
    client: redis.Redis,
    thread: str,
    checkpoint: StoredCheckpoint,
    steps: Mapping[str, LoadedStep],
) -> dict[str, bytes]:
    names = [*checkpoint.refs, *(s.step.arg for s in steps.values() if s.step.arg)]
    if not names:
        return {}
    found: Any = client.hmget(thread + "blob", names)
    return {name: value for name, value in zip(names, found, strict=True) if value is not None}


def _outcomes(client: redis.Redis, thread: str, checkpoint_id: int, ids: bytes) -> dict[str, bytes]:
    names = ids.decode().split()
    if not names:
        return {}
    found: Any = client.hmget(thread + "out", [f"{checkpoint_id:016x}/{name}" for name in names])
    return {name: value for name, value in zip(names, found, strict=True) if value is not None}


def threads(
    client: redis.Redis, prefix: str, status: RunStatus | None, limit: int
) -> list[tuple[str, Head]]:
    """Return the threads of a partition, the latest changed first."""
    found: list[tuple[str, Head]] = []
    start, page = 0, max(limit, 100)
    while len(found) < limit:
        names: Any = client.zrevrange(prefix + "threads", start, start + page - 1)
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(f"{prefix}t:{name.decode()}:head")
        for name, fields in zip(names, pipe.execute(), strict=True):
            head = _head(fields) if fields else None
            if head is not None and (status is None or head.status is status):
                found.append((name.decode(), head))
        if len(names) < page:
            break
        start += page
    return found[:limit]


def event(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    """Return a stream entry as an event."""
    own = {key.decode(): value for key, value in fields.items() if key not in {b"ts", b"type"}}
    seq = int(entry_id.partition(b"-")[0])
    return Event(seq, int(fields[b"ts"]), fields[b"type"].decode(), own)


def _head(fields: Mapping[bytes, bytes]) -> Head:
    return Head(
        graph=fields.get(b"graph", b"").decode(),
        fingerprint=fields.get(b"fingerprint", b"").decode(),
        run_id=fields.get(b"run_id", b"").decode(),
        status=RunStatus(fields[b"status"].decode()),
        checkpoint_id=int(fields[b"checkpoint_id"], 16),
        config=fields.get(b"config", b""),
        stop=int(fields.get(b"stop", 0)),
        breaks_seen=int(fields.get(b"breaks_seen", 0)),
        open=int(fields[b"open"]),
        resumes=int(fields.get(b"resumes", 0)),
        local=fields.get(b"local") == b"1",
        created_ms=int(fields[b"created_ms"]),
        updated_ms=int(fields[b"updated_ms"]),
        error=fields.get(b"error", b""),
    )


def _loaded_step(fields: Mapping[bytes, bytes], *, completed: bool) -> LoadedStep:
    return LoadedStep(
        step=step_from_json(fields[b"step"]),
        wait=Wait(fields.get(b"wait", b"").decode()),
        owner=fields.get(b"owner", b"").decode(),
        completed=completed,
        attempt=int(fields.get(b"attempt", 0)),
        failures=int(fields.get(b"failures", 0)),
        deaths=int(fields.get(b"deaths", 0)),
        reason=fields.get(b"reason", b"").decode("utf-8", "replace"),
        due_ms=int(fields.get(b"due", 0)),
        error=fields.get(b"error", b""),
        asks=_prefixed(fields, b"ask:"),
        answers=_prefixed(fields, b"ans:"),
    )


def _prefixed(fields: Mapping[bytes, bytes], prefix: bytes) -> dict[str, bytes]:
    size = len(prefix)
    return {key[size:].decode(): value for key, value in fields.items() if key.startswith(prefix)}


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _lines(data: bytes) -> tuple[str, ...]:
    return tuple(data.decode().split("\n")) if data else ()
