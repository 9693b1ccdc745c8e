"""The servers that are measured on: one of each for a whole run, in folders of their own.

A Postgres is found on PATH or where Debian puts it, and started on a cluster of its own, by a user
without privileges if this process is root. Its settings are its own defaults: every commit waits
for the disk. Redis keeps its log as the embedded server does, flushed once a second.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contract import ROOT, program
from orchestrator.cli.embedded import EmbeddedServer, free_port

__all__ = ["NotMeasuredError", "Server", "postgres", "redis", "restate"]

START_S = 60.0


class NotMeasuredError(Exception):
    """Something that a measurement needs is not on this machine; the text says what."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    url: str
    pid: int
    start_s: float


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """Run the embedded Redis or Valkey."""
    begun = time.perf_counter()
    with EmbeddedServer(folder) as server:
        assert server.pid is not None
        yield Server(server.url, server.pid, time.perf_counter() - begun)


def _postgres_folder() -> Path:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres", "pg_isready")):
            return folder
    msg = "no Postgres on PATH or under /usr/lib/postgresql (apt-get install postgresql)"
    raise NotMeasuredError(msg)


def postgres_version() -> str:
    """Return which Postgres would be measured; empty if none."""
    with contextlib.suppress(NotMeasuredError):
        command = [str(_postgres_folder() / "postgres"), "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return ""


@contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    """Run a Postgres on a new cluster in the folder, with its default settings.

    Raises:
        NotMeasuredError: if there is none.
    """
    binaries = _postgres_folder()
    data = folder / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    user: dict[str, str] = {}
    if os.getuid() == 0:  # Postgres refuses to run as root.
        name = next((n for n in ("postgres", "nobody") if _known(n)), None)
        if name is None:
            msg = "Postgres does not run as root, and there is no other user here"
            raise NotMeasuredError(msg)
        shutil.chown(folder, name)
        for parent in folder.parents[:-2]:  # It must be able to reach the folder.
            parent.chmod(parent.stat().st_mode | 0o011)
        user = {"user": name}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=folder,
        **user,  # type: ignore[call-overload]
    )
    port = free_port()
    begun = time.perf_counter()
    with (folder / "log").open("ab") as log:
        made = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder],
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            **user,  # type: ignore[call-overload]
        )
    try:
        ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        _wait(lambda: subprocess.run(ready, check=False).returncode == 0, "Postgres")
        took = time.perf_counter() - begun
        yield Server(f"postgresql://bench@127.0.0.1:{port}/postgres", made.pid, took)
    finally:
        made.terminate()  # A smart shutdown waits for clients; there are none by now.
        try:
            made.wait(20)
        except subprocess.TimeoutExpired:
            made.kill()


def _known(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


@contextmanager
def restate(folder: Path, environment: Path) -> Iterator[Server]:
    """Run a Restate server of one node; the URL is `<ingress port>,<admin port>`.

    Raises:
        NotMeasuredError: if its package is not installed.
    """
    places = (environment / "node_modules" / "@restatedev").glob("restate-server-*/bin")
    binary = next((each / "restate-server" for each in places), None)
    if binary is None:
        msg = "no Restate server: its package comes from npm, which is not here"
        raise NotMeasuredError(msg)
    ingress, admin, fabric = free_port(), free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    env = {
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(fabric),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RUST_LOG": "warn",
    }
    begun = time.perf_counter()
    command = (str(binary), "--base-dir", str(folder / "data"), "--node-name", "bench")
    with program(*command, log=folder / "log", env=env) as made:
        for port, path in ((admin, "health"), (ingress, "restate/health")):
            _wait(lambda url=f"http://127.0.0.1:{port}/{path}": _answers(url), "Restate")
        yield Server(f"{ingress},{admin}", made.pid, time.perf_counter() - begun)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait(true, what: str) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    end = time.monotonic() + START_S
    while not true():
        if time.monotonic() > end:
            msg = f"{what} did not start within {START_S:g} s"
            raise NotMeasuredError(msg)
        time.sleep(0.05)


__all__ += ["ROOT", "postgres_version"]
