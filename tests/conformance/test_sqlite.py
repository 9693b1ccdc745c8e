"""The SQLite checkpointer keeps the contract, also among processes and when it is killed.

This file is also the program of the processes that some tests start.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.checkpointer.sqlite import SqliteCheckpointer
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Commit, EventDraft, Refusal, StepGuard
from orchestrator.testing.contract import CheckpointerContract, UnsentContract, drafts
from orchestrator.testing.contract.base import observed
from orchestrator.testing.manual_clock import ManualClock

ROOT = Path(__file__).parents[2]
NODES = [f"n{n}" for n in range(150)]
START_S = 60  # Two cores, cold caches, other tests beside it.


class TestSqlite(CheckpointerContract, UnsentContract):
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "threads.db"

    @pytest.fixture
    def clock(self):
        return ManualClock()

    @pytest.fixture
    def store(self, settings, clock, path):
        store = SqliteCheckpointer(path, settings=settings, clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def tick(self, clock):
        return clock.sleep

    @pytest.fixture
    def damage(self, store):
        def damage(thread_id, step_id, what):
            statement = {
                "count": "UPDATE head SET open = open + 1",
                "lose": f"DELETE FROM step WHERE id = '{step_id}'",
                "settle": f"UPDATE step SET settled = 1 WHERE id = '{step_id}'",
            }
            with store._database.writing() as connection:
                connection.execute(statement[what])

        return damage

    def contents(self, store):
        with store._database.reading() as connection:
            return list(connection.iterdump())

    def kept(self, store):
        with store._database.reading() as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = [name for (name,) in tables if name != "lease"]
            rows = [row for name in names for row in connection.execute(f"SELECT * FROM {name}")]
        return [each if isinstance(each, bytes) else str(each).encode() for r in rows for each in r]


class TestSqliteInMemory(TestSqlite):
    @pytest.fixture
    def path(self):
        return ":memory:"


# ---- several processes ---------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "threads.db"


@pytest.fixture
def store(path):
    store = SqliteCheckpointer(path)
    yield store
    store.close()


@contextlib.contextmanager
def processes(count, what, path):
    """Processes of this file, all ready; they run on when told to go, and are dead afterwards."""
    command = [sys.executable, __file__, what, str(path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=env, **pipes) for _ in range(count)]
    try:
        assert [each.stdout.readline() for each in started] == ["ready\n"] * count
        for each in started:
            each.stdin.write("go\n")
            each.stdin.flush()
        yield started
    finally:
        for each in started:
            each.kill()
            each.communicate()


def said_by(process):
    """Wait for a process to end well; return the lines it said."""
    said = process.communicate(timeout=START_S)[0].splitlines()
    assert process.returncode == 0
    return said


def get_ready():
    print("ready", flush=True)
    sys.stdin.readline()


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


def race_for_steps(path):
    """Claim and complete whatever can be; say which steps that were, and under which fences."""
    store = SqliteCheckpointer(path)
    steps = [loaded.step for loaded in store.load("t").steps.values()]
    get_ready()
    for step in steps:
        owner = f"w{os.getpid()}"
        claim = store.claim("t", step.step_id, owner=owner, token=f"{owner} {step.step_id}")
        if claim.refused is None:
            guard = StepGuard(step.step_id, claim.fence)
            done = store.commit(
                Commit(
                    thread_id="t",
                    guard=guard,
                    completed=b"done",
                    events=(EventDraft("step_committed"),),
                )
            )
            assert done.refused is None
            print(step.node, claim.fence, done.open, flush=True)


def test_processes_that_race_for_steps_do_each_once(store, path):
    store.commit(drafts.starting("t", *NODES))
    with processes(2, "race_for_steps", path) as racers:
        said = [said_by(racer) for racer in racers]
    nodes, fences, opens = zip(*(line.split() for lines in said for line in lines), strict=True)
    assert sorted(nodes) == sorted(NODES)
    assert sorted(map(int, fences)) == list(range(1, len(NODES) + 1))
    assert sorted(map(int, opens)) == list(range(len(NODES)))
    assert [event.seq for event in store.events("t")] == list(range(1, len(NODES) + 2))
    assert store.load("t").head.open == 0


def make(path):
    """Make the file, together with others."""
    get_ready()
    SqliteCheckpointer(path).commit(drafts.starting(f"t{os.getpid()}", "a"))


def test_processes_may_make_the_file_at_the_same_time(path):
    with processes(4, "make", path) as makers:
        for maker in makers:
            said_by(maker)
    found = {name for name, _ in SqliteCheckpointer(path).threads()}
    assert found == {f"t{maker.pid}" for maker in makers}


def test_an_event_of_another_process_wakes_whoever_waits(store, path):
    store.commit(drafts.starting("t", *NODES))
    with processes(1, "race_for_steps", path):
        found = store.events("t", after=1, wait_s=START_S)
    assert found[0].type == "step_committed"


def test_a_fork_opens_the_file_for_itself(store):
    store.commit(drafts.starting("t", "a"))
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            claim = store.claim("t", step_of(store).step_id, owner="child", token="x")
            code = 0 if claim.fence == 1 else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.load("t").steps[step_of(store).step_id].owner == "child"
    assert store.claim("t", step_of(store).step_id, owner="me", token="y").refused


# ---- killed --------------------------------------------------------------------------------


def die_at_each_statement(path):
    """Commit the same again and again, killed at the first statement, the second, … of it."""
    get_ready()
    for number in itertools.count(1):
        pid = os.fork()
        if pid == 0:
            _die_at(SqliteCheckpointer(path), number)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        loaded = SqliteCheckpointer(path).load("t")
        print(number, code, loaded.head.checkpoint_id - drafts.FIRST, flush=True)
        if code == 0:
            return


def _die_at(store, number):
    step = step_of(store)
    claim = store.claim("t", step.step_id, owner="dying", token="token")
    seen = 0

    def count(_statement):
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    store._database._connection.set_trace_callback(count)
    guard = StepGuard(step.step_id, claim.fence)
    assert store.commit(advancing("t", drafts.FIRST + 1, guard)).refused is None
    os._exit(0)


def test_whoever_is_killed_in_a_commit_has_committed_nothing(store, path):
    store.commit(drafts.starting("t", "a", key=("key", drafts.RUN)))
    whole = MemoryCheckpointer()
    whole.commit(drafts.starting("t", "a", key=("key", drafts.RUN)))
    with processes(1, "die_at_each_statement", path) as [parent]:
        said = [tuple(map(int, line.split())) for line in said_by(parent)]
    *dead, last = said
    assert len(dead) > 10  # BEGIN, reading, writing each table, COMMIT.
    assert {(code, moved) for _, code, moved in dead} == {(-signal.SIGKILL, 0)}
    assert last[1:] == (0, 1)
    claim = whole.claim("t", step_of(whole).step_id, owner="dying", token="token")
    guard = StepGuard(step_of(whole).step_id, claim.fence)
    whole.commit(advancing("t", drafts.FIRST + 1, guard))
    assert timeless(store) == timeless(whole)


def timeless(store):
    """Return all that can be read of the thread but its times."""
    [[(_, head)], at_head, steps, *rest, ids, events] = observed(store, ["t"])
    checkpoints = [at_head[1:], steps, *(each[-2:] for each in rest)]
    head = replace(head, created_ms=0, updated_ms=0)
    return head, checkpoints, ids, [replace(event, ts_ms=0) for event in events]


def commit_for_ever(path):
    """Commit one checkpoint after another, and say which one is stored."""
    store = SqliteCheckpointer(path)
    get_ready()
    for id_ in itertools.count(store.load("t").head.checkpoint_id + 1):
        step = step_of(store)
        claim = store.claim("t", step.step_id, owner="w", token=f"token {id_}")
        guard = StepGuard(step.step_id, claim.fence)
        assert store.commit(advancing("t", id_, guard)).refused is None
        print(id_, flush=True)


def test_what_was_acknowledged_survives_a_kill_and_is_whole(store, path):
    store.commit(drafts.starting("t", "a"))
    for _ in range(3):
        store.release("w")
        with processes(1, "commit_for_ever", path) as [killed]:
            said = [int(killed.stdout.readline()) for _ in range(20)]
            killed.kill()
            said += [int(line) for line in killed.stdout if line.endswith("\n")]
        store.close()  # So that the last one closes, and the next one recovers or begins anew.
        loaded = store.load("t")
        head = loaded.head.checkpoint_id
        assert said[-1] <= head <= said[-1] + 1
        count = head - drafts.FIRST
        assert store.history("t", limit=10**6) == list(range(head, drafts.FIRST - 1, -1))
        assert loaded.blobs == {f"blob-{head}": b"%d" % head * 1000}
        assert (loaded.head.resumes, loaded.head.config) == (count, b"config %d" % head)
        outcomes = [store.load("t", checkpoint_id=id_ - 1).outcomes for id_ in said]
        assert [list(o.values()) for o in outcomes] == [[b"outcome of %d" % (i - 1)] for i in said]
        noted = [e for e in store.events("t", limit=10**6) if e.type == "and"]
        assert [int(e.fields["again"]) for e in noted] == list(range(drafts.FIRST + 1, head + 1))
        used = store.commit(Commit(thread_id="t", key=(f"key-{head}", "x")))
        assert (used.refused, used.detail) == (Refusal.KEY_USED, f"run-{head}")


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
