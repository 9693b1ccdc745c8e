"""The promises hold in simulated worlds; and a world can be seen again, event by event."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import live, summary
from tests.simulation.worlds import simulate

pytestmark = pytest.mark.timeout(900)  # It is all computing: slow where much else runs.

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6_000
SEED = 1


def test_no_promise_is_broken_whatever_fails_in_between() -> None:
    counts, broken = live(SEED, STEPS)
    told = "\n".join(f"{e:.2000}\n  python -m tests.simulation --replay {s}" for s, e in broken)
    assert not broken, told
    found = summary(counts, 0, 0)
    assert found["steps"] >= STEPS
    assert found["faults"] > STEPS / 20
    assert len(found["faults_by_kind"]) >= 10
    # What the promises are about did happen.
    assert all(found[what] for what in ("stale_refused", "released", "stuck_advanced", "answers"))


def test_a_seed_gives_the_same_world_in_every_process() -> None:
    seed = 3
    program = (
        "import hashlib; from tests.simulation.worlds import simulate;"
        f"trace = simulate({seed}, traced=True).trace;"
        "print(hashlib.sha256(repr(trace).encode()).hexdigest())"
    )
    mine = hashlib.sha256(repr(simulate(seed, traced=True).trace).encode()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == mine


def test_other_seeds_give_other_worlds() -> None:
    assert simulate(3, traced=True).trace != simulate(4, traced=True).trace
