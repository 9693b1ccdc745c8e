"""`python -m benchmarks [--json] [--rounds N] [--threads N]`."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys

from benchmarks.inprocess import Pair, measure_import_ms, measure_inprocess
from benchmarks.throughput import measure_throughput

_TARGETS = {"memory": 1.0, "sqlite": 0.8, "sends": 1.0}  # Of LangGraph's time; at most.


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
    say("in process: 50 steps on memory and SQLite, 1,000 Sends, against LangGraph …\n")
    here = measure_inprocess(rounds=max(options.rounds, 5))
    import_ms = measure_import_ms()
    rows = [
        ("durable steps/s, fleet", statistics.median(fleet.ours), _spread(fleet.ours)),
        ("Celery chain steps/s", statistics.median(fleet.chain), _spread(fleet.chain)),
        ("ratio", fleet.ratio, ""),
        ("round trips per step", fleet.round_trips, ""),
        *(row for name, pair in here.items() for row in _pair_rows(name, pair)),
        ("ms to import orchestrator", import_ms, ""),
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
            **{
                f"{name}_over_langgraph": {
                    "value": pair.ratio,
                    "n": len(pair.ours),
                    "target": _TARGETS[name],
                    "ok": pair.ratio <= _TARGETS[name],
                }
                for name, pair in here.items()
            },
            "import_ms": {"value": import_ms, "target": 100, "ok": import_ms <= 100},
            "machine": platform.machine(),
            "python": platform.python_version(),
        }
        print(json.dumps(found))
    return 0


def _pair_rows(name: str, pair: Pair) -> list[tuple[str, float, str]]:
    median = statistics.median
    return [
        (f"ms in process, {name}", median(pair.ours), _spread(pair.ours)),
        (f"ms LangGraph, {name}", median(pair.theirs), _spread(pair.theirs)),
        ("ratio", pair.ratio, ""),
    ]


def _spread(values: list[float]) -> str:
    digits = 0 if min(values) > 10 else 2
    return f"({min(values):.{digits}f} to {max(values):.{digits}f}, n={len(values)})"


if __name__ == "__main__":
    sys.exit(main())
