"""`python -m benchmarks [--json] [--rounds N] [--threads N]`."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys

from benchmarks.inprocess import measure_inprocess
from benchmarks.throughput import measure_throughput


def main() -> int:
    """Measure, and print the numbers; the last line is JSON with `--json`."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=100)
    parser.add_argument("--pool", default="prefork")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    say = sys.stderr.write
    say(f"fleet: {options.threads} x 50 steps, {options.rounds} rounds, {options.pool} 2 …\n")
    fleet = measure_throughput(threads=options.threads, rounds=options.rounds, pool=options.pool)
    say("in process: 50 steps on memory, against LangGraph …\n")
    here = measure_inprocess(rounds=options.rounds)
    rows = [
        ("durable steps/s, fleet", statistics.median(fleet.ours), _spread(fleet.ours)),
        ("Celery chain steps/s", statistics.median(fleet.chain), _spread(fleet.chain)),
        ("ratio", fleet.ratio, ""),
        ("round trips per step", fleet.round_trips, ""),
        ("ms/step in process, memory", here.ours, ""),
        ("ms/step LangGraph, InMemorySaver", here.langgraph, ""),
        ("ratio", here.ours / here.langgraph, ""),
    ]
    for name, value, spread in rows:
        print(f"{name:36} {value:10.2f} {spread}")
    if options.json:
        found = {
            "fleet_steps_per_s": {"value": statistics.median(fleet.ours), "n": len(fleet.ours)},
            "chain_steps_per_s": {"value": statistics.median(fleet.chain), "n": len(fleet.chain)},
            "fleet_over_chain": {"value": fleet.ratio, "target": 1.5, "ok": fleet.ratio >= 1.5},
            "round_trips_per_step": {
                "value": fleet.round_trips,
                "target": 2,
                "ok": fleet.round_trips <= 2.2,
            },
            "memory_over_langgraph": {
                "value": here.ours / here.langgraph,
                "target": 1.0,
                "ok": here.ours <= here.langgraph,
            },
            "machine": platform.machine(),
            "python": platform.python_version(),
        }
        print(json.dumps(found))
    return 0


def _spread(values: list[float]) -> str:
    return f"({min(values):.0f} to {max(values):.0f}, n={len(values)})"


if __name__ == "__main__":
    sys.exit(main())
