"""One SQLite file, shared by OS threads, forks and other processes.

It knows nothing of the tables: each user of it makes its own promises.

Rule 1: a change is one transaction: all of it or nothing.
Rule 2: one connection per process behind one lock; a fork opens its own.
Rule 3: the text of a statement is never made from data.
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

from orchestrator.errors import GraphstalkError, StateCorruptedError

_BUSY_S = 5.0  # How long another process may keep the file to itself before that is an error.
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def statements(package: str, name: str) -> Mapping[str, str]:
    """Return the statements of a package's `<name>.sql`; each begins with `-- name: <its name>`."""
    text = resources.files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {key: part.strip() for key, part in zip(parts[::2], parts[1::2], strict=True)}


def close_in(process: int, connection: sqlite3.Connection) -> None:
    """Close a connection in the process that opened it; a fork must leave it open.

    In a fork, closing would release locks that SQLite believes this process to hold.
    """
    if os.getpid() == process:
        connection.close()


class SqliteFile:
    """The file at `path`, made when it is not there."""

    def __init__(self, path: str | os.PathLike[str], schema: str, application_id: int) -> None:
        """Open the file, or make it with the tables of `schema`.

        Args:
            path: its path, or `:memory:`.
            schema: statements that create missing tables.
            application_id: the number in the header that marks files of this kind.

        Raises:
            GraphstalkError: if it cannot be opened or made.
            StateCorruptedError: if it is another program's database, or damaged.
        """
        path = os.fspath(path)
        self.path = path if path == ":memory:" else os.path.abspath(path)  # noqa: PTH100 - as given
        self._schema, self._application_id = schema, application_id
        self._inherited: list[sqlite3.Connection] = []
        self._begin_process()
        with self._lock:
            self._here()

    def _begin_process(self) -> None:
        self._pid, self._lock = os.getpid(), threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self, *, writes: bool) -> Iterator[sqlite3.Connection]:
        """Let the block see one instant of the file; with `writes`, its changes are one.

        Raises:
            GraphstalkError: if the file cannot be used now; nothing was changed.
        """
        if os.getpid() != self._pid:
            if self._connection is not None:
                # Never closed: that would drop locks which SQLite believes this process to have.
                self._inherited.append(self._connection)
            self._begin_process()
        with self._lock, self._errors():
            connection = self._here()
            try:
                connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # The first error says more.
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            if self._connection is not None and os.getpid() == self._pid:
                self._closing()
                self._connection = None

    def _here(self) -> sqlite3.Connection:
        if self._connection is None:
            with self._errors():
                connection = sqlite3.connect(
                    self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
                )
                try:
                    self._prepare(connection)
                except BaseException:
                    connection.close()
                    raise
            self._connection = connection
            # An object that is dropped without `close` closes its connection, and so does the exit.
            self._closing = weakref.finalize(self, close_in, os.getpid(), connection)
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        [[found]] = connection.execute("PRAGMA application_id").fetchall()
        [[tables]] = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if found != self._application_id and (found, tables) != (0, 0):
            msg = f"the file must be new or one of this kind ({self.path}): choose another path"
            raise StateCorruptedError(msg)
        _patiently(connection, "PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            connection.execute(f"PRAGMA application_id = {self._application_id:d}")
        connection.executescript(self._schema)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {
                sqlite3.SQLITE_CORRUPT,
                sqlite3.SQLITE_NOTADB,
            }:
                msg = f"the file must be an intact SQLite database ({self.path}: {error})"
                raise StateCorruptedError(msg) from error
            if isinstance(error, sqlite3.OperationalError):
                msg = f"the file {self.path} cannot be used now ({error}). Nothing was changed"
                raise GraphstalkError(msg) from error
            raise


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement for which SQLite does not wait by itself while others use the file."""
    end = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
