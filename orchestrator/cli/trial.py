"""One trial of a fleet: submit, watch, kill, answer, and draw up the account.

Rule 1: what is reported is what is stored. The numbers come from the threads' events, not from this
        process.
Rule 2: whatever ends the trial ends the workers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.fleet import Fleet, worker_environment
from orchestrator.cli.ledger import Kill, ThreadAccount, add_up, takeovers
from orchestrator.cli.sabotage import Sabotage
from orchestrator.cli.watch import Watch
from orchestrator.cli.worker import worker_arguments

if TYPE_CHECKING:
    from orchestrator.checkpointer.base import Checkpointer
    from orchestrator.cli.board import Board
    from orchestrator.client.client import Client

__all__ = ["GRAPH", "Report", "Setup", "report_of", "run_trial"]

GRAPH = "census"
GRAPHS = {GRAPH: "examples.census:graph"}
ANSWER = {"decision": "accept"}  # What a reviewer in a hurry says.
LOOK_EVERY_S = 0.25
STOP_GRACE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a trial does."""

    inputs: Sequence[Mapping[str, object]]  # One thread for each.
    workers: int
    concurrency: int
    kills: int
    replace_after_s: float | None
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a trial ends with; `--json` prints exactly these keys."""

    threads: int
    finished: int
    steps_committed: int
    kills: int
    reexecuted: int
    lost: int
    duplicated: int
    takeover_s: (
        float | None
    )  # The slowest: from a kill to the next claim of a step that died with it.
    wall_s: float


def run_trial(
    client: Client, store: Checkpointer, folder: Path, setup: Setup, board: Board
) -> tuple[Report, Watch]:
    """Run one trial to its end, or until its time is up.

    Args:
        client: submits and answers.
        store: what is stored, to look at.
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
            time.sleep(LOOK_EVERY_S)
        wall_s = time.monotonic() - began_s
    finally:
        fleet.stop(STOP_GRACE_S)
    end = Watch(store, watch.threads)  # From the beginning: whatever came late counts too.
    end.look()
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
    """Look once, and do what is to be done: kill, answer, show."""
    claims = watch.look()
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
    """Return the report on threads whose accounts are drawn up."""
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
