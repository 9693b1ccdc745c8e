"""A world of processes that runs in one OS thread, on a clock of its own, all by one seed.

A process is a greenlet: it goes on until it waits, and who goes on next is drawn from the seed. So
any interleaving may happen, any process may stop between any two things it does, and the same seed
gives the same world, event by event.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

from greenlet import getcurrent, greenlet

from orchestrator.testing.manual_clock import ManualClock
from tests.simulation.faults import Faults, Killed, Terminated, Violation

__all__ = ["Process", "World", "here"]


class Process(greenlet):
    """A process of the simulated world."""

    def __init__(self, world: World, name: str, main: Callable[[Process], None]) -> None:
        """Begin to run `main` when the world comes to it."""
        super().__init__(parent=world.hub)
        self.world, self.name, self._main = world, name, main
        self.killed = False
        self.frozen_until_ms = 0
        self.turn = 0  # Of its waits; what was to wake it from an earlier one is void.
        self.after: Callable[[], None] | None = None  # What follows its death.
        world.processes.append(self)
        world.wake(self)

    def run(self) -> None:
        """Run to the end, or to death."""
        try:
            if not self.killed:
                self._main(self)
        except Killed:
            return
        except Terminated:
            if self.after is not None:
                self.after()
        except Exception as error:  # noqa: BLE001 - whatever it is, it may not come this far
            self.world.wrong("INV-12", f"in the process {self.name}: {error!r}")
        finally:
            self.killed = True

    # ---- waiting ----------------------------------------------------------------------------

    def wait(self) -> None:
        """Wait until somebody wakes it."""
        self.turn += 1
        self.world.hub.switch()
        if self.killed:
            raise Killed

    def sleep_ms(self, delay_ms: int) -> None:
        """Let time pass for this process."""
        self.turn += 1
        self.world.at(delay_ms, self)
        self.world.hub.switch()
        if self.killed:
            raise Killed

    def now_ms(self) -> int:
        """Return the time: a process is a `Clock`."""
        return self.world.clock.now_ms()

    def monotonic_ms(self) -> float:
        """Return the same: the clock of a world is never set."""
        return self.now_ms()

    def sleep(self, seconds: float) -> None:
        """Let time pass, as a `Clock`."""
        self.sleep_ms(round(seconds * 1000))

    # ---- faults -----------------------------------------------------------------------------

    def point(self, where: str) -> None:
        """Be at a place where anything may happen: another goes on, or this one ends.

        Raises:
            Killed: if it does.
        """
        if self.killed:
            raise Killed
        world = self.world
        drawn = world.chance.random()
        if drawn < world.faults.point_rate and not world.calm:
            world.fault(self, where)
        elif drawn > world.faults.switch_from:
            self.sleep_ms(int(world.chance.random() * world.faults.pace_ms))

    def kill(self) -> None:
        """End at once; what follows a death follows.

        Raises:
            Killed: if it is the one that runs.
        """
        if self.killed:
            return
        self.killed = True
        self.frozen_until_ms = 0
        if self.after is not None:
            self.after()
        if getcurrent() is self:
            raise Killed
        self.turn += 1
        self.world.wake(self)


class World:
    """Time, chance and the processes.

    Attributes:
        chance: everything that is drawn.
        faults: what goes wrong, and how often.
        counts: what happened, by kind.
        unfinished: how many clients there are that still want something.
        trace: every event, if somebody wants to see them.
    """

    def __init__(self, seed: int, faults: Faults, *, traced: bool = False) -> None:
        """Make an empty world."""
        self.faults = faults
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        self.began_ms = self.clock.now_ms()
        self.counts: Counter[str] = Counter()
        self.trace: list[str] | None = [] if traced else None
        self.processes: list[Process] = []
        self.hub = getcurrent()
        self.unfinished = 0  # Clients.
        self.calm = not faults.point_rate
        self.stalled_until_ms = 0  # The server stands still so long.
        self.broken: Violation | None = None  # The first promise that was.
        self.disaster: Callable[[Process], None] | None = None  # Ends a whole machine.
        self._agenda: list[tuple[int, float, int, Process | Callable[[], Any], int]] = []
        self._numbers = itertools.count()

    # ---- time -------------------------------------------------------------------------------

    def at(self, delay_ms: int, process: Process) -> None:
        """Let a process go on after a delay."""
        due, tie = self.clock.now_ms() + delay_ms, self.chance.random()
        heapq.heappush(self._agenda, (due, tie, next(self._numbers), process, process.turn))

    def wake(self, process: Process) -> None:
        """Let a process go on, as soon as it is its turn."""
        self.at(0, process)

    def spawn(self, name: str, main: Callable[[Process], None]) -> Process:
        """Start a process."""
        return Process(self, name, main)

    def later(self, delay_ms: int, act: Callable[[], Any]) -> None:
        """Do something after a delay, outside of all processes."""
        due, tie = self.clock.now_ms() + delay_ms, self.chance.random()
        heapq.heappush(self._agenda, (due, tie, next(self._numbers), act, 0))

    def run(self, deadline_ms: int) -> bool:
        """Let the world go on until it is at its end; return whether that was before a deadline.

        Raises:
            Violation: if a promise was broken on the way.
        """
        agenda, clock = self._agenda, self.clock
        while self.unfinished:
            if not agenda or agenda[0][0] > deadline_ms:
                return False
            due, _, _, process, turn = heapq.heappop(agenda)
            if not isinstance(process, Process):
                clock.set(due)
                process()
                continue
            if process.dead or turn != process.turn:
                continue
            if process.frozen_until_ms > due:
                clock.set(due)
                self.at(process.frozen_until_ms - due, process)
                continue
            clock.set(due)
            process.switch()
            if self.broken is not None:
                raise self.broken
        return True

    def end(self) -> None:
        """Unwind what still runs."""
        for process in self.processes:
            process.killed = True
            if process:  # It has begun, and has not ended.
                process.throw(Killed)

    # ---- faults -----------------------------------------------------------------------------

    def fault(self, process: Process, where: str) -> None:
        """Let something go wrong at a point of a process."""
        kind = self.faults.draw(self.chance, where)
        if kind is not None:
            self.counts["fault: " + kind] += 1
            self.note(process.name, "FAULT", kind, where)
            self.faults.happen(self, process, kind)

    def wrong(self, promise: str, what: str) -> NoReturn:
        """Say that a promise is broken; it stays so, even if the process that saw it is killed.

        Raises:
            Violation: always.
        """
        self.broken = self.broken or Violation(f"{promise}: {what}")
        raise self.broken

    def note(self, *what: object) -> None:
        """Write an event down, if somebody wants to see them."""
        if self.trace is not None:
            since = self.clock.now_ms() - self.began_ms
            self.trace.append(f"{since:>7} {' '.join(map(str, what))}")


def here() -> Process:
    """Return the process that runs now."""
    process = getcurrent()
    assert isinstance(process, Process), "nodes of simulated graphs run in simulated processes"
    return process
