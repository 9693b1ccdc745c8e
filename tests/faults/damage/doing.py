"""What is done to a stored thread: keys and fields deleted or changed behind the engine's back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.checkpointer.redis.encode import step_record
from tests.faults.damage.world import THREAD, World
from tests.fixtures.checkpoints import joined, kind_of, parts_of

__all__ = [
    "all_of",
    "argument",
    "begins",
    "checkpoint",
    "delete",
    "done",
    "doubled",
    "every",
    "fewer_steps",
    "garbled",
    "head",
    "index",
    "led",
    "mark",
    "messages",
    "node_renamed",
    "older_checkpoint",
    "other_queue",
    "outcome",
    "parent_step",
    "question",
    "ready_key",
    "record",
    "swapped",
    "unsent",
    "value",
    "wrong",
]


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


def checkpoint(world: World, part: str, value: str = "") -> None:
    """Change a part of the head checkpoint, or delete it."""
    key, field = f"{world.own}data", f"{world.load().head.checkpoint_id:016x}"
    parts = parts_of(world.redis.hget(key, field))
    assert parts[part] != value.encode()
    world.redis.hset(key, field, joined({**parts, part: value.encode()}))


def every(world: World, kind: str) -> None:
    """Delete all checkpoints, all values or all outcomes."""
    key = f"{world.own}data"
    assert world.redis.hdel(key, *(f for f in world.redis.hkeys(key) if kind_of(f) == kind))


def garbled(world: World) -> None:
    """Let the head checkpoint be of no shape."""
    key, field = f"{world.own}data", f"{world.load().head.checkpoint_id:016x}"
    world.redis.hset(key, field, world.redis.hget(key, field)[3:])


def fewer_steps(world: World) -> None:
    """Let the checkpoint list fewer steps than it planned."""
    ids = list(world.load().steps)
    checkpoint(world, "steps", " ".join(ids[:-1]))


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
    field = f"/{world.step(name)}"
    assert world.redis.hdel(f"{world.own}data", field)


def value(world: World) -> None:
    """Delete a value of the state."""
    assert world.redis.hdel(f"{world.own}data", world.load().checkpoint.refs[0])


def argument(world: World, name: str) -> None:
    """Delete what was sent to a step."""
    assert world.redis.hdel(f"{world.own}data", world.load().steps[world.step(name)].step.arg)


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
    step = world.load().steps[world.step(name)].step
    record(world, name, step=step_record(replace(step, node="last")))


def messages(world: World) -> None:
    """Lose all messages."""
    assert world.messages()


def doubled(world: World) -> None:
    """Let each message come twice."""
    for raw in world.redis.lrange(world.queue, 0, -1):
        world.redis.lpush(world.queue, raw)


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
