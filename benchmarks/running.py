"""Running contests: entries in turns, each a peer's program, on servers that stay for the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.contests import Contest, Entry
from benchmarks.environments import environment, python_of
from benchmarks.peers.contract import ROOT, footprint
from benchmarks.servers import NotMeasuredError, Server

__all__ = ["Found", "Runner", "runner"]

TIMEOUT_S = 1_200.0
STOP_S = 20.0
FEW = 2  # Rounds in a full run of entries that no target is about.
_SERVER_OF = {  # Store → the server that it is on.
    "redis": "redis",
    "queue": "redis",
    "inline": "redis",
    "chain": "redis",
    "postgres": "postgres",
    "restate": "restate",
}
_FRESH = "smallest"  # The workload that is measured with a server of its own.


@dataclass(slots=True)
class Found:
    """What a run has found: samples by contest and entry, one a round; and what is missing."""

    samples: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # By contest.
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])  # What others did.

    def of(self, contest: str, entry: str) -> list[dict[str, Any]]:
        """Return an entry's samples."""
        return self.samples.get((contest, entry), [])


class Runner:
    """Runs contests; starts a server when the first entry wants it."""

    def __init__(self, folder: Path, stack: ExitStack, *, full: bool) -> None:
        """Keep everything in `folder`, and end what was started with `stack`."""
        self._folder, self._stack, self._full = folder, stack, full
        self._servers: dict[str, Server] = {}
        self._number = 0
        self.found = Found()

    def run(self, contest: Contest) -> None:
        """Run a contest's entries in turns."""
        sizes = dict(contest.full if self._full else contest.quick)
        rounds = sizes.pop("rounds", 1)
        begun = time.perf_counter()
        for number in range(rounds):
            for entry in contest.entries:
                if self._takes_part(entry, number):
                    self._measure(contest, entry, {**sizes, **dict(entry.args)}, number)
        self.found.seconds[contest.name] = time.perf_counter() - begun

    def _takes_part(self, entry: Entry, number: int) -> bool:
        if entry.how == "always":
            return True
        return number < FEW if self._full else entry.how == "rare" and number == 0

    def _measure(self, contest: Contest, entry: Entry, sizes: dict[str, int], number: int) -> None:
        key = (contest.name, entry.name)
        if key in self.found.missing:
            return
        sys.stderr.write(f"{contest.workload} {contest.work:9} {entry.name:44} ")
        sys.stderr.flush()
        begun = time.perf_counter()
        try:
            sample = self._sample(contest, entry, sizes)
        except NotMeasuredError as error:
            self.found.missing[key] = str(error)
            sys.stderr.write(f"not measured: {error}\n")
            return
        self.found.samples.setdefault(key, []).append(sample)
        shown = _shown(sample.get(contest.metric))
        took = time.perf_counter() - begun
        sys.stderr.write(f"{shown:>12} {contest.unit}   (round {number + 1}, {took:.0f} s)\n")

    def _sample(self, contest: Contest, entry: Entry, sizes: dict[str, int]) -> dict[str, Any]:
        self._number += 1
        folder = self._folder / f"m{self._number}"
        folder.mkdir()
        kind = _SERVER_OF.get(entry.store, "")
        if contest.work == _FRESH and kind:
            with self._start(kind, folder / "server") as server:
                sample = self._program(contest, entry, sizes, folder, server)
                held = footprint(server.pid)
            sample["start_s"] += server.start_s
            return sample | {name: sample[name] + held[name] for name in held}
        server = self._server(kind) if kind else None
        if entry.twice:
            self._program(contest, entry, sizes, folder, server)
        return self._program(contest, entry, sizes, folder, server)

    def _program(
        self,
        contest: Contest,
        entry: Entry,
        sizes: dict[str, int],
        folder: Path,
        server: Server | None,
    ) -> dict[str, Any]:
        command = [
            *(python_of(entry.peer), "-m", f"benchmarks.peers.{entry.peer}", contest.work),
            *(f"--store={entry.store}", f"--folder={folder}"),
            *(f"--where={server.url if server else ''}",),
            *(f"--{name}={value}" for name, value in sizes.items()),
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        env.pop("REDIS_URL", None)  # Whatever server the user has: it is left alone.
        done = _run(command, env)
        lines = done.stdout.strip().splitlines()
        if lines and lines[-1].startswith("{"):
            return dict(json.loads(lines[-1]))
        if entry.twice and not (folder / "failed").exists() and done.returncode == 0:
            return {}  # The first of two ends as it likes.
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        msg = f"{entry.peer} {contest.work} failed: {last[:200]}"
        raise NotMeasuredError(msg)

    def _server(self, kind: str) -> Server:
        if kind not in self._servers:
            started = self._start(kind, self._folder / kind)
            self._servers[kind] = self._stack.enter_context(started)
        return self._servers[kind]

    def _start(self, kind: str, folder: Path) -> AbstractContextManager[Server]:
        if kind == "restate":
            return servers.restate(folder, environment("restate"))
        starts: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
            "redis": servers.redis,
            "postgres": servers.postgres,
        }
        return starts[kind](folder)


def _run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; if that is not waited for, it is asked to end what it started."""
    made = subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = made.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        msg = f"it took longer than {TIMEOUT_S:g} s"
        raise NotMeasuredError(msg) from None
    finally:
        if made.poll() is None:
            made.terminate()
            with suppress(subprocess.TimeoutExpired):
                made.wait(STOP_S)
            made.kill()
    return subprocess.CompletedProcess(command, made.returncode, out, err)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        value = sorted(value)[len(value) // 2] if value else None
    return "" if value is None else f"{value:,.3f}" if value < 100 else f"{value:,.0f}"


@contextmanager
def runner(*, full: bool) -> Iterator[Runner]:
    """Give a runner; what it started ends with this context."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        yield Runner(Path(folder), stack, full=full)
