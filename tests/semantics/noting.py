"""How nodes of tests note that they run, in a file, and wait at gates."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["GATE_WAIT_S", "POLL_S", "BoomError", "gate_of", "note", "ran", "says", "wait_at"]

GATE_WAIT_S = 60.0  # A test that does not open its gate fails; it does not hang.
POLL_S = 0.002


class BoomError(Exception):
    """What a node raises that fails; no class of the standard library, nor of ours."""


def ran(witness: str, name: str | None = None) -> list[str]:
    """Return what ran, in order; or how often this node did."""
    path = Path(witness)
    names = path.read_text("utf-8").split() if path.exists() else []
    return names if name is None else [one for one in names if one == name]


def note(state: Any, name: str) -> int:
    """Write down that a node runs; return the how manieth time it is."""
    file = os.open(state["witness"], os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, name.encode() + b"\n")
        # Up to here: another attempt may have written since.
        before = os.pread(file, os.lseek(file, 0, os.SEEK_CUR), 0)
    finally:
        os.close(file)
    return before.decode().split().count(name)


def gate_of(witness: str, name: str) -> Path:
    """Return the file whose existence lets the waiting node `name` go on."""
    return Path(f"{witness}.{name}.open")


def wait_at(state: Any, name: str) -> None:
    """Wait until the gate is opened."""
    end = time.monotonic() + GATE_WAIT_S
    while not gate_of(state["witness"], name).exists():
        if time.monotonic() > end:
            msg = f"the gate of {name} stayed closed"
            raise TimeoutError(msg)
        time.sleep(POLL_S)


def says(name: str) -> Callable[[Any], dict[str, Any]]:
    """Return a node that only leaves its name."""

    def run(state: Any) -> dict[str, Any]:
        note(state, name)
        return {"log": [name]}

    run.__name__ = name
    return run
