"""The embedded server as a real process: what it keeps, who may share its folder, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.cli.embedded import DataFolderBusyError, EmbeddedServer, url_of_running_server
from tests.e2e.test_cli import ROOT, environment, is_alive, wait_for
from tests.fixtures.own_server import server_binary

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True, scope="module")
def binary() -> Path:
    return server_binary()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "data") as server:
        yield server


def test_a_restart_on_the_same_folder_keeps_the_data(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as first, redis.Redis.from_url(first.url) as client:
        client.set("kept", "yes")
    with EmbeddedServer(tmp_path) as second, redis.Redis.from_url(second.url) as client:
        assert client.get("kept") == b"yes"


def test_a_server_killed_in_mid_air_keeps_what_it_synced(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as first, redis.Redis.from_url(first.url) as client:
        client.set("kept", "yes")
        assert client.execute_command("WAITAOF", 1, 0, 5_000)[0] == 1
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
    with EmbeddedServer(tmp_path) as second, redis.Redis.from_url(second.url) as client:
        assert client.get("kept") == b"yes"


def test_the_server_is_set_up_to_keep_what_it_is_told(server: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        info = client.info()
        assert info["aof_enabled"] == 1
        assert info["maxmemory_policy"] == "noeviction"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert client.config_get("appendfsync")["appendfsync"] == "everysec"
        assert client.config_get("save")["save"] == ""


def test_a_second_server_in_one_folder_is_refused_with_the_first_ones_address(
    server: EmbeddedServer,
) -> None:
    with pytest.raises(DataFolderBusyError, match=server.url):
        EmbeddedServer(server.folder.path).start()
    assert server.is_running()
    assert url_of_running_server(server.folder.path) == server.url


def test_a_stopped_server_is_gone_and_its_folder_free(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop()
    server.stop()
    assert not is_alive(pid)
    assert url_of_running_server(tmp_path) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the parent-death signal")
def test_a_server_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = """
        import sys, time
        from orchestrator.cli.embedded import EmbeddedServer, free_port
        server = EmbeddedServer(sys.argv[1])
        server.start()
        print(server.pid, flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    wait_for(lambda: not is_alive(pid))
    wait_for(lambda: url_of_running_server(tmp_path) is None)
