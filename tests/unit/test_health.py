"""A worker is alive if its file is young."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.health import HEARTBEAT_VARIABLE, beat, heartbeat_file, main


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "heartbeat"
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(path))
    return path


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_the_file_is_the_configured_one(file):
    assert heartbeat_file() == file


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_setting_the_file_is_in_the_temporary_folder(value, monkeypatch):
    if value is None:
        monkeypatch.delenv(HEARTBEAT_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(HEARTBEAT_VARIABLE, value)
    assert heartbeat_file().parts[-2:] == (f"graphstalk-{os.getuid()}", "heartbeat")


def test_two_users_of_one_machine_have_a_file_each(monkeypatch):
    monkeypatch.delenv(HEARTBEAT_VARIABLE, raising=False)
    files = set()
    for user in (1000, 1001):
        monkeypatch.setattr(os, "getuid", lambda user=user: user)
        files.add(heartbeat_file())
    assert len(files) == 2


def test_a_worker_that_never_beat_is_not_alive(file, capsys):
    assert main([]) == 1
    assert capsys.readouterr().err == f"no heartbeat: {file} is missing\n"


def test_a_worker_that_has_just_beaten_is_alive(file, capsys):
    beat(file)
    assert main([]) == 0
    assert capsys.readouterr().err == ""


def test_a_beat_makes_an_old_file_new(file):
    beat(file)
    age(file, 1000)
    beat(file)
    assert main([]) == 0


@pytest.mark.parametrize(("seconds", "argv", "code"), [(14, [], 0), (16, [], 1), (16, ["60"], 0)])
def test_how_old_is_too_old_may_be_given(file, seconds, argv, code):
    beat(file)
    age(file, seconds)
    assert main(argv) == code


def test_an_old_heartbeat_says_how_old_and_where(file, capsys):
    beat(file)
    age(file, 100)
    main([])
    assert capsys.readouterr().err == f"the last heartbeat is 100 s old: {file}\n"


def test_the_module_is_the_health_check_of_a_container(file):
    beat(file)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "workers.health", "30"]
    assert subprocess.run(command, cwd=root, check=False, timeout=60).returncode == 0
