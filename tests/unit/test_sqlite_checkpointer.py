"""The SQLite checkpointer as a file: opened and closed, foreign, broken, busy, full.

What it does as any checkpointer, and with other processes, is in the conformance tests.
"""

import contextlib
import sqlite3
import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from orchestrator.checkpointer.sqlite import SqliteCheckpointer
from orchestrator.checkpointer.sqlite.database import statements
from orchestrator.checkpointer.sqlite.rows import HEAD
from orchestrator.errors import (
    CheckpointerUnavailableError,
    GraphstalkError,
    StateCorruptedError,
)
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Commit, EventDraft, Refusal, StepGuard
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import observed
from orchestrator.testing.manual_clock import ManualClock

NODES = [f"n{n}" for n in range(150)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "threads.db"


@pytest.fixture
def store(path):
    store = SqliteCheckpointer(path)
    yield store
    store.close()


def step_of(store, node="a", thread_id="t"):
    return next(s for s in store.load(thread_id).steps.values() if s.step.node == node).step


def advancing(thread_id, id_, guard=None):
    """Return a commit that changes every table a commit can change."""
    return Commit(
        thread_id=thread_id,
        guard=guard,
        completed=None if guard is None else b"outcome of %d" % (id_ - 1),
        checkpoint=drafts.checkpoint(id_, (f"blob-{id_}",)),
        blobs={f"blob-{id_}": b"%d" % id_ * 1000},
        ready=drafts.plan(thread_id, id_, "a"),
        status=RunStatus.RUNNING,
        head={"config": b"config %d" % id_, "resumes": id_ - drafts.FIRST},
        key=(f"key-{id_}", f"run-{id_}"),
        events=(EventDraft("happened", {"id": id_}), EventDraft("and", {"again": id_})),
    )


# ---- durable -------------------------------------------------------------------------------


def levels(store):
    """Return the level of synchronisation under which each transaction is committed."""
    seen = []
    connection = store._database._connection

    def look(statement):
        if statement == "COMMIT":
            seen.append(store._database._durable)

    connection.set_trace_callback(look)
    return seen


def test_a_commit_is_flushed_and_a_claim_is_not(store):
    seen = levels(store)
    store.commit(drafts.starting("t", "a"))
    step = step_of(store)
    seen.clear()
    claim = store.claim("t", step.step_id, owner="w", token="x")
    store.commit(advancing("t", drafts.FIRST + 1, StepGuard(step.step_id, claim.fence)))
    store.renew(["w"], ttl_s=1)
    store.release("w")
    assert seen == [False, True, False, True]


def test_the_connection_is_really_set_to_it(store):
    def level():
        return store._database._connection.execute("PRAGMA synchronous").fetchone()[0]

    store.commit(drafts.starting("t", "a"))
    for _ in range(3):
        store.renew(["w"], ttl_s=1)
        assert level() == 1
        store.release("w")
        assert level() == 2


def test_a_sweep_is_flushed_only_if_it_takes_claims_away(path):
    clock = ManualClock()
    store = SqliteCheckpointer(path, clock=clock)
    store.commit(drafts.starting("t", "a"))
    store.claim("t", step_of(store).step_id, owner="w", token="x")
    seen = levels(store)
    store.sweep(0, leader="l")
    while not store.sweep(0, leader="l").released:
        clock.sleep(1)
    store.close()
    assert seen[1::2].count(True) == 1  # Every other transaction is its look beforehand.
    assert seen[-1] is True


def test_normal_flushes_nothing_by_itself(path):
    store = SqliteCheckpointer(path, synchronous="normal")
    seen = levels(store)
    store.commit(drafts.starting("t", "a"))
    store.release("w")
    assert seen == [False, False]
    store.close()
    assert SqliteCheckpointer(path).load("t") is not None


def test_another_level_is_an_error(path):
    with pytest.raises(ValueError, match="synchronous='off' is neither 'full' nor 'normal'"):
        SqliteCheckpointer(path, synchronous="off")


# ---- opened and closed ---------------------------------------------------------------------


def test_closing_is_done_as_often_as_one_likes_and_keeps_everything(store, path):
    store.commit(drafts.starting("t", "a"))
    before = observed(store, ["t"])
    store.close()
    store.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert observed(SqliteCheckpointer(path), ["t"]) == before
    assert observed(store, ["t"]) == before


def test_in_memory_nothing_is_shared_and_closing_ends_it():
    store, other = SqliteCheckpointer(":memory:"), SqliteCheckpointer(":memory:")
    store.commit(drafts.starting("t", "a"))
    assert (store.shared, other.load("t")) == (False, None)
    store.close()
    store.close()
    with pytest.raises(GraphstalkError, match="was closed, and what it kept is gone"):
        store.load("t")


def test_a_file_is_shared_and_stays_where_it_was_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SqliteCheckpointer("threads.db")
    assert (store.shared, store.path) == (True, str(tmp_path / "threads.db"))
    store.close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.commit(drafts.starting("t", "a"))
    assert not (tmp_path / "elsewhere" / "threads.db").exists()
    store.close()


def test_a_path_may_hold_what_means_something_to_sqlite(tmp_path):
    store = SqliteCheckpointer(tmp_path / "file:x?mode=memory#%20ü'.db")
    store.commit(drafts.starting("t", "a"))
    store.close()
    assert [each.name for each in tmp_path.iterdir()] == ["file:x?mode=memory#%20ü'.db"]


def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.write_bytes(b"this is a text, and long enough to be looked at as a header. " * 100)
    before = path.read_bytes()
    with pytest.raises(StateCorruptedError, match=f"{path} is no SQLite database"):
        SqliteCheckpointer(path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_alone(path):
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(StateCorruptedError, match="is a database of something else"):
        SqliteCheckpointer(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("layout", "says"),
    [(3, r"has layout 3, .* knows layouts up to 2"), (1, r"has layout 1, .* never released")],
)
def test_another_layout_is_refused_and_left_alone(store, path, layout, says):
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {layout}")
    before = path.read_bytes()
    with pytest.raises(StateCorruptedError, match=says):
        SqliteCheckpointer(path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "no" / "threads.db"
    with pytest.raises(CheckpointerUnavailableError, match=str(path)):
        SqliteCheckpointer(path)


def test_a_file_that_rotted_is_noticed(store, path):
    store.commit(drafts.starting("t", *NODES))
    store.close()
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(StateCorruptedError, match="a broken one"):
        SqliteCheckpointer(path).load("t")


# ---- used by others ------------------------------------------------------------------------


def test_a_file_that_another_keeps_to_itself_is_unavailable_and_nothing_is_stored(
    store, path, monkeypatch
):
    store.commit(drafts.starting("t", "a"))
    store._database._connection.execute("PRAGMA busy_timeout = 50")
    before = observed(store, ["t"])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CheckpointerUnavailableError, match="locked"):
            store.commit(advancing("t", drafts.FIRST + 1))
        assert observed(store, ["t"]) == before  # Reading goes on.
        other.execute("ROLLBACK")
    assert store.commit(advancing("t", drafts.FIRST + 1)).refused is None


def test_a_writer_waits_for_another(store, path):
    store.commit(drafts.starting("t", "a"))
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, other.execute, ["ROLLBACK"])
    timer.start()
    started = time.monotonic()
    assert store.commit(advancing("t", drafts.FIRST + 1)).refused is None
    assert time.monotonic() - started > 0.05
    timer.join()
    other.close()


def test_a_full_disk_is_unavailable_and_nothing_is_stored(store):
    store.commit(drafts.starting("t", "a"))
    [[pages]] = store._database._connection.execute("PRAGMA page_count").fetchall()
    store._database._connection.execute(f"PRAGMA max_page_count = {pages}")
    before = observed(store, ["t"])
    big = replace(advancing("t", drafts.FIRST + 1), blobs={"big": bytes(10**6)})
    with pytest.raises(CheckpointerUnavailableError, match="full"):
        store.commit(big)
    assert observed(store, ["t"]) == before
    store._database._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.commit(big).refused is None


def test_whatever_interrupts_a_commit_leaves_nothing_of_it(store):
    class Stop(BaseException):
        pass

    class Clock(ManualClock):
        def now_ms(self):
            raise Stop

    store.commit(drafts.starting("t", "a"))
    before = observed(store, ["t"])
    fields = {"x": 1, "y": Unstorable()}
    events = (EventDraft("good"), EventDraft("bad", fields))
    with pytest.raises(Stop):
        replaced(store, Clock()).commit(advancing("t", drafts.FIRST + 1))
    with pytest.raises(ZeroDivisionError):
        store.commit(replace(advancing("t", drafts.FIRST + 1), events=events))
    assert observed(store, ["t"]) == before
    assert store.commit(advancing("t", drafts.FIRST + 1)).refused is None


class Unstorable:
    def __str__(self):
        raise ZeroDivisionError


def replaced(store, clock):
    """Return a store on the same connection with another clock."""
    other = SqliteCheckpointer(":memory:", clock=clock)
    other._database = store._database
    return other


def test_many_os_threads_commit_at_once(store):
    def work(number):
        thread_id = f"t{number}"
        store.commit(drafts.starting(thread_id, "a"))
        for id_ in range(drafts.FIRST + 1, drafts.FIRST + 6):
            step = step_of(store, thread_id=thread_id)
            claim = store.claim(thread_id, step.step_id, owner="w", token=f"{number} {id_}")
            guard = StepGuard(step.step_id, claim.fence)
            assert store.commit(advancing(thread_id, id_, guard)).refused is None

    race([partial(work, number) for number in range(12)])
    assert {head.checkpoint_id for _, head in store.threads()} == {drafts.FIRST + 5}


# ---- what is kept --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a\udcff", "\ud800", "nul\x00", "ü", "1", "'; DROP TABLE head --"]
)
def test_any_name_of_anything_survives(store, name):
    step = drafts.ready("t", drafts.FIRST, name, queue=name, arg=name, ns=name, triggers=(name,))
    head = {"graph": name, "fingerprint": name, "run_id": name}
    store.commit(
        drafts.starting(
            "t",
            ready=(step,),
            head=head,
            key=(name, name),
            blobs={name: b"1"},
            checkpoint=drafts.checkpoint(drafts.FIRST, (name,), ns=name),
            events=(EventDraft(name, {name: name}),),
        )
    )
    claim = store.claim("t", step.step_id, owner=name, token=name, sent_ms=1)
    assert (claim.step, claim.refs, claim.blobs) == (step, (name,), {name: b"1"})
    again = store.claim("t", step.step_id, owner=name, token=name)
    assert again.fence == claim.fence
    loaded = store.load("t")
    assert (loaded.head.graph, loaded.head.run_id, loaded.checkpoint.ns) == (name, name, name)
    assert loaded.steps[step.step_id].owner == name
    [event] = store.events("t")
    assert event.type == name
    assert event.fields == {name: name.encode("utf-8", "surrogatepass")}
    assert store.commit(Commit(thread_id="t", key=(name, "x"))).detail == name
    assert store.release(name) == [step]


def test_numbers_greater_than_any_stored_are_not_found_and_no_error(store):
    store.commit(drafts.starting("t", "a"))
    assert store.load("t", checkpoint_id=2**64 - 1) is None
    assert store.history("t", before=2**64 - 1) == [drafts.FIRST]
    assert store.events("t", after=2**64 - 1) == []
    assert store.commit(Commit(thread_id="t", expect_head=2**64)).refused is Refusal.HEAD_MOVED


def test_refusals_are_counted_in_the_file(store, path):
    store.commit(drafts.starting("t", "a"))
    late = Commit(thread_id="t", guard=StepGuard(step_of(store).step_id, 7), completed=b"")
    assert [store.commit(late).refused for _ in range(2)] == [Refusal.STALE_FENCE] * 2
    assert store.stale_refused() == 2
    assert SqliteCheckpointer(path).stale_refused() == 2


def test_every_index_of_the_sweeper_is_used(store):
    used = {
        "timed": "step_timed",
        "unsent": "step_unsent",
        "lost": "step_sent",
        "idle": "head_idle",
    }
    sql = statements("upkeep")
    with store._database.reading() as connection:
        for name, index in used.items():
            values = [0] * sql[name].count("?")
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql[name]}", values).fetchall()
            assert any(index in row[-1] for row in plan), (name, plan)
        for name in ("claimed_by", "expired", "any_expired"):  # All claims there are, no more.
            values = [0] * sql[name].count("?")
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql[name]}", values).fetchall()
            assert [row[-1] for row in plan if "SCAN" in row[-1]] == ["SCAN c"]


@pytest.mark.parametrize("name", statements("writes"))
def test_no_statement_of_a_step_looks_at_more_than_its_rows(store, name):
    text = statements("writes")[name]
    values = dict.fromkeys(HEAD, 0) if ":" in text else [0] * text.count("?")
    with store._database.reading() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
    assert not any("SCAN" in row[-1] for row in plan)


def test_steps_of_local_runs_stand_in_no_index_of_hints(store):
    store.commit(drafts.starting("t", "a", queue=""))
    store.commit(drafts.starting("u", "a"))
    with store._database.reading() as connection:
        sql = statements("upkeep")["unsent"]
        found = connection.execute(sql, (2**62, 10)).fetchall()
    assert [row[0] for row in found] == ["u"]
