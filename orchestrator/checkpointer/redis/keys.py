"""Every key of the Redis checkpointer: its type, its fields, its lifetime.

All keys of a thread, and the indexes its commits touch, carry the hash tag of its partition
(`{3}`), so that one commit is one slot and one script, also on Redis Cluster. Thread ids are data
inside key names, never part of a script's text.

Per thread, `<p>` = `<namespace>:{<partition>}:` and `<t>` = `<p>t:<thread id>:`

| key | type | holds | lives |
|---|---|---|---|
| `<t>head` | hash | the fields of `Head`; `seal`; `kin`; `fence`, `seq`: the last given | thread |
| `<t>data` | hash | checkpoints, values and outcomes, see below | thread |
| `<t>ids` | zset | checkpoint ids as 16 hex digits, score 0, so ordered by id | thread |
| `<t>done` | set | completedSteps of the superstep; older ones are below the head | superstep |
| `<t>s:<step id>` | hash | a step of the current superstep, see below | superstep |
| `<t>later` | zset | steps of a wide superstep that were not sent yet → place | superstep |
| `<t>keys` | hash | idempotency key → run id | thread |
| `<t>line` | list | ids of the queued runs, first first | while any |
| `<t>hold` | string | the call that holds the thread, which may not exist yet | hold |
| `<t>begins` | hash | run id → how it begins, of those in `line` | while any |
| `<t>ev` | stream | events, see below: id `<seq>-0` of the last one | trimmed |
| `<t>children` | set | namespaces of its child threads | thread |
| `<t>gone` | string | ids of steps that a delete has still to remove | seconds |

`<t>data` holds, by checkpoint id: its header, which may name values, plan, refs, namespace and
steps' ids; by `<checkpoint id>+`: plan and steps' ids, where there are many; by `/<step id>`: the
outcome of a step, which may name values; by the name of a value, which holds a unit separator: the
value, or the tail of a list with the name of the value that it continues.

An entry of `<t>ev` has the events of one commit: `ts`, `n` how many, and `sealed`, a record of all;
or one event that a script made: `ts`, `type`, and its own fields, which may be `sealed`.

A commit may name another thread of the partition whose `ev` takes its events, and whose `seq`
numbers them: the thread of a subgraph is in the partition of its root, and writes the root's log.
Of that thread it changes nothing else.

A step's hash: `step` (see `encode.py`), `cp` its checkpoint, `queue`, `wait`, `owner`,
`fence`, `attempt`, `claimed` (when), `failures`, `deaths`, `due`, `settled`, `reason`, `error`,
`ask:<id>`, `ans:<id>`, and until it is completed `note:<name>`, with `noted` if there are any. It
is ready unless it is in `done`, has an owner, or waits.

Per partition, where a *member* is `<step id>` (32 hex digits) followed by the thread id:

| key | type | holds |
|---|---|---|
| `<p>leases` | zset | owner → when its lease ends |
| `<p>claims:<owner>` | set | members the owner has claimed |
| `<p>ready:<queue>` | zset | members that are ready and were sent → when |
| `<p>unsent` | zset | members that are ready and not known to be sent → since when |
| `<p>timers` | zset | members that wait for a time → when |
| `<p>stuck` | zset | threads whose superstep is settled and not advanced → since when |
| `<p>waiting` | zset | threads whose run has ended with others queued → since when |
| `<p>marks` | hash | queue → when the newest claimed message of it was sent (the watermark) |
| `<p>threads` | zset | thread → when its run last changed its status; none of subgraphs |
| `<p>stats` | hash | counters: `stale_refused`, `released`, `forgotten`, `repaired`, `went_back` |
| `<p>sweep` | hash | `leader`, `until`; `last`, `since` of `Trust`; and see below |
| `<p>gaps` | zset | mark after which no sweep came for a while → time of the next sweep |

`<p>sweep` also has the `epoch` and `mark` (see `rollback_guard.py`), `was` (former epochs),
`halted` (why nothing runs), `slipped` (claims that must still be ended), `floor` (no fence below it
is given: a time, or greater than any fence of a deleted thread); a step is claimed only between
`opens` and `shuts`.

`<t>children` has all child threads if the head has `kin`. An earlier version made the others,
whose child threads are found by their keys; so are those of a list that is gone although `kin` is
2, which means that it had one.

What an audit finds to be of another type than it should be is renamed to `<key>:aside` and kept.

`<t>news` is no key but a channel: a commit that changes the status of a run publishes it there.

Outside of the partitions: `<namespace>:partitions` (string), how many there are; written once, and
compared by every process that connects; and where this server is the broker, `<namespace>:queue:
<queue>` (list), the messages of a queue. For those of workers see `workers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import redis

from orchestrator.errors import PartitionsDifferError
from orchestrator.ids import partition_of

STEP_ID_CHARS = 32


class Deployment(Protocol):
    """What queries about claims and lost data need of a `RedisCheckpointer`."""

    client: redis.Redis
    keys: Keys
    partitions: int

    def release_in(self, partition: int, owner: str | bytes) -> int:
        """Take all claims of one partition from an owner that must stop; return how many."""
        ...


class Keys:
    """The names of keys for one namespace."""

    def __init__(self, namespace: str, partitions: int) -> None:
        self.namespace, self.partitions = namespace, partitions
        self._prefixes = [self.prefix(p) for p in range(partitions)]

    def prefix(self, partition: int) -> str:
        """Return the prefix that a partition's keys have, or would have."""
        return f"{self.namespace}:{{{partition}}}:"

    def partition(self, partition: int) -> str:
        """Return the prefix of a partition's keys."""
        return self._prefixes[partition]

    def of_thread(self, thread_id: str) -> tuple[str, str]:
        """Return the prefixes of a thread's partition and of its own keys."""
        prefix = self._prefixes[partition_of(thread_id, self.partitions)]
        return prefix, f"{prefix}t:{thread_id}:"

    @property
    def partition_count(self) -> str:
        """Return the key that holds the number of partitions."""
        return f"{self.namespace}:partitions"


_PARTITIONS_MAX = 256  # Of a store that an earlier version made, which did not write the number.
_INDEXES = ("threads", "leases", "sweep")  # What a partition has that was ever used.
_NAMES_MAX = 20


def agree(client: redis.Redis, keys: Keys) -> None:
    """Write the number of partitions if it is not there, else compare it.

    Raises:
        PartitionsDifferError: if the store has another number.
    """
    key = keys.partition_count
    stored: Any = client.get(key)
    if stored is None:
        stored = _found(client, keys)
        if stored is None and client.set(key, keys.partitions, nx=True):
            return
        if stored is None:
            stored = client.get(key)
    if int(stored) != keys.partitions:
        raise _differs(keys, int(stored))


def _found(client: redis.Redis, keys: Keys) -> int | None:
    """Return the number of a store whose number was not written, if it is another; or `None`."""
    pipe = client.pipeline(transaction=False)
    for partition in range(_PARTITIONS_MAX):
        prefix = keys.prefix(partition)
        pipe.exists(*(prefix + name for name in _INDEXES))
    used = [partition for partition, count in enumerate(pipe.execute()) if count]
    if not used:
        return None
    names = list(_names(client, keys, used))
    widest = used[-1] + 1
    if widest <= keys.partitions and _fits(names, keys.partitions):
        return None
    counts = (n for n in range(widest, _PARTITIONS_MAX + 1) if n != keys.partitions)
    return next((n for n in counts if _fits(names, n)), widest)


def _names(client: redis.Redis, keys: Keys, used: list[int]) -> Iterator[tuple[int, str]]:
    """Iterate over some threads, and the partitions in which they are."""
    pipe = client.pipeline(transaction=False)
    for partition in used:
        pipe.zrange(keys.prefix(partition) + "threads", 0, _NAMES_MAX - 1)
    for partition, found in zip(used, pipe.execute(), strict=True):
        for name in found:
            yield partition, name.decode("utf-8", "surrogatepass")


def _fits(names: list[tuple[int, str]], partitions: int) -> bool:
    return all(partition_of(name, partitions) == partition for partition, name in names)


def _differs(keys: Keys, stored: int) -> PartitionsDifferError:
    return PartitionsDifferError(
        f"the number of partitions must be {stored}, which the store has under the namespace "
        f"{keys.namespace!r} (partitions={keys.partitions}). Nothing was changed; set "
        f"GRAPHSTALK_PARTITIONS={stored}, or use another GRAPHSTALK_NAMESPACE"
    )
