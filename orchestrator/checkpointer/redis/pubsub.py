"""Being told when a run of a thread came to rest, instead of looking at each step of it.

A commit that changes what becomes of a run says so on the thread's channel. A message may be lost
with its connection, or was never sent: whoever waits looks now and then all the same.
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
    """Connections that listen: as many as there were waits at once."""

    def __init__(self, client: redis.Redis, answer_s: float) -> None:
        """Listen where `client` is connected to; `answer_s`: how long an answer is waited for."""
        self._client, self._answer_s = client, answer_s
        self._idle: deque[PubSub] = deque()
        self._pid = os.getpid()

    @contextmanager
    def on(self, channel: str) -> Iterator[Callable[[float], bool]]:
        """Listen to a channel.

        What is yielded waits for a message, so many seconds at most, and tells if there was one.

        Raises:
            CheckpointerUnavailableError: if the server does not answer.
            redis.exceptions.NoPermissionError: if one may not listen there.
        """
        listener = self._take()
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

    def _take(self) -> PubSub:
        if self._pid != os.getpid():  # A fork must not listen on its parent's connections.
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return PubSub(self._client.connection_pool)

    def _confirm(self, listener: PubSub, channel: bytes) -> None:
        """Return once the server has confirmed; what came for an earlier wait is let pass."""
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
