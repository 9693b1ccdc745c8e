"""Pub/sub notification of run status changes.

A commit that changes the status of a run publishes it on the thread's channel. A message may be
lost with its connection, or never sent, so a waiting caller also polls from time to time.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import redis
from redis.client import PubSub

from orchestrator.checkpointer.redis.scripts import available
from orchestrator.errors import CheckpointerUnavailableError


class Listeners:
    """Subscribed connections: as many as there were concurrent waits."""

    def __init__(self, client: redis.Redis, answer_s: float) -> None:
        self._client, self._answer_s = client, answer_s
        self._idle: deque[PubSub] = deque()
        self._pid = os.getpid()

    @contextmanager
    def on(self, channel: str) -> Iterator[Callable[[float], bool]]:
        """Subscribe to a channel.

        The function that is yielded waits at most its argument, in seconds, for a message, and
        returns whether there was one.

        Raises:
            CheckpointerUnavailableError: if the server does not answer.
            redis.exceptions.NoPermissionError: if the user may not subscribe to it.
        """
        listener = self._acquire()
        try:
            with available():
                listener.subscribe(channel)
                self._confirm(listener, channel.encode())
            yield partial(_wait, listener)
            with available():
                listener.unsubscribe(channel)  # type: ignore[no-untyped-call]
        except BaseException:
            listener.close()
            raise
        self._idle.append(listener)

    def _acquire(self) -> PubSub:
        if self._pid != os.getpid():  # A fork must not use its parent's connections.
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return PubSub(self._client.connection_pool)

    def _confirm(self, listener: PubSub, channel: bytes) -> None:
        """Wait for the SUBSCRIBE confirmation; discard messages of an earlier subscription."""
        end = time.monotonic() + self._answer_s
        while (left := end - time.monotonic()) > 0:
            message = listener.get_message(timeout=left)
            if message and message["type"] == "subscribe" and message["channel"] == channel:
                return
        msg = "the Redis server does not answer (SUBSCRIBE). Check REDIS_URL and the server"
        raise CheckpointerUnavailableError(msg)


def _wait(listener: PubSub, wait_s: float) -> bool:
    with available():
        return listener.get_message(timeout=wait_s) is not None
