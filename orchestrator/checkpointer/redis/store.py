"""The checkpointer on Redis or Valkey.

Each method is one script, or plain reads. `keys.py` has the layout of what is stored;
`transition.py` and the scripts have the checks and their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.checkpointer.base import Planner, Renderer
from orchestrator.checkpointer.fleet import HeldClaim
from orchestrator.checkpointer.redis import decode
from orchestrator.checkpointer.redis.deletion import Deletion
from orchestrator.checkpointer.redis.encode import commit_arguments, steps_in
from orchestrator.checkpointer.redis.keys import Keys, agree
from orchestrator.checkpointer.redis.pubsub import Listeners
from orchestrator.checkpointer.redis.repair import Audit
from orchestrator.checkpointer.redis.rollback_guard import EpochFile, Epochs, halted_error
from orchestrator.checkpointer.redis.scripts import Scripts, available
from orchestrator.checkpointer.redis.sweep import PartitionSweeper
from orchestrator.checkpointer.redis.workers import RedisFleet
from orchestrator.checkpointer.saver import BaseCheckpointSaver, check_serde
from orchestrator.config import Settings
from orchestrator.envelope.sealed_records import (
    opened_claim,
    opened_thread,
    parsing,
    sealed,
)
from orchestrator.errors import NotReplicatedError
from orchestrator.model.audit import Audited
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import (
    Claim,
    Commit,
    CommitResult,
    Event,
    LoadedThread,
    ReadyStep,
    Refusal,
    Swept,
)
from orchestrator.redisconnection import client_for

__all__ = ["RedisCheckpointer", "connect"]

_ANSWER_S = 5.0  # Longer answers are given up.
_BLOCK_S = 5.0  # How long one command waits for an event.


def connect(url: str, answer_s: float = _ANSWER_S) -> redis.Redis:
    """Return a client for `url` that answers or fails soon and repeats nothing by itself.

    Args:
        url: as redis://host:port/db.
        answer_s: how long an answer is waited for. A connection whose other end is gone without a
            word (half open) costs this much, then there is another.
    """
    return client_for(
        url,
        socket_connect_timeout=answer_s,
        socket_timeout=answer_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )


class RedisCheckpointer(BaseCheckpointSaver):
    """Threads on a Redis server."""

    shared = True

    @classmethod
    @contextmanager
    def from_conn_string(cls, redis_url: str) -> Iterator[Self]:
        """Keep threads on a server while the block runs; the way of LangGraph's savers."""
        made = cls(redis_url)
        try:
            yield made
        finally:
            made.close()

    def __init__(
        self,
        url: str | None = None,
        *,
        serde: None = None,
        settings: Settings | None = None,
        client: redis.Redis | None = None,
        renderer: Renderer | None = None,
        is_empty: Callable[[str], bool] | None = None,
    ) -> None:
        """Keep threads at `url`.

        Args:
            url: as redis://host:port/db; by default from the settings, that is `REDIS_URL`.
            serde: refused: there is one codec.
            settings: namespace, partitions, patience.
            client: a client to use instead of one made for `url`.
            renderer: makes the messages of ready steps, if this server is also the broker; commits
                then send them themselves.
            is_empty: returns whether a queue is empty, if another server is the broker; a ready
                step that was sent there has been lost then.
        """
        check_serde(serde)
        self.settings = settings or Settings.from_env(url=url)
        self.client = client or connect(url or self.settings.url, _patience_s(self.settings))
        self._renderer = renderer
        self.pushes = renderer is not None
        self.partitions = self.settings.partitions
        self.keys = Keys(self.settings.namespace, self.partitions)
        self._scripts = Scripts(self.client, partial(agree, self.client, self.keys))
        self._run = self._scripts.call
        self.epochs: Epochs | None = None  # What it has seen of the server, where it watches that.
        self._sweeping = PartitionSweeper(
            self.settings, self.client, self.keys, self._scripts, is_empty, pushes=self.pushes
        )
        self._deletion = Deletion(self.client, self._scripts, self.keys)
        # The client gives up on an answer that takes longer than its time-out.
        patience_s = self.client.connection_pool.connection_kwargs.get("socket_timeout")
        self._block_s = patience_s / 2 if patience_s else _BLOCK_S
        self._safely = _safely(self.settings)
        self._listeners = Listeners(self.client, patience_s or _ANSWER_S)
        self._ahead_ms: float | None = None  # Its clock minus this process's monotonic one.

    @property
    def fleet(self) -> RedisFleet:
        """Return the fleet of the store's deployment."""
        return RedisFleet(self)

    def watch_rollbacks(self, folder: Path) -> None:
        """See `Fleet.watch_rollbacks`."""
        self.epochs = Epochs(EpochFile(folder, self.settings))

    def probe(self) -> None:
        """See `SharedCheckpointer.probe`; a node of a cluster refuses keys that it does not own."""
        self.client.ping()
        for partition in range(self.partitions):
            self.client.exists(self.keys.prefix(partition) + "sweep")

    def stale_refused(self) -> int:
        """See `SharedCheckpointer.stale_refused`."""
        keys = [self.keys.partition(number) + "stats" for number in range(self.partitions)]
        with available():
            found: list[Any] = [self.client.hget(key, "stale_refused") for key in keys]
        return sum(int(count or 0) for count in found)

    def script_hashes(self) -> dict[str, str]:
        """Return the hashes under which the server knows the scripts, to recognise their calls."""
        return dict(self._scripts.hashes)

    def now_ms(self) -> int:
        """Return the server's time, asked once and then reckoned from this process's own clock."""
        if self._ahead_ms is None:
            self._saw(self._ask_ms())
        assert self._ahead_ms is not None
        return int(time.monotonic() * 1000 + self._ahead_ms)

    def check(self) -> None:
        """Check that this process and the server agree on the number of partitions.

        Every call does that by itself when it is the first to reach the server.

        Raises:
            PartitionsDifferError: if they do not.
            CheckpointerUnavailableError: if the server does not answer.
        """
        self._scripts.check()

    def _ask_ms(self) -> int:
        self.check()
        with available():
            seconds, micros = self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def _saw(self, now_ms: int) -> None:
        self._ahead_ms = now_ms - time.monotonic() * 1000

    # ---- commit and claim ---------------------------------------------------------------

    def commit(self, commit: Commit, meanwhile: Callable[[], None] | None = None) -> CommitResult:
        """See `Checkpointer.commit`."""
        unsealed, commit = commit, sealed(commit, compact=True)
        sends = self._renderer is not None and (commit.ready or commit.updates)
        now_ms, lease_ms = self.now_ms() if sends else 0, int(self.settings.lease_ttl_s * 1000)
        lists, args = commit_arguments(commit, self._renderer, now_ms, lease_ms)
        prefixes = self.keys.of_thread(commit.thread_id)
        answer = self._run("commit", [*prefixes, *lists], args, self._safely, meanwhile)
        if self._safely:
            answer, reached = answer
            self._check_safe(reached)
        refused, detail, now, open_, waiting, due, *claimed = answer
        self._saw(now)
        return CommitResult(
            refused=Refusal(refused.decode()) if refused else None,
            detail=_detail(refused, detail),
            now_ms=now,
            open=open_,
            waiting=bool(waiting),
            due=tuple(steps_in(due)),
            claim=_claim_of_commit(unsealed, claimed, now) if claimed else None,
        )

    def claim(
        self,
        thread_id: str,
        step_id: str,
        *,
        owner: str,
        token: str,
        known: Sequence[str] = (),
        sent_ms: int = 0,
    ) -> Claim:
        """See `Checkpointer.claim`."""
        lease_ms = int(self.settings.lease_ttl_s * 1000)
        args = [thread_id, step_id, owner, lease_ms, sent_ms, token, *known]
        answer = self._run("claim", self.keys.of_thread(thread_id), args)
        self._saw(answer[2])
        if answer[0] == b"halted":
            raise halted_error(answer[1])
        if answer[0]:
            return Claim(
                refused=Refusal(answer[0].decode()), detail=answer[1].decode(), now_ms=answer[2]
            )
        with parsing(thread_id):
            return opened_claim(thread_id, decode.claim(thread_id, step_id, answer))

    def _check_safe(self, reached: Any) -> None:
        """Refuse to call a commit made that fewer have than the settings ask for."""
        if isinstance(reached, Exception):
            msg = f"the commit is made, but the server cannot say how safe it is: {reached}"
            raise NotReplicatedError(msg)
        wanted, disk = self.settings.wait_replicas, int(self.settings.wait_fsync)
        local, replicas = reached if self.settings.wait_fsync else (disk, reached)
        if local >= disk and replicas >= wanted:
            return
        on_disk = f", and it is {'' if local else 'not '}on the server's disk" if disk else ""
        msg = (
            f"the commit is made, but after {self.settings.wait_ms} ms {replicas} of {wanted} "
            f"replicas have it{on_disk}. Check the replicas, or lower the requirement "
            f"(GRAPHSTALK_WAIT_REPLICAS, GRAPHSTALK_WAIT_FSYNC)"
        )
        raise NotReplicatedError(msg)

    # ---- leases -------------------------------------------------------------------------

    def renew(self, owners: Sequence[str], *, ttl_s: float) -> None:
        """See `Checkpointer.renew`."""
        if not owners:
            return
        end = self._ask_ms() + int(ttl_s * 1000)
        with available():
            pipe = self.client.pipeline(transaction=False)
            for partition in range(self.partitions):
                leases = self.keys.partition(partition) + "leases"
                pipe.zadd(leases, dict.fromkeys(owners, end), gt=True)
            pipe.execute()

    def release(self, owner: str, *, died: bool = True) -> list[ReadyStep]:
        """See `Checkpointer.release`."""
        found = [self._sweeping.release(p, owner, died=died)[1] for p in range(self.partitions)]
        return [step for steps in found for step in steps]

    def release_in(self, partition: int, owner: str | bytes) -> int:
        """Take all claims of one partition from an owner that has to stop; return how many."""
        return self._sweeping.release(partition, owner, died=False)[0]

    def release_forgotten(self, claim: HeldClaim) -> tuple[int, list[ReadyStep]]:
        """See `Fleet.release_forgotten`."""
        return self._sweeping.release_forgotten(claim)

    # ---- sweeping -----------------------------------------------------------------------

    def sweep(self, partition: int, *, leader: str) -> Swept:
        """See `Checkpointer.sweep`."""
        return self._sweeping.once(partition, leader, self.epochs)

    def push(self, steps: Sequence[ReadyStep], *, again: bool = True) -> None:
        """Send the messages of steps, where this server is the broker.

        Those that are sent again go to the front of their queues, where they were before. So
        they prove nothing about earlier messages: they carry no time.
        """
        assert self._renderer is not None
        now_ms = 0 if again else self._ask_ms()
        with available():
            pipe = self.client.pipeline(transaction=False)
            for step in steps:
                queue, message = self._renderer(step, now_ms)
                pipe.rpush(queue, message) if again else pipe.lpush(queue, message)
            pipe.execute()
        self.mark_sent(steps)

    def take_message(self, queue: str) -> bytes | None:
        """Take the first message of a queue, by the broker's name, where this is its server."""
        message: bytes | None = self._scripts.plain("RPOP", queue)
        return message

    def put_back(self, queue: str, message: bytes) -> None:
        """Put a message back to the place where it was."""
        self._scripts.plain("RPUSH", queue, message)

    def mark_sent(self, steps: Sequence[ReadyStep]) -> None:
        """See `Checkpointer.mark_sent`."""
        # Asked, not computed: after a change of the clock every message would seem lost.
        now = self._ask_ms()
        with available():
            pipe = self.client.pipeline(transaction=False)
            for step in steps:
                prefix, _ = self.keys.of_thread(step.thread_id)
                member = step.step_id + step.thread_id
                # In this order the step is always in one of them for other readers.
                pipe.sadd(prefix + "queues", step.queue)
                pipe.zadd(f"{prefix}ready:{step.queue}", {member: now})
                pipe.zrem(prefix + "unsent", member)
            pipe.execute()

    def audit(
        self, partition: int, *, plan: Planner, repair: bool, cursor: str = "", limit: int = 100
    ) -> Audited:
        """See `Checkpointer.audit`."""
        lease_ms = int(self.settings.lease_ttl_s * 1000)
        audit = Audit(
            self.client,
            self._scripts,
            self.keys,
            self.settings.queue,
            lease_ms,
            plan=plan,
            repair=repair,
        )
        return audit.some(partition, cursor, limit)

    # ---- deleting -----------------------------------------------------------------------

    def children(self, thread_id: str) -> list[str]:
        """See `Checkpointer.children`."""
        return self._deletion.children(thread_id)

    def delete(self, thread_id: str, *, keep_head: bool = False) -> Refusal | None:
        """See `Checkpointer.delete`."""
        deletion = self._deletion
        return deletion.delete_history(thread_id) if keep_head else deletion.delete(thread_id)

    # ---- reading ------------------------------------------------------------------------

    def load(
        self, thread_id: str, *, checkpoint_id: int | None = None, values: bool = True
    ) -> LoadedThread | None:
        """See `Checkpointer.load`."""
        wanted = "" if checkpoint_id is None else f"{checkpoint_id:016x}"
        answer = self._run("load", self.keys.of_thread(thread_id), [wanted, int(values)])
        with parsing(thread_id):
            loaded = decode.load(thread_id, answer)
        return loaded and opened_thread(thread_id, *loaded)

    def history(self, thread_id: str, *, before: int | None = None, limit: int = 100) -> list[int]:
        """See `Checkpointer.history`."""
        self.check()
        newest = "+" if before is None else f"({before:016x}"
        ids = self.keys.of_thread(thread_id)[1] + "ids"
        with available():
            found = self.client.zrevrangebylex(ids, newest, "-", start=0, num=limit)
        return [int(id_, 16) for id_ in found]

    def threads(
        self, *, status: RunStatus | None = None, limit: int = 100
    ) -> list[tuple[str, Head]]:
        """See `Checkpointer.threads`."""
        self.check()
        found: list[tuple[str, Head]] = []
        for partition in range(self.partitions):
            with available():
                prefix = self.keys.partition(partition)
                found += decode.threads(self.client, prefix, status, limit)
        return sorted(found, key=lambda pair: -pair[1].updated_ms)[:limit]

    def events(
        self, thread_id: str, *, after: int = 0, limit: int = 1000, wait_s: float = 0
    ) -> list[Event]:
        """See `Checkpointer.events`."""
        self.check()
        key = self.keys.of_thread(thread_id)[1] + "ev"
        end = time.monotonic() + wait_s
        with available():
            found: Any = self.client.xrange(key, min=f"({after}-0", count=limit)
            while not found and (left := end - time.monotonic()) > 0:
                block_ms = max(1, int(min(left, self._block_s) * 1000))
                answer: Any = self.client.xread({key: f"{after}-0"}, count=limit, block=block_ms)
                found = answer[0][1] if answer else []
        # An entry may have events up to the one that is known.
        return [e for e in decode.events(thread_id, found) if e.seq > after][:limit]

    @contextmanager
    def news(self, thread_id: str, *, after: int) -> Iterator[Callable[[float], bool]]:
        """See `Checkpointer.news`. Where channels are forbidden, the log is read."""
        with ExitStack() as stack:
            try:
                listening = self._listeners.on(self.keys.of_thread(thread_id)[1] + "news")
                wait = stack.enter_context(listening)
            except redis.exceptions.NoPermissionError:
                wait = stack.enter_context(super().news(thread_id, after=after))
            yield wait

    def close(self) -> None:
        """Give back connections."""
        self.client.close()


def _claim_of_commit(commit: Commit, answer: Sequence[Any], now_ms: int) -> Claim:
    """Return the claim that was made with a commit: what the store alone knew, and the commit."""
    with parsing(commit.thread_id):
        return decode.claim_of_commit(commit, answer, now_ms)


def _patience_s(settings: Settings) -> float:
    """Return how long an answer is waited for, the time that a commit waits for others included."""
    return _ANSWER_S + (settings.wait_ms / 1000 if _safely(settings) else 0)


def _safely(settings: Settings) -> tuple[Any, ...]:
    """Return the command that follows a commit, so that it returns when it is safe; or none."""
    if settings.wait_fsync:
        return "WAITAOF", 1, settings.wait_replicas, settings.wait_ms
    if settings.wait_replicas:
        return "WAIT", settings.wait_replicas, settings.wait_ms
    return ()


def _detail(refused: bytes, detail: bytes) -> str:
    text = detail.decode()
    return str(int(text, 16)) if refused == b"head_moved" else text
