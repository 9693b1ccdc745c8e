"""Real servers and workers for a measurement, stopped whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["process", "wait_until"]

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def process(*command: str, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of this interpreter in a process group of its own; end it by SIGTERM."""
    full = {**os.environ, **env, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        made = subprocess.Popen(
            [sys.executable, *command],
            env=full,
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield made
    finally:
        made.send_signal(signal.SIGTERM)
        try:
            made.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(made.pid, signal.SIGKILL)


def wait_until(true: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: if it does not come true in time.
    """
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            msg = f"{what} did not happen within {timeout_s} s"
            raise TimeoutError(msg)
        time.sleep(0.01)
