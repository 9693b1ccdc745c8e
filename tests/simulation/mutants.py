"""`python -m tests.simulation.mutants [NUMBER …]`: bugs of other engines, put into this one.

Each is one that a durable engine really had, made here in a copy of the tree at the place that is
nearest to it. The simulation must see it, or, where a simulated world has no such thing, the test
that is named. Exit code 1 if one survives.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass

from tests.mutation.copies import Edit, broken_copy, environment

STEPS_MAX = 60_000  # How many steps a bug may hide.
SEED = 1
MEMORY = "orchestrator/checkpointer/memory.py"
THREAD = "orchestrator/checkpointer/memory_thread.py"
RULES = "orchestrator/checkpointer/transition.py"
ADVANCING = "orchestrator/step/superstep.py"


@dataclass(frozen=True)
class Bug:
    """A bug of another engine, and what it is here."""

    number: int
    name: str  # As it was there.
    here: str  # What was broken to have it here.
    edits: tuple[Edit, ...]
    test: str = ""  # What sees it, if not the simulation.


BUGS = (
    Bug(
        1,
        "an accepted run vanishes",
        "a run and its first step are stored by two commits",
        (
            Edit(
                "orchestrator/client/thread_calls.py",
                "            result = commit_to(self.store, commit)\n"
                "            if result.refused is None:\n"
                "                return config.run_id, commit.ready\n",
                "            part = replace(commit, checkpoint=None, ready=())\n"
                "            result = commit_to(self.store, part)\n"
                "            if result.refused is None:\n"
                "                rest = replace(commit, expect_new=False, expect_head=None)\n"
                "                rest = replace(rest, expect_status=(), key=None, events=())\n"
                "                commit_to(self.store, rest)\n"
                "                return config.run_id, commit.ready\n",
            ),
        ),
    ),
    Bug(
        2,
        "the outcome depends on the host's timing",
        "a superstep's results are applied in the order in which they came",
        (
            Edit(
                ADVANCING,
                "            for step in checkpoint.plan\n        ]",
                "            for step in sorted(\n"
                "                checkpoint.plan,\n"
                "                key=lambda s: list(loaded.outcomes).index(s.id_in(checkpoint)),\n"
                "            )\n        ]",
            ),
            Edit(
                "orchestrator/engine/apply.py",
                "ordered.sort(key=lambda result: result[0].order)",
                "pass",
            ),
        ),
    ),
    Bug(
        3,
        "a node longer than its lease runs twice",
        "renewing a lease does not prolong it",
        (
            Edit(
                MEMORY,
                "self._leases[owner] = max(end, self._leases.get(owner, 0))",
                "self._leases.setdefault(owner, end)",
            ),
        ),
    ),
    Bug(
        4,
        "the last successful node runs again",
        "a completed step can be claimed",
        (
            Edit(
                RULES,
                "    if step.completed:\n        return Refusal.COMPLETED\n",
                "",
            ),
        ),
    ),
    Bug(
        5,
        "a failed node is skipped on resume",
        "carrying on does not make a failed step ready",
        (
            Edit(
                "orchestrator/engine/resume.py",
                'reset=True, reason=RESUMED if step.error else "")\n            for step in left\n',
                'reset=True, reason=RESUMED if step.error else "")\n'
                "            for step in left\n            if not step.error\n",
            ),
        ),
    ),
    Bug(
        6,
        "an answered interrupt is asked again",
        "an attempt does not look at the answers its claim brings",
        (
            Edit(
                "orchestrator/step/claimed_step.py",
                "answers = {i: records.decode(data) for i, data in self.claim.answers.items()}",
                "answers: dict[str, Any] = {}",
            ),
        ),
    ),
    Bug(
        7,
        "of two branches that finish together one is lost",
        "a superstep is advanced while one of its steps is open",
        (
            Edit(
                "orchestrator/step/runner.py",
                "return self.advance(commit.thread_id) if sent.open == 0 else Report(",
                "return self.advance(commit.thread_id) if sent.open <= 1 else Report(",
            ),
            Edit(ADVANCING, "loaded.head.open or not", "loaded.head.open > 1 or not"),
            Edit(ADVANCING, "    if not unfinished:", "    if loaded.head.open or not unfinished:"),
            Edit(
                ADVANCING,
                "            for step in checkpoint.plan\n        ]",
                "            for step in checkpoint.plan\n"
                "            if step.id_in(checkpoint) in loaded.outcomes\n        ]",
            ),
        ),
    ),
    Bug(
        8,
        "what a failed attempt did leaks into a later success",
        "attempts share decoded values",
        (
            Edit(
                "orchestrator/engine/values.py",
                "        return self.decode(data if isinstance(data, bytes) else whole(data))\n",
                "        data = whole(data)\n"
                "        if data not in _SHARED:\n"
                "            _SHARED[data] = self.decode(data)\n"
                "        return _SHARED[data]\n",
            ),
            Edit(
                "orchestrator/engine/values.py",
                "class Values(",
                "_SHARED: dict[bytes, Any] = {}\n\n\nclass Values(",
            ),
        ),
    ),
    Bug(
        9,
        "who died before the first heartbeat is never noticed",
        "a lease begins with its first renewal, not with the claim",
        (
            Edit(
                MEMORY, "self._leases[owner] = max(lease_end, self._leases.get(owner, 0))", "pass"
            ),
            Edit(
                MEMORY,
                "self._leases.get(step.owner, 0) < now",
                "self._leases.get(step.owner, now) < now",
            ),
        ),
    ),
    Bug(
        10,
        "a restart of the database strands a run",
        "a worker gives up at the first question that is not answered",
        (
            Edit(
                "orchestrator/step/store_access.py",
                "                if attempt >= self.attempts_max:\n                    raise\n",
                "                raise\n",
            ),
        ),
    ),
    Bug(
        11,
        "a queue item is gone and nobody holds a lease",
        "a message that was sent counts as received",
        (
            Edit(
                THREAD,
                "return step.sent_ms < mark - grace",
                "return False",
            ),
        ),
    ),
    Bug(
        12,
        "suspended work has nothing that wakes it",
        "a step that waits for its subgraph does not look again by itself",
        (
            Edit(
                "orchestrator/client/subgraphs.py",
                "_POLL_MS = 5_000",
                "_POLL_MS = 5_000_000_000",
            ),
        ),
    ),
    Bug(
        13,
        "unknown fields of a request are ignored",
        "an unknown key in an input is dropped (no world has one)",
        (
            Edit(
                "orchestrator/step/invoke.py",
                "lenient = node.subgraph is not None or not spec.strict",
                "lenient = True",
            ),
        ),
        "tests/unit/test_invoke.py::test_an_unknown_key_is_refused_also_in_an_input",
    ),
    Bug(
        14,
        "a late completion of an old attempt is taken",
        "a commit's fence is not compared",
        (
            Edit(
                RULES,
                "if guarded is None or guarded.fence != guard.fence or not guarded.owner:",
                "if guarded is None or not guarded.owner:",
            ),
        ),
    ),
    Bug(
        15,
        "recovery is a storm",
        "one sweep hands out everything there is",
        (Edit(MEMORY, "            due = due[: limits.SWEEP_BATCH_MAX]\n", ""),),
    ),
    Bug(
        16,
        "that retries are exhausted is told to nobody",
        "a step that fails for good leaves no event",
        (
            Edit(
                "orchestrator/engine/settle.py",
                "return self._settle(step, fence, update, RunStatus.FAILED, [event])",
                "return self._settle(step, fence, update, RunStatus.FAILED, [])",
            ),
        ),
    ),
    Bug(
        17,
        "the concurrency slot of a dead holder stays taken",
        "a dead sweeper leads for ever (the one slot there is)",
        (Edit(MEMORY, "if name != leader and until > now:", "if name and name != leader:"),),
    ),
)


def seen_by(bug: Bug) -> tuple[str, str]:
    """Return what sees a bug, and after how many steps; nothing if it survives."""
    with broken_copy(bug.edits, bug.name) as tree:
        if bug.test:
            command = ["-m", "pytest", "-q", "--maxfail=1", "-p", "no:cacheprovider", bug.test]
        else:
            command = ["-m", "tests.simulation", "--json", "--broken-max", "1"]
            command += ["--steps", str(STEPS_MAX), "--seed", str(SEED)]
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=tree,
            env=environment(tree),
            capture_output=True,
            text=True,
            check=False,
        )
    if bug.test:
        failed = re.findall(r"^FAILED (\S+)", ran.stdout, re.MULTILINE)
        return (failed[0], "") if failed else ("", "")
    lines = ran.stdout.splitlines()
    assert lines, ran.stderr
    steps = str(json.loads(lines[-1])["steps"])
    broken = re.match(r"world (\d+): (.*)", lines[0])
    return (f"{broken[2][:70]}", steps) if broken else ("", steps)


def main(numbers: list[str]) -> int:
    """Make the bugs of these numbers, or all; print what sees each."""
    survivors = 0
    for bug in BUGS:
        if numbers and str(bug.number) not in numbers:
            continue
        killer, steps = seen_by(bug)
        survivors += not killer
        after = f" after {steps} steps" if steps else ""
        print(f"{bug.number:2} {bug.name}\n   here: {bug.here}")
        print(f"   {'killed' + after + ' by ' + killer if killer else 'SURVIVES' + after}")
        sys.stdout.flush()
    print(f"{survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
