"""A cache on a Redis or Valkey server, for all processes of a fleet.

Keys: `<prefix><label>:<label>…/<key>`, a string that ends with its time to live. Labels and key are
quoted, so neither can be taken for another's.

A cache is never needed: while the server does not answer, nothing is found or kept, and a warning
is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from redis import RedisError

from orchestrator.cache.base import BaseCache, FullKey, Namespace
from orchestrator.redisconnection import client_for

_BATCH = 500  # Keys that one command removes.

logger = logging.getLogger(__name__)


class RedisCache(BaseCache):
    """A cache on the server of a client or URL; it fails open."""

    def __init__(self, redis: Any, *, prefix: str = "graphstalk:cache:") -> None:
        """Use a client, or connect to a URL when something is asked; keys begin with `prefix`."""
        self.client = client_for(redis) if isinstance(redis, str) else redis
        self.prefix = prefix

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, bytes]:
        """Return the values of those `keys` that are cached."""
        values: list[bytes | None] = []
        with _open_on_failure("get"):
            pipe = self.client.pipeline(transaction=False)  # Not MGET: a cluster has many slots.
            for namespace, key in keys:
                pipe.get(self._key(namespace, key))
            values = pipe.execute() if keys else []
        return {
            (tuple(namespace), key): value
            for (namespace, key), value in zip(keys, values, strict=False)
            if value is not None
        }

    def set(self, pairs: Mapping[FullKey, tuple[bytes, int | None]]) -> None:
        """Keep values, each with its time to live in seconds."""
        with _open_on_failure("set"):
            pipe = self.client.pipeline(transaction=False)
            for (namespace, key), (value, ttl_s) in pairs.items():
                name = self._key(namespace, key)
                if ttl_s is None or ttl_s > 0:
                    pipe.set(name, value, ex=ttl_s)
                else:
                    pipe.delete(name)
            if pairs:
                pipe.execute()

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget exactly these namespaces; without any, everything under the prefix.

        The server scans all its keys, a part at a time.
        """
        whole = namespaces is None
        patterns = ["*"] if whole else [f"{_labels(name)}/*" for name in namespaces or ()]
        with _open_on_failure("clear"):
            for pattern in patterns:
                self._remove(f"{_escaped(self.prefix)}{pattern}")

    def _remove(self, pattern: str) -> None:
        found = []
        for name in self.client.scan_iter(match=pattern, count=_BATCH):
            found.append(name)
            if len(found) == _BATCH:
                self.client.unlink(*found)
                found.clear()
        if found:
            self.client.unlink(*found)

    def _key(self, namespace: Namespace, key: str) -> str:
        return f"{self.prefix}{_labels(namespace)}/{quote(key, safe='')}"


def _labels(namespace: Namespace) -> str:
    # An empty label must not be taken for no label.
    return ":".join(f"{quote(label, safe='')}" or "%" for label in namespace)


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in text)


@contextmanager
def _open_on_failure(what: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        logger.warning("the cache is not used (%s): %s", what, error)
