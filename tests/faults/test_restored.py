"""A server that went back in time is noticed before anything runs on what is left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.checkpointer.redis.rollback_guard import halts
from tests.integration.accounts import assert_settled, assert_whole
from tests.integration.fleet import ROOT, Fleet, Ran, stopped

pytestmark = [pytest.mark.server, pytest.mark.slow]

FILES = "appendonlydir"  # What the server keeps: a copy of it is a backup.
LOSS_S = 6.0  # More than a crash of a server may lose, also if the file of a host is a second late.
QUIET_S = 3.0  # In which something would run.


def back_up(fleet: Fleet) -> None:
    """Copy what the server has, once somebody has looked at it."""
    wait_looked(fleet)
    shutil.copytree(fleet.server.folder.path / FILES, fleet.folder / "backup")


def wait_looked(fleet: Fleet, since_ms: int = 0) -> None:
    """Wait until somebody has looked at all partitions since then, and so knows them."""
    sweeps = [fleet.store.keys.partition(p) + "sweep" for p in range(fleet.store.partitions)]
    fleet.wait_until(
        lambda: all(int(fleet.redis.hget(k, "mark") or 0) > since_ms for k in sweeps), "a look"
    )


def restore(fleet: Fleet) -> None:
    """Put the copy in the place of what the server had."""
    shutil.rmtree(fleet.server.folder.path / FILES)
    shutil.copytree(fleet.folder / "backup", fleet.server.folder.path / FILES)


def command(fleet: Fleet, *arguments: str) -> tuple[int, Any]:
    """Run the command line; return its exit code and what it printed as JSON."""
    argv = [sys.executable, "-m", "orchestrator.cli", *arguments, "--json"]
    env = {**os.environ, **fleet.variables, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def finding(fleet: Fleet) -> Mapping[str, str]:
    """Return what the doctor says of the server's past."""
    code, told = command(fleet, "doctor", "--graphs", "row=tests.integration.graphs:row")
    assert code == 1
    codes = {"SERVER_WENT_BACK", "SERVER_EMPTIED"}
    return next(one for one in told["findings"] if one["code"] in codes)


def wait_halted(fleet: Fleet) -> None:
    """Wait until all partitions are halted."""
    all_ = fleet.store.partitions
    fleet.wait_until(lambda: len(halts(fleet.store)) == all_, "somebody notices")


def assert_nothing_runs(fleet: Fleet, thread: str, before: list[Ran]) -> None:
    """Submit a run, and see that for a while nothing runs but what had run before."""
    fleet.submit("row", thread)
    time.sleep(QUIET_S)
    assert fleet.ran() == before


def accept(fleet: Fleet) -> None:
    """Accept the loss."""
    code, told = command(fleet, "doctor", "--accept-loss")
    assert (code, len(told["accepted"])) == (0, fleet.store.partitions)


def half_done(fleet: Fleet, *threads: str) -> None:
    """Run threads until each is in the middle of its node `two`."""
    for thread in threads:
        fleet.submit("row", thread, script={"two": [f"wait {thread}"]})
    for thread in threads:
        fleet.wait_for("two", thread=thread)


def finish(fleet: Fleet, *threads: str) -> None:
    """Let threads go on, and wait until they have ended."""
    for thread in threads:
        fleet.open(thread)
    for thread in threads:
        assert fleet.result(thread)["total"] == 3


@pytest.mark.parametrize("knows", ["a worker that lives", "only a file of the host"])
def test_a_server_restored_from_an_old_copy_runs_nothing_until_that_is_accepted(
    fleet: Fleet, knows: str
) -> None:
    worker = fleet.start(concurrency=2)
    half_done(fleet, "a", "b")
    fleet.submit("row", "waits")
    back_up(fleet)
    finish(fleet, "a", "b")
    fleet.submit("row", "later")
    for thread in ("waits", "later"):
        assert fleet.result(thread)["total"] == 3
    time.sleep(LOSS_S)
    before = fleet.ran()
    if knows != "a worker that lives":
        worker.kill_all()
    fleet.restart_server(while_down=lambda: restore(fleet))
    if knows != "a worker that lives":
        fleet.start(concurrency=2)
    wait_halted(fleet)
    assert_nothing_runs(fleet, "new", before)

    told = finding(fleet)
    assert told["code"] == "SERVER_WENT_BACK"
    assert "went back in time by" in told["what"]
    assert "--accept-loss" in told["remedy"]
    assert fleet.client.explain("a").reasons[0].code == "HALTED"

    accept(fleet)
    threads = ("a", "b", "waits", "new")
    for thread in threads:
        assert fleet.result(thread)["total"] == 3
    assert fleet.store.load("later") is None
    assert_whole(fleet, *threads)
    assert {fleet.client.explain(thread).reasons[0].code for thread in threads} == {"ENDED"}


def test_who_has_seen_nothing_waits_for_those_who_have(fleet: Fleet) -> None:
    knows = fleet.start()
    fleet.submit("row", "a")
    back_up(fleet)
    assert fleet.result("a")["total"] == 3
    time.sleep(LOSS_S)
    before = fleet.ran()
    fleet.variables["GRAPHSTALK_STATE_DIR"] = str(fleet.folder / "state of another host")
    fleet.variables["GRAPHSTALK_LEASE_TTL_S"] = "8"  # So long it waits.
    with stopped(*knows.pids()):
        time.sleep(0.1)  # What is under way to the server arrives.
        fleet.restart_server(while_down=lambda: restore(fleet))
        fleet.start()
        time.sleep(2)
        assert halts(fleet.store) == {}
    wait_halted(fleet)
    time.sleep(QUIET_S)
    assert fleet.ran() == before


def test_a_newer_copy_is_as_good_as_accepting(fleet: Fleet) -> None:
    fleet.start()
    back_up(fleet)
    time.sleep(LOSS_S)
    fleet.submit("row", "a")
    assert fleet.result("a")["total"] == 3
    before = fleet.ran()
    whole = fleet.folder / "whole"
    files = fleet.server.folder.path / FILES

    def set_aside() -> None:
        shutil.copytree(files, whole)
        restore(fleet)

    def put_back() -> None:
        shutil.rmtree(files)
        shutil.copytree(whole, files)

    fleet.restart_server(while_down=set_aside)
    wait_halted(fleet)
    fleet.restart_server(while_down=put_back)
    fleet.submit("row", "b")
    assert fleet.result("b")["total"] == 3
    assert halts(fleet.store) == {}
    assert [ran for ran in fleet.ran() if ran.thread == "a"] == before
    assert_settled(fleet, "a", "b")


def test_a_server_that_was_emptied_is_told_in_other_words(fleet: Fleet) -> None:
    fleet.start()
    fleet.submit("row", "a")
    assert fleet.result("a")["total"] == 3
    before = fleet.ran()
    wait_looked(fleet)
    fleet.redis.flushall()
    wait_halted(fleet)
    assert_nothing_runs(fleet, "b", before)
    told = finding(fleet)
    assert told["code"] == "SERVER_EMPTIED"
    assert "nothing of what it had" in told["what"]
    accept(fleet)
    assert fleet.result("b")["total"] == 3
    assert_whole(fleet, "b")


def test_an_attempt_from_before_cannot_commit_on_what_was_accepted(fleet: Fleet) -> None:
    fleet.start(concurrency=2)
    half_done(fleet, "a")
    back_up(fleet)
    time.sleep(LOSS_S)
    fleet.restart_server(while_down=lambda: restore(fleet))
    wait_halted(fleet)
    accept(fleet)
    fleet.wait_for("two", attempt=2, thread="a")
    finish(fleet, "a")
    fleet.wait_until(lambda: fleet.stats("stale_refused") == 1, "the old attempt is refused", 15)
    assert_settled(fleet, "a")


def test_what_a_crash_may_lose_is_counted_and_done_again(fleet: Fleet) -> None:
    fleet.start()
    half_done(fleet, "a")
    back_up(fleet)
    finish(fleet, "a")
    ended_s, ended_us = fleet.redis.time()
    wait_looked(fleet, ended_s * 1000 + ended_us // 1000)  # So somebody knows there was more.
    fleet.restart_server(while_down=lambda: restore(fleet))
    # Its claim is there again, of a process that lives and has long forgotten it.
    assert fleet.result("a")["total"] == 3
    assert halts(fleet.store) == {}
    assert fleet.stats("went_back") >= 1
    assert [ran.attempt for ran in fleet.ran("a") if ran.name == "two"] == [1, 2]
    assert_whole(fleet, "a")
