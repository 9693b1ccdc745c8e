"""One SQLite file: its connection, its transactions, its errors.

Rule 1: every change is one `BEGIN IMMEDIATE` transaction, so the transaction that decides has the
        file to itself until it is done, in whichever OS thread or process it is.
Rule 2: a durable transaction is on the disk when it returns. One that is not may be lost with the
        power, never with the process; and whatever comes after it is then lost, too. So what
        survives is always a beginning of what happened. (docs/decisions/0008)
Rule 3: a connection belongs to the process that opened it; after a fork the child opens its own.
Rule 4: statements are read from the SQL files beside this one. What varies is bound: no text of a
        statement is ever made from data.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from typing import Any, Literal

from orchestrator.errors import (
    CheckpointerUnavailableError,
    GraphstalkError,
    StateCorruptedError,
    ValueTooLargeError,
)
from orchestrator.sqlitefile import close_in

Synchronous = Literal["full", "normal"]

MEMORY = ":memory:"
LAYOUT = 2
APPLICATION_ID = 1735619691  # "gstk"; distinguishes the file from other databases.
# How many tables there are, and whether the one is that the layout got last.
_TABLES = "SELECT count(*), total(name = 'hold') FROM sqlite_master"
_BUSY_S = 5.0  # How long another process may keep the file to itself before that is an error.
_PASSING = {  # Primary result codes of what may pass: busy, full disk, …
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL),
}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """The file, through one guarded connection.

    There is one writer at a time whatever one does, and waiting for a lock in here wakes up sooner
    than SQLite's own waiting, which polls. So OS threads share one connection.
    """

    def __init__(self, path: str | os.PathLike[str], synchronous: Synchronous) -> None:
        """Open the file at `path`, or make it.

        Raises:
            CheckpointerUnavailableError: if it cannot be opened or made.
            StateCorruptedError: if it is no such file, or of a newer layout.
        """
        if synchronous not in {"full", "normal"}:
            raise ValueError(f"synchronous={synchronous!r} is neither 'full' nor 'normal'")
        self.path = os.fspath(path)
        self.in_memory = self.path == MEMORY
        if not self.in_memory:
            self.path = os.path.abspath(self.path)  # noqa: PTH100 - symbolic links stay as they are
        self._full = synchronous == "full"
        self.changes = 0  # How often it was changed through here.
        self._inherited: list[sqlite3.Connection] = []
        self._connection: sqlite3.Connection | None = None
        self._begin_process()
        self._connection = self._open()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        # Guards the connection, and is notified after each change.
        self._changed = threading.Condition(threading.Lock())
        self._durable: bool | None = None  # What the connection is set to.
        self._connection = None

    # ---- transactions ---------------------------------------------------------------------

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Make what the block does one transaction; if it raises, nothing was done."""
        self._check_process()
        with self._changed, self._errors():
            connection = self._here()
            durable = durable and self._full
            if durable is not self._durable:
                level = "PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL"
                connection.execute(level)
                self._durable = durable
            with _transaction(connection, "BEGIN IMMEDIATE"):
                yield connection
            self.changes += 1
            self._changed.notify_all()

    def wait(self, changes: int, timeout_s: float) -> None:
        """Wait until `changes` is exceeded or time is over; only this process's changes count."""
        with self._changed:
            self._changed.wait_for(lambda: self.changes > changes, timeout_s)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Let the block read the file as it is at one instant."""
        self._check_process()
        with self._changed, self._errors():
            connection = self._here()
            with _transaction(connection, "BEGIN"):
                yield connection

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._check_process()
        with self._changed, self._errors():
            if self._connection is not None:
                self._closing()
                self._connection = None

    # ---- the connection -------------------------------------------------------------------

    def _here(self) -> sqlite3.Connection:
        if self._connection is None:
            if self.in_memory:
                raise GraphstalkError(
                    f"the checkpointer {MEMORY} was closed, and what it kept is gone with it. "
                    "Make a new one, or give it a path"
                )
            self._durable = None
            self._connection = self._open()
        return self._connection

    def _check_process(self) -> None:
        if os.getpid() == self._pid:
            return
        if self._connection is not None:
            # Never closed: that would drop locks which SQLite believes this process to have.
            self._inherited.append(self._connection)
        self._begin_process()

    def _open(self) -> sqlite3.Connection:
        with self._errors():
            connection = sqlite3.connect(
                self.path,
                timeout=_BUSY_S,
                isolation_level=None,  # No transactions but those of this module.
                check_same_thread=False,
                cached_statements=256,
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            # An object that is dropped without `close` closes its connection, and so does the exit.
            self._closing = weakref.finalize(self, close_in, os.getpid(), connection)
            return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection, "BEGIN"):  # Another process may be making the file.
            [[layout]] = connection.execute("PRAGMA user_version").fetchall()
            [[application]] = connection.execute("PRAGMA application_id").fetchall()
            [[tables, newest]] = connection.execute(_TABLES).fetchall()
        if application != APPLICATION_ID and (application, layout, tables) != (0, 0, 0):
            raise StateCorruptedError(
                f"{self.path} is a database of something else. "
                "Give the checkpointer a path of its own"
            )
        if layout > LAYOUT:
            raise StateCorruptedError(
                f"{self.path} has layout {layout}, and this version of graphstalk knows layouts up "
                f"to {LAYOUT}. Nothing was changed; use the version that wrote it, or a later one"
            )
        if 0 < layout < LAYOUT:  # Its records have no seals, so none of them could be trusted.
            raise StateCorruptedError(
                f"{self.path} has layout {layout}, which was never released. Nothing was changed; "
                f"give the checkpointer a path of its own"
            )
        if _patiently(connection, "PRAGMA journal_mode = WAL") not in {"wal", "memory"}:
            raise GraphstalkError(
                f"{self.path} is where SQLite cannot keep a write-ahead log, as on most network "
                "file systems. Give a path on a disk of this machine"
            )
        if layout < LAYOUT or not newest:  # Every statement of it makes only what is missing.
            connection.executescript(script("schema"))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of SQLite into ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            # The primary code is the lower byte; errors of the module itself have none.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _PASSING:
                msg = f"the file {self.path} cannot be used now ({error}). Nothing was stored"
                raise CheckpointerUnavailableError(msg) from error
            if code in _BROKEN:
                msg = f"the file {self.path} is no SQLite database, or a broken one ({error})"
                raise StateCorruptedError(msg) from error
            if isinstance(error, sqlite3.DataError):
                msg = (
                    f"a value must be smaller than SQLite takes, by default 1,000 MB ({error}). "
                    "Store it in a file or an object store, and keep its address in the state"
                )
                raise ValueTooLargeError(msg) from error
            raise


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    try:
        connection.execute(begin)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # The first error says more.
                connection.execute("ROLLBACK")
        raise


def _patiently(connection: sqlite3.Connection, statement: str) -> Any:
    """Run a statement for which SQLite does not wait by itself while others use the file."""
    end = time.monotonic() + _BUSY_S
    while True:
        try:
            return connection.execute(statement).fetchall()[0][0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def script(name: str) -> str:
    """Return a whole file of statements."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def statements(name: str) -> Mapping[str, str]:
    """Return the statements of a file by their names."""
    _, *parts = _NAME.split(script(name))
    return {key: text.strip() for key, text in zip(parts[::2], parts[1::2], strict=True)}
