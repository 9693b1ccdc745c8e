"""How long a short run takes while long threads of quick steps go on in place beside it.

`python -m benchmarks.fairness [--long 0 1 2 4] [--runs 60] [--processes 2] [--json]`

A worker's process goes on in place for a slice of time, then others have their turn. So a short run
should wait for about one slice for each long thread that is before it on its process, and never for
a long thread to end. A run is timed from its submission to its result, by its client.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TypedDict

from benchmarks.peers.contract import program
from benchmarks.peers.fleetgraphs import GRAPHS
from orchestrator import Client
from orchestrator.cli.embedded import EmbeddedServer
from orchestrator.config import Settings

__all__ = ["Turn", "main", "measure_turns"]

DEPTH = 1_000_000  # Steps of a long thread: it does not end while others are timed.
WAIT_S = 60.0
LONG, SHORT = "loop_inline", "short_inline"


class Turn(TypedDict):
    """How long short runs took beside a number of long threads, in ms."""

    long: int
    p50_ms: float
    p99_ms: float


def measure_turns(long: list[int], runs: int, processes: int) -> list[Turn]:
    """Return what short runs took, for each number of long threads; every time on a new fleet."""
    return [_turn(count, runs, processes) for count in long]


def _turn(long: int, runs: int, processes: int) -> Turn:
    with tempfile.TemporaryDirectory() as place, EmbeddedServer(Path(place, "data")) as server:
        graphs = [f"--graphs={name}=benchmarks.peers.fleetgraphs:{name}" for name in (LONG, SHORT)]
        command = (sys.executable, "-m", "workers", f"--concurrency={processes}", *graphs)
        env = {"REDIS_URL": server.url}
        settings = Settings.from_env(env)
        with (
            program(*command, log=Path(place, "log"), env=env),
            Client(graphs=GRAPHS, settings=settings) as client,
        ):
            _timed_ms(client)
            config = {"recursion_limit": DEPTH + 10}
            value = {"count": 0, "depth": DEPTH}
            threads = [client.submit(LONG, value, config=config).thread_id for _ in range(long)]
            time.sleep(0.5)
            took = sorted(_timed_ms(client) for _ in range(runs))
            for thread in threads:
                client.cancel(thread)
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    return Turn(long=long, p50_ms=statistics.median(took), p99_ms=p99)


def _timed_ms(client: Client) -> float:
    begun = time.perf_counter()
    client.submit(SHORT, {"count": 0, "seen": []}).result(WAIT_S)
    return (time.perf_counter() - begun) * 1000


def main() -> int:
    """Measure and print; the last line is JSON with `--json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--long", type=int, nargs="+", default=[0, 1, 2, 4], help="long threads")
    parser.add_argument("--runs", type=int, default=60, help="short runs beside each")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    turns = measure_turns(options.long, options.runs, options.processes)
    for turn in turns:
        print("{long} long threads: p50 {p50_ms:.0f} ms   p99 {p99_ms:.0f} ms".format(**turn))
    if options.json:
        print(json.dumps({"runs": options.runs, "processes": options.processes, "turns": turns}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
