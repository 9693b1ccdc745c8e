"""The worker's health check: `python -m workers.health [seconds]` exits with 0 if it is alive.

A file, not a question to the broker: a busy worker answers no question, and a broker that is down
is no reason to restart workers.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["HEARTBEAT_VARIABLE", "beat", "heartbeat_file", "main"]

HEARTBEAT_VARIABLE = "GRAPHSTALK_HEARTBEAT_FILE"
_AGE_MAX_S = 15.0


def heartbeat_file() -> Path:
    """Return the file whose age shows whether the worker of this environment is alive.

    By default it is in a folder of this user, since two users of one machine may run workers.
    """
    default = Path(tempfile.gettempdir(), f"graphstalk-{os.getuid()}", "heartbeat")
    return Path(os.environ.get(HEARTBEAT_VARIABLE) or default)


def beat(path: Path) -> None:
    """Make the file new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def main(argv: list[str]) -> int:
    """Return 0 if the heartbeat is young enough, 1 if it is old or missing."""
    age_max_s = float(argv[0]) if argv else _AGE_MAX_S
    path = heartbeat_file()
    try:
        age_s = time.time() - path.stat().st_mtime
    except OSError:
        sys.stderr.write(f"no heartbeat: {path} is missing\n")
        return 1
    if age_s > age_max_s:
        sys.stderr.write(f"the last heartbeat is {age_s:.0f} s old: {path}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
