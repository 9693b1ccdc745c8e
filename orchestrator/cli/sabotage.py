"""Killing workers of a demo while they run steps, as often as was asked.

Rule 1: a kill counts only if it hits: the worker held at least one step when it was killed, and the
        store says so.
Rule 2: what is killed is a whole worker: every process of its session, at once, without warning.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.cli.ledger import Kill
from orchestrator.cli.watch import Claims, HeldStep, Watch

if TYPE_CHECKING:
    from orchestrator.cli.board import Board
    from orchestrator.cli.children import Child
    from orchestrator.cli.fleet import Fleet

__all__ = ["Sabotage"]

BUSY_STEPS = 3  # Committed per thread, before the first kill: by then the fleet is at work.
PAUSE_S = 3.0  # Between two kills, so that each takeover can be seen.


@dataclass
class Sabotage:
    """The kills of one demo: those that are still to come, and those that hit."""

    fleet: Fleet
    watch: Watch
    board: Board
    kills_wanted: int
    replace_after_s: float | None = None  # None: a killed worker is not replaced.
    kills: list[Kill] = field(default_factory=list)
    _open: dict[tuple[str, str], HeldStep] = field(default_factory=dict)  # Not yet run again.
    _not_before_s: float = 0.0
    _replace: dict[str, float] = field(default_factory=dict)

    def once(self, claims: Claims) -> None:
        """Kill a worker, if one is to be killed and runs something; replace one that is due."""
        now = time.monotonic()
        for name in [name for name, due_s in self._replace.items() if due_s <= now]:
            del self._replace[name]
            self.board.note(f"{name} was started again (process {self.fleet.start(name).pid})")
        self._note_takeovers()
        busy_enough = self.watch.committed >= BUSY_STEPS * len(self.watch.threads)
        if len(self.kills) < self.kills_wanted and busy_enough and now >= self._not_before_s:
            victim = self._busiest(claims)
            if victim is not None:
                self._kill(victim)

    def _busiest(self, claims: Claims) -> Child | None:
        """Return the worker that holds the most steps, unless it is the last one."""
        if len(self.fleet.workers) < 2 and self.replace_after_s is None:
            return None
        held: Counter[str] = Counter()
        for step in claims.held:
            worker = self.fleet.worker_of(step.pid)
            if worker is not None:
                held[worker.name] += 1
        return self.fleet.workers[held.most_common(1)[0][0]] if held else None

    def _kill(self, victim: Child) -> None:
        seen: list[Claims] = []

        def holds() -> list[HeldStep]:
            seen.append(self.watch.claims())
            return [step for step in seen[-1].held if self.fleet.worker_of(step.pid) is victim]

        held = self.fleet.kill_while(victim, holds)
        if not held:
            return
        self.kills.append(Kill(seen[-1].at_ms, frozenset(step.owner for step in held)))
        self._open |= {(step.step, step.owner): step for step in held}
        self._not_before_s = time.monotonic() + PAUSE_S
        tasks = ", ".join(step.task for step in held)
        self.board.note(
            f"killed {victim.name} (kill -9, process {victim.pid} and its children) while it "
            f"ran {tasks}"
        )
        if self.replace_after_s is not None:
            self._replace[victim.name] = time.monotonic() + self.replace_after_s

    def _note_takeovers(self) -> None:
        """Say which steps that died with a worker were taken over and committed since."""
        died_ms = {owner: kill.at_ms for kill in self.kills for owner in kill.owners}
        reruns = [each for account in self.watch.accounts() for each in account.rerun]
        for rerun in reruns if self._open else ():
            step = self._open.pop((rerun.step, rerun.owner), None)
            if step is not None:
                claimed_ms = rerun.claimed_ms or rerun.released_ms
                after_s = (claimed_ms - died_ms[rerun.owner]) / 1000
                self.board.note(
                    f"{step.task} was taken over {after_s:.1f} s after the kill and is committed"
                )
