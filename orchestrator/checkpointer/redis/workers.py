"""The fleet of a deployment on Redis: workers announce themselves beside the threads.

Outside of the partitions: `<namespace>:workers` (hash, worker → JSON of `Worker`, refreshed every
beat), `<namespace>:brokers` (hash, worker → the broker it reads), `<namespace>:graphs` (hash,
graph → fingerprint, kept for ever) and `<namespace>:queues` (hash, graph → the queue that it was
compiled with, empty without one; kept for ever).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from orchestrator.checkpointer.fleet import ClaimTimes, Halt, HeldClaim, Worker
from orchestrator.checkpointer.redis.keys import STEP_ID_CHARS, Deployment
from orchestrator.checkpointer.redis.rollback_guard import accept, halted_at, halts
from orchestrator.checkpointer.redis.scripts import available
from orchestrator.model.commit import Claim, ReadyStep

_GONE_MS = 15_000  # A worker silent for so long is not shown any more, and forgotten.


class RedisFleet:
    """The fleet of the deployment that a checkpointer belongs to; see `Fleet`."""

    def __init__(self, store: Deployment) -> None:
        self._store = store
        self._client = store.client
        self._workers = f"{store.keys.namespace}:workers"
        self._brokers = f"{store.keys.namespace}:brokers"
        self._graphs = f"{store.keys.namespace}:graphs"
        self._queues = f"{store.keys.namespace}:queues"

    def announce(self, worker: Worker) -> None:
        """See `Fleet.announce`."""
        now = self._store.now_ms()
        said = {**asdict(worker), "beat_ms": now}
        broker = said.pop("broker")  # An earlier version reads only the fields that it knows.
        with available():
            pipe = self._client.pipeline(transaction=False)
            pipe.hset(self._workers, worker.name, json.dumps(said))
            pipe.hset(self._brokers, worker.name, broker)
            pipe.execute()

    def leave(self, name: str) -> None:
        """See `Fleet.leave`."""
        with available():
            self._client.hdel(self._workers, name)
            self._client.hdel(self._brokers, name)

    def workers(self) -> list[Worker]:
        """See `Fleet.workers`."""
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

    def claim_times(self, thread_id: str, owners: Mapping[str, str]) -> dict[str, ClaimTimes]:
        """See `Fleet.claim_times`."""
        self._store.check()
        prefix, own = self._store.keys.of_thread(thread_id)
        with available():
            pipe = self._client.pipeline(transaction=False)
            for step_id, owner in owners.items():
                pipe.hget(f"{own}s:{step_id}", "claimed")
                pipe.zscore(prefix + "leases", owner)
            answers: Any = pipe.execute()
        pairs = zip(owners, answers[::2], answers[1::2], strict=True)
        return {step: ClaimTimes(int(since or 0), int(ends or 0)) for step, since, ends in pairs}

    def publish_graphs(
        self, fingerprints: Mapping[str, str], queues: Mapping[str, str] | None = None
    ) -> None:
        """See `Fleet.publish_graphs`."""
        self._store.check()
        with available():
            for key, given in ((self._graphs, fingerprints), (self._queues, queues)):
                if given:
                    fields: dict[Any, Any] = dict(given)
                    self._client.hset(key, mapping=fields)

    def queue_of(self, graph: str) -> str:
        """See `Fleet.queue_of`."""
        self._store.check()
        with available():
            found: Any = self._client.hget(self._queues, graph)
        return found.decode() if found else ""

    def graphs(self) -> dict[str, str]:
        """See `Fleet.graphs`."""
        self._store.check()
        with available():
            found: Any = self._client.hgetall(self._graphs)
        return {name.decode(): fingerprint.decode() for name, fingerprint in found.items()}

    # ---- claims -------------------------------------------------------------------------

    def claims_of(self, owners: Sequence[str]) -> list[HeldClaim]:
        """See `Fleet.claims_of`; one round trip."""
        asked = [(owner, p) for owner in owners for p in range(self._store.partitions)]
        with available():
            pipe = self._client.pipeline(transaction=False)
            for owner, partition in asked:
                pipe.smembers(f"{self._store.keys.partition(partition)}claims:{owner}")
            answers = pipe.execute(raise_on_error=False)
        return [
            HeldClaim(owner, partition, member[:STEP_ID_CHARS], member[STEP_ID_CHARS:])
            for (owner, partition), answer in zip(asked, answers, strict=True)
            for member in _texts(answer)
        ]

    def fenced(self, claims: Iterable[HeldClaim]) -> list[HeldClaim]:
        """See `Fleet.fenced`; one round trip."""
        claims = list(claims)
        with available():
            pipe = self._client.pipeline(transaction=False)
            for claim in claims:
                thread = f"{self._store.keys.partition(claim.partition)}t:{claim.thread_id}:"
                pipe.hmget(f"{thread}s:{claim.step_id}", "owner", "fence")
            answers: list[Any] = pipe.execute(raise_on_error=False)
        return [
            replace(claim, fence=int(answer[1]))
            for claim, answer in zip(claims, answers, strict=True)
            if isinstance(answer, list)
            and answer[0] == claim.owner.encode()
            and _is_number(answer[1])
        ]

    def lost(self, owner: str, claims: Sequence[Claim]) -> list[bool]:
        """See `Fleet.lost`; one round trip."""
        with available():
            pipe = self._client.pipeline(transaction=False)
            for claim in claims:
                assert claim.step is not None
                _, thread = self._store.keys.of_thread(claim.step.thread_id)
                pipe.hmget(f"{thread}s:{claim.step.step_id}", "owner", "fence")
            answers: list[Any] = pipe.execute()
        return [
            answer != [owner.encode(), str(claim.fence).encode()]
            for claim, answer in zip(claims, answers, strict=True)
        ]

    def release_forgotten(self, claim: HeldClaim) -> tuple[int, list[ReadyStep]]:
        """See `Fleet.release_forgotten`."""
        return self._store.release_forgotten(claim)

    # ---- halts --------------------------------------------------------------------------

    def halts(self) -> dict[int, Halt]:
        """See `Fleet.halts`."""
        return halts(self._store)

    def halted_at(self, thread_id: str) -> Halt | None:
        """See `Fleet.halted_at`."""
        return halted_at(self._store, thread_id)

    def accept_loss(self) -> dict[int, Halt]:
        """See `Fleet.accept_loss`."""
        return accept(self._store)

    def watch_rollbacks(self, folder: Path) -> None:
        """See `Fleet.watch_rollbacks`."""
        self._store.watch_rollbacks(folder)


_FIELDS = {field.name for field in fields(Worker)}


def _worker(found: Mapping[str, Any], brokers: Mapping[bytes, bytes]) -> Worker:
    """Return a worker that another version may have announced, with fields of its own."""
    known = {name: value for name, value in found.items() if name in _FIELDS}
    return Worker(**{**known, "broker": brokers.get(known["name"].encode(), b"").decode()})


def _texts(answer: Any) -> Iterator[str]:
    """Return the members of a set. One that is damaged is left to the auditor."""
    for member in answer if isinstance(answer, set) else ():
        try:
            yield member.decode()
        except UnicodeDecodeError:
            continue


def _is_number(text: bytes | None) -> bool:
    return text is not None and text.isdigit()
