"""The settings of a deployment, read once from the environment and passed in from there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

_SECRET = re.compile(r"([?&][a-z_]*password=)([^&\s]*)", re.IGNORECASE)
_CREDENTIALS = re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/@]*):\S*@", re.IGNORECASE)
DEFAULT_URL = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings that clients and workers of one deployment share, and their time limits."""

    url: str = DEFAULT_URL  # The Redis that holds the checkpoints.
    broker_url: str = DEFAULT_URL  # Where Celery's messages go; the same Redis is the fast path.
    namespace: str = "graphstalk"  # Prefix of every key, so that deployments can share a server.
    partitions: int = 4  # Hash tags the threads are spread over; fixed for a namespace.
    queue: str = "graphstalk"  # The queue of steps whose node names none.
    lease_ttl_s: float = 5.0  # A process that was not renewed for this long loses its claims.
    beat_s: float = 0.5  # How often the keeper renews.
    sweep_s: float = 0.2  # How often the leading sweeper sweeps.
    hint_grace_s: float = 2.0  # A message older than its queue's watermark by this was lost.
    wait_replicas: int = 0  # A commit returns when this number of replicas has it.
    wait_fsync: bool = False  # A commit returns when it is on the disk of the server and of those.
    wait_ms: int = 1_000  # How long a commit waits for that before it is an error.
    dispatch: Literal["queue", "inline"] = "queue"  # How steps get to workers if no graph says.
    slice_ms: float = 50.0  # How long a process runs steps in place before other threads.
    drain_s: float = 60.0  # How long a worker's nodes may run after a request to stop.
    stuck_s: float = 30.0  # How long native code may run after the time limit of its node.
    state_dir: str = ""  # The folder in which a host records the server's positions.

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, url: str | None = None) -> Settings:
        """Read `REDIS_URL`, `GRAPHSTALK_BROKER_URL` (or `CELERY_BROKER_URL`) and `GRAPHSTALK_*`.

        Raises:
            ValueError: if a variable is invalid; the message names it.
        """
        env = os.environ if env is None else env
        url = url or env.get("REDIS_URL") or DEFAULT_URL
        broker = env.get("GRAPHSTALK_BROKER_URL") or env.get("CELERY_BROKER_URL") or url
        made = cls(
            url=url,
            broker_url=broker,
            namespace=env.get("GRAPHSTALK_NAMESPACE", "graphstalk"),
            queue=env.get("GRAPHSTALK_QUEUE", "graphstalk"),
            partitions=int(_number(env, "GRAPHSTALK_PARTITIONS", 4)),
            lease_ttl_s=_number(env, "GRAPHSTALK_LEASE_TTL_S", 5.0),
            beat_s=_number(env, "GRAPHSTALK_BEAT_S", 0.5),
            sweep_s=_number(env, "GRAPHSTALK_SWEEP_S", 0.2),
            hint_grace_s=_number(env, "GRAPHSTALK_HINT_GRACE_S", 2.0),
            wait_replicas=int(_number(env, "GRAPHSTALK_WAIT_REPLICAS", 0, or_none=True)),
            wait_fsync=bool(_number(env, "GRAPHSTALK_WAIT_FSYNC", 0, or_none=True)),
            wait_ms=int(_number(env, "GRAPHSTALK_WAIT_MS", 1_000)),
            dispatch=_dispatch(env),
            slice_ms=_number(env, "GRAPHSTALK_SLICE_MS", 50.0, or_none=True),
            drain_s=_number(env, "GRAPHSTALK_DRAIN_S", 60.0),
            stuck_s=_number(env, "GRAPHSTALK_STUCK_S", 30.0),
            state_dir=env.get("GRAPHSTALK_STATE_DIR") or _state_folder(env),
        )
        if made.beat_s >= made.lease_ttl_s:
            msg = (
                f"GRAPHSTALK_BEAT_S must be less than GRAPHSTALK_LEASE_TTL_S ({made.beat_s:g} and "
                f"{made.lease_ttl_s:g}): a lease would end before it is renewed"
            )
            raise ValueError(msg)
        return made

    @property
    def queue_prefix(self) -> str:
        """The prefix of the broker's queues, by which namespaces can share a broker.

        No other key begins with it.
        """
        return f"{self.namespace}:queue:"

    @property
    def celery_url(self) -> str:
        """The broker's address as Celery takes it."""
        scheme, separator, rest = self.broker_url.partition("://")
        if scheme != "unix":
            return self.broker_url
        return f"redis+socket{separator}{rest}".replace("db=", "virtual_host=")

    @property
    def broker_name(self) -> str:
        """The name of the broker, for other processes of the deployment; without password."""
        if self.one_redis:
            return "REDIS_URL"
        return without_password(self.broker_url).replace("//localhost", "//127.0.0.1")

    @property
    def one_redis(self) -> bool:
        """Whether broker and checkpointer are one server, so that a commit can push messages."""
        return self.broker_url == self.url


def without_password(url: str) -> str:
    """Return an address with its password starred out, also if the address is invalid."""
    before, at, after = url.rpartition("@")
    scheme, slashes, credentials = before.partition("://")
    user, colon, _ = credentials.partition(":")
    if at and slashes and colon:
        url = f"{scheme}://{user}:***@{after}"
    return _SECRET.sub(r"\1***", url)


def without_secrets(text: str, *urls: str) -> str:
    """Return a text with the passwords of all addresses in it starred out, and those of `urls`.

    An error of a client library may quote a part of an address that it could not parse.
    """
    text = _SECRET.sub(r"\1***", _CREDENTIALS.sub(r"\1:***@", text))
    for secret in sorted({s for url in urls for s in _secrets(url)}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str) -> Iterator[str]:
    """Yield the passwords in an address, and the parts into which a parser may cut them."""
    passwords = [found[2] for found in _SECRET.finditer(url)]
    before, at, _ = url.rpartition("@")
    if at:
        passwords.append(before.partition("://")[2].partition(":")[2])
    for password in filter(None, passwords):
        yield from {password, unquote(password), *filter(None, re.split("[/?#@:]", password))}


def _dispatch(env: Mapping[str, str]) -> Literal["queue", "inline"]:
    text = env.get("GRAPHSTALK_DISPATCH") or "queue"
    if text == "inline":
        return "inline"
    if text == "queue":
        return "queue"
    msg = f'GRAPHSTALK_DISPATCH must be "queue" or "inline" ({text!r})'
    raise ValueError(msg)


def _state_folder(env: Mapping[str, str]) -> str:
    """Return the folder for data that outlives a restart."""
    base = env.get("XDG_STATE_HOME") or Path(env.get("HOME") or "/", ".local", "state")
    return str(Path(base, "graphstalk"))


def _number(env: Mapping[str, str], name: str, default: float, *, or_none: bool = False) -> float:
    text = env.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        msg = f"{name} must be a number ({text!r})"
        raise ValueError(msg) from None
    if value < 0 or (value == 0 and not or_none):
        msg = f"{name} must be greater than 0 ({text!r})"
        raise ValueError(msg)
    return value
