"""How many partitions a store has: written in it once, and compared by every process that connects.

A process that knows another number would look for a thread in another partition, and accept a
second run on it. (INV-1, INV-9)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from orchestrator.checkpointer.redis.keys import Keys
from orchestrator.errors import PartitionsDifferError
from orchestrator.ids import partition_of

__all__ = ["agree"]

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
