"""One trial of a fleet: submit, watch, kill, answer, and draw up the account."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.board import Claims, HeldStep, Watch
from orchestrator.cli.ledger import Kill, ThreadAccount, add_up, takeovers
from orchestrator.cli.processes import Fleet, worker_environment
from orchestrator.cli.worker import worker_arguments

if TYPE_CHECKING:
    from orchestrator.checkpointer.base import Checkpointer
    from orchestrator.cli.board import Board
    from orchestrator.cli.processes import Child
    from orchestrator.client.client import Client

# ---- kills ----------------------------------------------------------------------------------
#
# Rule 1: a kill counts only if the worker held at least one step, as stored, when it was killed.
# Rule 2: a whole worker is killed: every process of its session, at once, without warning.

BUSY_STEPS = 3  # Committed per thread, before the first kill: by then the fleet is at work.
PAUSE_S = 3.0  # Between two kills, so that each takeover can be seen.


@dataclass
class Sabotage:
    """The kills of one demo."""

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
        """Report the steps of killed workers that other workers have committed since."""
        died_ms = {owner: kill.at_ms for kill in self.kills for owner in kill.owners}
        reruns = [each for account in self.watch.accounts() for each in account.rerun]
        for rerun in reruns if self._open else ():
            step = self._open.pop((rerun.step, rerun.owner), None)
            if step is not None:
                claimed_ms = rerun.claimed_ms or rerun.released_ms
                after_s = (claimed_ms - died_ms[rerun.owner]) / 1000
                self.board.note(
                    f"{step.task} was claimed again {after_s:.1f} s after the kill and is committed"
                )


# ---- the trial ------------------------------------------------------------------------------
#
# Rule 1: the report is made of stored events only, not of what this process remembers.
# Rule 2: the workers are stopped, however the trial ends.

GRAPH = "census"
GRAPHS = {GRAPH: "examples.census:graph"}
ANSWER = {"decision": "accept"}  # The answer to every question.
POLL_EVERY_S = 0.25
STOP_GRACE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The options of a trial."""

    inputs: Sequence[Mapping[str, object]]  # One thread for each.
    workers: int
    concurrency: int
    kills: int
    replace_after_s: float | None
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a trial; `--json` prints exactly these keys."""

    threads: int
    finished: int
    steps_committed: int
    kills: int
    reexecuted: int
    lost: int
    duplicated: int
    # The slowest: from a kill to the next claim of a step that died with it.
    takeover_s: float | None
    wall_s: float


def run_trial(
    client: Client, store: Checkpointer, folder: Path, setup: Setup, board: Board
) -> tuple[Report, Watch]:
    """Run one trial to its end, or until its time is up.

    Args:
        client: submits and answers.
        store: the stored threads.
        folder: for the workers' logs and temporary files.
        setup: what to do.
        board: where to show how it goes.

    Returns:
        the report, and the threads as they were stored at the end.

    Raises:
        CommandError: if a worker dies that was not killed.
    """
    began_s = time.monotonic()
    url = client.settings.url
    arguments = worker_arguments(concurrency=setup.concurrency, loglevel="info")
    fleet = Fleet(worker_environment(url, folder, GRAPHS), arguments, log_dir=folder)
    try:
        for number in range(1, setup.workers + 1):
            child = fleet.start(f"worker-{number}")
            board.note(f"started {child.name} (process {child.pid})")
        watch = Watch(store, submit_all(client, setup.inputs))
        board.note(
            f"submitted {len(watch.threads)} threads of the graph census: from here on they are "
            "durable"
        )
        sabotage = Sabotage(fleet, watch, board, setup.kills, setup.replace_after_s)
        deadline = began_s + setup.timeout_s
        while not watch.ended and time.monotonic() < deadline:
            go_round(client, watch, sabotage, fleet, board)
            time.sleep(POLL_EVERY_S)
        wall_s = time.monotonic() - began_s
    finally:
        fleet.stop(STOP_GRACE_S)
    end = Watch(store, watch.threads)  # From the beginning: late events count too.
    end.poll()
    return report_of(end.accounts(), sabotage.kills, wall_s), end


def submit_all(client: Client, inputs: Sequence[Mapping[str, object]]) -> list[str]:
    """Submit a thread for each input; return their names."""
    names = []
    for number, value in enumerate(inputs, start=1):
        name = f"census-{number:0{len(str(len(inputs)))}}"
        client.submit(GRAPH, dict(value), thread_id=name, key=name)
        names.append(name)
    return names


def go_round(client: Client, watch: Watch, sabotage: Sabotage, fleet: Fleet, board: Board) -> None:
    """Poll the threads once; kill a worker, answer questions and update the board."""
    claims = watch.poll()
    sabotage.once(claims)
    fleet.check()
    for thread, question in watch.questions():
        client.resume(thread, ANSWER, interrupt_id=question)
        board.note(f"answered the review of {thread}: {ANSWER['decision']}")

    def name_of(pid: int) -> str:
        worker = fleet.worker_of(pid)
        return worker.name if worker else "a dead worker"

    board.show(watch.rows(claims, name_of))


def report_of(accounts: Sequence[ThreadAccount], kills: Sequence[Kill], wall_s: float) -> Report:
    """Return the report on the accounts of threads."""
    ledger = add_up(accounts)
    delays = takeovers(accounts, kills)
    return Report(
        threads=ledger.threads,
        finished=ledger.finished,
        steps_committed=ledger.steps_committed,
        kills=len(kills),
        reexecuted=ledger.reexecuted,
        lost=ledger.lost,
        duplicated=ledger.duplicated,
        takeover_s=round(max(delays), 3) if delays else None,
        wall_s=round(wall_s, 3),
    )
