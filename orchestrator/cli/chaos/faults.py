"""The faults that chaos knows, and the order in which a seed draws them.

The same seed draws the same faults. Their times and targets depend on the machine.
"""

from __future__ import annotations

import contextlib
import enum
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from orchestrator.dispatch.broker import speaks_amqp

if TYPE_CHECKING:
    from orchestrator.cli.chaos.site import Crew, Site

_T = TypeVar("_T")


class Kind(enum.StrEnum):
    """The kinds of faults."""

    KILL_PROCESS = "kill_process"  # kill -9 of a process that runs nodes.
    KILL_MAIN = "kill_main"  # kill -9 of a worker's main process.
    KILL_KEEPER = "kill_keeper"  # kill -9 of the process that renews a worker's leases.
    KILL_WORKER = "kill_worker"  # kill -9 of all of a worker's processes: the machine is gone.
    STOP_PROCESS = "stop_process"  # SIGSTOP, and SIGCONT seconds later.
    STOP_WORKER = "stop_worker"  # The same, with all of a worker's processes.
    RESTART_WORKER = "restart_worker"  # SIGTERM, as in a rolling restart.
    KILL_SERVER = "kill_server"  # kill -9 of our own server, and its restart.
    LOSE_MESSAGE = "lose_message"  # A message is deleted from the queue.
    DOUBLE_MESSAGE = "double_message"  # A message is sent once more.


# A worker takes seconds of a processor to start, so what ends whole workers is drawn less often.
WEIGHTS = {
    Kind.KILL_PROCESS: 30,
    Kind.KILL_MAIN: 4,
    Kind.KILL_KEEPER: 6,
    Kind.KILL_WORKER: 5,
    Kind.STOP_PROCESS: 15,
    Kind.STOP_WORKER: 3,
    Kind.RESTART_WORKER: 5,
    Kind.KILL_SERVER: 4,
    Kind.LOSE_MESSAGE: 14,
    Kind.DOUBLE_MESSAGE: 14,
}
LASTS_S = (1.0, 10.0)  # How long a process stays stopped.


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to be done."""

    kind: Kind
    choice: float  # From 0 to 1: which one of those it could hit.
    lasts_s: float

    def pick(self, among: Sequence[_T]) -> _T:
        """Return the one that is hit."""
        return among[int(self.choice * len(among))]


def drawn(seed: int, kinds: Collection[Kind]) -> Iterator[Fault]:
    """Draw faults for ever, of these kinds only."""
    chance = random.Random(seed)  # noqa: S311  # Nothing here is a secret.
    known = [kind for kind in Kind if kind in kinds]
    weights = [WEIGHTS[kind] for kind in known]
    while True:
        (kind,) = chance.choices(known, weights)
        yield Fault(kind, chance.random(), chance.uniform(*LASTS_S))


# ---- injection ------------------------------------------------------------------------------
#
# A fault hits a process of our workers, our server, or a message of our queue.

AWAY_MAX_S = 1.5  # How long a server that was killed is away at most.
BROKER_ANSWER_S = 2.0
REDIS_SCHEMES = ("redis://", "rediss://")


class Queue(Protocol):
    """The messages that wait in a queue of the broker; both methods say whether there was one."""

    def lose(self, fault: Fault) -> bool:
        """Delete a message."""
        ...

    def double(self, fault: Fault) -> bool:
        """Send a message once more."""
        ...


def possible(site: Site, broker_url: str) -> set[Kind]:
    """Return the faults that can be injected here: only a server of our own is killed."""
    kinds = set(Kind)
    if site.server is None:
        kinds.remove(Kind.KILL_SERVER)
    if not (broker_url.startswith(REDIS_SCHEMES) or speaks_amqp(broker_url)):
        kinds -= {Kind.LOSE_MESSAGE, Kind.DOUBLE_MESSAGE}
    return kinds


class Injector:
    """Injects faults, and counts those that hit a target."""

    def __init__(
        self,
        crew: Crew,
        site: Site,
        queue: Queue,
        server_ms: Callable[[], float],
    ) -> None:
        """Do nothing yet.

        Args:
            crew: the workers.
            site: the server, if it is ours.
            queue: where the messages of the workers wait.
            server_ms: returns the time of the server that holds the checkpoints.
        """
        self.hits: Counter[Kind] = Counter()
        self._crew, self._site, self._server_ms = crew, site, server_ms
        self._queue = queue
        self._how: dict[Kind, Callable[[Fault], str]] = {
            Kind.KILL_PROCESS: self._kill_process,
            Kind.KILL_MAIN: self._kill_main,
            Kind.KILL_KEEPER: self._kill_keeper,
            Kind.KILL_WORKER: self._kill_worker,
            Kind.STOP_PROCESS: self._stop_process,
            Kind.STOP_WORKER: self._stop_worker,
            Kind.RESTART_WORKER: self._restart_worker,
            Kind.KILL_SERVER: self._kill_server,
            Kind.LOSE_MESSAGE: self._lose_message,
            Kind.DOUBLE_MESSAGE: self._double_message,
        }

    def inject(self, fault: Fault) -> str:
        """Inject a fault; return its target, empty if there is none now."""
        hit = self._how[fault.kind](fault)
        if hit:
            self.hits[fault.kind] += 1
        return hit

    def _kill_process(self, fault: Fault) -> str:
        return self._kill(fault, self._crew.pool())

    def _kill_keeper(self, fault: Fault) -> str:
        return self._kill(fault, self._crew.keepers())

    def _kill_main(self, fault: Fault) -> str:
        return self._kill(fault, [child.pid for child in self._crew.workers()])

    def _kill(self, fault: Fault, among: list[int]) -> str:
        if not among:
            return ""
        pid = fault.pick(among)
        self._crew.kill([pid], self._server_ms())
        return f"process {pid}"

    def _kill_worker(self, fault: Fault) -> str:
        workers = self._crew.workers()
        if not workers:
            return ""
        child = fault.pick(workers)
        self._crew.kill_worker(child, self._server_ms())
        return f"{child.name} (process {child.pid} and its children)"

    def _stop_process(self, fault: Fault) -> str:
        pool = self._crew.pool()
        if not pool:
            return ""
        pid = fault.pick(pool)
        self._crew.stop([pid], fault.lasts_s)
        return f"process {pid} for {fault.lasts_s:.1f} s"

    def _stop_worker(self, fault: Fault) -> str:
        workers = self._crew.workers()
        if not workers:
            return ""
        child = fault.pick(workers)
        self._crew.stop(self._crew.members(child), fault.lasts_s)
        return f"{child.name} (process {child.pid} and its children) for {fault.lasts_s:.1f} s"

    def _restart_worker(self, fault: Fault) -> str:
        workers = self._crew.workers()
        if not workers:
            return ""
        child = fault.pick(workers)
        self._crew.replace(child)
        return f"{child.name} (process {child.pid})"

    def _kill_server(self, fault: Fault) -> str:
        away_s = AWAY_MAX_S * fault.choice
        self._site.kill_server(away_s)
        return f"our server, for {away_s:.1f} s"

    def _lose_message(self, fault: Fault) -> str:
        return "one of the queue" if self._queue.lose(fault) else ""

    def _double_message(self, fault: Fault) -> str:
        return "one of the queue" if self._queue.double(fault) else ""


class RedisQueue:
    """A queue of a Redis."""

    def __init__(self, client: Any, name: str) -> None:
        """Use the list of that name."""
        self._client, self._name = client, name

    def lose(self, fault: Fault) -> bool:
        """See `Queue`."""
        message = self._message(fault)
        return message is not None and bool(self._client.lrem(self._name, 1, message))

    def double(self, fault: Fault) -> bool:
        """See `Queue`."""
        message = self._message(fault)
        return message is not None and bool(self._client.lpush(self._name, message))

    def _message(self, fault: Fault) -> bytes | None:
        waiting: list[bytes] = self._client.lrange(self._name, 0, -1)
        return fault.pick(waiting) if waiting else None


class AmqpQueue:
    """A queue of RabbitMQ: its first message, since no other can be chosen there."""

    def __init__(self, url: str, name: str) -> None:
        """Connect for each fault: the broker may be away between two."""
        self._url, self._name = url, name

    def lose(self, fault: Fault) -> bool:
        """See `Queue`."""
        del fault
        return self._with_first(lambda channel, message: channel.basic_ack(message.delivery_tag))

    def double(self, fault: Fault) -> bool:
        """See `Queue`."""
        del fault
        return self._with_first(self._send_again)

    def delete(self) -> None:
        """Delete the queue with its messages."""
        self._with_channel(lambda channel: channel.queue_delete(self._name))

    def _send_again(self, channel: Any, message: Any) -> None:
        from amqp import Message

        channel.basic_publish(Message(message.body, **message.properties), routing_key=self._name)
        channel.basic_reject(message.delivery_tag, requeue=True)

    def _with_first(self, act: Callable[[Any, Any], object]) -> bool:
        def on(channel: Any) -> bool:
            message = channel.basic_get(self._name)
            if message is not None:
                act(channel, message)
            return message is not None

        return bool(self._with_channel(on))

    def _with_channel(self, act: Callable[[Any], _T]) -> _T | None:
        """Act on a channel; return `None` if the broker is away, or refuses."""
        from kombu.connection import Connection

        connect: Any = Connection
        with connect(self._url, connect_timeout=BROKER_ANSWER_S) as connection:
            lost = (*connection.connection_errors, *connection.channel_errors)
            with contextlib.suppress(*lost), connection.channel() as channel:
                return act(channel)
        return None


@contextlib.contextmanager
def opened_queue(broker_url: str, name: str) -> Iterator[Queue]:
    """Open a queue of the broker, which is deleted at the end if the broker is RabbitMQ."""
    if speaks_amqp(broker_url):
        queue = AmqpQueue(broker_url, name)
        try:
            yield queue
        finally:
            queue.delete()
        return
    import redis

    retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), 30)
    with redis.Redis.from_url(broker_url, retry=retry) as client:
        yield RedisQueue(client, name)
