"""Connections to a Redis server that treat a refusal for the time being as an outage.

A server that starts, fails over, runs a script for long, has lost its replicas, its disk or
its memory answers with an error that says nothing about the command. Code that waits for a server
which is away must wait for such a server, too; so these connections raise `ServerRefusedError`, a
connection error, and drop the connection: after a failover the next one may reach the new primary.
"""

from __future__ import annotations

import re
from typing import Any

import redis

# Refusals for which the client library has a class; it cuts the code off their text.
_CLASSES: dict[type[redis.exceptions.RedisError], str] = {
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.TryAgainError: "TRYAGAIN",
}
# Refusals without a class of their own. Inside a script there are words around the code.
_CODES = re.compile(
    r"(?:^|[\s-])(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN)\s"
)


class ServerRefusedError(redis.exceptions.ConnectionError):
    """The server is there and refuses commands for the time being; nothing was done."""


def refuses_for_now(error: redis.exceptions.RedisError) -> bool:
    """Return whether an answer refuses a command for a reason that passes."""
    return isinstance(error, (ServerRefusedError, *_CLASSES)) or bool(_CODES.search(str(error)))


class _Outages:
    """Turns refusals for the time being into connection errors."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except redis.exceptions.ResponseError as error:
            if not refuses_for_now(error):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            code = _CLASSES.get(type(error), "")
            raise ServerRefusedError(f"{code} {error}".strip()) from error


class OutageConnection(_Outages, redis.Connection):
    """A connection by TCP."""


class OutageSSLConnection(_Outages, redis.SSLConnection):
    """A connection by TLS."""


class OutageUnixConnection(_Outages, redis.UnixDomainSocketConnection):
    """A connection by a socket of this machine."""


# Celery's documents write `ssl_cert_reqs=CERT_REQUIRED`, the client library `required`.
_CERTIFICATES = re.compile(r"([?&]ssl_cert_reqs=)CERT_(REQUIRED|OPTIONAL|NONE)\b")
_BY_SCHEME: dict[str, type] = {"rediss": OutageSSLConnection, "unix": OutageUnixConnection}


def client_for(url: str, **options: Any) -> redis.Redis:
    """Return a client for `url`; `options` are those of `redis.Redis.from_url`."""
    url = _CERTIFICATES.sub(lambda found: found[1] + found[2].lower(), url)
    kind = _BY_SCHEME.get(url.partition(":")[0], OutageConnection)
    if kind is OutageUnixConnection:
        for option in ("socket_connect_timeout", "socket_keepalive"):
            options.pop(option, None)
    return redis.Redis.from_url(url, connection_class=kind, **options)
