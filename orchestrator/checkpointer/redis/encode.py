"""A `Commit` as the flat arguments of `commit.lua`, in the order in which it reads them.

Each argument costs time, also an empty one. So what few commits have is there by name, if it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgpack

from orchestrator import limits
from orchestrator.checkpointer.base import Renderer
from orchestrator.checkpointer.redis.keys import STEP_ID_CHARS
from orchestrator.envelope.damage import check_damage
from orchestrator.envelope.event_codec import sealed_together
from orchestrator.envelope.seal import seal, unseal
from orchestrator.errors import StateCorruptedError
from orchestrator.model.commit import Commit, ReadyStep, StepUpdate, Wait

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


_APART_BYTES_MIN = 4096  # Some sixty steps.

_Arg = str | bytes | int


def commit_arguments(
    commit: Commit, renderer: Renderer | None, now_ms: int, lease_ms: int
) -> tuple[list[str], list[_Arg]]:
    """Return the broker lists (further KEYS) and the arguments of a commit.

    Messages are rendered here and pushed inside the script; without a `renderer` they are left to
    the publisher.
    """
    lists: list[str] = []
    claimed = commit.takes

    def message(step: ReadyStep, place: int = 0) -> tuple[_Arg, _Arg]:
        if renderer is None or not step.queue or step is claimed:
            return "", ""
        if place >= limits.FAN_OUT_WINDOW:
            return "later", ""
        queue, text = renderer(step, now_ms)
        if queue not in lists:
            lists.append(queue)
        return lists.index(queue) + 3, text

    guard, stored = commit.guard, commit.checkpoint
    rare = _rare_checks(commit) + _rare_changes(commit)
    if renderer and stored is None and (commit.completed is not None or commit.updates):
        rare += _named("window", limits.FAN_OUT_WINDOW)
    for update in commit.updates:
        sent = message(update.step) if update.wait is Wait.NOTHING else ("", "")
        rare += _named("update", *_update(update, sent))
    args: list[_Arg] = [
        commit.thread_id,
        "" if commit.expect_head is None else f"{commit.expect_head:016x}",
        guard.step_id if guard else "",
        guard.fence if guard else "",
        int(commit.completed is not None),
        commit.completed or b"",
        f"{stored.id:016x}" if stored else "",
        *_claim_arguments(commit, lease_ms),
        len(rare),
        *rare,
    ]
    kept = _kept(commit)
    args += [len(kept), *_flat(kept), len(commit.ready)]
    for place, step in enumerate(commit.ready):
        args += [step.step_id, f"{step.checkpoint_id:016x}", step.queue, step.arg]
        args += [step_record(step), *message(step, place)]
    args.append(len(commit.events))
    if commit.events:
        args.append(sealed_together(commit.thread_id, commit.events))
    return lists, args


def _rare_checks(commit: Commit) -> list[_Arg]:
    """Return what few commits ask for: each a name, how many values there are, and the values."""
    c, rare = commit, list[_Arg]()
    if c.holder:
        ms = "" if c.hold_ms is None else c.hold_ms
        rare += _named("holder", c.holder, ms, int(c.only_holds))
    if c.expect_new:
        rare += _named("new")
    if c.key:
        rare += _named("key", *c.key)
    if c.expect_run:
        rare += _named("run", c.expect_run)
    if c.expect_status:
        rare += _named("statuses", f" {' '.join(c.expect_status)} ")
    if c.expect_settled:
        rare += _named("settled")
    if c.dequeue:
        rare += _named("dequeue", c.dequeue)
    if c.parent:
        rare += _named("parent", *c.parent)
    return rare


def _rare_changes(commit: Commit) -> list[_Arg]:
    """Return what few commits change, in the same way."""
    c, rare = commit, list[_Arg]()
    if c.log and c.log != c.thread_id:
        rare += _named("log", c.log)
    if c.status:
        rare += _named("status", c.status)
    if c.head:
        rare += _named("head", *_flat(c.head))
    if c.enqueue:
        rare += _named("enqueue", *c.enqueue)
    if c.input:
        rare += _named("input", c.input.header)
    if c.notes:
        rare += _named("notes", *_flat(c.notes))
    if c.keeps_claim:
        rare += _named("keeps_claim")
    if c.revoke:
        rare += _named("revoke")
    if c.answers:
        answers: list[_Arg] = []
        for each in c.answers:
            answers += [each.step_id, each.interrupt_id, each.value]
        rare += _named("answers", *answers)
    if c.takes and (brought := blobs_to_bring(c)):
        rare += _named("brought", *brought)
    return rare


def _named(name: str, *values: _Arg) -> list[_Arg]:
    return [name, len(values), *values]


def blobs_to_bring(commit: Commit) -> list[str]:
    """Return the blobs that a claim needs which goes with a commit, and that only the store has."""
    step, take, stored = commit.takes, commit.take, commit.checkpoint
    assert step is not None
    assert take is not None
    found = []
    for wanted in [*(stored.refs if stored else ()), *([step.arg] if step.arg else ())]:
        name = wanted
        if name in commit.blobs and name not in take.known:
            name = commit.tails.get(name, "")  # The value that it continues, if it is a tail.
        if name and name not in take.known:
            found.append(name)
    return found


def _claim_arguments(commit: Commit, lease_ms: int) -> Sequence[_Arg]:
    take = commit.take
    if commit.takes is None or take is None:
        return "", "", "", ""
    return take.owner, take.token, lease_ms, take.head.seal if take.head else ""


def _text(value: _Arg) -> _Arg:
    """Return text as bytes, also if it holds lone surrogates, as names of files may."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _flat(mapping: Mapping[str, _Arg]) -> Iterator[_Arg]:
    return chain.from_iterable(mapping.items())


def _update(update: StepUpdate, message: Sequence[_Arg]) -> list[_Arg]:
    return [
        update.step.step_id,
        update.wait,
        update.delay_ms,
        int(update.reset),
        int(update.failed),
        int(update.error is not None),
        update.error or b"",
        _text(update.reason),
        update.step.queue,
        *message,
        *_flat({f"ask:{key}": value for key, value in update.asks.items()}),
    ]


def _kept(commit: Commit) -> Mapping[str, bytes]:
    """Return the values of a commit, and its checkpoint."""
    stored = commit.checkpoint
    if stored is None:
        return commit.blobs
    results = {f"/{step}": outcome for (_, step), outcome in commit.results.items()}
    refs = "\n".join(stored.refs).encode("utf-8", "surrogatepass")
    ns = stored.ns.encode("utf-8", "surrogatepass")
    steps = [step.step_id for step in commit.ready]
    id_ = f"{stored.id:016x}"
    blobs = {**commit.blobs, **results}
    return {**blobs, **checkpoint_records(id_, stored.header, stored.plan, refs, ns, steps)}


def checkpoint_records(
    id_: str, header: bytes, plan: bytes, refs: bytes, ns: bytes, steps: Sequence[str]
) -> dict[str, bytes]:
    """Return a checkpoint as it is stored, by field: how long its parts are, and the parts.

    A wide plan and the ids of its steps have a field of their own: a claim needs neither.

    Args:
        id_: its id, in hex.
        header: its header.
        plan: its plan.
        refs: the names of the values that it refers to, on lines.
        ns: the namespace of its subgraph.
        steps: the ids of the steps that it planned.
    """
    ids, apart = " ".join(steps).encode(), {}
    if len(plan) + len(ids) > _APART_BYTES_MIN:
        apart = {f"{id_}+": b"%d\n%b%b" % (len(plan), plan, ids)}
        plan = ids = b""
    sizes = b"%d %d %d %d\n" % (len(header), len(plan), len(refs), len(ns))
    return {id_: b"".join((sizes, header, plan, refs, ns, ids)), **apart}
