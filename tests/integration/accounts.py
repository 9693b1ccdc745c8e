"""What must be true of a fleet's threads after whatever happened: three witnesses compared.

The events say what was planned and committed, the ledger what really ran, and the keys say what
was left behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import psutil

from orchestrator.client.snapshot import StateSnapshot
from orchestrator.model.commit import Event

if TYPE_CHECKING:
    from tests.integration.fleet import Fleet, Ran

__all__ = ["alive", "assert_settled", "assert_whole", "history_of", "leftovers", "of_type"]

PLANS = {"run_accepted", "superstep"}


def assert_settled(fleet: Fleet, *threads: str) -> None:
    """Check that all of it is over: each planned step committed once, nothing left behind."""
    for thread in threads or ("t",):
        events = fleet.client.events(thread)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        planned = Counter(step for e in events if e.type in PLANS for step in words(e, "steps"))
        commits = of_type(events, "step_committed")
        committed = Counter(text(e, "step") for e in commits)
        assert committed == planned, "not every planned step was committed exactly once"
        assert set(committed.values()) == {1}
        assert_witnessed(commits, fleet.ran(thread))
    # The idempotency key is the same over all attempts at a step, and no other step has it.
    keys = {((one.thread, one.step), one.key) for one in fleet.ran()}
    assert len(keys) == len({step for step, _ in keys}) == len({key for _, key in keys})
    fleet.wait_until(lambda: not leftovers(fleet), "nothing is left behind", 15)


def assert_whole(fleet: Fleet, *threads: str) -> None:
    """Check what is stored: each planned step committed once, nothing left behind.

    The ledger also has what was lost, so it is no witness.
    """
    for thread in threads:
        events = fleet.client.events(thread)
        planned = [step for event in of_type(events, *PLANS) for step in words(event, "steps")]
        commits = [text(event, "step") for event in of_type(events, "step_committed")]
        assert sorted(commits) == sorted(planned)
        assert len(set(commits)) == len(commits)
    fleet.wait_until(lambda: not leftovers(fleet), "nothing is left behind", 15)


def assert_witnessed(commits: Sequence[Event], ran: Sequence[Ran]) -> None:
    """Check that what was committed did run, and that nothing ran that was committed before."""
    at_ms = {text(e, "step"): e.ts_ms for e in commits}
    for commit in commits:
        if text(commit, "node") != "__start__":
            who = (text(commit, "step"), int(text(commit, "attempt")), text(commit, "worker"))
            assert [(r.step, r.attempt, r.worker) for r in ran].count(who) == 1, who
    for one in ran:
        assert one.t * 1000 < at_ms[one.step] + 1, f"{one} ran although it had been committed"


def leftovers(fleet: Fleet) -> list[str]:
    """Return every entry that speaks of work still to be done, or of processes that are gone."""
    found: list[str] = []
    for partition in range(fleet.store.partitions):
        prefix = fleet.store.keys.partition(partition)
        for key in fleet.redis.scan_iter(f"{prefix}*", count=1000):
            name = key.decode().removeprefix(prefix)
            if name.startswith("claims:"):
                found += [f"{name} {member.decode()}" for member in fleet.redis.smembers(key)]
            elif name.startswith("ready:") or name in {"unsent", "timers", "stuck"}:
                found += [f"{name} {m.decode()}" for m in fleet.redis.zrange(key, 0, -1)]
            elif name == "leases":
                owners = [o.decode() for o in fleet.redis.zrange(key, 0, -1)]
                found += [f"lease {o}" for o in owners if not alive(o)]
            elif name == "queues":
                queues = [q.decode() for q in fleet.redis.smembers(key)]
                found += [
                    f"message on {q}"
                    for q in queues
                    if fleet.queues.llen(fleet.settings.queue_prefix + q)
                ]
    return found + [f"broker key {k.decode()}" for k in fleet.queues.keys("unacked*")]


def alive(owner: str) -> bool:
    """Whether the process of an owner lives."""
    pid = int(owner.rsplit(":", 2)[1])
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def history_of(snapshots: Iterable[StateSnapshot]) -> list[tuple[object, ...]]:
    """Return what two runs of one graph must agree on, newest first."""
    hidden = {"ledger", "script", "turn"}
    return [
        (
            {key: value for key, value in s.values.items() if key not in hidden},
            s.next,
            s.metadata["source"],
            s.metadata["step"],
            [task.path for task in s.tasks],
        )
        for s in snapshots
    ]


def of_type(events: Iterable[Event], *types: str) -> list[Event]:
    """Return the events of these types."""
    return [event for event in events if event.type in types]


def text(event: Event, name: str) -> str:
    """Return a field as text."""
    return event.fields[name].decode()


def words(event: Event, name: str) -> list[str]:
    """Return a field's words."""
    return text(event, name).split()
