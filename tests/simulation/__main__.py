"""`python -m tests.simulation --steps N --seed S`: live worlds through until so many steps ran.

Exit code 1 if a promise was broken in one; what it prints says how to see that world again. With
`--replay`, only that one world is lived through, and every event of it is printed.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.worlds import simulate

_APART = 1_000_000  # Between the seeds of two processes.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="how many, over all processes")
    parser.add_argument("--seed", type=int, default=1, help="of the first world")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--broken-max", type=int, default=5, help="broken worlds, then it ends")
    parser.add_argument("--seconds-max", type=float, default=math.inf, help="then it ends, too")
    parser.add_argument("--json", action="store_true", help="print the counts as the last line")
    parser.add_argument("--replay", type=int, metavar="SEED", help="live through one world only")
    return parser


def live(
    first: int, steps: int, broken_max: int = 5, seconds_max: float = math.inf
) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Live worlds through, until so many steps ran, some were broken, or it takes too long."""
    gc.set_threshold(50_000)  # A world leaves few cycles behind, and makes much that is not one.
    counts: Counter[str] = Counter()
    broken: list[tuple[int, str]] = []
    seed, end, began = first, time.monotonic() + seconds_max, time.process_time()
    while counts["steps"] < steps and len(broken) < broken_max and time.monotonic() < end:
        outcome = simulate(seed)
        counts += outcome.counts
        counts["worlds"] += 1
        counts["simulated_s"] += outcome.simulated_ms // 1000
        if outcome.error:
            broken.append((seed, outcome.error))
        seed += 1
    counts["cpu_s"] = round(time.process_time() - began)
    return counts, broken


def replay(seed: int) -> int:
    """Live one world through and print what happened."""
    outcome = simulate(seed, traced=True)
    for line in outcome.trace or ():
        print(line)
    print(outcome.error or f"nothing is broken in the world {seed}")
    return 1 if outcome.error else 0


def _all(options: argparse.Namespace) -> Iterator[tuple[Counter[str], list[tuple[int, str]]]]:
    seed, processes = options.seed, options.processes
    limits = (options.broken_max, options.seconds_max)
    share = -(-options.steps // processes)
    if processes == 1:
        yield live(seed, share, *limits)
        return
    with ProcessPoolExecutor(processes) as pool:
        lives = [pool.submit(live, seed + n * _APART, share, *limits) for n in range(processes)]
        yield from (each.result() for each in lives)


def summary(counts: Counter[str], seconds: float, broken: int) -> dict[str, object]:
    """Return the counts as people want them."""
    faults = {k.removeprefix("fault: "): n for k, n in counts.items() if k.startswith("fault: ")}
    return {
        "steps": counts["steps"],
        "commits": counts["commits"],
        "faults": sum(faults.values()),
        "faults_by_kind": dict(sorted(faults.items(), key=lambda pair: -pair[1])),
        "stale_refused": counts["stale refused"],
        "released": counts["released"] + counts["expired"],
        "stuck_advanced": counts["stuck"],
        "answers": counts["answers"],
        "worlds": counts["worlds"],
        "simulated_s": counts["simulated_s"],
        "seconds": round(seconds, 1),
        "cpu_s": counts["cpu_s"],
        "broken": broken,
    }


def main(argv: list[str]) -> int:
    """Run; return the exit code."""
    options = _parser().parse_args(argv)
    if options.replay is not None:
        return replay(options.replay)
    began = time.monotonic()
    counts: Counter[str] = Counter()
    broken: list[tuple[int, str]] = []
    for some, wrong in _all(options):
        counts += some
        broken += wrong
    for seed, error in broken:
        print(f"world {seed}: {error:.2000}")
        print(f"  see it again: python -m tests.simulation --replay {seed}")
    found = summary(counts, time.monotonic() - began, len(broken))
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:16} {value}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
