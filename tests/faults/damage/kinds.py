"""Kinds of damage as a table: in which state of a thread, what is done, what is found."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.checkpoint.audit import DamageCode
from tests.faults.damage.world import THREAD, World

__all__ = ["KINDS", "Kind"]

FAR_MS = 9_999_999_999_999  # In the year 2286.
GONE = "0" * 15 + "1"
Inject = Callable[[World], object]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of damage.

    Attributes:
        stage: the state in which the thread stands.
        what: what is done to it.
        inject: does it.
        code: what the auditor finds; empty: the sweeper sees to it by itself.
        outcome: `same`: repaired, and the run ends as if nothing had been; `repaired`: it ends, but
            something is lost; `reported`: only told, with a remedy.
    """

    stage: str
    what: str
    inject: Inject
    code: str
    outcome: str = "same"

    def __str__(self) -> str:
        """Return the name of the test."""
        return f"{self.stage}-{self.what}".replace(" ", "_")


# ---- what is done ------------------------------------------------------------------------


def head(world: World, *, drop: str = "", **fields: object) -> None:
    """Change the head."""
    key = f"{world.own}head"
    if drop:
        assert world.redis.hdel(key, drop), f"there was no {drop}"
    if fields:
        world.redis.hset(key, mapping=fields)  # type: ignore[arg-type]


def record(world: World, name: str, *, drop: str = "", **fields: object) -> None:
    """Change the record of a step; without anything, delete it."""
    key = f"{world.own}s:{world.step(name)}"
    if drop:
        assert world.redis.hdel(key, drop), f"there was no {drop}"
    if fields:
        world.redis.hset(key, mapping=fields)  # type: ignore[arg-type]
    if not drop and not fields:
        assert world.redis.delete(key)


def member(world: World, name: str) -> str:
    """Return how indexes name a step."""
    return world.step(name) + world.thread


def index(world: World, key: str, name: str, score: int | None = None) -> None:
    """Remove an entry of an index, or change its time."""
    entry = member(world, name) if name else world.thread
    if score is not None:
        world.redis.zadd(world.prefix + key, {entry: score})
    else:
        assert world.redis.zrem(world.prefix + key, entry), f"{key} did not hold it"


def delete(world: World, key: str, *, own: bool = False) -> None:
    """Delete a key."""
    assert world.redis.delete((world.own if own else world.prefix) + key), f"there was no {key}"


def wrong(world: World, key: str, *, own: bool = False) -> None:
    """Let a key hold another type."""
    world.redis.set((world.own if own else world.prefix) + key, "something else")


def checkpoint(world: World, part: str, value: str | None = None) -> None:
    """Change a part of the head checkpoint, or delete it."""
    field = f"{world.load().head.checkpoint_id:016x}:{part}"
    if value is None:
        assert world.redis.hdel(f"{world.own}cp", field)
    else:
        world.redis.hset(f"{world.own}cp", field, value)


def fewer_steps(world: World) -> None:
    """Let the checkpoint list fewer steps than it planned."""
    ids = list(world.load().steps)
    checkpoint(world, "s", " ".join(ids[:-1]))


def older_checkpoint(world: World) -> None:
    """Let the head name the checkpoint before."""
    before = world.store.history(world.thread)[1]
    head(world, checkpoint_id=f"{before:016x}")


def done(world: World, name: str, *, add: bool = False) -> None:
    """Change which steps count as completed."""
    change = world.redis.sadd if add else world.redis.srem
    assert change(f"{world.own}done", world.step(name))


def outcome(world: World, name: str) -> None:
    """Delete the result of a completed step."""
    field = f"{world.load().head.checkpoint_id:016x}/{world.step(name)}"
    assert world.redis.hdel(f"{world.own}out", field)


def value(world: World) -> None:
    """Delete a value of the state."""
    assert world.redis.hdel(f"{world.own}blob", world.load().checkpoint.refs[0])


def argument(world: World, name: str) -> None:
    """Delete what was sent to a step."""
    assert world.redis.hdel(f"{world.own}blob", world.load().steps[world.step(name)].step.arg)


def question(world: World, name: str) -> None:
    """Delete what a step asks."""
    [asked] = world.load().steps[world.step(name)].asks
    record(world, name, drop=f"ask:{asked}")


def swapped(world: World, one: str, other: str) -> None:
    """Let a step's record be that of another."""
    key = f"{world.own}s:{world.step(other)}"
    record(world, one, step=world.redis.hget(key, "step"))


def node_renamed(world: World, name: str) -> None:
    """Let a step's record name another node."""
    fields = json.loads(world.redis.hget(f"{world.own}s:{world.step(name)}", "step") or b"")
    fields[4] = "last"
    record(world, name, step=json.dumps(fields))


def messages(world: World) -> None:
    """Lose all messages."""
    assert world.messages()


def doubled(world: World) -> None:
    """Let each message come twice."""
    for raw in world.redis.lrange(world.settings.queue, 0, -1):
        world.redis.lpush(world.settings.queue, raw)


def unsent(world: World, *, keep: bool = False) -> None:
    """Forget that a ready step was sent, and lose its message."""
    messages(world)
    if not keep:
        delete(world, f"ready:{world.settings.queue}")


def other_queue(world: World, name: str) -> None:
    """Let a record name another queue than that to which the step was sent."""
    messages(world)
    record(world, name, queue="nowhere")


def all_of(world: World) -> None:
    """Delete everything of the thread but its place in the list of threads."""
    for key in world.redis.scan_iter(f"{world.own}*"):
        world.redis.delete(key)


def begins(world: World) -> None:
    """Delete what the first run in line begins with."""
    run = world.redis.lindex(f"{world.own}line", 0)
    assert world.redis.hdel(f"{world.own}begins", run or b"")


def led(world: World, **fields: object) -> None:
    """Let somebody lead who is not there."""
    world.redis.hset(f"{world.prefix}sweep", mapping=fields)  # type: ignore[arg-type]


def ready_key(world: World, change: Callable[..., object], **given: object) -> None:
    """Change the list of what is ready on the queue."""
    change(world, f"ready:{world.settings.queue}", **given)


def mark(world: World, when: object) -> None:
    """Change the watermark of the queue."""
    world.redis.hset(f"{world.prefix}marks", world.settings.queue, str(when))


def parent_step(world: World) -> None:
    """Delete the record of the step whose subgraph runs."""
    world.thread, world.own = THREAD, world.store.keys.of_thread(THREAD)[1]
    record(world, "sub")


# ---- the table ---------------------------------------------------------------------------


def _do(function: Callable[..., object], *args: object, **fields: object) -> Inject:
    return functools.partial(_called, function, args, fields)


def _called(
    function: Callable[..., object],
    args: tuple[object, ...],
    fields: dict[str, object],
    world: World,
) -> object:
    return function(world, *args, **fields)


_ALTERED, _STATUS = DamageCode.HEAD_ALTERED, DamageCode.STATUS_ALTERED
_STEP, _COUNT, _INDEX = DamageCode.STEP_ALTERED, DamageCode.MISCOUNTED, DamageCode.UNINDEXED
_CHECKPOINT, _BROKEN = DamageCode.CHECKPOINT_LOST, DamageCode.KEY_BROKEN
_ACTIVE = {"queued": "__start__", "ready": "first", "half": "piece:2", "child": "one"}


def _heads() -> Iterator[Kind]:
    for name in ("checkpoint_id", "run_id", "graph", "stop", "created_ms", "updated_ms"):
        yield Kind("ready", f"head without {name}", _do(head, drop=name), _ALTERED)
    yield Kind("ready", "head without status", _do(head, drop="status"), _STATUS)
    for name in ("open", "seq"):
        yield Kind("ready", f"head without {name}", _do(head, drop=name), _COUNT)
        yield Kind("ready", f"{name} is no number", _do(head, **{name: "many"}), _COUNT)
    yield Kind("claimed", "head without fence", _do(head, drop="fence"), _COUNT)
    yield Kind("claimed", "fence set back", _do(head, fence=0), _COUNT)
    yield Kind("half", "fence is no number", _do(head, fence="x"), _COUNT)
    yield Kind("half", "more steps counted", _do(head, open=7), _COUNT)
    yield Kind("half", "fewer steps counted", _do(head, open=0), _COUNT)
    yield Kind("settled", "more steps counted", _do(head, open=1), _COUNT)
    yield Kind("ready", "event counter set back", _do(head, seq=1), _COUNT)
    yield Kind("ready", "limit is no number", _do(head, stop="far"), _ALTERED)
    yield Kind("ready", "resumes is no number", _do(head, resumes="x"), _ALTERED)
    yield Kind("half", "head names the checkpoint before", _do(older_checkpoint), _ALTERED)
    yield Kind("ready", "head names no checkpoint", _do(head, checkpoint_id="f" * 16), _ALTERED)
    yield Kind("ready", "head names nonsense", _do(head, checkpoint_id="x"), _ALTERED)
    yield Kind("ready", "head without config", _do(head, drop="config"), _ALTERED, "reported")
    lost = DamageCode.HEAD_LOST
    yield Kind("ready", "head deleted", _do(delete, "head", own=True), lost, "reported")
    yield Kind("settled", "head deleted", _do(delete, "head", own=True), lost, "reported")
    yield Kind("ready", "head of another type", _do(wrong, "head", own=True), lost, "reported")
    yield Kind("ready", "everything deleted", _do(all_of), lost, "reported")


def _statuses() -> Iterator[Kind]:
    altered = {
        "queued": ("paused", "failed"),
        "ready": ("nonsense", "succeeded", "cancelled", "paused"),
        "claimed": ("succeeded",),
        "retrying": ("failed", "timed_out"),
        "asking": ("running", "succeeded", "failed"),
        "paused": ("running", "succeeded"),
        "failed": ("running", "succeeded"),
        "half": ("paused", "succeeded"),
        "settled": ("succeeded", "failed"),
        "child": ("failed", "succeeded"),
        "over": ("running", "paused"),
    }
    for stage, statuses in altered.items():
        for status in statuses:
            # Without steps a run can only have succeeded, which the log then says.
            code = DamageCode.NOTHING_PLANNED if (stage, status) == ("over", "running") else _STATUS
            yield Kind(stage, f"status is {status}", _do(head, status=status), code)


def _checkpoints() -> Iterator[Kind]:
    for part in ("h", "p", "r"):
        what = f"checkpoint without {part}"
        yield Kind("ready", what, _do(checkpoint, part), _CHECKPOINT, "reported")
    for part in ("h", "p"):
        garbled = _do(checkpoint, part, "garbled")
        yield Kind("ready", f"checkpoint with another {part}", garbled, _CHECKPOINT, "reported")
    deleted = _do(delete, "cp", own=True)
    yield Kind("ready", "checkpoints deleted", deleted, _CHECKPOINT, "reported")
    yield Kind("half", "steps not listed", _do(checkpoint, "s"), DamageCode.PLAN_ALTERED)
    yield Kind("half", "fewer steps listed", _do(fewer_steps), DamageCode.PLAN_ALTERED)
    yield Kind("ready", "no step listed", _do(checkpoint, "s", ""), DamageCode.PLAN_ALTERED)
    history = DamageCode.CHECKPOINT_UNLISTED
    yield Kind("ready", "history deleted", _do(delete, "ids", own=True), history)
    lost = DamageCode.VALUE_LOST
    yield Kind("ready", "value deleted", _do(value), lost, "reported")
    yield Kind("ready", "values deleted", _do(delete, "blob", own=True), lost, "reported")
    yield Kind("half", "argument deleted", _do(argument, "piece:2"), lost, "reported")


def _records() -> Iterator[Kind]:
    at = {
        **_ACTIVE,
        **dict.fromkeys(("claimed", "retrying"), "first"),
        **dict.fromkeys(("asking", "paused", "failed"), "gather"),
        "settled": "piece:2",
    }
    lost = DamageCode.STEP_LOST
    for stage, name in at.items():
        yield Kind(stage, "record deleted", _do(record, name), lost)
    yield Kind("half", "record of a completed step deleted", _do(record, "piece:0"), lost)
    yield Kind("half", "record of an asking step deleted", _do(record, "piece:1"), lost)
    yield Kind("child", "record of the step around deleted", _do(parent_step), lost)
    for name in ("step", "cp", "queue"):
        yield Kind("ready", f"record without {name}", _do(record, "first", drop=name), _STEP)
    yield Kind("half", "record without arg", _do(record, "piece:2", drop="arg"), _STEP)
    yield Kind("ready", "record garbled", _do(record, "first", step="garbled"), _STEP)
    yield Kind("half", "record of another", _do(swapped, "piece:2", "piece:0"), _STEP)
    yield Kind("ready", "record names another node", _do(node_renamed, "first"), _STEP)
    yield Kind("ready", "record names another queue", _do(other_queue, "first"), _STEP)
    yield Kind("ready", "it counts as settled", _do(record, "first", settled=1), _STEP)
    yield Kind(
        "asking", "it does not count as settled", _do(record, "gather", drop="settled"), _STEP
    )
    yield Kind("claimed", "attempt is no number", _do(record, "first", attempt="x"), _STEP)
    yield Kind("claimed", "deaths is no number", _do(record, "first", deaths="x"), _STEP)
    yield Kind("retrying", "failures is no number", _do(record, "first", failures="x"), _STEP)


def _waits() -> Iterator[Kind]:
    for stage, name in (("retrying", "first"), ("asking", "gather"), ("paused", "gather")):
        yield Kind(stage, "it does not wait", _do(record, name, drop="wait"), _STEP)
        yield Kind(stage, "it waits for nonsense", _do(record, name, wait="godot"), _STEP)
    yield Kind("failed", "it does not wait", _do(record, "gather", drop="wait"), _STEP)
    yield Kind("asking", "it waits for a person", _do(record, "gather", wait="person"), _STEP)
    yield Kind("half", "it waits for a timer", _do(record, "piece:1", wait="timer"), _STEP)
    yield Kind("asking", "question deleted", _do(question, "gather"), _STEP)
    yield Kind("claimed", "it waits though claimed", _do(record, "first", wait="answer"), _STEP)
    yield Kind("ready", "a timer without a time", _do(record, "first", wait="timer"), _INDEX)
    yield Kind("retrying", "no due time", _do(record, "first", drop="due"), _STEP)
    yield Kind("retrying", "due time is no number", _do(record, "first", due="soon"), _STEP)
    yield Kind("retrying", "due in the far future", _do(record, "first", due=FAR_MS), _STEP)


def _results() -> Iterator[Kind]:
    lost, not_done = DamageCode.OUTCOME_LOST, DamageCode.DONE_LOST
    yield Kind("half", "completed steps forgotten", _do(delete, "done", own=True), not_done)
    yield Kind("settled", "one completed step forgotten", _do(done, "piece:1"), not_done)
    yield Kind("settled", "result deleted", _do(outcome, "piece:1"), lost)
    yield Kind("half", "result deleted", _do(outcome, "piece:0"), lost)
    yield Kind("half", "ready step counts as completed", _do(done, "piece:2", add=True), lost)
    yield Kind("settled", "results deleted", _do(delete, "out", own=True), lost)


def _claims() -> Iterator[Kind]:
    lost = DamageCode.CLAIM_LOST
    dead = "host:2:dead"
    yield Kind("claimed", "claims deleted", _do(delete, f"claims:{dead}"), lost)
    yield Kind("claimed", "leases deleted", _do(delete, "leases"), lost)
    yield Kind("claimed", "owner altered", _do(record, "first", owner="nobody:0:x"), lost)
    yield Kind("claimed", "claim without fence", _do(record, "first", drop="fence"), lost)
    yield Kind("claimed", "owner deleted", _do(record, "first", drop="owner"), _INDEX)
    far = _do(lambda world: world.redis.zadd(f"{world.prefix}leases", {dead: FAR_MS}))
    yield Kind("claimed", "lease into the far future", far, DamageCode.OVERDUE)


def _indexes() -> Iterator[Kind]:
    late = DamageCode.OVERDUE
    for stage, name in _ACTIVE.items():
        yield Kind(stage, "ready and not indexed", _do(unsent), _INDEX)
        yield Kind(stage, "messages lost", _do(messages), "")
        yield Kind(stage, "messages doubled", _do(doubled), "")

        def far(world: World, name: str = name) -> None:
            messages(world)
            index(world, f"ready:{world.settings.queue}", name, FAR_MS)

        yield Kind(stage, "sent in the far future", far, late)
    yield Kind("ready", "queues deleted", _do(delete, "queues"), _INDEX)
    yield Kind("retrying", "timers deleted", _do(delete, "timers"), _INDEX)
    yield Kind("retrying", "timer removed", _do(index, "timers", "first"), _INDEX)
    yield Kind("retrying", "timer in the far future", _do(index, "timers", "first", FAR_MS), _STEP)
    yield Kind("settled", "stuck removed", _do(index, "stuck", ""), _INDEX)
    yield Kind("settled", "stuck since the far future", _do(index, "stuck", "", FAR_MS), late)
    yield Kind("ready", "stuck without reason", _do(index, "stuck", "", 0), _INDEX)
    yield Kind("over", "waiting removed", _do(index, "waiting", ""), _INDEX)
    yield Kind("over", "waiting since the far future", _do(index, "waiting", "", FAR_MS), late)
    yield Kind("ready", "not in the list of threads", _do(index, "threads", ""), _INDEX)
    yield Kind("ready", "watermark in the far future", _do(mark, FAR_MS), late)
    yield Kind("ready", "watermark is no number", _do(mark, "x"), late)
    stats = _do(lambda world: world.redis.hset(f"{world.prefix}stats", "released", "x"))
    yield Kind("claimed", "counter is no number", stats, _COUNT)
    yield Kind("ready", "led by nobody for ever", _do(led, leader="x", until=FAR_MS), "")
    yield Kind("claimed", "leases doubted for ever", _do(led, since=FAR_MS, last=FAR_MS), "")


def _types() -> Iterator[Kind]:
    for key in ("unsent", "timers", "stuck", "waiting", "leases", "threads", "queues", "marks"):
        stage = {"timers": "retrying", "leases": "claimed", "waiting": "over"}.get(key, "ready")
        yield Kind(stage, f"{key} of another type", _do(wrong, key), _BROKEN)
    yield Kind("settled", "stuck of another type", _do(wrong, "stuck"), _BROKEN)
    yield Kind("ready", "stats of another type", _do(wrong, "stats"), _BROKEN)
    yield Kind("ready", "sweep of another type", _do(wrong, "sweep"), _BROKEN)
    yield Kind("ready", "ready list of another type", _do(ready_key, wrong), _BROKEN)
    yield Kind("claimed", "claims of another type", _do(wrong, "claims:host:2:dead"), _BROKEN)
    for key, stage in (("done", "half"), ("out", "settled"), ("ids", "ready"), ("ev", "ready")):
        yield Kind(stage, f"{key} of another type", _do(wrong, key, own=True), _BROKEN)
    yield Kind("half", "step of another type", _step_of_another_type, _BROKEN)


def _step_of_another_type(world: World) -> None:
    wrong(world, f"s:{world.step('piece:2')}", own=True)


def _lines() -> Iterator[Kind]:
    altered = DamageCode.LINE_ALTERED
    yield Kind("in_line", "line deleted", _do(delete, "line", own=True), altered)
    yield Kind("over", "line deleted", _do(delete, "line", own=True), altered)
    yield Kind("in_line", "line of another type", _do(wrong, "line", own=True), altered)
    yield Kind("in_line", "input of a run deleted", _do(begins), altered, "repaired")
    gone = _do(delete, "begins", own=True)
    yield Kind("over", "inputs of runs deleted", gone, altered, "repaired")


KINDS = [
    *_heads(),
    *_statuses(),
    *_checkpoints(),
    *_records(),
    *_waits(),
    *_results(),
    *_claims(),
    *_indexes(),
    *_types(),
    *_lines(),
]
