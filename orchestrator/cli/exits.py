"""The end of a command: its exit code, and the one line that gives the reason.

Scripts branch on these numbers, so they never change their meaning.
"""

from __future__ import annotations

import enum

from orchestrator.config import without_secrets
from orchestrator.errors import (
    GraphPausedError,
    GraphstalkError,
    NoPendingInterruptError,
    ThreadBusyError,
    UnknownGraphError,
    UnknownThreadError,
)

BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells report when a reader such as `head` left.


class Exit(enum.IntEnum):
    """The exit codes of commands."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    PAUSED = 5  # The run waits for a person.
    INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT.


class CommandError(GraphstalkError):
    """A command failed for a reason of the command line itself."""

    code = "COMMAND_FAILED"

    def __init__(self, message: str, exit_code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def exit_of(error: BaseException) -> Exit:
    """Return the exit code of an error."""
    match error:
        case CommandError():
            return error.exit_code
        case UnknownThreadError() | UnknownGraphError():
            return Exit.NOT_FOUND
        case ThreadBusyError() | NoPendingInterruptError():
            return Exit.CONFLICT
        case GraphPausedError():
            return Exit.PAUSED
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case _:
            return Exit.FAILURE


def line_of(error: BaseException) -> str:
    """Return the error as one line: what happened and its stable code."""
    text = without_secrets(" ".join(str(error).split())) or type(error).__name__
    if isinstance(error, GraphstalkError):
        return f"graphstalk: {text} [{error.code}]"
    return f"graphstalk: {type(error).__name__}: {text} [INTERNAL] (--debug shows where)"
