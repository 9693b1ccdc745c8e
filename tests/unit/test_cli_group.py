"""The command line finds its commands, ends with the right code, and says why in one line."""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from orchestrator import cli as package
from orchestrator.cli import COMMANDS, Invocation, cli, main
from orchestrator.cli.exits import CommandError, Exit, exit_of, line_of
from orchestrator.cli.stop_signals import StopRequestedError, exit_code_of
from orchestrator.errors import (
    CheckpointerUnavailableError,
    GraphPausedError,
    NoPendingInterruptError,
    StepFailedError,
    ThreadBusyError,
    UnknownGraphError,
    UnknownInterruptError,
    UnknownThreadError,
)

Ending = Callable[[BaseException], None]


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Ending:
    """Let the command `threads` end with an exception."""

    def end_with(error: BaseException) -> None:
        @click.command()
        def threads() -> None:
            raise error

        monkeypatch.setattr("orchestrator.cli.threads.threads", threads)

    return end_with


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_exists_and_explains_itself(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    assert command.name == name


def test_the_list_of_commands_needs_none_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == Exit.OK
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in COMMANDS)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("x"), 1),
        (CommandError("x", Exit.USAGE), 2),
        (UnknownThreadError("x"), 3),
        (UnknownGraphError("x"), 3),
        (ThreadBusyError("x"), 4),
        (NoPendingInterruptError("x"), 4),
        (UnknownInterruptError("x"), 4),
        (GraphPausedError("x"), 5),
        (StepFailedError("x"), 1),
        (CheckpointerUnavailableError("x"), 1),
        (ValueError("x"), 1),
    ],
)
def test_an_error_ends_the_command_with_its_code(
    error: Exception, code: int, ending: Ending, capsys: pytest.CaptureFixture[str]
) -> None:
    ending(error)
    assert main(["threads"]) == code == exit_of(error)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("graphstalk: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_an_error_is_one_line_with_its_code() -> None:
    error = ThreadBusyError("thread 't'\n  is busy")
    assert line_of(error) == "graphstalk: thread 't' is busy [THREAD_BUSY]"
    assert line_of(KeyError("k")) == "graphstalk: KeyError: 'k' [INTERNAL] (--debug shows where)"


@pytest.mark.parametrize("arguments", [["--debug", "threads"], ["threads", "--debug"]])
def test_debug_shows_where_an_error_came_from(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        msg = "no"
        raise ThreadBusyError(msg)

    monkeypatch.setattr("orchestrator.cli.threads.open_reader", refuse)
    assert main(arguments) == Exit.CONFLICT
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (StopRequestedError(2), 130), (StopRequestedError(15), 143)],
)
def test_a_signal_ends_the_command_with_its_code(
    error: BaseException, code: int, ending: Ending
) -> None:
    ending(error)
    assert main(["threads"]) == code


@pytest.mark.parametrize(("command", "code"), [("worker", 0), ("dev", 0), ("demo", 143)])
def test_sigterm_is_success_for_a_service_and_failure_for_a_job(command: str, code: int) -> None:
    assert exit_code_of(signal.SIGTERM, ["--debug", command, "-x"]) == code
    assert exit_code_of(signal.SIGINT, [command]) == 130


def test_an_unknown_command_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sumbit"]) == Exit.USAGE
    assert "Did you mean 'submit'?" in capsys.readouterr().err
    assert main(["xyzzy"]) == Exit.USAGE
    assert "Did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", *package.COMMANDS])
def test_help_has_no_raw_escapes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*([name] if name else []), "--help"]) == Exit.OK
    shown = capsys.readouterr().out
    assert "\\" not in shown
    assert all(letter.isprintable() or letter == "\n" for letter in shown)


def test_wrong_usage_is_told_from_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-command"]) == Exit.USAGE
    assert main(["threads", "--limit", "0"]) == Exit.USAGE
    assert main(["state"]) == Exit.USAGE
    assert "Usage:" in capsys.readouterr().err


def test_the_current_folder_is_searched_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/first", "/second"])
    monkeypatch.setattr("os.getcwd", lambda: "/project")
    package.find_modules_of_this_folder()
    package.find_modules_of_this_folder()
    assert sys.path == ["/first", "/second", "/project"]


@pytest.mark.parametrize(
    ("name", "value"), [("GRAPHSTALK_SWEEP_S", "soon"), ("REDIS_URL", "http://:secret@h")]
)
def test_a_setting_that_is_none_is_wrong_usage(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert main(["threads"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "secret" not in said


def test_the_module_runs_as_a_command() -> None:
    assert importlib.util.find_spec("orchestrator.cli.__main__") is not None
    assert Invocation().debug is False


def test_an_interrupt_in_code_made_from_text_leaves_the_exit_code_as_it_is(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from orchestrator.cli import stop_signals

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    exec("os.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass")
except KeyboardInterrupt:
    stop_signals.mark_as_handled()
sys.exit(130)
"""
    (tmp_path / "interrupted.py").write_text(script)
    root = Path(package.__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == 130


def test_a_signal_that_python_could_not_raise_is_raised_a_moment_later() -> None:
    program = """
import os, signal, sys, time, weakref
sys.orig_argv[1:] = ["graphstalk"]
from orchestrator.cli import stop_signals

stop_signals.raise_when_stopped()

class Watched:
    pass

watched = Watched()
callback = lambda _: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.001))
reference = weakref.ref(watched, callback)
try:
    del watched
    time.sleep(30)
except stop_signals.StopRequestedError as stop:
    print(stop.number)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("15\n", "")
