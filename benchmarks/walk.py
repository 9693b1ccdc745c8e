"""What one queued step walks through: calls, functions, files and packages of this project.

`python -m benchmarks.walk [--json]`

A row of five nodes on the embedded Redis. This process is the worker: it takes each message from
the queue and does its step, a claim and a commit on the wire. The third node's step is recorded by
a profiler hook, once the process has done a whole row.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path, PurePosixPath
from types import FrameType

from benchmarks.peers import graphs
from benchmarks.peers.contract import ROOT
from benchmarks.peers.graphstalk_local import KIT
from orchestrator import Client
from orchestrator.cli.embedded import EmbeddedServer
from orchestrator.config import Settings
from workers.configuration import GRAPHS_VARIABLE

__all__ = ["ROW", "Walk", "main", "recorded_walk"]

OWN = ("orchestrator", "workers")  # The packages whose functions count.
NODES = 5
RECORDED = 3  # The place of the recorded message in its row: after START come the nodes.

ROW = graphs.row(KIT, NODES).compile(name="walk")


class Walk:
    """The functions that ran, in this order; as a profiler hook."""

    def __init__(self) -> None:
        """Begin with none."""
        self.calls: list[tuple[str, str]] = []  # (file below the project's folder, function).

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Record the call of a function of this project."""
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            file = path.relative_to(ROOT).as_posix()
            if file.startswith(OWN):
                self.calls.append((file, frame.f_code.co_qualname))

    def counts(self) -> dict[str, int]:
        """Return how many calls, functions, files, packages, and changes of file there were."""
        functions = dict.fromkeys(self.calls)
        files = {file for file, _ in functions}
        changes = sum(a[0] != b[0] for a, b in zip(self.calls, self.calls[1:], strict=False))
        packages = {str(PurePosixPath(file).parent) for file in files}
        return {
            "calls": len(self.calls),
            "functions": len(functions),
            "files": len(files),
            "packages": len(packages),
            "changes_of_file": changes,
        }


def recorded_walk() -> Walk:
    """Return the walk of one queued step."""
    walk = Walk()
    with tempfile.TemporaryDirectory() as place, EmbeddedServer(Path(place, "data")) as server:
        os.environ.update({"REDIS_URL": server.url, GRAPHS_VARIABLE: "walk=benchmarks.walk:ROW"})
        settings = Settings.from_env()
        with Client(graphs={"walk": ROW}, settings=settings) as client:
            for hook in (None, walk):
                client.submit("walk", {"count": 0, "seen": []})
                _do_all(settings, hook)
    return walk


def _do_all(settings: Settings, hook: Walk | None) -> None:
    """Do the steps of the run that waits in the queue; let a hook see one of them."""
    from workers.process import worker_process  # noqa: PLC0415 - reads the environment

    mine, number = worker_process(), 0
    assert mine.inbox is not None
    while message := mine.inbox.take(settings.queue_prefix + settings.queue, lambda _: True):
        if number == RECORDED:
            sys.setprofile(hook)
        mine.run(message.thread, message.step, message.sent_ms)
        sys.setprofile(None)
        number += 1


def main() -> int:
    """Print the walk, a function a line, and the counts; the last line is JSON with `--json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.walk", description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    walk = recorded_walk()
    for file, function in dict.fromkeys(walk.calls):
        print(f"{file}: {function}")
    counts = walk.counts()
    print("; ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()))
    if options.json:
        print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
