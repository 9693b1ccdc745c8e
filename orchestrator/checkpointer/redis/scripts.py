"""Calls of the Lua scripts, by the shortest way that the client library offers.

Each call has a connection for itself and speaks on it without the client's detours (pools, retries,
metrics), which cost more than the rest of the call. Whatever goes wrong closes the connection, so
no answer is ever read as another's. There are as many connections as there were calls at once.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha1
from importlib import resources
from typing import Any

import hiredis
import redis

from orchestrator import limits
from orchestrator.errors import (
    CheckpointerUnavailableError,
    SlowTransferError,
    StateCorruptedError,
    ValueTooLargeError,
)
from orchestrator.redisconnection import ServerRefusedError, refuses_for_now


def check_size(command: Sequence[Any], size: int) -> None:
    """Refuse what no Redis server takes, instead of sending it again and again.

    Raises:
        ValueTooLargeError: if the command, or a value in it, is too large.
    """
    largest = max((len(each) for each in command if isinstance(each, bytes)), default=0)
    value_max, command_max = limits.DECOMPRESSED_BYTES_MAX, limits.COMMAND_BYTES_MAX
    if largest <= value_max and size <= command_max:
        return
    msg = (
        f"what is stored must be at most {value_max / 1e6:,.0f} MB a value and "
        f"{command_max / 1e6:,.0f} MB a commit (largest value {largest / 1e6:,.1f} MB, commit "
        f"{size / 1e6:,.1f} MB). Store it in a file or an object store, "
        f"and keep its address in the state"
    )
    raise ValueTooLargeError(msg)


@contextmanager
def patient(connection: Any, size: int) -> Iterator[float]:
    """Give a connection more time to send a command and read its answer; yield how long."""
    connection.connect()
    sock = connection._sock  # noqa: SLF001 - the client has no way to change its patience
    usual_s = sock.gettimeout()
    waits_s = (usual_s or 0) + size / limits.LINK_BYTES_PER_S_MIN
    sock.settimeout(waits_s if usual_s is not None else None)
    try:
        yield waits_s
    finally:
        if connection._sock is sock:  # noqa: SLF001 - else it was disconnected
            sock.settimeout(usual_s)


_IDLE_S = 0.5  # A connection that was silent for so long is checked before it is used.

SCRIPTS = ("audit", "claim", "commit", "delete", "load", "prune", "release", "sweep")
# Shared sources that precede a script.
_SHARED = {
    "audit": ("checkpoints",),
    "claim": ("values", "checkpoints", "claims"),
    "commit": ("values", "checkpoints", "claims"),
    "delete": ("checkpoints", "busy"),
    "load": ("values", "checkpoints"),
    "prune": ("values", "checkpoints", "busy"),
    "sweep": ("checkpoints",),
}


class Scripts:
    """The scripts, on one server."""

    def __init__(self, client: redis.Redis, agree: Callable[[], None] | None = None) -> None:
        self._client = client
        self._agree = agree
        self._idle: deque[tuple[Any, float]] = deque()  # Connections, and when each was last used.
        self._pid = os.getpid()
        self._sources = {name: _source(name) for name in SCRIPTS}
        self.hashes = {
            name: sha1(source, usedforsecurity=False).hexdigest()  # What EVALSHA takes.
            for name, source in self._sources.items()
        }

    def call(
        self,
        name: str,
        keys: Sequence[str],
        args: Sequence[Any],
        then: Sequence[Any] = (),
        meanwhile: Callable[[], None] | None = None,
    ) -> Any:
        """Run a script and return its answer.

        Args:
            name: the script.
            keys: its keys.
            args: its arguments.
            then: a command to send with it; its answer, or error, is returned beside the script's.
            meanwhile: what to do while the server works; it must not raise.

        Raises:
            CheckpointerUnavailableError: if the server does not answer, or refuses writes.
            StateCorruptedError: if the script cannot parse what is stored.
        """
        if self._agree is not None:
            self.check()
        command = ("EVALSHA", self.hashes[name], len(keys), *keys, *args)
        with available():
            try:
                return self._ask(command, then, meanwhile)
            except redis.exceptions.NoScriptError:  # A new server, or one that was restarted.
                # By the connection that was just used: another may lead to another server, while
                # one replaces the other.
                self._ask(("SCRIPT", "LOAD", self._sources[name]))
                return self._ask(command, then)

    def check(self) -> None:
        """Check that this process and the store agree on what both must know, if it never was."""
        agree = self._agree
        if agree is not None:
            with available():
                agree()
            self._agree = None

    def plain(self, *command: Any) -> Any:
        """Return the answer to a plain command, by the same short way.

        Raises:
            CheckpointerUnavailableError: if the server does not answer, or refuses writes.
        """
        self.check()
        with available():
            return self._ask(command)

    def _ask(
        self,
        command: tuple[Any, ...],
        then: Sequence[Any] = (),
        meanwhile: Callable[[], None] | None = None,
    ) -> Any:
        packed = [hiredis.pack_command(each) for each in (command, tuple(then)) if each]
        if len(packed[0]) > limits.LARGE_COMMAND_BYTES:
            check_size(command, len(packed[0]))
            return self._ask_long(packed, meanwhile)
        return self._exchange(self._acquire(), packed, meanwhile)

    def _ask_long(self, packed: Sequence[bytes], meanwhile: Callable[[], None] | None) -> Any:
        """Send a large command, with a patience that fits its size, and return the answer."""
        connection, size = self._acquire(), len(packed[0])
        try:
            with patient(connection, size) as waits_s:
                return self._exchange(connection, packed, meanwhile)
        except redis.TimeoutError as error:
            self._client.ping()  # Else the server is away, which is another matter.
            raise SlowTransferError(
                f"a command of {size / 1e6:,.1f} MB was not answered within {waits_s:.0f} s, and "
                f"the Redis server answers small ones: the link is slower than "
                f"{limits.LINK_BYTES_PER_S_MIN / 1e6:.0f} MB/s, or busy"
            ) from error

    def _exchange(
        self, connection: Any, packed: Sequence[bytes], meanwhile: Callable[[], None] | None
    ) -> Any:
        """Send commands on a connection and return the answer, or both answers."""
        then = packed[1:]
        try:
            connection.send_packed_command(packed, check_health=False)
            if meanwhile is not None:
                meanwhile()
            if not then:
                return connection.read_response()
            try:
                answer = connection.read_response()
            except redis.exceptions.ResponseError:
                with suppress(redis.exceptions.ResponseError):
                    connection.read_response()  # It was asked, so it answers.
                raise
            try:
                return answer, connection.read_response()
            except redis.exceptions.ResponseError as error:
                return answer, error
        except redis.exceptions.ResponseError:
            raise  # An answer all the same: the connection is in order.
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._idle.append((connection, time.monotonic()))

    def _acquire(self) -> Any:
        """Return an idle connection."""
        if self._pid != os.getpid():  # A fork must not speak on its parent's connections.
            self._idle, self._pid = deque(), os.getpid()
        try:
            connection, used_s = self._idle.pop()
        except IndexError:
            return self._client.connection_pool.get_connection()
        if time.monotonic() - used_s > _IDLE_S:
            _drop_if_closed(connection)
        return connection


def _drop_if_closed(connection: Any) -> None:
    """Disconnect if the server has closed the connection; the next command connects anew."""
    try:
        closed = connection.can_read(timeout=0)  # Nothing was asked, so there is nothing to read.
    except (redis.ConnectionError, redis.TimeoutError, OSError):
        closed = True
    if closed:
        connection.disconnect()


@contextmanager
def available() -> Iterator[None]:
    """Turn the client's errors about a server that is away, or about damaged keys, into ours."""
    try:
        yield
    except (ServerRefusedError, redis.exceptions.NoScriptError) as error:
        raise _refused(error) from error  # The scripts are loaded: a server was replaced meanwhile.
    except (redis.ConnectionError, redis.TimeoutError) as error:
        msg = f"the Redis server does not answer ({error}). Check REDIS_URL and the server"
        raise CheckpointerUnavailableError(msg) from error
    except redis.ResponseError as error:
        if refuses_for_now(error):
            raise _refused(error) from error
        if not _is_about_data(error):
            raise
        msg = f"what is stored is damaged ({error}): graphstalk doctor --threads lists it"
        raise StateCorruptedError(msg) from error


def _is_about_data(error: redis.ResponseError) -> bool:
    """Whether a command, or a script, stopped at what it read: not for a reason that has a code."""
    text = str(error)
    if "WRONGTYPE" in text:  # A pipeline says before that which command it was.
        return True
    has_code = type(error) is not redis.ResponseError or text.partition(" ")[0].isupper()
    return "user_script:" in text and not has_code


def _refused(error: Exception) -> CheckpointerUnavailableError:
    return CheckpointerUnavailableError(
        f"the Redis server refuses commands for now ({error}). Nothing was stored; try again"
    )


def _source(name: str) -> bytes:
    scripts = resources.files(__package__).joinpath("scripts")
    names = (*_SHARED.get(name, ()), name)
    return b"".join(scripts.joinpath(f"{each}.lua").read_bytes() for each in names)
