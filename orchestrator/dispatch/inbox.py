"""Messages of steps, taken from the broker without Celery where that is the checkpoints' Redis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.dispatch.message import StepMessage, parse_message
from orchestrator.errors import CheckpointerUnavailableError

__all__ = ["Inbox"]


@dataclass(frozen=True, slots=True)
class Inbox:
    """The queues of a broker, as a process that does steps takes from them itself."""

    store: RedisCheckpointer

    def take(self, queue: str, wanted: Callable[[str], bool]) -> StepMessage | None:
        """Take the first message of a queue, if it is that of a step whose node is wanted.

        One that is not stays the first, for Celery. Whoever takes one and dies before its claim has
        lost a hint, and the sweeper finds that.

        Args:
            queue: the broker's name of the queue.
            wanted: tells by the name that Flower shows, `graph.node`.
        """
        try:
            data = self.store.take_message(queue)
            if data is None:
                return None
            message = parse_message(data)
            if message is not None and wanted(message.shadow):
                return message
            self.store.put_back(queue, data)
        except CheckpointerUnavailableError:
            pass
        return None
