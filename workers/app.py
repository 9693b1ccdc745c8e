"""The Celery app: every setting with its reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import billiard.pool
import kombu.transport.pyamqp
import kombu.transport.redis
import kombu.transport.virtual.base
from celery import Celery

from orchestrator.config import Settings
from orchestrator.dispatch.broker import AMQP_PATIENCE, REDIS_PATIENCE, speaks_amqp
from orchestrator.redisconnection import OutageConnection, OutageSSLConnection
from workers.bootsteps import Drain, Heartbeat, LeaseKeeper

__all__ = ["app", "make_app"]

_HEARTBEAT_S = 5
_FLOWER_FORGETS_S = 60  # After its last sign of life, a dead worker is shown for so long.
_SQS_VISIBILITY_S = 12 * 3600  # The longest that SQS allows; its default is 30 minutes.


def make_app(settings: Settings) -> Celery:
    """Return a Celery app for a deployment."""
    made = Celery("graphstalk", broker=settings.celery_url)
    made.conf.update(
        # A hint must not be acknowledged before its step was run, or a busy worker would prefetch
        # without end: a message counts as taken until it is acknowledged.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # A killed pool process gives its message back; the claim decides whether it is needed.
        task_reject_on_worker_lost=True,
        # Results are commits. A result backend would be a second truth.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=settings.queue_prefix + settings.queue,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # An outage may last; threads wait where they are.
        # The connection to the broker may come and go while a node runs: its lease and its commit
        # do not depend on it.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options={
            # No unacked hash and index: messages are hints, and a lost one is found by its queue's
            # watermark. Saves two writes per message, and there is no redelivery to fight.
            "ack_emulation": False,
            # Where a transport redelivers all the same (other brokers), far above the longest node:
            # liveness is the lease's business.
            "visibility_timeout": 7 * 24 * 3600,
            **REDIS_PATIENCE,
        },
        # Steps run for as long as they need; how long a node may take is the graph's decision.
        task_time_limit=None,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=True,
        # For Flower; workers send events when it asks (`-E` costs throughput when on for good).
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_soft_shutdown_timeout=0.0,
        imports=("workers.tasks",),
    )
    if settings.celery_url.startswith(("redis", "rediss", "sentinel", "memory")):
        return made
    # These brokers keep their own acknowledgements.
    is_sqs = settings.broker_url.startswith("sqs")
    options = {"visibility_timeout": _SQS_VISIBILITY_S} if is_sqs else {}
    made.conf.broker_transport_options = options
    if speaks_amqp(settings.broker_url):
        made.conf.update(
            broker_transport_options=AMQP_PATIENCE,
            # A connection whose other end is gone without a word is given up after two of these.
            broker_heartbeat=_HEARTBEAT_S,
            broker_channel_error_retry=True,
            # After such a loss the broker still holds the queue for the former connection, and
            # would refuse an exclusive one to the next.
            control_queue_exclusive=False,
        )
    return made


# Celery's own connections wait for a server that refuses commands for now, as for one that is away.
kombu.transport.redis.Channel.connection_class = OutageConnection
kombu.transport.redis.Channel.connection_class_ssl = OutageSSLConnection

# A broker closes only the channel of a consumer whose step lasts longer than its time-out. Celery's
# loop passes over what is no error of a connection, and would accept no message any more.
kombu.transport.pyamqp.Transport.connection_errors = (
    *kombu.transport.pyamqp.Transport.connection_errors,
    *kombu.transport.pyamqp.Transport.channel_errors,
)

_restore_unacked: Callable[[Any], list[Any]] = kombu.transport.virtual.base.QoS.restore_unacked


def _restore_what_can_be(qos: Any) -> list[Any]:
    """Put back what was received and not done, without a dump of what a lost connection keeps.

    A message is a hint: what does not get back to its queue is sent again by the sweeper.
    """
    _restore_unacked(qos)
    return []


_qos: Any = kombu.transport.virtual.base.QoS
_qos.restore_unacked = _restore_what_can_be

# Flower reads its options from the environment after this module. By default it shows a worker that
# was killed for ever, with the nodes it ran then as active ones.
os.environ.setdefault("FLOWER_PURGE_OFFLINE_WORKERS", str(_FLOWER_FORGETS_S))

app = make_app(Settings.from_env())
app.steps["worker"].update((LeaseKeeper, Heartbeat, Drain))

# A pool process that ends waits until its parent has read its last result; the parent, which waits
# for that process, may read no more. Both then wait for 30 s, unless one gives up
# earlier. What would be lost is an acknowledgement: its message is put back, and its claim refused.
billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 10  # Of 0.1 s each.
