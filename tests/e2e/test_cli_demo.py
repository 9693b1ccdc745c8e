"""The demo, as a newcomer runs it: a worker is killed, nothing is lost, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import redis

from orchestrator.cli.embedded import EmbeddedServer
from tests.e2e.test_cli import COMMAND, ROOT, environment, graphstalk, is_alive, wait_for
from tests.fixtures.own_server import server_binary

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(autouse=True, scope="module")
def binary() -> Path:
    return server_binary()


def demo_processes(folder: Path) -> list[int]:
    """Find whatever inherited the mark that the demo was started with."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"MARK={folder}".encode() in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return [pid for pid in found if is_alive(pid)]


def test_the_demo_kills_a_worker_and_loses_nothing(tmp_path: Path) -> None:
    temp = tmp_path / "tmp"
    temp.mkdir()
    arguments = ["--path", str(ROOT / "orchestrator"), "--threads", "2", "--out", "out", "--json"]
    done = graphstalk("demo", *arguments, cwd=tmp_path, TMPDIR=str(temp), MARK=str(temp))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["finished"] == said["threads"] > 0
    assert (said["lost"], said["duplicated"], said["kills"]) == (0, 0, 1)
    assert said["reexecuted"] >= 1
    assert said["takeover_s"] > 0
    reports = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(reports) == 2 * said["threads"]
    assert list(temp.iterdir()) == []
    assert demo_processes(temp) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_demo_ends_what_it_started(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--threads", "2"],
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path), MARK=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if "steps committed" in line and " 0 steps" not in line:
                break
        process.send_signal(number)
        rest = process.stdout.read()
    killed = number is signal.SIGKILL
    assert process.returncode == (-number if killed else 128 + number), rest
    try:
        wait_for(lambda: demo_processes(tmp_path) == [])
    finally:
        for pid in demo_processes(tmp_path):
            os.kill(pid, signal.SIGKILL)
    if not killed:
        assert list(tmp_path.iterdir()) == []


def test_the_demo_leaves_nothing_on_a_server_of_somebody_else(tmp_path: Path) -> None:
    arguments = ["--path", str(ROOT / "orchestrator"), "--threads", "1", "--kills", "0", "--json"]
    with EmbeddedServer(tmp_path / "data") as server, redis.Redis.from_url(server.url) as client:
        client.set("theirs", "untouched")
        done = graphstalk("demo", *arguments, cwd=tmp_path, REDIS_URL=server.url)
        assert done.returncode == 0, done.stderr
        # What is left is the broker's own: tables that all its users share, and that expire.
        left = [key for key in client.scan_iter() if not key.startswith(b"_kombu.")]
        assert left == [b"theirs"]
