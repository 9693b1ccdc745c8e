"""Sweeps of a partition: `sweep.lua`, and the releases that its answer asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from orchestrator import limits
from orchestrator.checkpointer.fleet import HeldClaim
from orchestrator.checkpointer.lease_trust import silence_max_ms
from orchestrator.checkpointer.redis.encode import steps_in
from orchestrator.checkpointer.redis.keys import Keys
from orchestrator.checkpointer.redis.rollback_guard import Epochs, Known
from orchestrator.checkpointer.redis.scripts import Scripts, available
from orchestrator.config import Settings
from orchestrator.ids import new_uuid
from orchestrator.model.commit import CRASHED, HANDED_BACK, ReadyStep, Swept

_POLL_MS_MIN = 2_500  # Claims need a sweep that is not older, or not older than `_SWEEPS` sweeps.
_SWEEPS = 5
_WAIT_MS_MAX = 100  # For replicas; longer waits would keep the other partitions waiting.


class PartitionSweeper:
    """Sweeps the partitions of one checkpointer."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        keys: Keys,
        scripts: Scripts,
        is_empty: Callable[[str], bool] | None,
        *,
        pushes: bool,
    ) -> None:
        """Sweep the threads of a server.

        Args:
            settings: leases, grace periods, replicas.
            client: for plain commands.
            keys: the names of keys.
            scripts: runs `sweep.lua` and `release.lua`.
            is_empty: returns whether a queue is empty, if another server is the broker.
            pushes: whether this server is the broker.
        """
        self._client, self._keys = client, keys
        self._run, self._is_empty = scripts.call, is_empty
        lease_ms = int(settings.lease_ttl_s * 1000)
        self._args = [
            lease_ms,
            silence_max_ms(lease_ms),
            int(settings.hint_grace_s * 1000),
            limits.SWEEP_BATCH_MAX,
            settings.queue_prefix if pushes else "",
        ]
        self._replicas = settings.wait_replicas
        wait_ms = min(_WAIT_MS_MAX, settings.wait_ms)
        self._wait = ("WAIT", self._replicas, wait_ms) if self._replicas else ()
        self._poll_ms = max(_POLL_MS_MIN, int(settings.sweep_s * 1000 * _SWEEPS))

    def once(self, partition: int, leader: str, epochs: Epochs | None) -> Swept:
        """See `Checkpointer.sweep`; `epochs`: what this process has seen of the server."""
        prefix = self._keys.partition(partition)
        known, poll_ms = Known(), 0
        if epochs is not None:
            poll_ms = self._poll_ms
            with available():
                known = epochs.known(prefix, lambda: self._field(prefix, "epoch"))
        seen = [known.epoch, known.mark_ms, int(known.seen), new_uuid()]
        seen += [poll_ms, limits.LOSS_MS_MAX]
        args = [leader, *self._args, *seen, *self._empty_queues(prefix)]
        answer, safe = self._swept(prefix, args)
        leading, owners, due, stuck, waiting, (epoch, mark, found, loss) = answer
        slipped = found == b"slipped"
        if epochs is not None:
            epochs.saw(prefix, epoch.decode(), mark, found.decode(), loss, safe=safe)
        released = [
            self.release(partition, o, expired=not slipped, died=not slipped) for o in owners
        ]
        if slipped:
            with available():
                self._client.hdel(prefix + "sweep", "slipped")
        return Swept(
            leading=bool(leading),
            due=(*(step for _, steps in released for step in steps), *steps_in(due)),
            stuck=tuple(steps_in(stuck)),
            waiting=tuple(name.decode() for name in waiting),
            released=sum(count for count, _ in released),
        )

    def _swept(self, prefix: str, args: list[Any]) -> tuple[Any, bool]:
        """Return what the script answers, and whether as many replicas have it as commits ask for.

        A mark that a promoted replica lacks is no loss: no commit relied on it either.
        """
        if not self._wait:
            return self._run("sweep", [prefix], args), True
        answer, reached = self._run("sweep", [prefix], args, self._wait)
        return answer, isinstance(reached, int) and reached >= self._replicas

    def release(
        self, partition: int, owner: str | bytes, *, expired: bool = False, died: bool = True
    ) -> tuple[int, list[ReadyStep]]:
        """Return how many claims were released, and the steps to send again."""
        prefix = self._keys.partition(partition)
        reason = CRASHED if died else HANDED_BACK
        count, found = self._run("release", [prefix], [owner, int(expired), int(died), reason, ""])
        return count, list(steps_in(found))

    def release_forgotten(self, claim: HeldClaim) -> tuple[int, list[ReadyStep]]:
        """As `release`, of one claim, if it still has the fence that was seen."""
        prefix = self._keys.partition(claim.partition)
        args = [claim.owner, 0, 0, CRASHED, claim.step_id + claim.thread_id, claim.fence]
        count, found = self._run("release", [prefix], args)
        return count, list(steps_in(found))

    def _field(self, prefix: str, name: str) -> str:
        found: Any = self._client.hget(prefix + "sweep", name)
        return (found or b"").decode()

    def _empty_queues(self, prefix: str) -> list[bytes]:
        """Return the queues in which nothing waits, where the script cannot see that itself."""
        if self._is_empty is None:
            return []
        with available():
            queues: Any = self._client.smembers(prefix + "queues")
        return [queue for queue in queues if self._is_empty(queue.decode())]
