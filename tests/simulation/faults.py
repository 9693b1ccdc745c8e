"""What goes wrong in a world, and how often: drawn for each world anew, so that worlds differ."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.errors import CheckpointerUnavailableError

if TYPE_CHECKING:
    from tests.simulation.world import Process, World

__all__ = ["LEASE_MS", "Faults", "Killed", "Terminated", "Violation"]

LEASE_MS = 2_000

# Where each kind can happen: before and after an operation on the store, in a node, before a
# message is sent, after one was received.
_ANYWHERE = ("before", "after", "node", "send", "received")
_PLACES = {
    "kill": _ANYWHERE,
    "freeze": _ANYWHERE,
    "machine": _ANYWHERE,
    "stall": ("before",),
    "asked in vain": ("before",),  # The server is away: nothing happened.
    "answer lost": ("after",),  # It happened, and the caller does not know.
    "broker away": ("send",),
    "terminate": ("node",),
}
_WEIGHTS = {
    "kill": 6,
    "freeze": 4,
    "machine": 0.4,
    "stall": 0.3,
    "asked in vain": 4,
    "answer lost": 5,
    "broker away": 2,
    "terminate": 1,
}


class Killed(BaseException):
    """The process is gone: what stands on its stack never happens."""


class Terminated(BaseException):
    """The process was asked to end, as by SIGTERM, and does so in good order."""


class Violation(BaseException):
    """A promise is broken. No code of a step may catch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often what goes wrong.

    Attributes:
        point_rate: the chance of a fault at a point.
        weights: how often each kind is among them.
        lost, doubled, late: the chances of a message.
        delay_ms: how long a message takes at most, if it is not late.
        switch_from: above it, what is drawn at a point lets another process go on.
        pace_ms: for how long at most.
        calm_after_ms: when faults stop.
    """

    point_rate: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)
    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    delay_ms: int = 1
    switch_from: float = 1.0
    pace_ms: int = 0
    calm_after_ms: int = 0

    @classmethod
    def drawn(cls, chance: random.Random) -> Faults:
        """Draw a world's faults: which kinds there are at all, and how many."""
        kinds = [kind for kind in _WEIGHTS if chance.random() < 0.6] or ["kill"]
        bad_broker = chance.random() < 0.7
        return cls(
            point_rate=chance.choice([0.01, 0.02, 0.05]),
            weights={kind: _WEIGHTS[kind] for kind in kinds},
            lost=chance.choice([0.02, 0.1]) if bad_broker else 0.0,
            doubled=chance.choice([0.05, 0.2]) if bad_broker else 0.0,
            late=chance.choice([0.0, 0.05]) if bad_broker else 0.0,
            delay_ms=chance.choice([2, 10, 50]),
            switch_from=chance.choice([0.5, 0.75, 0.9]),
            pace_ms=chance.choice([2, 4, 20]),
            calm_after_ms=chance.choice([5_000, 20_000, 40_000]),
        )

    def draw(self, chance: random.Random, where: str) -> str | None:
        """Draw what goes wrong at a place; `None` if nothing that there is can happen there."""
        kinds = [kind for kind in self.weights if where in _PLACES[kind]]
        if not kinds:
            return None
        return chance.choices(kinds, [self.weights[kind] for kind in kinds])[0]

    def happen(self, world: World, process: Process, kind: str) -> None:
        """Let it go wrong.

        Raises:
            Killed: if the process ends.
            Terminated: if it is told to end.
            CheckpointerUnavailableError: if it gets no answer.
        """
        chance = world.chance
        match kind:
            case "kill":
                process.kill()
            case "machine":
                assert world.disaster is not None
                world.disaster(process)
            case "freeze":
                span = chance.choice([LEASE_MS // 4, LEASE_MS, 4 * LEASE_MS])
                process.frozen_until_ms = process.now_ms() + int(chance.random() * span)
                process.sleep_ms(0)
            case "stall":
                span = chance.choice([LEASE_MS, 3 * LEASE_MS])
                world.stalled_until_ms = process.now_ms() + int(chance.random() * span)
            case "terminate":
                raise Terminated
            case _:
                raise CheckpointerUnavailableError(f"simulated: {kind}")
