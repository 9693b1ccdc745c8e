"""Records from Redis: replies of scripts, hashes, stream entries, inspected threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis

from orchestrator.checkpointer.redis.encode import checkpoint_records, step_of
from orchestrator.envelope.event_codec import opened_events, opened_together
from orchestrator.envelope.list_tails import opened_values
from orchestrator.envelope.sealed_records import (
    HEAD_FIELDS,
    is_whole,
    opened_config,
    opened_error,
    readable,
)
from orchestrator.frozen import replace
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import (
    Claim,
    Commit,
    Event,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StoredCheckpoint,
    Wait,
)


def claim(thread_id: str, step_id: str, answer: Sequence[Any]) -> Claim:
    """Return the claim that `claim.lua` gave."""
    _, _, now, head, step, header, refs, blobs = answer
    fields = _pairs(step)
    return Claim(
        now_ms=now,
        step=_step(thread_id, step_id, fields),
        fence=int(fields[b"fence"]),
        attempt=int(fields[b"attempt"]),
        failures=int(fields.get(b"failures", 0)),
        deaths=int(fields.get(b"deaths", 0)),
        reason=fields.get(b"reason", b"").decode("utf-8", "surrogatepass"),
        head=_head(thread_id, _pairs(head)),
        header=header,
        refs=_lines(refs),
        blobs=_values(blobs),
        asks=_prefixed(fields, b"ask:"),
        answers=_prefixed(fields, b"ans:"),
        notes=_prefixed(fields, b"note:"),
    )


def claim_of_commit(commit: Commit, answer: Sequence[Any], now_ms: int) -> Claim:
    """Return the claim that `commit.lua` gave together with a commit."""
    fence, values, *heads = answer
    step, take, stored = commit.takes, commit.take, commit.checkpoint
    assert step is not None
    assert take is not None
    assert stored is not None
    thread_id = commit.thread_id
    if heads:
        head = _head(thread_id, _pairs(heads[0]))
    else:
        assert take.head is not None
        status = RunStatus.RUNNING if take.head.status is RunStatus.QUEUED else take.head.status
        head = replace(take.head, checkpoint_id=stored.id, status=status, open=1, updated_ms=now_ms)
    wanted = [name for name in (*stored.refs, step.arg) if name not in take.known]
    new = {name: commit.blobs[name] for name in wanted if name in commit.blobs}
    blobs, tails = opened_values(thread_id, _values(values), wanted, new, commit.tails)
    return Claim(
        now_ms=now_ms,
        step=step,
        fence=fence,
        head=head,
        header=stored.header,
        refs=stored.refs,
        blobs=blobs,
        tails=tails,
    )


def load(
    thread_id: str, answer: Sequence[Any] | None
) -> tuple[LoadedThread, dict[str, bytes]] | None:
    """Return the thread that `load.lua` read, and the values that its outcomes name."""
    if answer is None:
        return None
    if len(answer) == 1:
        raise LookupError("the head names a checkpoint that is not there")
    now, head, checkpoint_id, header, plan, refs, ns, *rest = answer
    blobs, steps, outcomes, alive, line, named = rest
    fields = _pairs(head)
    loaded = LoadedThread(
        head=_head(thread_id, fields),
        checkpoint=StoredCheckpoint(
            id=int(checkpoint_id, 16),
            ns=ns.decode(),
            header=header,
            plan=plan,
            refs=_lines(refs),
        ),
        blobs=_values(blobs),
        steps={
            step_id.decode(): _loaded_step(
                _step(thread_id, step_id.decode(), fields), fields, completed=bool(completed)
            )
            for step_id, fields, completed in zip(
                steps[::3], map(_pairs, steps[1::3]), steps[2::3], strict=True
            )
        },
        outcomes={step_id.decode(): outcome for step_id, outcome in _pairs(outcomes).items()},
        line={run_id.decode(): begins for run_id, begins in _pairs(line).items()},
        owner_alive=bool(alive),
        seq=int(fields.get(b"seq", 0)),
        now_ms=now,
    )
    return loaded, _values(named)


def threads(
    client: redis.Redis, prefix: str, status: RunStatus | None, limit: int
) -> list[tuple[str, Head]]:
    """Return the threads of a partition, the latest changed first."""
    found: list[tuple[str, Head]] = []
    start, page = 0, max(limit, 100)
    while len(found) < limit:
        listed: Any = client.zrevrange(prefix + "threads", start, start + page - 1)
        names = [name.decode() for name in listed]
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(f"{prefix}t:{name}:head")
        rows = ((n, f) for n, f in zip(names, pipe.execute(), strict=True) if f)
        found += [
            (name, head)
            for name, head in readable(rows, _head)
            if status is None or head.status is status
        ]
        if len(names) < page:
            break
        start += page
    return found[:limit]


def events(thread_id: str, entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Event]:
    """Return what stream entries say, checked: one has the events of a commit, or one by itself."""
    found: list[Event] = []
    for entry_id, fields in entries:
        last = int(entry_id.partition(b"-")[0])
        try:
            found += _entry(thread_id, last, fields)
        except (ValueError, LookupError):
            found.append(Event(last, 0, "damaged", {}))
    return found


def _entry(thread_id: str, last: int, fields: Mapping[bytes, bytes]) -> Iterable[Event]:
    ts_ms = int(fields[b"ts"])
    if b"n" in fields:
        return opened_together(thread_id, fields[b"sealed"], last, int(fields[b"n"]), ts_ms)
    own = {key.decode(): value for key, value in fields.items() if key not in {b"ts", b"type"}}
    return opened_events(thread_id, [Event(last, ts_ms, fields[b"type"].decode(), own)])


def _values(flat: Sequence[Any]) -> dict[str, bytes]:
    """Return values by name; the reader of a missing one raises."""
    return {name.decode(): value for name, value in _pairs(flat).items() if value is not None}


def _head(thread_id: str, fields: Mapping[bytes, bytes]) -> Head:
    sealed = {name: fields[name.encode()] for name in HEAD_FIELDS if name.encode() in fields}
    whole = is_whole(sealed, fields.get(b"seal", b"").decode(), thread_id)
    return Head(
        seal=fields.get(b"seal", b"").decode() if whole else "",
        graph=fields.get(b"graph", b"").decode(),
        fingerprint=fields.get(b"fingerprint", b"").decode(),
        run_id=fields.get(b"run_id", b"").decode(),
        status=RunStatus(fields[b"status"].decode()),
        checkpoint_id=int(fields[b"checkpoint_id"], 16),
        config=opened_config(thread_id, fields.get(b"config", b""), whole=whole),
        stop=int(fields.get(b"stop", 0)),
        breaks_seen=int(fields.get(b"breaks_seen", 0)),
        open=int(fields[b"open"]),
        resumes=int(fields.get(b"resumes", 0)),
        local=fields.get(b"local") == b"1",
        owner=fields.get(b"owner", b"").decode(),
        created_ms=int(fields[b"created_ms"]),
        updated_ms=int(fields[b"updated_ms"]),
        error=opened_error(thread_id, fields.get(b"error", b"")),
    )


def _step(thread_id: str, step_id: str, fields: Mapping[bytes, bytes]) -> ReadyStep:
    cp = fields.get(b"cp", b"").decode("latin-1")
    return step_of(thread_id, step_id, cp, fields.get(b"step", b""))


def _loaded_step(step: ReadyStep, fields: Mapping[bytes, bytes], *, completed: bool) -> LoadedStep:
    return LoadedStep(
        step=step,
        wait=Wait(fields.get(b"wait", b"").decode()),
        owner=fields.get(b"owner", b"").decode(),
        completed=completed,
        attempt=int(fields.get(b"attempt", 0)),
        failures=int(fields.get(b"failures", 0)),
        deaths=int(fields.get(b"deaths", 0)),
        reason=fields.get(b"reason", b"").decode("utf-8", "surrogatepass"),
        due_ms=int(fields.get(b"due", 0)),
        error=fields.get(b"error", b""),
        asks=_prefixed(fields, b"ask:"),
        answers=_prefixed(fields, b"ans:"),
        notes=_prefixed(fields, b"note:"),
    )


def _prefixed(fields: Mapping[bytes, bytes], prefix: bytes) -> dict[str, bytes]:
    size = len(prefix)
    return {key[size:].decode(): value for key, value in fields.items() if key.startswith(prefix)}


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _lines(data: bytes) -> tuple[str, ...]:
    return tuple(data.decode().split("\n")) if data else ()


SEEN_SEPARATOR = b"\x1e"  # Between the values that are sent back to be compared.


class SeenHead(NamedTuple):
    """A thread's head, and what else is there once a thread."""

    status: str | None
    checkpoint_id: str | None
    run_id: str | None
    graph: str | None
    open: str | None
    fence: str | None
    seq: str | None
    local: str | None
    created_ms: str | None
    updated_ms: str | None
    seal: str | None
    is_whole: str | None  # Whether the seal fits. As all that say whether: "1" or `None`.
    newest: str | None  # The last checkpoint of the history.
    last_event: str | None
    listed: str | None  # The head checkpoint, in the history.
    header: str | None
    plan: str | None
    refs: str | None  # Names of values, on lines.
    ns: str | None
    steps: str | None  # Ids, between spaces.
    newest_header: str | None
    lost: str | None  # Names of values that are referred to and not there, on lines.
    line: str | None  # Queued run ids, on lines.
    begins: str | None
    waiting: str | None  # `near` or `far`, as all times of indexes.
    stuck: str | None
    in_threads: str | None


class SeenStep(NamedTuple):
    """A step's record, and what speaks of the step."""

    step_id: str | None
    done: str | None
    outcome: str | None
    step: str | None
    cp: str | None
    queue: str | None
    arg: str | None
    wait: str | None
    owner: str | None
    fence: str | None
    attempt: str | None
    due: str | None
    settled: str | None
    failures: str | None
    deaths: str | None
    asked: str | None  # How many questions.
    open: str | None  # How many of them are not answered.
    has_arg: str | None
    queue_known: str | None
    ready: str | None
    unsent: str | None
    later: str | None  # Its place among those that are sent when others are done.
    timer: str | None  # The score itself.
    claimed: str | None
    lease: str | None


_ABOUT_RECORD = ("step", "cp", "queue", "arg", "wait", "owner", "fence", "attempt", "due")


@dataclass(frozen=True, slots=True)
class Inspection:
    """A thread at one instant."""

    now_ms: int
    changed: bool
    seen: bytes  # As it is compared when something is to be changed.
    head: SeenHead
    steps: tuple[SeenStep, ...]
    header: bytes
    plan: bytes
    wrong: tuple[bytes, ...]  # Keys of another type than they should have.

    @classmethod
    def of(cls, answer: Sequence[Any]) -> Inspection:
        """Return the answer of the script."""
        now, changed, seen, header, plan, wrong = answer
        values = [_text(value) for value in seen]
        size = len(SeenHead._fields)
        return cls(
            now_ms=now,
            changed=bool(changed),
            seen=SEEN_SEPARATOR.join(seen),
            head=SeenHead(*values[:size]),
            steps=tuple(_steps(values[size:])),
            header=header,
            plan=plan,
            wrong=tuple(wrong),
        )

    @property
    def refs(self) -> tuple[str, ...]:
        """Return the names of the values that the head checkpoint refers to."""
        return tuple(self.head.refs.split("\n")) if self.head.refs else ()

    def checkpoint_records(self, planned: Sequence[str]) -> dict[str, bytes]:
        """Return the head checkpoint as it would be stored with other steps, by field."""
        refs, ns = (
            (value or "").encode("utf-8", "surrogateescape")
            for value in (self.head.refs, self.head.ns)
        )
        id_ = self.head.checkpoint_id or ""
        return checkpoint_records(id_, self.header, self.plan, refs, ns, planned)

    @property
    def step_ids(self) -> list[str]:
        """Return the ids of the steps that the checkpoint says it planned."""
        return (self.head.steps or "").split()


def has_record(step: SeenStep) -> bool:
    """Return whether anything is left of a step's record."""
    return any(getattr(step, name) is not None for name in _ABOUT_RECORD)


def _text(value: bytes) -> str | None:
    return value[1:].decode("utf-8", "surrogateescape") if value else None


def _steps(values: Sequence[str | None]) -> Iterator[SeenStep]:
    size = len(SeenStep._fields)
    for start in range(0, len(values), size):
        yield SeenStep(*values[start : start + size])
