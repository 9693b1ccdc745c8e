"""Run a program that dies when its parent dies, where the system allows it.

This file is a script: `python -I -S tether.py PARENT_PID SIGNAL PROGRAM ARGUMENT...` asks Linux for
SIGNAL at its parent's death and then becomes PROGRAM. It imports nothing but the standard library,
because it starts before any path is set up. Elsewhere than on Linux it only becomes PROGRAM: there
the caller's own clean-up is all there is.

Rule 1: the parent's death is caught from the first instant: if it died before the request was made,
        this process has another parent, which is checked after the request.
Rule 2: Linux watches the OS thread that started the child, so start a tethered program from the
        main one.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
EXIT_NOT_FOUND = 127  # The exit code of shells for a missing program.


def tethered(argv: Sequence[str], at_death: signal.Signals = signal.SIGTERM) -> list[str]:
    """Return the command line that runs `argv` tethered to the calling process."""
    if not sys.platform.startswith("linux"):
        return list(argv)
    script = str(Path(__file__).resolve())
    tether = [sys.executable, "-I", "-S", script, str(os.getpid()), str(int(at_death))]
    return [*tether, *argv]


def ask_for_death_signal(number: int) -> None:
    """Ask the kernel to send this process a signal at its parent's death, also after `exec`."""
    import ctypes  # Only Linux needs it, and only here.

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)


def run(arguments: Sequence[str]) -> int:
    """Become the given program; return only if that is not possible."""
    parent, number, *program = arguments
    if sys.platform.startswith("linux"):
        ask_for_death_signal(int(number))
    if os.getppid() != int(parent):
        return 0
    try:
        os.execvp(program[0], program)  # noqa: S606  # No shell is the point.
    except OSError as error:
        sys.stderr.write(f"cannot start {program[0]}: {error.strerror}\n")
        return EXIT_NOT_FOUND


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
