"""Ctrl-C and SIGTERM of a command, from its first import on.

This module is the first that the command imports: while the others are loaded, a signal ends the
process without a traceback. Later it becomes an exception, so that started processes are stopped.

Rule 1: Ctrl-C ends a command with 130.
Rule 2: SIGTERM ends a service (`worker`, `dev`) with 0, since supervisors stop it so, and any other
        command, which has not done its work, with 143.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import namedtuple
from collections.abc import Sequence
from types import FrameType

PROGRAMS = ("graphstalk", "orchestrator.cli")  # A script, or `python -m`.
SERVICES = ("worker", "dev")
_LATER_S = 0.01  # By then the callback in which a signal came has ended.
_received: list[int] = []  # Signals that became exceptions.


class StopRequestedError(KeyboardInterrupt):
    """A person or a supervisor asked this process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code_of(number: int, arguments: Sequence[str] | None = None) -> int:
    """Return the exit code of a command that was stopped by a signal.

    Args:
        number: of the signal.
        arguments: of the command line; by default those of this process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in words if not word.startswith("-")), "")
    return 0 if command in SERVICES and number == signal.SIGTERM else 128 + number


def raise_when_stopped() -> None:
    """Let Ctrl-C and SIGTERM raise in the main OS thread, if this process is the command."""
    if _is_command():
        signal.signal(signal.SIGINT, _raise)
        signal.signal(signal.SIGTERM, _raise)
        sys.unraisablehook = _raise_later


def raise_again() -> None:
    """Raise once more for a signal whose exception other code has handled.

    Raises:
        StopRequestedError: if there was such a signal.
    """
    if _received:
        raise StopRequestedError(_received[-1])


def mark_as_handled() -> None:
    """Let Python forget an interrupt that hit code made from text, and was handled.

    Otherwise `python -m` ends the process by that signal instead of with its exit code. Each named
    tuple and dataclass is made from text. Python clears its mark when it makes the next one.
    """
    namedtuple("Handled", ())  # noqa: PYI024 - only made


def _raise(number: int, _: FrameType | None) -> None:
    _received.append(number)
    raise StopRequestedError(number)


def _raise_later(lost: sys.UnraisableHookArgs) -> None:
    """Raise again an interrupt that Python dropped, since it came inside a callback of Python."""
    if not isinstance(lost.exc_value, StopRequestedError):
        sys.__unraisablehook__(lost)
        return
    number = lost.exc_value.number
    signal.signal(signal.SIGALRM, lambda _, frame: _raise(number, frame))
    signal.setitimer(signal.ITIMER_REAL, _LATER_S)


def _end_at_once(number: int, _: FrameType | None) -> None:
    os._exit(exit_code_of(number))


def _is_command() -> bool:
    return any(os.path.basename(word) in PROGRAMS for word in sys.orig_argv[1:8])  # noqa: PTH119


def end_at_once() -> None:
    """Let Ctrl-C and SIGTERM end this process at once, if it is the command."""
    if _is_command():
        signal.signal(signal.SIGINT, _end_at_once)
        signal.signal(signal.SIGTERM, _end_at_once)


end_at_once()  # At the import: what follows it takes a tenth of a second.
