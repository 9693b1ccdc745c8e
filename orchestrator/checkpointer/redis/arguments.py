"""A `Commit` as the flat arguments of `commit.lua`, in the order in which it reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator import limits
from orchestrator.checkpoint.commit import Commit, ReadyStep, StepUpdate, Wait
from orchestrator.checkpointer.base import Renderer
from orchestrator.checkpointer.redis.steprecords import step_record
from orchestrator.checkpointer.sealing import sealed_together

__all__ = ["checkpoint_record", "commit_arguments"]

_Arg = str | bytes | int


def commit_arguments(
    commit: Commit, renderer: Renderer | None, now_ms: int, lease_ms: int
) -> tuple[list[str], list[_Arg]]:
    """Return the broker lists (further KEYS) and the arguments of a commit.

    Messages are rendered here and pushed inside the script; without a `renderer` they are left to
    whoever publishes.
    """
    lists: list[str] = []
    taken = commit.takes

    def message(step: ReadyStep, place: int = 0) -> tuple[_Arg, _Arg]:
        if renderer is None or not step.queue or step is taken:
            return "", ""
        if place >= limits.FAN_OUT_WINDOW:
            return "later", ""
        queue, text = renderer(step, now_ms)
        if queue not in lists:
            lists.append(queue)
        return lists.index(queue) + 3, text

    guard, key = commit.guard, commit.key
    args: list[_Arg] = [
        commit.thread_id,
        commit.log,
        limits.FAN_OUT_WINDOW if renderer else 0,
        int(commit.expect_new),
        "" if commit.expect_head is None else f"{commit.expect_head:016x}",
        commit.expect_run or "",
        f" {' '.join(commit.expect_status)} " if commit.expect_status else "",
        int(commit.expect_settled),
        guard.step_id if guard else "",
        guard.fence if guard else "",
        *(key or ("", "")),
        *(commit.enqueue or ("", "")),
        commit.dequeue or "",
        len(commit.answers),
    ]
    for answer in commit.answers:
        args += [answer.step_id, answer.interrupt_id, answer.value]
    args += [len(commit.updates), *(update.step.step_id for update in commit.updates)]
    args += [commit.status or "", *_pairs(_kept(commit))]
    args += [int(commit.completed is not None), commit.completed or b""]
    args += [*_pairs(commit.notes), int(commit.keeps_claim)]
    args += [int(commit.checkpoint is not None), int(commit.revoke)]
    for update in commit.updates:
        args += _update(update)
        args += message(update.step) if update.wait is Wait.NOTHING else ("", "")
    args.append(f"{commit.checkpoint.id:016x}" if commit.checkpoint else "")
    args += _take(commit, lease_ms)
    args.append(len(commit.ready))
    for place, step in enumerate(commit.ready):
        args += [step.step_id, f"{step.checkpoint_id:016x}", step.queue, step.arg]
        args += [step_record(step), *message(step, place)]
    args += [*_pairs(commit.head), len(commit.events)]
    if commit.events:
        args.append(sealed_together(commit.thread_id, commit.events))
    return lists, args


def blobs_to_bring(commit: Commit) -> list[str]:
    """Return the blobs that a claim needs which goes with a commit, and that only the store has."""
    step, take, stored = commit.takes, commit.take, commit.checkpoint
    assert step is not None
    assert take is not None
    found = []
    for wanted in [*(stored.refs if stored else ()), *([step.arg] if step.arg else ())]:
        name = wanted
        if name in commit.blobs and name not in take.known:
            name = commit.tails.get(name, "")  # What it goes on, if it is no whole value.
        if name and name not in take.known:
            found.append(name)
    return found


def _take(commit: Commit, lease_ms: int) -> list[_Arg]:
    step, take = commit.takes, commit.take
    if step is None or take is None:
        return [""]
    brought = blobs_to_bring(commit)
    seal = take.head.seal if take.head else ""
    return [take.owner, take.token, lease_ms, seal, len(brought), *brought]


def _text(value: _Arg) -> _Arg:
    """Return text as bytes, also if it holds lone surrogates, as names of files may."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _pairs(mapping: Mapping[str, _Arg]) -> list[_Arg]:
    flat: list[_Arg] = [len(mapping)]
    for key, value in mapping.items():
        flat += [key, value]
    return flat


def _update(update: StepUpdate) -> list[_Arg]:
    return [
        update.wait,
        update.delay_ms,
        int(update.reset),
        int(update.failed),
        int(update.error is not None),
        update.error or b"",
        _text(update.reason),
        *_pairs({f"ask:{key}": value for key, value in update.asks.items()}),
        update.step.queue,
    ]


def _kept(commit: Commit) -> Mapping[str, bytes]:
    """Return the values of a commit, and its checkpoint."""
    stored = commit.checkpoint
    if stored is None:
        return commit.blobs
    refs = "\n".join(stored.refs).encode("utf-8", "surrogatepass")
    ns = stored.ns.encode("utf-8", "surrogatepass")
    steps = [step.step_id for step in commit.ready]
    record = checkpoint_record(stored.header, stored.plan, refs, ns, steps)
    return {**commit.blobs, f"{stored.id:016x}": record}


def checkpoint_record(
    header: bytes, plan: bytes, refs: bytes, ns: bytes, steps: Sequence[str]
) -> bytes:
    """Return a checkpoint as it is stored: how long its parts are, and the parts.

    Args:
        header: its header.
        plan: its plan.
        refs: the names of the values that it refers to, on lines.
        ns: the namespace of its subgraph.
        steps: the ids of the steps that it planned.
    """
    sizes = b"%d %d %d %d\n" % (len(header), len(plan), len(refs), len(ns))
    return b"".join((sizes, header, plan, refs, ns, " ".join(steps).encode()))
