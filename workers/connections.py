"""Trying what a worker connects to, before it starts.

Rule 1: what cannot work however long the worker waits is refused, in one sentence that names the
        variable: an address that is none, credentials, a certificate, a Redis Cluster.
Rule 2: a server that is away is waited for, and a line says so.
Rule 3: no password is shown.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

import amqp
import redis
from celery import Celery

from orchestrator.config import Settings, without_password, without_secrets
from orchestrator.dispatch.broker import open_store
from workers.configuration import ConfigurationError

__all__ = ["try_connections"]

_ANSWER_S = 2.5
_PORT = 6379
_WITH_TLS = ("rediss", "amqps")
_NOT_PLAIN = ("rediss", "amqp", "pyamqp")
_STORE_SCHEMES = ("redis", "rediss", "unix")
_CREDENTIALS = (
    redis.exceptions.AuthenticationError,
    redis.exceptions.AuthenticationWrongNumberOfArgsError,
    redis.exceptions.NoPermissionError,
    amqp.exceptions.AccessRefused,
)
_AWAY = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    amqp.exceptions.RecoverableConnectionError,
    OSError,
)


def try_connections(settings: Settings, make_app: Callable[[Settings], Celery]) -> list[str]:
    """Connect to the store and to the broker once; return a line for each that is away.

    Args:
        settings: the deployment.
        make_app: makes the Celery app that the worker will use.

    Raises:
        ConfigurationError: if a connection cannot work; the message names the variable.
    """
    away = [_away("REDIS_URL", settings.url, lambda: _try_store(settings))]
    variable = "REDIS_URL" if settings.one_redis else "GRAPHSTALK_BROKER_URL"
    if not (settings.one_redis and away[0]):
        away.append(
            _away(variable, settings.broker_url, lambda: _try_broker(make_app(settings), settings))
        )
    return [line for line in away if line]


def _away(variable: str, url: str, attempt: Callable[[], None]) -> str:
    """Make an attempt; return what to log if the server is away."""
    shown = without_password(url)
    try:
        attempt()
    except ConfigurationError:
        raise
    except Exception as error:
        reason = without_secrets(str(error), url) or type(error).__name__
        if _chain_has(error, (ssl.SSLError, FileNotFoundError)) and url.startswith(_WITH_TLS):
            what = "must name a server whose certificate this machine can verify"
            remedy = "check the port, ssl_ca_certs and ssl_cert_reqs"
        elif _chain_has(error, (amqp.exceptions.NotAllowed,)):
            what = "must name a virtual host that exists and that its user may use"
            remedy = "check the path of the address, or add the virtual host on the broker"
        elif _chain_has(error, _CREDENTIALS):
            what = "must hold a user and a password that the server accepts"
            remedy = "check both, and what the user may do"
        elif isinstance(error, redis.exceptions.ClusterError | redis.exceptions.MovedError):
            what = "must not be a node of a Redis Cluster"
            remedy = "name a single Redis or Valkey"
        elif url.startswith(_NOT_PLAIN) and _is_plain_redis(url):
            what = "must name a port at which the server speaks the protocol of its scheme"
            remedy = "a Redis without TLS answers there: name another port, or write redis://"
        elif _chain_has(error, _AWAY):
            return f"waiting for {shown}, which does not answer ({reason}). Check {variable}"
        else:
            what = "must be the address of a server that a worker can use"
            remedy = (
                "check its scheme, port and options, and escape / ? # @ : in its password (%2F …)"
            )
        msg = f"{variable} {what} ({shown}: {reason}). Nothing was started; {remedy}"
        raise ConfigurationError(msg) from error
    return ""


def _is_plain_redis(url: str) -> bool:
    """Whether a Redis answers here in plain text; another greeting it leaves unanswered."""
    parts = urlsplit(url)
    try:
        place = (parts.hostname or "localhost", parts.port or _PORT)
        with socket.create_connection(place, _ANSWER_S) as connection:
            connection.settimeout(_ANSWER_S)
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in {b"+", b"-"}
    except (OSError, ValueError):  # A port that is no number.
        return False


def _try_store(settings: Settings) -> None:
    scheme = settings.url.partition("://")[0]
    if scheme not in _STORE_SCHEMES:
        msg = (
            "REDIS_URL must begin with redis://, rediss:// or unix:// "
            f"({without_password(settings.url)}). Nothing was started; name a single Redis or "
            "Valkey, not a Cluster or a Sentinel"
        )
        raise ConfigurationError(msg)
    with closing(open_store(settings, answer_s=_ANSWER_S, sends=False)) as store:
        store.probe()


def _try_broker(app: Celery, settings: Settings) -> None:
    if settings.broker_url.startswith(("memory", "filesystem")):
        msg = (
            "GRAPHSTALK_BROKER_URL must be a broker that other processes reach "
            f"({without_password(settings.broker_url)}). Nothing was started; leave it out, or "
            "name a Redis or a RabbitMQ"
        )
        raise ConfigurationError(msg)
    with app.connection_for_write(connect_timeout=_ANSWER_S) as connection:
        transport = connection.transport
        made = transport.establish_connection()
        try:
            _refuse_cluster(made)
        finally:
            transport.close_connection(made)


def _refuse_cluster(made: object) -> None:
    """Refuse a Redis in cluster mode: Celery waits on several keys at once, which it cannot."""
    for channel in getattr(made, "_avail_channels", ()):
        try:
            info = channel.client.info("cluster")
        except (AttributeError, redis.exceptions.ResponseError):
            return  # No Redis, or one that does not say.
        if str(info.get("cluster_enabled", 0)) == "1":
            raise redis.exceptions.ClusterError("it is in cluster mode")


def _chain_has(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    while error is not None:
        if isinstance(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False
