"""The display of a running demo: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.cli.ledger import ThreadAccount, account_of
from orchestrator.cli.output import say
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.events import StepCommitted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from orchestrator.checkpointer.base import Checkpointer
    from orchestrator.model.commit import Event, LoadedThread

LINE_EVERY_S = 2.0  # Between two lines of progress where there is no terminal.
NOTES_MAX = 8  # Lines kept under the live table.
STYLES = {
    RunStatus.SUCCEEDED: "green",
    RunStatus.RUNNING: "cyan",
    RunStatus.PAUSED: "yellow",
    RunStatus.FAILED: "red",
    RunStatus.CANCELLED: "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thread at one moment."""

    thread: str
    status: RunStatus
    committed: int  # Steps.
    planned: int  # Steps, as far as planning has got.
    running: Sequence[str] = ()  # Which worker runs what.
    waits_for: str = ""


class Board(Protocol):
    """Where progress is shown."""

    def show(self, rows: Sequence[Row]) -> None:
        """Show the current state of the threads."""
        ...

    def note(self, text: str) -> None:
        """Show something that happened."""
        ...


@contextlib.contextmanager
def open_board(*, live: bool | None = None) -> Iterator[Board]:
    """Open the board that fits where standard error goes."""
    if live is None:
        live = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    if not live:
        yield LineBoard()
        return
    from rich.console import Console  # rich takes longer to load than --help may last.
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as screen:
        board = LiveBoard(screen)
        yield board
    for text in board.notes:
        say(text)


class LineBoard:
    """One line when something changes, and now and then one with the sums."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._line_due_s = 0.0
        self._statuses: dict[str, RunStatus] = {}

    def show(self, rows: Sequence[Row]) -> None:
        """See `Board.show`."""
        for row in rows:
            before = self._statuses.get(row.thread)
            self._statuses[row.thread] = row.status
            if before is not None and before != row.status:
                waits = f", waits for {row.waits_for}" if row.waits_for else ""
                self.note(f"{row.thread}: {row.status} after {row.committed} steps{waits}")
        if time.monotonic() >= self._line_due_s:
            self._line_due_s = time.monotonic() + LINE_EVERY_S
            self.note(sums(rows))

    def note(self, text: str) -> None:
        """See `Board.note`."""
        say(f"{time.monotonic() - self._began_s:6.1f} s  {text}")


class LiveBoard:
    """A table that is drawn again and again, with the latest notes under it."""

    def __init__(self, screen: Live) -> None:
        self.notes: list[str] = []
        self._began_s = time.monotonic()
        self._screen = screen
        self._rows: Sequence[Row] = ()

    def show(self, rows: Sequence[Row]) -> None:
        """See `Board.show`."""
        self._rows = rows
        self._screen.update(self._drawing())

    def note(self, text: str) -> None:
        """See `Board.note`."""
        self.notes.append(f"{time.monotonic() - self._began_s:6.1f} s  {text}")
        self._screen.update(self._drawing())

    def _drawing(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="dim")
        for head in ("thread", "status", "steps", "runs now", "waits for"):
            table.add_column(head, justify="right" if head == "steps" else "left", no_wrap=True)
        for row in self._rows:
            table.add_row(
                row.thread,
                Text(row.status, style=STYLES.get(row.status, "")),
                f"{row.committed}/{row.planned}",
                ", ".join(row.running),
                row.waits_for,
            )
        notes = [Text(text) for text in self.notes[-NOTES_MAX:]]
        return Group(table, Text(sums(self._rows), style="dim"), *notes)


def sums(rows: Sequence[Row]) -> str:
    """Return the sums of all threads in one line."""
    ended = sum(row.status == RunStatus.SUCCEEDED for row in rows)
    committed, running = sum(row.committed for row in rows), sum(len(row.running) for row in rows)
    return (
        f"{ended} of {len(rows)} threads finished, {committed} steps committed, {running} running"
    )


# ---- stored threads -------------------------------------------------------------------------
#
# Everything that a demo shows and counts is read from the store: events, claims and questions.


EVENTS_PAGE = 1000


@dataclass(frozen=True, slots=True)
class HeldStep:
    """A step that a worker runs at this moment."""

    thread: str
    step: str  # Its id.
    task: str  # Its name for people: thread, superstep, node, and the index of its `Send`.
    owner: str  # "host:pid:nonce"

    @property
    def pid(self) -> int:
        """The process that runs it; 0 if its owner does not say."""
        parts = self.owner.rsplit(":", 2)
        return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0


@dataclass(frozen=True, slots=True)
class Claims:
    """Which steps were claimed at one time of the server."""

    at_ms: int
    held: tuple[HeldStep, ...]


class Watch:
    """Some threads, as they are stored."""

    def __init__(self, store: Checkpointer, threads: Sequence[str]) -> None:
        self._store = store
        self._open: dict[str, LoadedThread] = {}  # Those not ended, as last seen.
        self.threads = tuple(threads)
        self.statuses = dict.fromkeys(threads, RunStatus.QUEUED)
        self.events: dict[str, list[Event]] = {thread: [] for thread in threads}

    @property
    def ended(self) -> bool:
        """Whether every thread has reached a final status."""
        return all(status.final for status in self.statuses.values())

    @property
    def committed(self) -> int:
        """How many steps were committed so far, in all threads."""
        return sum(self._committed(thread) for thread in self.threads)

    def poll(self) -> Claims:
        """Read new events; return the steps that are claimed now.

        A thread is read before its events, so that one that has ended has them all.
        """
        self._open = dict(self._load())
        for thread in [each for each in self.threads if not self.statuses[each].final]:
            if thread in self._open:
                self.statuses[thread] = self._open[thread].head.status
            events = self.events[thread]
            while page := self._store.events(
                thread, after=events[-1].seq if events else 0, limit=EVENTS_PAGE
            ):
                events.extend(page)
        return claims_in(self._open)

    def claims(self) -> Claims:
        """Return the steps that are claimed at this very moment."""
        return claims_in(dict(self._load()))

    def questions(self) -> list[tuple[str, str]]:
        """Return the open interrupts that pause threads: (thread, interrupt id)."""
        return [
            (thread, question)
            for thread, loaded in self._open.items()
            if loaded.head.status == RunStatus.PAUSED
            for step in loaded.steps.values()
            for question in step.questions
        ]

    def rows(self, claims: Claims, name_of: Callable[[int], str]) -> list[Row]:
        """Return the current state of each thread; `name_of` names the worker of a process."""
        return [
            Row(
                thread=thread,
                status=self.statuses[thread],
                committed=self._committed(thread),
                planned=self._planned(thread),
                running=tuple(
                    f"{step.task.removeprefix(thread + ':')} on {name_of(step.pid)}"
                    for step in claims.held
                    if step.thread == thread
                ),
                waits_for="a review" if self.statuses[thread] == RunStatus.PAUSED else "",
            )
            for thread in self.threads
        ]

    def accounts(self) -> list[ThreadAccount]:
        """Return the account of each thread."""
        return [
            account_of(self.events[thread], finished=self.statuses[thread] == RunStatus.SUCCEEDED)
            for thread in self.threads
        ]

    def _load(self) -> Iterator[tuple[str, LoadedThread]]:
        for thread in self.threads:
            if not self.statuses[thread].final:
                loaded = self._store.load(thread, values=False)
                if loaded is not None:
                    yield thread, loaded

    def _committed(self, thread: str) -> int:
        return sum(event.type == StepCommitted.type for event in self.events[thread])

    def _planned(self, thread: str) -> int:
        return sum(len(event.fields.get("steps", b"").split()) for event in self.events[thread])


def claims_in(threads: dict[str, LoadedThread]) -> Claims:
    """Return the claims among the steps of loaded threads."""
    held = tuple(
        HeldStep(thread, step.step.step_id, step.step.task_id, step.owner)
        for thread, loaded in threads.items()
        for step in loaded.steps.values()
        if step.owner and not step.completed
    )
    return Claims(max((loaded.now_ms for loaded in threads.values()), default=0), held)
