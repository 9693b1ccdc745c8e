"""Durable steps per second on a fleet, against a Celery `chain` of no-op tasks.

Same server, same pool, the same number of processes; the two are measured in turns, so that a noisy
machine is noisy for both. The ratio is the result.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks import chain
from benchmarks.fleet import process, wait_until
from benchmarks.graphs import STEPS, graph
from orchestrator import Client
from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.cli.embedded import EmbeddedServer
from orchestrator.config import Settings

__all__ = ["Throughput", "measure_throughput"]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Steps per second, by round."""

    ours: list[float]
    chain: list[float]
    round_trips: float  # Commands sent to the checkpointer per step of a sequential graph.

    @property
    def ratio(self) -> float:
        """Return the median of the rounds' ratios."""
        return statistics.median(o / c for o, c in zip(self.ours, self.chain, strict=True))


def measure_throughput(
    *, threads: int = 100, rounds: int = 3, pool: str = "prefork", concurrency: int = 2
) -> Throughput:
    """Measure `rounds` times `threads` runs of 50 steps each, ours and the chain's in turns."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder, "data")) as server:
        base = server.url.removesuffix("/0").rstrip("/")
        env = {"REDIS_URL": f"{base}/0", "BENCH_CHAIN_URL": f"{base}/1"}
        size = (f"--concurrency={concurrency}", f"--pool={pool}")
        ours = ("-m", "workers", "--graphs=bench=benchmarks.graphs:graph", *size)
        theirs = ("-m", "celery", "-A", "benchmarks.chain:app", "worker", *size)
        quiet = ("--loglevel=error", "--without-gossip", "--without-mingle")
        settings = Settings.from_env({"REDIS_URL": env["REDIS_URL"]})
        result = Throughput([], [], 0.0)
        for _ in range(rounds):
            with process(*ours, env=env, log=Path(folder, "ours.log")):
                result.ours.append(_ours(settings, threads))
                trips = _round_trips(settings)
            with process(*theirs, *quiet, env=env, log=Path(folder, "chain.log")):
                result.chain.append(_chain(env["BENCH_CHAIN_URL"], threads))
        return Throughput(result.ours, result.chain, trips)


def _ours(settings: Settings, threads: int) -> float:
    client = Client(graphs={"bench": graph}, settings=settings)
    client.submit("bench", {"count": 0, "seen": []}).result(60)  # The worker is up.
    begun = time.perf_counter()
    handles = [client.submit("bench", {"count": 0, "seen": []}) for _ in range(threads)]
    for handle in handles:
        assert handle.result(300)["count"] == STEPS
    return threads * (STEPS + 1) / (time.perf_counter() - begun)


def _chain(url: str, threads: int) -> float:
    chain.app.conf.broker_url = url
    server = redis.Redis.from_url(url)
    server.delete("done")
    chain.start("done", 2)
    wait_until(lambda: int(server.get("done") or 0) >= 1, 60, "the chain's worker starting")
    begun = time.perf_counter()
    for _ in range(threads):
        chain.start("done", STEPS + 1)
    wait_until(lambda: int(server.get("done") or 0) > threads, 300, "the chains' end")
    return threads * (STEPS + 1) / (time.perf_counter() - begun)


def _round_trips(settings: Settings) -> float:
    """Count, at the server, the claims and commits of one run of a sequential graph, per step."""
    client = Client(graphs={"bench": graph}, settings=settings)
    scripts = RedisCheckpointer(settings=settings).script_hashes()
    ours = (scripts["claim"], scripts["commit"])
    server = redis.Redis.from_url(settings.url)
    seen: list[str] = []
    with server.monitor() as monitor:
        client.submit("bench", {"count": 0, "seen": []}, thread_id="round-trips").result(60)
        server.echo("counted")
        for entry in monitor.listen():
            command = str(entry["command"])
            if command.startswith("ECHO counted"):
                break
            if command.startswith("EVALSHA") and any(sha in command for sha in ours):
                seen.append(command)
    return (len(seen) - 1) / (STEPS + 1)  # One commit was the submission.
