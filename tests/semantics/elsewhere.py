"""Another process that calls graphs: on another host, as it were, with a clock of its own.

Started as a program, it reads one call a line from its input, and writes one outcome a line to its
output: `{"ok": …}` or `{"error": [type, message]}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
START_S = 60  # Two cores, cold caches, other tests beside it.


class Elsewhere:
    """A started process; it lives as long as the context."""

    def __init__(self, where: dict[str, Any]) -> None:
        """Remember which place it is to work on."""
        self._where = where

    def __enter__(self) -> Self:
        """Start it, and wait until it can be called."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(self._where)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._line() == "ready"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self.process.wait(START_S)
        finally:
            self.process.kill()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, name: str, thread: str, **call: Any) -> None:
        """Ask for a call: `value=`, an input; `resume=`, an answer; or `update=`, an update.

        `options=` are those of the call.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"name": name, "thread": thread, **call}) + "\n")
        self.process.stdin.flush()

    def outcome(self) -> dict[str, Any] | None:
        """Wait for the outcome of the call; `None`: the process has died."""
        line = self._line()
        return json.loads(line) if line else None

    def call(self, name: str, thread: str, **call: Any) -> dict[str, Any] | None:
        """Ask for a call and wait for its outcome."""
        self.send(name, thread, **call)
        return self.outcome()

    def death(self, name: str, thread: str, **call: Any) -> int:
        """Ask for a call that ends the process; return the number of the signal that did it."""
        assert self.call(name, thread, **call) is None
        return -self.process.wait(START_S)


def _behind(seconds: float) -> None:
    """Set the clock of this process back, before anybody looks at it."""
    real_ns, real = time.time_ns, time.time
    time.time_ns = lambda: real_ns() - int(seconds * 1_000_000_000)
    time.time = lambda: real() - seconds


def _serve(where: dict[str, Any]) -> None:
    from orchestrator import (
        CeleryExecutor,
        Command,
        CompiledStateGraph,
        RedisCheckpointer,
        SqliteCheckpointer,
    )
    from orchestrator.config import Settings
    from tests.semantics import graphs

    place: dict[str, Any] = {}
    if where["kind"] == "sqlite":
        place["checkpointer"] = SqliteCheckpointer(where["path"])
    else:
        settings = Settings.from_env(where["env"])
        if where["kind"] == "fleet":
            place["executor"] = CeleryExecutor(settings=settings, timeout_s=START_S)
        else:
            place["checkpointer"] = RedisCheckpointer(settings=settings)
    known = {name: CompiledStateGraph(getattr(graphs, name).spec, **place) for name in graphs.NAMES}
    print("ready", flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        graph, thread = known[call["name"]], call["thread"]
        options = call.get("options", {})
        try:
            if "update" in call:
                found: Any = graph.update_state(thread, call["update"], call["as_node"])
            elif "resume" in call:
                found = graph.invoke(Command(resume=call["resume"]), thread, **options)
            else:
                found = graph.invoke(call["value"], thread, **options)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to hear it
            print(json.dumps({"error": [type(error).__name__, str(error)]}), flush=True)
        else:
            print(json.dumps({"ok": found}, default=str), flush=True)


if __name__ == "__main__":
    _given = json.loads(sys.argv[1])
    _behind(_given["behind_s"])
    _serve(_given)
