"""Audit of the threads of a partition, and repair of those that are not as they were written.

Threads are found by their own keys, not by an index. One script reads all of a thread at one
instant, `thread_check.py` decides, and the same script changes the thread only if it is unchanged
since: a commit made in between is never overwritten.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from orchestrator import limits
from orchestrator.checkpointer.base import Planner
from orchestrator.checkpointer.log_evidence import restored_head
from orchestrator.checkpointer.redis.decode import Inspection, events
from orchestrator.checkpointer.redis.keys import Keys
from orchestrator.checkpointer.redis.scripts import Scripts, available
from orchestrator.checkpointer.redis.thread_check import Change, Fix, ThreadCheck, is_number
from orchestrator.envelope.event_codec import sealed_event
from orchestrator.envelope.sealed_records import (
    HEAD_FIELDS,
    opened_checkpoint,
)
from orchestrator.ids import root_thread
from orchestrator.model.audit import Audited, Damage, DamageCode
from orchestrator.model.commit import Event, EventDraft, ReadyStep, StoredCheckpoint
from orchestrator.model.events import ThreadRepaired

_SCANS_MAX = 8  # Calls of SCAN in one audit, each over about `_SCAN_COUNT` keys.
_SCAN_COUNT = 500
_ROUNDS_MAX = 8  # A thread that keeps changing is left to the next audit.
_LOG_MAX = 1000  # Events that are read to find the state of a step.
_SKEW_MS = 1000  # A time in an index further ahead is an error.
_LEASE_MAX_MS = 60_000  # Processes that run graphs themselves take longer ones than workers.
_TYPES = {
    **dict.fromkeys(("leases", "unsent", "timers", "stuck", "waiting", "threads", "gaps"), b"zset"),
    **dict.fromkeys(("marks", "stats", "sweep"), b"hash"),
    "queues": b"set",
}
_REPAIR = "graphstalk doctor --threads --repair; the auditor of a worker does the same"


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit of some threads of a partition.

    Attributes:
        client: for plain commands.
        scripts: runs `audit.lua`.
        keys: where things are.
        default_queue: where a step goes whose record is gone, and its queue with it.
        lease_ms: how long a lease lasts.
        plan: returns the steps that a checkpoint planned.
        repair: whether to change anything.
    """

    client: redis.Redis
    scripts: Scripts
    keys: Keys
    default_queue: str
    lease_ms: int
    plan: Planner
    repair: bool

    def some(self, partition: int, cursor: str, limit: int) -> Audited:
        """Audit about `limit` threads from `cursor` on; see `Checkpointer.audit`."""
        with available():
            found = [] if cursor else list(self._shared(partition))
            following, names = self._threads(partition, cursor, limit)
            for name in names:
                found += self._thread(name)
        return Audited(cursor=following, threads=len(names), found=tuple(found))

    # ---- which threads there are --------------------------------------------------------------

    def _threads(self, partition: int, cursor: str, limit: int) -> tuple[str, list[str]]:
        """Return the next cursor, and threads: first by their keys, then by the list of threads."""
        kind, at = cursor[:1] or "k", int(cursor[1:] or 0)
        prefix = self.keys.partition(partition)
        if kind == "k":
            return self._by_keys(prefix, at, limit)
        listed: Any = self.client.zrange(prefix + "threads", at, at + limit - 1)
        names = [_name(name) for name in listed]
        missing = self._without(prefix, names, "head")
        return (f"z{at + limit}" if len(names) == limit else ""), missing

    def _by_keys(self, prefix: str, at: int, limit: int) -> tuple[str, list[str]]:
        pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + "t:*:[hd][ea]*"
        heads: dict[str, None] = {}
        others: dict[str, None] = {}
        for _ in range(_SCANS_MAX):
            answer: Any = self.client.scan(at, match=pattern, count=_SCAN_COUNT)
            at = answer[0]
            for key in answer[1]:
                name, _, last = _name(key).removeprefix(f"{prefix}t:").rpartition(":")
                if last in {"head", "data"}:
                    (heads if last == "head" else others)[name] = None
            if not at or len(heads) >= limit:
                break
        headless = self._without(prefix, [name for name in others if name not in heads], "head")
        return (f"k{at}" if at else "z0"), [*heads, *headless]

    def _without(self, prefix: str, names: Sequence[str], key: str) -> list[str]:
        pipe = self.client.pipeline(transaction=False)
        for name in names:
            pipe.exists(f"{prefix}t:{name}:{key}")
        return [name for name, there in zip(names, pipe.execute(), strict=True) if not there]

    # ---- one thread ---------------------------------------------------------------------------

    def _thread(self, thread_id: str) -> list[Damage]:
        found: dict[tuple[str, str], Damage] = {}
        for _ in range(_ROUNDS_MAX):
            seen = self._call(thread_id, b"", (), ())
            fixes = self._fixes(thread_id, seen)
            found |= {(f.code, f.why): self._damage(thread_id, f) for f in fixes if not f.changes}
            changes = [change for fix in fixes for change in fix.changes]
            if not changes:
                break
            if not self.repair:
                found |= {(f.code, f.why): self._damage(thread_id, f) for f in fixes}
                break
            mine = [fix for fix in fixes if fix.changes]
            changes.append(("HINCRBY", "P", "stats", "repaired", len(mine)))
            if self._call(thread_id, seen.seen, changes, mine).changed:
                found |= {(f.code, f.why): self._damage(thread_id, f, done=True) for f in mine}
        return list(found.values())

    def _damage(self, thread_id: str, fix: Fix, *, done: bool = False) -> Damage:
        remedy = fix.remedy or ("" if done else _REPAIR)
        remedy = remedy.replace("{thread}", shlex.quote(root_thread(thread_id)[0]))
        return Damage(thread_id=thread_id, code=fix.code, why=fix.why, repaired=done, remedy=remedy)

    def _call(
        self, thread_id: str, seen: bytes, changes: Sequence[Change], fixes: Sequence[Fix]
    ) -> Inspection:
        args: list[str | bytes | int] = [thread_id, seen, len(changes)]
        for change in changes:
            args += [len(change), *change]
        args.append(int(bool(fixes)))
        if fixes:
            codes = " ".join(dict.fromkeys(fix.code.value for fix in fixes))
            why = "; ".join(fix.why for fix in fixes)[: limits.ERROR_TEXT_CHARS_MAX]
            root, ns = root_thread(thread_id)
            draft = ThreadRepaired(codes=codes, why=why).draft()
            fields = {**draft.fields, **({"ns": ns} if ns else {})}
            made = sealed_event(root, EventDraft(draft.type, fields)).fields
            args += [draft.type, 2 * len(made)]
            args += [part for pair in made.items() for part in pair]
        answer = self.scripts.call("audit", self.keys.of_thread(thread_id), args)
        return Inspection.of(answer)

    def _fixes(self, thread_id: str, seen: Inspection) -> list[Fix]:
        @functools.cache
        def log() -> Sequence[Event]:
            return self._log(thread_id)

        @functools.cache
        def planned() -> Sequence[ReadyStep]:
            head = seen.head
            id_ = int(head.checkpoint_id or "0", 16)
            stored = StoredCheckpoint(id=id_, header=seen.header, plan=seen.plan, refs=seen.refs)
            return self.plan(thread_id, head.graph or "", opened_checkpoint(thread_id, stored))

        local = seen.head.local == "1"
        return ThreadCheck(
            thread_id,
            seen,
            self.keys.of_thread(thread_id),
            planned,
            log,
            lambda step_id: "" if local else self._queue_of(thread_id, step_id),
            lambda: self._restored_head(thread_id, log()),
        ).fixes_needed()

    def _log(self, thread_id: str) -> list[Event]:
        """Return the newest events of the log in which a thread's are, newest first."""
        keys = {root_thread(thread_id)[0]: None, thread_id: None}
        for name in keys:
            with _of_any_type():
                found: Any = self.client.xrevrange(
                    self.keys.of_thread(name)[1] + "ev", count=_LOG_MAX
                )
                if found:
                    return events(name, found[::-1])[::-1]
        return []

    def _restored_head(self, thread_id: str, log: Sequence[Event]) -> Mapping[str, bytes]:
        own = self.keys.of_thread(thread_id)[1]
        fields: Any = self.client.hgetall(own + "head")
        ids: Any = self.client.zrange(own + "ids", 0, -1)
        sealed = {name: fields[name.encode()] for name in HEAD_FIELDS if name.encode() in fields}
        made = fields.get(b"seal", b"").decode()
        return restored_head(thread_id, sealed, made, log, [int(id_, 16) for id_ in ids])

    def _queue_of(self, thread_id: str, step_id: str) -> str:
        """Return the queue to which a step was sent, by the indexes; else the default one."""
        prefix, _ = self.keys.of_thread(thread_id)
        queues: Any = sorted(self.client.smembers(prefix + "queues"))
        for queue in queues:
            member = step_id + thread_id
            if self.client.zscore(f"{prefix}ready:{_name(queue)}", member) is not None:
                return _name(queue)
        return self.default_queue

    # ---- what threads share -------------------------------------------------------------------

    def _shared(self, partition: int) -> Iterator[Damage]:
        """Check the keys that belong to no thread."""
        prefix = self.keys.partition(partition)
        change: Any = self.client.execute_command
        for fix in self._shared_fixes(prefix):
            if self.repair:
                for command, _, key, *arguments in fix.changes:
                    change(command, f"{prefix}{key!s}", *arguments)
            yield self._damage("", fix, done=self.repair)

    def _shared_fixes(self, prefix: str) -> list[Fix]:
        pipe: Any = self.client.pipeline(transaction=False)
        for name in _TYPES:
            pipe.type(prefix + name)
        pipe.time().smembers(prefix + "queues")
        pipe.hgetall(prefix + "marks").hgetall(prefix + "stats")
        pipe.zrange(prefix + "leases", 0, -1, withscores=True)
        answers = pipe.execute(raise_on_error=False)
        types, (seconds, micros) = answers[: len(_TYPES)], answers[len(_TYPES)]
        queues, marks, stats, leases = (
            () if isinstance(one, redis.ResponseError) else one
            for one in answers[len(_TYPES) + 1 :]
        )
        for queue in queues:
            pipe.type(f"{prefix}ready:{_name(queue)}")
        lists = [f"ready:{_name(queue)}" for queue in queues]
        expected = {**_TYPES, **dict.fromkeys(lists, b"zset")}
        now = seconds * 1000 + micros // 1000
        return [
            *_wrong_types(prefix, expected, [*types, *pipe.execute()]),
            *self._times(now, dict(marks), leases),
            *_counters(dict(stats)),
        ]

    def _times(
        self, now: int, marks: Mapping[bytes, bytes], leases: Sequence[tuple[bytes, float]]
    ) -> Iterator[Fix]:
        """Find times so far ahead that they are errors: an entry would wait for them for ever."""
        for queue, mark in marks.items():
            if not is_number(_name(mark)) or int(mark) > now + _SKEW_MS:
                what = f"the watermark of the queue {_name(queue)!r} is {_name(mark)!r:.40}"
                yield Fix(DamageCode.OVERDUE, what, (("HDEL", "P", "marks", queue),))
        for owner, ends in leases:
            if ends > now + max(2 * self.lease_ms, _LEASE_MAX_MS):
                what = f"the lease of {_name(owner)} would last longer than any that is given"
                change = ("ZADD", "P", "leases", now + self.lease_ms, owner)
                yield Fix(DamageCode.OVERDUE, what, (change,))


def _wrong_types(
    prefix: str, expected: Mapping[str, bytes], types: Sequence[bytes]
) -> Iterator[Fix]:
    for (name, type_), there in zip(expected.items(), types, strict=True):
        if there not in {type_, b"none"}:
            what = f"{prefix}{name} is no {type_.decode()}; it is set aside"
            change = ("RENAME", "P", name, f"{prefix}{name}:aside")
            yield Fix(DamageCode.KEY_BROKEN, what, (change,))


def _counters(stats: Mapping[bytes, bytes]) -> Iterator[Fix]:
    for name, value in stats.items():
        if not is_number(_name(value)):
            what = f"the counter {_name(name)} is {_name(value)!r:.40}; it counts anew"
            yield Fix(DamageCode.MISCOUNTED, what, (("HDEL", "P", "stats", name),))


class _of_any_type:  # noqa: N801 - reads as the keys that it allows
    """Ignores a key of a wrong type: the check of types reports it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, redis.ResponseError) and "WRONGTYPE" in str(error)


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
