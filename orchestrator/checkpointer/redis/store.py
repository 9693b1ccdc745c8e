"""The checkpointer on Redis or Valkey.

Each method is one script, or plain reads. What is stored where stands in `keys.py`; what is checked
in which order, in `memory.py` and the scripts, which do the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from orchestrator import limits
from orchestrator.checkpoint.commit import (
    Claim,
    Commit,
    CommitResult,
    Event,
    LoadedThread,
    ReadyStep,
    Refusal,
    Swept,
)
from orchestrator.checkpoint.model import Head, RunStatus
from orchestrator.checkpointer.base import Renderer
from orchestrator.checkpointer.redis import reading
from orchestrator.checkpointer.redis.arguments import commit_arguments, step_from_json
from orchestrator.checkpointer.redis.keys import Keys
from orchestrator.checkpointer.sweeping import silence_max_ms
from orchestrator.config import Settings
from orchestrator.errors import CheckpointerUnavailableError

__all__ = ["RedisCheckpointer", "connect"]


def connect(url: str) -> redis.Redis:
    """Return a client for `url` that answers or fails soon and repeats nothing by itself."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=5,
        socket_timeout=10,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )


class RedisCheckpointer:
    """Threads on a Redis server."""

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        client: redis.Redis | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        """Keep threads at `url`.

        Args:
            url: as redis://host:port/db; by default from the settings, that is `REDIS_URL`.
            settings: namespace, partitions, patience.
            client: a client to use instead of one made for `url`.
            renderer: makes the messages of ready steps, if this server is also the broker; commits
                then send them themselves.
        """
        self.settings = settings or Settings.from_env(url=url)
        self.client = client or connect(url or self.settings.url)
        self._renderer = renderer
        self.pushes = renderer is not None
        self.partitions = self.settings.partitions
        self.keys = Keys(self.settings.namespace, self.partitions)
        self._scripts = {name: self._load(name) for name in ("commit", "claim", "release", "sweep")}
        self._ahead_ms: float | None = (
            None  # The server's clock minus this process's monotonic one.
        )

    def _load(self, name: str) -> Script:
        source = resources.files(__package__).joinpath("scripts", f"{name}.lua").read_text("utf-8")
        return self.client.register_script(source)

    def _run(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        with available():
            return self._scripts[name](keys=keys, args=args)

    def script_hashes(self) -> dict[str, str]:
        """Return the hashes under which the server knows the scripts, to recognise their calls."""
        return {name: script.sha for name, script in self._scripts.items()}

    def now_ms(self) -> int:
        """Return the server's time, asked once and then reckoned from this process's own clock."""
        if self._ahead_ms is None:
            with available():
                seconds, micros = self.client.time()
            self._saw(seconds * 1000 + micros // 1000)
        assert self._ahead_ms is not None
        return int(time.monotonic() * 1000 + self._ahead_ms)

    def _saw(self, now_ms: int) -> None:
        self._ahead_ms = now_ms - time.monotonic() * 1000

    # ---- commit and claim ---------------------------------------------------------------

    def commit(self, commit: Commit) -> CommitResult:
        """See `Checkpointer.commit`."""
        sends = self._renderer is not None and (commit.ready or commit.updates)
        lists, args = commit_arguments(commit, self._renderer, self.now_ms() if sends else 0)
        prefixes = self.keys.of_thread(commit.thread_id)
        refused, detail, now, open_ = self._run("commit", [*prefixes, *lists], args)
        self._saw(now)
        return CommitResult(
            refused=Refusal(refused.decode()) if refused else None,
            detail=_detail(refused, detail),
            now_ms=now,
            open=open_,
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
        if answer[0]:
            return Claim(
                refused=Refusal(answer[0].decode()), detail=answer[1].decode(), now_ms=answer[2]
            )
        return reading.claim(answer)

    # ---- leases -------------------------------------------------------------------------

    def renew(self, owners: Sequence[str], *, ttl_s: float) -> None:
        """See `Checkpointer.renew`."""
        if not owners:
            return
        with available():
            seconds, micros = self.client.time()
            end = seconds * 1000 + micros // 1000 + int(ttl_s * 1000)
            pipe = self.client.pipeline(transaction=False)
            for partition in range(self.partitions):
                leases = self.keys.partition(partition) + "leases"
                pipe.zadd(leases, dict.fromkeys(owners, end), gt=True)
            pipe.execute()

    def release(self, owner: str) -> list[ReadyStep]:
        """See `Checkpointer.release`."""
        partitions = range(self.partitions)
        return [step for p in partitions for step in self._release(p, owner, expired=False)]

    def _release(self, partition: int, owner: str, *, expired: bool) -> list[ReadyStep]:
        prefix = self.keys.partition(partition)
        found = self._run("release", [prefix], [owner, int(expired)])
        return [step_from_json(record) for record in found]

    # ---- sweeping -----------------------------------------------------------------------

    def sweep(self, partition: int, *, leader: str) -> Swept:
        """See `Checkpointer.sweep`."""
        lease_ms = int(self.settings.lease_ttl_s * 1000)
        args = [
            leader,
            lease_ms,
            silence_max_ms(lease_ms),
            int(self.settings.hint_grace_s * 1000),
            limits.SWEEP_BATCH_MAX,
            int(self.pushes),
        ]
        prefix = self.keys.partition(partition)
        leading, owners, due, stuck = self._run("sweep", [prefix], args)
        released = [
            step for owner in owners for step in self._release(partition, owner, expired=True)
        ]
        return Swept(
            leading=bool(leading),
            due=(*released, *(step_from_json(record) for record in due)),
            stuck=tuple(step_from_json(record) for record in stuck),
            released=len(released),
        )

    def push(self, steps: Sequence[ReadyStep]) -> None:
        """Send the messages of steps, where this server is the broker."""
        assert self._renderer is not None
        now = self.now_ms()
        with available():
            pipe = self.client.pipeline(transaction=False)
            for step in steps:
                pipe.lpush(*self._renderer(step, now))
            pipe.execute()
        self.mark_sent([step for step in steps if step.step_id])

    def mark_sent(self, steps: Sequence[ReadyStep]) -> None:
        """See `Checkpointer.mark_sent`."""
        now = self.now_ms()
        with available():
            pipe = self.client.pipeline(transaction=False)
            for step in steps:
                prefix, _ = self.keys.of_thread(step.thread_id)
                member = step.step_id + step.thread_id
                pipe.zrem(prefix + "unsent", member)
                pipe.zadd(f"{prefix}ready:{step.queue}", {member: now})
                pipe.sadd(prefix + "queues", step.queue)
            pipe.execute()

    # ---- reading ------------------------------------------------------------------------

    def load(
        self, thread_id: str, *, checkpoint_id: int | None = None, values: bool = True
    ) -> LoadedThread | None:
        """See `Checkpointer.load`."""
        keys = self.keys.of_thread(thread_id)
        with available():
            return reading.load(self.client, keys[1], checkpoint_id, values=values)

    def history(self, thread_id: str, *, before: int | None = None, limit: int = 100) -> list[int]:
        """See `Checkpointer.history`."""
        newest = "+" if before is None else f"({before:016x}"
        ids = self.keys.of_thread(thread_id)[1] + "ids"
        with available():
            found = self.client.zrevrangebylex(ids, newest, "-", start=0, num=limit)
        return [int(id_, 16) for id_ in found]

    def threads(
        self, *, status: RunStatus | None = None, limit: int = 100
    ) -> list[tuple[str, Head]]:
        """See `Checkpointer.threads`."""
        found: list[tuple[str, Head]] = []
        for partition in range(self.partitions):
            with available():
                prefix = self.keys.partition(partition)
                found += reading.threads(self.client, prefix, status, limit)
        return sorted(found, key=lambda pair: -pair[1].updated_ms)[:limit]

    def events(
        self, thread_id: str, *, after: int = 0, limit: int = 1000, wait_s: float = 0
    ) -> list[Event]:
        """See `Checkpointer.events`."""
        key = self.keys.of_thread(thread_id)[1] + "ev"
        with available():
            found: Any = self.client.xrange(key, min=f"({after}-0", count=limit)
            if not found and wait_s > 0:
                streams: dict[Any, Any] = {key: f"{after}-0"}
                answer: Any = self.client.xread(streams, count=limit, block=int(wait_s * 1000) or 1)
                found = answer[0][1] if answer else []
        return [reading.event(*entry) for entry in found]

    def close(self) -> None:
        """Give back connections."""
        self.client.close()


@contextmanager
def available() -> Iterator[None]:
    """Turn the client's errors about a server that is away into ours."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError) as error:
        msg = f"the Redis server does not answer ({error}). Check REDIS_URL and the server"
        raise CheckpointerUnavailableError(msg) from error
    except (redis.ReadOnlyError, redis.OutOfMemoryError) as error:
        msg = f"the Redis server refuses writes ({error}). Nothing was stored"
        raise CheckpointerUnavailableError(msg) from error


def _detail(refused: bytes, detail: bytes) -> str:
    text = detail.decode()
    return str(int(text, 16)) if refused == b"head_moved" else text
