"""Survive a `kill -9` with one SQLite file: `python -m examples.crash_recovery`."""

import subprocess
import sys
import tempfile
from pathlib import Path

from examples.crash_recovery import builder
from orchestrator import SqliteSaver

THREAD = "journey-1"


def main() -> None:
    """Let a child process begin the journey and die; finish it here."""
    say = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        child = [sys.executable, "-m", "examples.crash_recovery", folder]
        died = subprocess.run(child, check=False).returncode  # noqa: S603 - this very module
        say(f"The process that travelled ended with {died}: it was killed.\n")

        graph = builder.compile(SqliteSaver(Path(folder) / "threads.db"))
        snapshot = graph.get_state(THREAD)
        say(f"Its thread is kept. Booked: {snapshot.values['booked']}, next: {snapshot.next}\n")

        result = graph.invoke(None, THREAD)
        say(f"Another process continues. Booked: {result['booked']}\n")
        ran = (Path(folder) / "journal.txt").read_text(encoding="utf-8").split()
        say(f"What ran, by the journal: {', '.join(ran)}. Only the killed step ran again.\n")


def begin(folder: str) -> None:
    """Begin the journey; this process does not live to see its end."""
    graph = builder.compile(SqliteSaver(Path(folder) / "threads.db"))
    graph.invoke({"folder": folder}, THREAD)


if __name__ == "__main__":
    begin(sys.argv[1]) if sys.argv[1:] else main()
