"""The faults that chaos knows, and the order in which a seed draws them.

Pure: the same seed gives the same faults. When each comes, and whom it finds, time decides.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Fault", "Kind", "drawn"]

_T = TypeVar("_T")


class Kind(enum.StrEnum):
    """What is done, and to whom."""

    KILL_PROCESS = "kill_process"  # kill -9 of a process that runs nodes.
    KILL_MAIN = "kill_main"  # kill -9 of a worker's main process.
    KILL_KEEPER = "kill_keeper"  # kill -9 of the process that renews a worker's leases.
    KILL_WORKER = "kill_worker"  # kill -9 of all of a worker's processes: the machine is gone.
    STOP_PROCESS = "stop_process"  # SIGSTOP, and SIGCONT seconds later.
    STOP_WORKER = "stop_worker"  # The same, with all of a worker's processes.
    RESTART_WORKER = "restart_worker"  # SIGTERM, as in a rolling restart.
    KILL_SERVER = "kill_server"  # kill -9 of our own server, and its restart.
    LOSE_MESSAGE = "lose_message"  # A message is deleted from the queue.
    DOUBLE_MESSAGE = "double_message"  # A message is sent once more.


# A worker takes seconds of a processor to start, so what ends whole workers is drawn less often.
WEIGHTS = {
    Kind.KILL_PROCESS: 30,
    Kind.KILL_MAIN: 4,
    Kind.KILL_KEEPER: 6,
    Kind.KILL_WORKER: 5,
    Kind.STOP_PROCESS: 15,
    Kind.STOP_WORKER: 3,
    Kind.RESTART_WORKER: 5,
    Kind.KILL_SERVER: 4,
    Kind.LOSE_MESSAGE: 14,
    Kind.DOUBLE_MESSAGE: 14,
}
LASTS_S = (1.0, 10.0)  # How long what is stopped stays so.


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to be done."""

    kind: Kind
    choice: float  # From 0 to 1: which one of those it could hit.
    lasts_s: float

    def pick(self, among: Sequence[_T]) -> _T:
        """Return the one that is hit."""
        return among[int(self.choice * len(among))]


def drawn(seed: int, kinds: Collection[Kind]) -> Iterator[Fault]:
    """Draw faults for ever, of these kinds only."""
    chance = random.Random(seed)  # noqa: S311  # Nothing here is a secret.
    known = [kind for kind in Kind if kind in kinds]
    weights = [WEIGHTS[kind] for kind in known]
    while True:
        (kind,) = chance.choices(known, weights)
        yield Fault(kind, chance.random(), chance.uniform(*LASTS_S))
