"""A store on a Redis or Valkey server, for all processes of a fleet.

Keys, all with one hash tag, so that one node of a cluster holds them:

- `<prefix>seq`: string, the number of the last arrival
- `<prefix>namespaces`: sorted set, path → number of its arrival
- `<prefix>keys:<path>`: sorted set, key → number of its arrival
- `<prefix>item:<length of path>:<path>:<key>`: hash `v`alue, `e`mbeddings, `c`reated, `u`pdated and
  `t`ime to live, `x` when it ends; the server ends it with its time

A put or removal is one transaction each. Unlike on other shelves, a batch is not: others may see
part of it, and a search sees items that are put while it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import redis

from orchestrator.clock import Clock
from orchestrator.errors import GraphstalkError
from orchestrator.redisconnection import client_for
from orchestrator.serde.codec import Codec
from orchestrator.store.base import IndexConfig, TTLConfig
from orchestrator.store.operations import Namespace
from orchestrator.store.shelf import Row, ShelvedStore

_PAGE = 200  # Items a round trip.
_FIELDS = ("v", "e", "c", "u", "t", "x")


class RedisStore(ShelvedStore):
    """Long-term memory on the server of a client or URL."""

    def __init__(
        self,
        client_or_url: Any,
        *,
        prefix: str = "{graphstalk:store}:",
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        codec: Codec | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Use a client, or connect to a URL when something is asked.

        Args:
            client_or_url: where the server is.
            prefix: how all keys begin. Its hash tag, in braces, keeps them on one node.
            index: as `ShelvedStore`; so are the rest.
            ttl: how long items live.
            codec: turns values into bytes.
            clock: the time, but for the end of an item, which the server decides.
        """
        is_url = isinstance(client_or_url, str)
        client = client_for(client_or_url) if is_url else client_or_url
        shelf = _RedisShelf(client, prefix)
        super().__init__(shelf, index=index, ttl=ttl, codec=codec, clock=clock)


class _RedisShelf:
    blocks = True

    def __init__(self, client: Any, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._tidy = client.register_script(_source("tidy"))
        self._touch = client.register_script(_source("touch"))

    @contextmanager
    def session(self, *, writes: bool) -> Iterator[_RedisShelf]:
        del writes
        try:
            yield self
        except (redis.ConnectionError, redis.TimeoutError) as error:
            msg = f"the Redis server of the store does not answer ({error}). Check it and its URL"
            raise GraphstalkError(msg) from error

    def get(self, namespace: Namespace, key: str) -> Row | None:
        found = self._client.hmget(self._item(_path(namespace), key), _FIELDS)
        return _row(namespace, key, found)

    def rows(self, prefix: Namespace) -> Iterator[Row]:
        for namespace in self._all_namespaces():
            if namespace[: len(prefix)] == prefix:
                yield from self._rows(namespace)

    def _all_namespaces(self) -> list[Namespace]:
        found = self._client.zrange(f"{self._prefix}namespaces", 0, -1)
        return [tuple(path.decode().split(".")) if path else () for path in found]

    def _rows(self, namespace: Namespace) -> Iterator[Row]:
        path = _path(namespace)
        keys = [key.decode() for key in self._client.zrange(f"{self._prefix}keys:{path}", 0, -1)]
        for start in range(0, len(keys), _PAGE):
            page, gone = keys[start : start + _PAGE], []
            pipe = self._client.pipeline(transaction=False)
            for key in page:
                pipe.hmget(self._item(path, key), _FIELDS)
            for key, found in zip(page, pipe.execute(), strict=True):
                row = _row(namespace, key, found)
                if row is None:
                    gone.append(key)
                else:
                    yield row
            if gone:  # They ended; the lists do not know yet.
                self._take_out(path, gone)

    def namespaces(self, now_ms: int) -> list[Namespace]:
        every = self._all_namespaces()
        return [name for name in every if any(row.is_live(now_ms) for row in self._rows(name))]

    def put(self, row: Row) -> None:
        path, item = _path(row.namespace), self._item(_path(row.namespace), row.key)
        number = self._client.incr(f"{self._prefix}seq")
        pipe = self._client.pipeline(transaction=True)
        pipe.zadd(f"{self._prefix}namespaces", {path: number}, nx=True)
        pipe.zadd(f"{self._prefix}keys:{path}", {row.key: number}, nx=True)
        pipe.hsetnx(item, "c", row.created_ms)
        fields = {"v": row.value, "e": row.vectors, "u": row.updated_ms}
        fields |= {"t": _text(row.ttl_ms), "x": _text(row.expires_ms)}
        pipe.hset(item, mapping=fields)
        if row.expires_ms is None:
            pipe.persist(item)
        else:
            pipe.pexpireat(item, row.expires_ms)
        pipe.execute()

    def remove(self, namespace: Namespace, key: str) -> None:
        path = _path(namespace)
        self._client.unlink(self._item(path, key))
        self._take_out(path, [key])

    def touch(self, namespace: Namespace, key: str, expires_ms: int) -> None:
        self._touch(keys=[self._item(_path(namespace), key)], args=[expires_ms])

    def forget(self, now_ms: int) -> None:
        """Do nothing: the server removes expired items."""

    def _take_out(self, path: str, keys: Sequence[str]) -> None:
        lists = [f"{self._prefix}namespaces", f"{self._prefix}keys:{path}"]
        self._tidy(keys=[*lists, *(self._item(path, key) for key in keys)], args=[path, *keys])

    def _item(self, path: str, key: str) -> str:
        # With the length of the path, because both may hold colons.
        return f"{self._prefix}item:{len(path)}:{path}:{key}"


def _source(name: str) -> str:
    return resources.files(__package__).joinpath(f"redis_{name}.lua").read_text(encoding="utf-8")


def _path(namespace: Namespace) -> str:
    return ".".join(namespace)


def _text(number: int | None) -> bytes:
    return b"" if number is None else b"%d" % number


def _row(namespace: Namespace, key: str, found: Sequence[bytes | None]) -> Row | None:
    value, vectors, created, updated, ttl, end = found
    if value is None or vectors is None or created is None or updated is None:
        return None
    return Row(
        namespace,
        key,
        value=value,
        vectors=vectors,
        created_ms=int(created),
        updated_ms=int(updated),
        ttl_ms=int(ttl) if ttl else None,
        expires_ms=int(end) if end else None,
    )
