"""Looking at a partition: `sweep.lua`, and what its answer asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator import limits
from orchestrator.checkpoint.commit import CRASHED, HANDED_BACK, ReadyStep, Swept
from orchestrator.checkpointer.redis.epochs import Known
from orchestrator.checkpointer.redis.holding import HeldClaim
from orchestrator.checkpointer.redis.scripting import Scripts, available
from orchestrator.checkpointer.redis.steprecords import steps_in
from orchestrator.checkpointer.sweeping import silence_max_ms
from orchestrator.ids import new_uuid

if TYPE_CHECKING:
    from orchestrator.checkpointer.redis.store import RedisCheckpointer

__all__ = ["Sweeping"]

_LOOK_MS_MIN = 2_500  # Claims need a look that is not older, or than so many sweeps.
_SWEEPS = 5


class Sweeping:
    """Sweeps the partitions of one checkpointer."""

    def __init__(
        self, store: RedisCheckpointer, scripts: Scripts, is_empty: Callable[[str], bool] | None
    ) -> None:
        """Sweep where `store` keeps its threads."""
        self._store, self._run, self._is_empty = store, scripts.call, is_empty
        settings = store.settings
        lease_ms = int(settings.lease_ttl_s * 1000)
        self._args = [
            lease_ms,
            silence_max_ms(lease_ms),
            int(settings.hint_grace_s * 1000),
            limits.SWEEP_BATCH_MAX,
            settings.queue_prefix if store.pushes else "",
        ]
        self._look_ms = max(_LOOK_MS_MIN, int(settings.sweep_s * 1000 * _SWEEPS))

    def once(self, partition: int, leader: str) -> Swept:
        """See `Checkpointer.sweep`."""
        prefix, epochs = self._store.keys.partition(partition), self._store.epochs
        known, look_ms = Known(), 0
        if epochs is not None:
            look_ms = self._look_ms
            with available():
                known = epochs.known(prefix, lambda: self._field(prefix, "epoch"))
        told = [known.epoch, known.mark_ms, int(known.seen), new_uuid()]
        told += [look_ms, limits.LOSS_MS_MAX]
        args = [leader, *self._args, *told, *self._empty_queues(prefix)]
        answer = self._run("sweep", [prefix], args)
        leading, owners, due, stuck, waiting, (epoch, mark, found, loss) = answer
        slipped = found == b"slipped"
        if epochs is not None:
            epochs.saw(prefix, epoch.decode(), mark, found.decode(), loss)
        released = [
            self.release(partition, o, expired=not slipped, died=not slipped) for o in owners
        ]
        if slipped:
            with available():
                self._store.client.hdel(prefix + "sweep", "slipped")
        return Swept(
            leading=bool(leading),
            due=(*(step for _, steps in released for step in steps), *steps_in(due)),
            stuck=tuple(steps_in(stuck)),
            waiting=tuple(name.decode() for name in waiting),
            released=sum(count for count, _ in released),
        )

    def release(
        self, partition: int, owner: str | bytes, *, expired: bool = False, died: bool = True
    ) -> tuple[int, list[ReadyStep]]:
        """Return how many claims were taken away, and the steps to send again."""
        prefix = self._store.keys.partition(partition)
        reason = CRASHED if died else HANDED_BACK
        count, found = self._run("release", [prefix], [owner, int(expired), int(died), reason, ""])
        return count, list(steps_in(found))

    def release_forgotten(self, claim: HeldClaim) -> tuple[int, list[ReadyStep]]:
        """As `release`, of one claim, if it still has the fence that was seen."""
        prefix = self._store.keys.partition(claim.partition)
        args = [claim.owner, 0, 0, CRASHED, claim.member, claim.fence]
        count, found = self._run("release", [prefix], args)
        return count, list(steps_in(found))

    def _field(self, prefix: str, name: str) -> str:
        found: Any = self._store.client.hget(prefix + "sweep", name)
        return (found or b"").decode()

    def _empty_queues(self, prefix: str) -> list[bytes]:
        """Return the queues in which nothing waits, where the script cannot see that itself."""
        if self._is_empty is None:
            return []
        with available():
            queues: Any = self._store.client.smembers(prefix + "queues")
        return [queue for queue in queues if self._is_empty(queue.decode())]
