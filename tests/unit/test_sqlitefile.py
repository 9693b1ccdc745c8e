"""One SQLite file: whole changes, forks, and errors that say what to do."""

import gc
import multiprocessing
import sqlite3
from contextlib import closing

import pytest

from orchestrator.checkpointer.sqlite import SqliteCheckpointer
from orchestrator.errors import GraphstalkError, StateCorruptedError
from orchestrator.sqlitefile import SqliteFile, statements

SCHEMA = "CREATE TABLE IF NOT EXISTS t (n INTEGER NOT NULL UNIQUE) STRICT"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.db"


@pytest.fixture
def file(path):
    with closing(SqliteFile(path, SCHEMA, 7)) as file:
        yield file


def numbers(file):
    with file.transaction(writes=False) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]


def add(file, number):
    with file.transaction(writes=True) as connection:
        connection.execute("INSERT INTO t VALUES (?)", (number,))


def test_a_change_is_made_as_a_whole_or_not_at_all(file):
    add(file, 1)

    def half():
        with file.transaction(writes=True) as connection:
            connection.execute("INSERT INTO t VALUES (2)")
            raise LookupError

    with pytest.raises(LookupError):
        half()
    assert numbers(file) == [1]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_opens_the_file_anew(file):
    def use():
        parents = file._connection
        add(file, 2)
        assert file._connection is not parents

    add(file, 1)
    child = multiprocessing.get_context("fork").Process(target=use)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert numbers(file) == [1, 2]


def test_what_was_closed_is_opened_again(file):
    add(file, 1)
    file.close()
    file.close()
    assert numbers(file) == [1]


def test_a_file_that_another_process_keeps_busy_is_an_error_that_says_so(file, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with file.transaction(writes=False) as connection:
            connection.execute("PRAGMA busy_timeout = 1")
        with pytest.raises(GraphstalkError, match=r"cannot be used now \(database is locked\)"):
            add(file, 1)
        other.execute("ROLLBACK")
    add(file, 1)
    assert numbers(file) == [1]


def test_errors_that_are_no_fault_of_the_file_stay_what_they_are(file):
    add(file, 1)
    with pytest.raises(sqlite3.IntegrityError):
        add(file, 1)


def test_a_file_of_another_kind_is_refused(file, path):
    with pytest.raises(StateCorruptedError, match="must be new or one of this kind"):
        SqliteFile(path, SCHEMA, 8)


def test_a_broken_file_is_refused(path):
    path.write_bytes(b"something else" * 100)
    with pytest.raises(StateCorruptedError, match="must be an intact SQLite database"):
        SqliteFile(path, SCHEMA, 7)


def test_statements_are_found_by_name():
    found = statements("orchestrator.cache", "sqlite_statements")
    assert found["clear_all"] == "DELETE FROM entry;"
    assert set(found) == {"get", "set", "forget", "clear", "clear_all"}


@pytest.mark.parametrize("make", [lambda path: SqliteFile(path, SCHEMA, 7), SqliteCheckpointer])
def test_an_object_that_is_dropped_closes_its_connection(path, make):
    dropped = make(path)
    connection = getattr(dropped, "_database", dropped)._connection
    del dropped
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_leaves_the_connection_of_its_parent_open(path):
    file = SqliteFile(path, SCHEMA, 7)

    def drop():
        connection = file._connection
        file._closing()
        connection.execute("SELECT 1")

    child = multiprocessing.get_context("fork").Process(target=drop)
    child.start()
    child.join()
    assert child.exitcode == 0
    file.close()
