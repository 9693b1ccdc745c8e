"""Ctrl-C and SIGTERM at any moment of a command, from its first import on: no traceback.

Moments are measured in processor time of the command, which does not depend on what else the
machine does, and begin when the command handles signals (before that, Python itself starts).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.embedded import EmbeddedServer
from tests.fixtures.own_server import server_binary

pytestmark = [pytest.mark.server, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")]

ROOT = Path(__file__).resolve().parents[2]
MOMENTS_S = {  # None: when a worker is ready, which takes it about 1.
    "worker": (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.8, 0.9, 1.0, None),
    "dev": (0.0, 0.02, 0.05, 0.1, 0.2, None),
    "demo": (0.0, 0.02, 0.05, 0.1, 0.2),
}
READY = " ready."
TICKS = os.sysconf("SC_CLK_TCK")
GRAPH = """
from orchestrator import START, StateGraph

graph = StateGraph(dict).add_node("go", lambda state: {}).add_edge(START, "go").compile()
"""
COMMANDS = {
    "worker": ["worker", "--concurrency", "1", "--loglevel", "info"],
    "dev": ["dev", "--workers", "1"],
    "demo": ["demo", "--threads", "40", "--kills", "0", "--path", str(ROOT / "orchestrator/cli")],
}
BAD = ("Traceback", "Exception ignored", "KeyboardInterrupt", "StopRequested")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedServer(tmp_path_factory.mktemp("server"), binary=server_binary()) as server:
        yield server.url


class Started:
    """A command that was started in a terminal of its own."""

    def __init__(self, name: str, folder: Path, url: str) -> None:
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("GRAPHSTALK_", "REDIS_"))}
        env = {**ours, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        env |= {"GRAPHSTALK_HEARTBEAT_FILE": str(folder / "heartbeat"), "HOME": str(folder)}
        if name == "worker":
            env["REDIS_URL"] = url
        (folder / "one.py").write_text(GRAPH)
        (folder / "pyproject.toml").write_text('[tool.graphstalk]\ngraphs = {one = "one:graph"}\n')
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.cli", *COMMANDS[name]],
                cwd=folder if name != "demo" else ROOT,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def handles_signals(self) -> bool:
        caught = next(line for line in self.proc("status").splitlines() if "SigCgt" in line)
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    def used_s(self) -> float:
        fields = self.proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def wait_until(self, moment_s: float | None) -> None:
        deadline = time.monotonic() + 60
        while not self.handles_signals():
            assert time.monotonic() < deadline
        began = self.used_s()
        while READY not in self.said():
            if moment_s is not None and self.used_s() - began >= moment_s:
                return
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.005)

    def end(self, number: signal.Signals) -> int:
        """Send a signal, as a terminal does it or a supervisor; return the exit code."""
        if number is signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number", "code"),
    [
        ("worker", signal.SIGINT, 130),
        ("worker", signal.SIGTERM, 0),
        ("dev", signal.SIGINT, 130),
        ("dev", signal.SIGTERM, 0),
        ("demo", signal.SIGINT, 130),
        ("demo", signal.SIGTERM, 143),
    ],
)
def test_a_signal_at_any_moment_ends_a_command_without_a_traceback(
    name: str, number: signal.Signals, code: int, url: str, tmp_path: Path
) -> None:
    for index, moment_s in enumerate(MOMENTS_S[name]):
        folder = tmp_path / str(index)
        folder.mkdir()
        started = Started(name, folder, url)
        try:
            started.wait_until(moment_s)
            assert started.end(number) == code, f"at {moment_s}: {started.said()}"
        finally:
            started.process.kill()
            started.process.wait()
        assert [word for word in BAD if word in started.said()] == [], f"at {moment_s}"
