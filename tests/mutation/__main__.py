"""`python -m tests.mutation [NAME …]`: each mutant is made in a copy of the tree, and is killed.

A mutant removes one check that a promise rests on. It is killed if the tests named beside it fail;
one that survives shows a promise that nobody tests. Exit code 1 if one survives.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass

from tests.mutation.copies import Edit, broken_copy, environment

SCRIPTS = "orchestrator/checkpointer/redis/scripts"
REDIS = "tests/conformance/test_redis.py"


@dataclass(frozen=True)
class Mutant:
    """One check, removed."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = (REDIS,)


MUTANTS = (
    Mutant(
        "fence comparison",
        f"{SCRIPTS}/commit.lua",
        "if s[1] ~= guard_fence or not s[2] then",
        "if not s[2] then",
        (REDIS, "-k", "fence or released or revok"),
    ),
    Mutant(
        "completed check",
        f"{SCRIPTS}/claim.lua",
        "if redis.call('SISMEMBER', T .. 'done', step) == 1 then return {'completed', step, now}"
        " end",
        "",
        (REDIS, "-k", "completed or duplicate"),
    ),
    Mutant(
        "head comparison",
        f"{SCRIPTS}/commit.lua",
        "if expect_head ~= '' and head[2] ~= expect_head then return"
        " refuse('head_moved', head[2]) end",
        "",
        (REDIS, "-k", "head"),
    ),
    Mutant(
        "lease release",
        f"{SCRIPTS}/release.lua",
        "redis.call('HDEL', record, 'owner')",
        "",
        (REDIS, "-k", "release"),
    ),
    Mutant(
        "answer used once",
        f"{SCRIPTS}/commit.lua",
        "local open = s[1] and not s[2] and s[3] == 'answer'",
        "local open = s[1]",
        (REDIS, "-k", "answer"),
    ),
    Mutant(
        "idempotency key",
        f"{SCRIPTS}/commit.lua",
        "if run then return refuse('key_used', run) end",
        "",
        (REDIS, "-k", "key"),
    ),
    Mutant(
        "trust after a silence",
        f"{SCRIPTS}/sweep.lua",
        "if now - last > silence then since = now end",
        "",
        (REDIS, "-k", "silence or trust or still"),
    ),
    Mutant(
        "order by plan",
        "orchestrator/engine/apply.py",
        "ordered.sort(key=lambda result: result[0].order)",
        "pass",
        ("tests/unit", "-k", "order or plan"),
    ),
    Mutant(
        "first note stays",
        f"{SCRIPTS}/commit.lua",
        "redis.call('HSETNX', step_key(step), 'note:' .. notes[i], notes[i + 1])",
        "redis.call('HSET', step_key(step), 'note:' .. notes[i], notes[i + 1])",
        (REDIS, "-k", "note"),
    ),
    Mutant(
        "intent before effect",
        "orchestrator/step/context.py",
        'host.note(begun, b"")',
        "pass",
        ("tests/unit/test_context.py",),
    ),
    Mutant(
        "notes go along",
        "orchestrator/step/claimed_step.py",
        "self.notes = {**carried.notes, **self.claim.notes}",
        "self.notes = dict(self.claim.notes)",
        ("tests/unit/test_context.py",),
    ),
    Mutant(
        "waits before its subgraph runs",
        "orchestrator/step/runner.py",
        "return replace(report, ready=ending.waits.start())",
        "return report",
        ("tests/integration/test_fleet_language.py", "-k", "nested"),
    ),
    Mutant(
        "a resume tells from where",
        "orchestrator/engine/resume.py",
        "events[-1] = replace(events[-1], checkpoint=checkpoint.id, done=done)",
        "pass",
        ("tests/integration/test_fleet_language.py", "-k", "nested"),
    ),
    Mutant(
        "a stranger's answer",
        "orchestrator/engine/questions.py",
        "unknown = [i for i in given if i not in questions]",
        "unknown: list[str] = []",
        ("tests/unit", "-k", "unknown or interrupt"),
    ),
)


def killers(mutant: Mutant) -> list[str]:
    """Return the tests that fail because of a mutant, made in a copy of the tree."""
    edits = [Edit(mutant.file, mutant.old, mutant.new)]
    with broken_copy(edits, mutant.name) as tree:
        command = [sys.executable, "-m", "pytest", "-q", "--maxfail=3", "-p", "no:cacheprovider"]
        ran = subprocess.run(
            [*command, *mutant.tests],
            cwd=tree,
            env=environment(tree),
            capture_output=True,
            text=True,
            check=False,
        )
    return re.findall(r"^FAILED .*::(\S+)", ran.stdout, re.MULTILINE)


def main(names: list[str]) -> int:
    """Make the named mutants, or all; print what kills each."""
    survivors = 0
    for mutant in MUTANTS:
        if names and mutant.name not in names:
            continue
        killed_by = killers(mutant)
        survivors += not killed_by
        print(f"{mutant.name:24} {'killed by ' + killed_by[0] if killed_by else 'SURVIVES'}")
        sys.stdout.flush()
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
