"""Kinds of damage as a table: in which state of a thread, what is done, what is found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.model.audit import DamageCode
from tests.faults.damage.doing import (
    all_of,
    argument,
    begins,
    checkpoint,
    delete,
    done,
    doubled,
    every,
    fewer_steps,
    garbled,
    head,
    index,
    led,
    mark,
    messages,
    node_renamed,
    older_checkpoint,
    other_queue,
    outcome,
    parent_step,
    question,
    ready_key,
    record,
    swapped,
    unsent,
    value,
    wrong,
)
from tests.faults.damage.world import World

__all__ = ["KINDS", "Kind"]

FAR_MS = 9_999_999_999_999  # In the year 2286.
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
    for name, altered in {
        "stop": 3,
        "breaks_seen": 1,
        "local": 1,
        "graph": "x",
        "run_id": "x",
    }.items():
        yield Kind("half", f"another {name}", _do(head, **{name: altered}), _ALTERED)
    other = _do(head, fingerprint="x")
    yield Kind("half", "another fingerprint", other, _ALTERED, "reported")
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
        "retrying": ("failed", "cancelled"),
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
    for part in ("header", "plan", "refs"):
        what = f"checkpoint without {part}"
        yield Kind("ready", what, _do(checkpoint, part), _CHECKPOINT, "reported")
    for part in ("header", "plan"):
        other = _do(checkpoint, part, "garbled")
        yield Kind("ready", f"checkpoint with another {part}", other, _CHECKPOINT, "reported")
    yield Kind("ready", "checkpoint of no shape", _do(garbled), _CHECKPOINT, "reported")
    deleted = _do(every, "checkpoint")
    yield Kind("ready", "checkpoints deleted", deleted, _CHECKPOINT, "reported")
    others = _do(checkpoint, "steps", "f" * 32)
    yield Kind("half", "another step listed", others, DamageCode.PLAN_ALTERED)
    yield Kind("half", "fewer steps listed", _do(fewer_steps), DamageCode.PLAN_ALTERED)
    yield Kind("ready", "no step listed", _do(checkpoint, "steps"), DamageCode.PLAN_ALTERED)
    history = DamageCode.CHECKPOINT_UNLISTED
    yield Kind("ready", "history deleted", _do(delete, "ids", own=True), history)
    lost = DamageCode.VALUE_LOST
    yield Kind("ready", "value deleted", _do(value), lost, "reported")
    yield Kind("ready", "values deleted", _do(every, "value"), lost, "reported")
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
    yield Kind("settled", "results deleted", _do(every, "outcome"), lost)


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
    for key, stage in (("done", "half"), ("later", "settled"), ("ids", "ready"), ("ev", "ready")):
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
