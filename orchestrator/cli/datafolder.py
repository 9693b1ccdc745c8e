"""The data folder of an embedded server: who uses it, and where the server in it listens.

The folder holds the server's append-only files, its log, and `graphstalk.lock`. That file is locked
(`flock`) while a server runs in the folder, and says which one: `{"pid": …, "server_pid": …, "url":
…}`.

Rule 1: the lock decides, not the text. Text without a lock was left by somebody who died.
Rule 2: the lock file is never removed: two processes that lock two files of one name both win.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

from orchestrator.errors import GraphstalkError

__all__ = ["DEFAULT_FOLDER", "DataFolder", "DataFolderBusyError", "url_of_running_server"]

DEFAULT_FOLDER = Path(".graphstalk")  # Of the project one works in, beside its pyproject.toml.
LOCK_NAME = "graphstalk.lock"
LOCK_WAIT_S = 1.0  # A reader holds the lock for an instant; a server for its whole life.
POLL_S = 0.05


class DataFolderBusyError(GraphstalkError):
    """Another embedded server already runs in this data folder."""

    code = "DATA_FOLDER_BUSY"


class DataFolder:
    """A folder that at most one embedded server uses at a time."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path.resolve()
        self._fd: int | None = None

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """What the server inherits, so that the lock lives as long as it does."""
        return () if self._fd is None else (self._fd,)

    def lock(self) -> None:
        """Take the folder.

        Raises:
            DataFolderBusyError: if it is taken; the message names the process and the address.
        """
        fd = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_WAIT_S
        while not try_lock(fd, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = read_holder(fd)
                os.close(fd)
                msg = (
                    f"the data folder {self.path} is in use by process {holder.get('pid', '?')} "
                    f"(server at {holder.get('url', '?')}): use that one, stop it, or choose "
                    "another folder"
                )
                raise DataFolderBusyError(msg)
            time.sleep(POLL_S)
        self._fd = fd
        self._write({"pid": os.getpid()})

    def announce(self, url: str, server_pid: int) -> None:
        """Say where the server listens, for commands started in the same place."""
        self._write({"pid": os.getpid(), "server_pid": server_pid, "url": url})

    def release(self) -> None:
        """Give the folder free. Harmless if it was not taken."""
        if self._fd is not None:
            self._write(None)
            os.close(self._fd)
            self._fd = None

    def _write(self, holder: dict[str, object] | None) -> None:
        assert self._fd is not None
        os.ftruncate(self._fd, 0)
        if holder is not None:
            os.pwrite(self._fd, json.dumps(holder).encode(), 0)


def url_of_running_server(folder: Path) -> str | None:
    """Return where the embedded server of that folder listens; None if none runs there."""
    try:
        fd = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if try_lock(fd, fcntl.LOCK_SH):
            return None
        url = read_holder(fd).get("url")
        return str(url) if url else None
    finally:
        os.close(fd)


def try_lock(fd: int, kind: int) -> bool:
    """Take the lock if that is possible at once."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        return True
    return False


def read_holder(fd: int) -> dict[str, object]:
    """Return what the lock file says of its holder; nothing while it is being written."""
    with contextlib.suppress(ValueError):
        holder = json.loads(os.pread(fd, 4096, 0))
        if isinstance(holder, dict):
            return holder
    return {}
