"""The broker of a deployment: sends the messages of ready steps to it, and accepts them from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from orchestrator.checkpointer.fleet import SharedCheckpointer
from orchestrator.checkpointer.redis.store import RedisCheckpointer, connect
from orchestrator.config import Settings, without_secrets
from orchestrator.dispatch.message import (
    STEP_TASK,
    MessageRenderer,
    StepMessage,
    celery_template,
    importing,
    parse_message,
    step_arguments,
)
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.model.commit import ReadyStep
from orchestrator.redisconnection import refuses_for_now

__all__ = [
    "AMQP_PATIENCE",
    "REDIS_PATIENCE",
    "Dispatch",
    "Inbox",
    "broker_trouble",
    "disconnect",
    "dispatcher",
    "open_store",
    "speaks_amqp",
    "warn_if_unread",
]

if TYPE_CHECKING:
    from celery import Celery


_log = logging.getLogger(__name__)

Dispatch = Callable[[Sequence[ReadyStep]], None]  # Sends messages, and remembers that they were.

# Options of Celery's connections to a Redis: one whose other end is gone without a word is
# given up within seconds (the default is to wait forever), also by a consumer that only listens.
REDIS_PATIENCE = {
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 2,
}

# The same for RabbitMQ, and each message is confirmed: a broker that has lost it, refuses it or is
# gone without a word would else seem to accept it.
AMQP_PATIENCE = {"confirm_publish": True, "read_timeout": 5, "write_timeout": 5}
_AMQP = ("amqp", "amqps", "pyamqp")

# Brokers whose queues are first-in first-out, so that a claimed message shows which were lost.
_ORDERED = ("redis", "rediss", "redis+socket", "sentinel", *_AMQP)
_ASKED = ("redis", *_AMQP)


def open_store(
    settings: Settings,
    template: str | None = None,
    *,
    answer_s: float | None = None,
    sends: bool = True,
) -> SharedCheckpointer:
    """Return the checkpointer of a deployment; where it is the broker too, it sends messages.

    This is the only function that knows which store an address is of.

    Args:
        settings: the deployment.
        template: of messages, if it is rendered already; else Celery renders it now.
        answer_s: the time-out of an answer, if not the usual one.
        sends: whether steps become ready through it; else Celery is not loaded.
    """
    client = None if answer_s is None else connect(settings.url, answer_s)
    if not sends:
        return RedisCheckpointer(settings=settings, client=client)
    if not settings.one_redis:
        is_empty = _Broker(settings).is_empty
        return RedisCheckpointer(settings=settings, client=client, is_empty=is_empty)
    renderer = MessageRenderer(template or celery_template(), settings.queue_prefix)
    return RedisCheckpointer(settings=settings, client=client, renderer=renderer)


def dispatcher(store: SharedCheckpointer, settings: Settings) -> Dispatch:
    """Return how messages get to the broker of `settings`."""
    return store.push if store.pushes else _Publisher(store, _Broker(settings))


def warn_if_unread(store: SharedCheckpointer) -> None:
    """Log a warning if workers are alive and none of them reads the broker of these settings."""
    mine = store.settings.broker_name
    try:
        read = {worker.broker for worker in store.fleet.workers()}
    except CheckpointerUnavailableError:
        return
    if read and "" not in read and mine not in read:
        _log.warning(
            "GRAPHSTALK_BROKER_URL must name the broker that the workers read (here: %s; read by "
            "workers: %s). What is sent from here waits for the sweeper, which sends it again; set "
            "GRAPHSTALK_BROKER_URL in every process to the same broker",
            mine,
            ", ".join(sorted(read)),
        )


def speaks_amqp(broker_url: str) -> bool:
    """Return whether a broker is RabbitMQ, or another that speaks its protocol."""
    return broker_url.partition("://")[0] in _AMQP


def broker_trouble(settings: Settings) -> str:
    """Return why a broker of its own accepts no messages; empty if it does, or cannot be asked."""
    if settings.one_redis or not settings.celery_url.startswith(_ASKED):
        return ""
    return _Broker(settings).trouble()


def _on_blocked(reason: str) -> None:
    """Fail at once: RabbitMQ reports that it reads nothing from this connection for now."""
    from amqp.exceptions import RecoverableConnectionError  # noqa: PLC0415 - only senders need it

    msg = f"RabbitMQ is short of memory or of disk, and blocks publishers: {reason}"
    raise RecoverableConnectionError(msg)


@contextmanager
def _leaving(connection: Any) -> Iterator[None]:
    """After an error drop a connection without the closing handshake, which may get no answer."""
    try:
        yield
    except Exception:
        connection.collect()
        raise


def disconnect(dispatch: Dispatch) -> None:
    """Give back the connections with which messages were sent; the next message makes others."""
    if isinstance(dispatch, _Publisher):
        dispatch.close()


class _Broker:
    """A broker that is not the server of the checkpoints, by way of Celery."""

    def __init__(self, settings: Settings) -> None:
        self._url, self.queue_prefix = settings.celery_url, settings.queue_prefix
        self._fresh_s = settings.hint_grace_s / 2  # How long an answer about a queue serves.
        self._answers: dict[str, tuple[float, bool]] = {}
        self._app: Celery | None = None
        self.ordered = self._url.partition(":")[0] in _ORDERED

    def celery(self) -> Celery:
        """Return the app through which messages are sent."""
        with importing:
            from celery import Celery  # noqa: PLC0415 - only senders need Celery

        if self._app is None:
            self._app = Celery("graphstalk", broker=self._url, set_as_current=False)
            conf = self._app.conf
            if self._url.startswith("redis"):
                conf.broker_transport_options = REDIS_PATIENCE
            elif speaks_amqp(self._url):
                conf.broker_transport_options = {**AMQP_PATIENCE, "on_blocked": _on_blocked}
                conf.broker_heartbeat = 0  # It sends now and then; a confirmation says the same.
                conf.broker_connection_timeout = 2
                conf.task_publish_retry_policy = {"max_retries": 1, "interval_start": 0}
        return self._app

    def errors(self) -> tuple[type[Exception], ...]:
        """Return what its client raises if a message cannot be sent, without Redis's errors."""
        from kombu.exceptions import OperationalError  # noqa: PLC0415 - only senders need Celery

        if not speaks_amqp(self._url):
            return (OperationalError,)
        connection = self.celery().connection_for_write()
        found: tuple[type[Exception], ...] = (
            OperationalError,
            *connection.connection_errors,
            *connection.channel_errors,
        )
        return found

    def without_secrets(self, error: Exception) -> str:
        """Return an error as text that holds no password."""
        return without_secrets(str(error), self._url)

    def disconnect(self) -> None:
        """Drop the connections; the next message connects anew, perhaps to another primary."""
        if self._app is not None:
            self._app.close()
            self._app = None

    def trouble(self) -> str:
        """See `broker_trouble`: send a message that no queue receives, or change nothing."""
        from kombu.exceptions import KombuError  # noqa: PLC0415 - only senders need Celery

        nowhere = self.queue_prefix + "nowhere"
        try:
            kinds: tuple[type[Exception], ...] = (*self.errors(), KombuError, RedisError, OSError)
            connection = self.celery().connection_for_write(connect_timeout=2)
        except ValueError as error:  # Its address cannot be parsed.
            return self.without_secrets(error)
        try:
            with connection, _leaving(connection):
                connection.ensure_connection(max_retries=1, interval_start=0)
                channel = connection.channel()
                if speaks_amqp(self._url):
                    channel.basic_publish(channel.prepare_message(b""), routing_key=nowhere)
                else:
                    channel.client.delete(nowhere)
        except kinds as error:
            return self.without_secrets(error) or type(error).__name__
        finally:
            self.disconnect()
        return ""

    def is_empty(self, queue: str) -> bool:
        """Return whether no message waits in a queue; `False` if the broker does not say."""
        at, empty = self._answers.get(queue, (0.0, False))
        if time.monotonic() - at > self._fresh_s:
            empty = self._ask(queue)
            self._answers[queue] = (time.monotonic(), empty)
        return empty

    def _ask(self, queue: str) -> bool:
        with self.celery().connection_for_write(connect_timeout=2) as connection:
            try:
                with connection.channel() as channel:
                    declared = channel.queue_declare(queue=self.queue_prefix + queue, passive=True)
            except connection.channel_errors:
                return True  # There is no such queue: whatever was in it is gone.
            except connection.connection_errors:
                return False
            return int(declared.message_count) == 0


class _Publisher:
    """Sends through Celery, to whatever broker it speaks to."""

    def __init__(self, store: SharedCheckpointer, broker: _Broker) -> None:
        self._store, self._broker = store, broker

    def __call__(self, steps: Sequence[ReadyStep]) -> None:
        app = self._broker.celery()
        now_ms = self._store.now_ms() if self._broker.ordered else 0
        try:
            with app.producer_or_acquire() as producer, _leaving(producer.connection):
                for step in steps:
                    app.send_task(
                        STEP_TASK,
                        kwargs=step_arguments(step, now_ms),
                        task_id=step.task_id,
                        queue=self._broker.queue_prefix + step.queue,
                        shadow=step.shadow,
                        producer=producer,
                        ignore_result=True,
                    )
        except self._broker.errors() as error:
            self._broker.disconnect()
            why = self._broker.without_secrets(error) or type(error).__name__
            msg = f"the broker does not answer ({why}); the steps are stored and will be sent"
            raise CheckpointerUnavailableError(msg) from error
        except RedisError as error:
            if not refuses_for_now(error):
                raise
            self._broker.disconnect()
            why = self._broker.without_secrets(error)
            msg = f"the broker refuses commands ({why}); the steps are stored and will be sent"
            raise CheckpointerUnavailableError(msg) from error
        self._store.mark_sent(steps)

    def close(self) -> None:
        """Give back connections."""
        self._broker.disconnect()


# ---- messages that a process accepts itself -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Inbox:
    """The queues of a broker, for a process that accepts messages of steps itself."""

    store: SharedCheckpointer

    def take(self, queue: str, wanted: Callable[[str], bool]) -> StepMessage | None:
        """Remove and return the first message of a queue, if the node of its step is wanted.

        One that is not stays the first, for Celery. A process that accepts one and dies before its
        claim has lost a hint, and the sweeper finds that.

        Args:
            queue: the broker's name of the queue.
            wanted: returns whether to accept it, by the name in Flower, `graph.node`.
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
