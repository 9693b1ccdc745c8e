"""The workers of a deployment: they announce themselves beside the threads.

Outside of the partitions: `<namespace>:workers` (hash, worker → JSON of `Worker`, refreshed every
beat), `<namespace>:brokers` (hash, worker → the broker it reads), `<namespace>:graphs` (hash,
graph → fingerprint, kept for ever) and `<namespace>:queues` (hash, graph → the queue that it was
compiled with, empty without one; kept for ever).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from orchestrator.checkpointer.redis.scripts import available
from orchestrator.checkpointer.redis.store import RedisCheckpointer

_GONE_MS = 15_000  # A worker silent for so long is not shown any more, and forgotten.


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker as it last announced itself."""

    name: str
    host: str
    pid: int
    queues: Sequence[str]
    pool: str
    concurrency: int
    graphs: Sequence[str]
    beat_ms: int = 0  # Server time of the announcement.
    broker: str = ""  # Which broker it reads, see `Settings.broker_name`; empty: not known.


@dataclass(frozen=True, slots=True)
class Held:
    """The times of a claim, in the server's time."""

    since_ms: int  # When the step was claimed; 0: not known.
    lease_ends_ms: int  # 0: there is none.


class Fleet:
    """The workers of the deployment that a checkpointer belongs to."""

    def __init__(self, store: RedisCheckpointer) -> None:
        self._store = store
        self._client = store.client
        self._workers = f"{store.settings.namespace}:workers"
        self._brokers = f"{store.settings.namespace}:brokers"
        self._graphs = f"{store.settings.namespace}:graphs"
        self._queues = f"{store.settings.namespace}:queues"

    def announce(self, worker: Worker) -> None:
        """Show that a worker is alive."""
        now = self._store.now_ms()
        said = {**asdict(worker), "beat_ms": now}
        broker = said.pop("broker")  # An earlier version reads only the fields that it knows.
        with available():
            pipe = self._client.pipeline(transaction=False)
            pipe.hset(self._workers, worker.name, json.dumps(said))
            pipe.hset(self._brokers, worker.name, broker)
            pipe.execute()

    def leave(self, name: str) -> None:
        """Show that a worker has ended."""
        with available():
            self._client.hdel(self._workers, name)
            self._client.hdel(self._brokers, name)

    def workers(self) -> list[Worker]:
        """Return the workers that are alive, by name."""
        now = self._store.now_ms()
        with available():
            pipe = self._client.pipeline(transaction=False)
            pipe.hvals(self._workers)
            pipe.hgetall(self._brokers)
            announced, brokers = pipe.execute()
            found = [_worker(json.loads(data), brokers) for data in announced]
            gone = [worker.name for worker in found if now - worker.beat_ms > _GONE_MS]
            if gone:
                self._client.hdel(self._workers, *gone)
                self._client.hdel(self._brokers, *gone)
        return sorted((w for w in found if w.name not in gone), key=lambda w: w.name)

    def held(self, thread_id: str, owners: Mapping[str, str]) -> dict[str, Held]:
        """Return the times of the claims on a thread's steps, by step.

        Args:
            thread_id: the thread.
            owners: the owners of the claims, by step id.
        """
        self._store.check()
        prefix, own = self._store.keys.of_thread(thread_id)
        with available():
            pipe = self._client.pipeline(transaction=False)
            for step_id, owner in owners.items():
                pipe.hget(f"{own}s:{step_id}", "claimed")
                pipe.zscore(prefix + "leases", owner)
            answers: Any = pipe.execute()
        pairs = zip(owners, answers[::2], answers[1::2], strict=True)
        return {step: Held(int(since or 0), int(ends or 0)) for step, since, ends in pairs}

    def publish_graphs(
        self, fingerprints: Mapping[str, str], queues: Mapping[str, str] | None = None
    ) -> None:
        """Remember which graphs workers know, and the queues that they were compiled with."""
        self._store.check()
        with available():
            for key, given in ((self._graphs, fingerprints), (self._queues, queues)):
                if given:
                    fields: dict[Any, Any] = dict(given)
                    self._client.hset(key, mapping=fields)

    def queue_of(self, graph: str) -> str:
        """Return the queue with which workers say that a graph was compiled, empty without one."""
        self._store.check()
        with available():
            found: Any = self._client.hget(self._queues, graph)
        return found.decode() if found else ""

    def graphs(self) -> dict[str, str]:
        """Return the graphs that workers have known: name → fingerprint."""
        self._store.check()
        with available():
            found: Any = self._client.hgetall(self._graphs)
        return {name.decode(): fingerprint.decode() for name, fingerprint in found.items()}


_FIELDS = {field.name for field in fields(Worker)}


def _worker(found: Mapping[str, Any], brokers: Mapping[bytes, bytes]) -> Worker:
    """Return a worker that another version may have announced, with fields of its own."""
    known = {name: value for name, value in found.items() if name in _FIELDS}
    return Worker(**{**known, "broker": brokers.get(known["name"].encode(), b"").decode()})
