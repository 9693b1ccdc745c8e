"""What a person sees while a demo runs: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.cli.output import say

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

__all__ = ["Board", "LineBoard", "Row", "open_board"]

LINE_EVERY_S = 2.0  # Between two lines of progress where there is no terminal.
NOTES_MAX = 8  # Lines kept under the live table.
STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "paused": "yellow",
    "failed": "red",
    "cancelled": "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thread at one moment."""

    thread: str
    status: str
    committed: int  # Steps.
    planned: int  # Steps, as far as planning has got.
    running: Sequence[str] = ()  # Which worker runs what.
    waits_for: str = ""


class Board(Protocol):
    """Where progress is shown."""

    def show(self, rows: Sequence[Row]) -> None:
        """Show how things stand."""
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
        self._statuses: dict[str, str] = {}

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
    """Return how things stand in one line."""
    ended = sum(row.status == "succeeded" for row in rows)
    committed, running = sum(row.committed for row in rows), sum(len(row.running) for row in rows)
    return (
        f"{ended} of {len(rows)} threads finished, {committed} steps committed, {running} running"
    )
