"""The whole graph language on a fleet whose processes are killed at random, as if nothing happened.

What is compared is what the same calls give in this process, undisturbed: states and histories; and
the event logs say that each step was committed once.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator import CeleryExecutor, CompiledStateGraph, MemoryCheckpointer
from tests.integration import language
from tests.integration.fleet import Fleet, Worker
from tests.integration.language import CASES, graph_on, plain, seen

pytestmark = [pytest.mark.server, pytest.mark.slow]

SEED = 20261124
NAMES = ("nested", "deep", "fan", "workflow", "steering", "caller")
KILLS_MIN = 12
GAP_S = (0.15, 0.5)  # Between two kills. Steps are shorter, so that none is killed three times.
PACE_S = "0.08"  # How long a node takes, so that a kill can come between.
TIMEOUT_S = 60.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    env = {"LANGUAGE_PACE_S": PACE_S}
    with Fleet(tmp_path, env, module=language, names=language.NAMES) as fleet:
        fleet.start_many(2, concurrency=2)
        yield fleet


def played(graph: CompiledStateGraph, name: str, thread: str) -> Any:
    """Make the calls of a case; return what they gave, and the history they left."""
    outputs = [plain(graph.invoke(value, thread)) for value in CASES[name]]
    return outputs, seen(graph, thread)


def pool_of(worker: Worker) -> list[int]:
    """Return the processes of a worker that run nodes."""
    return [pid for pid in worker.pids() if pid not in {worker.pid, worker.keeper}]


def test_processes_killed_at_random_change_no_state_no_history_and_no_step_twice(
    fleet: Fleet,
) -> None:
    expected = {
        name: played(graph_on(name, checkpointer=MemoryCheckpointer()), name, name)
        for name in NAMES
    }
    executor = CeleryExecutor(settings=fleet.settings, timeout_s=TIMEOUT_S)
    enough, killed, threads = threading.Event(), [], []

    def play(name: str) -> list[str]:
        """Play a case over and over until enough processes were killed; return what differs."""
        graph, wrong = graph_on(name, executor=executor), []
        for number in itertools.count():
            thread = f"{name}-{number}"
            threads.append(thread)
            found = played(graph, name, thread)
            if found != expected[name]:
                wrong.append(f"{thread}: {found}\nnot {expected[name]}")
            if enough.is_set():
                return wrong
        raise AssertionError

    chance = random.Random(SEED)
    with ThreadPoolExecutor(len(NAMES)) as pool:
        plays = [pool.submit(play, name) for name in NAMES]
        try:
            while len(killed) < KILLS_MIN:
                time.sleep(chance.uniform(*GAP_S))
                victims = pool_of(fleet.workers[chance.randrange(2)])
                if victims:
                    killed.append(chance.choice(sorted(victims)))
                    os.kill(killed[-1], signal.SIGKILL)
        finally:
            enough.set()
        wrong = [line for one in plays for line in one.result(2 * TIMEOUT_S)]
    assert not wrong, "\n".join(wrong)
    events = {thread: fleet.client.events(thread) for thread in threads}
    for thread, found in events.items():
        commits = [e for e in found if e.type == "step_committed"]
        once = Counter((e.fields.get("ns", b""), e.fields["step"]) for e in commits)
        assert once, thread
        assert set(once.values()) == {1}, (thread, once.most_common(1))
    released = [e for found in events.values() for e in found if e.type == "step_released"]
    print(f"{len(killed)} kills took {len(released)} steps away, in {len(threads)} threads")
    assert released  # Not every kill hits: a process may just have been idle.
