"""Milliseconds per step in process, against LangGraph, in turns: memory, SQLite, many `Send`s."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.graphs import FANOUT, STEPS, Count, Spread, build, build_fan, piece, scatter, step
from orchestrator import MemoryCheckpointer, SqliteCheckpointer

__all__ = ["Pair", "measure_import_ms", "measure_inprocess"]

_Invoke = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """Milliseconds per unit of work, ours and LangGraph's, one of each for every round."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """Return the median of the rounds' ratios: those of one round had the same machine."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return statistics.median(mine / other for mine, other in pairs)


def measure_inprocess(*, rounds: int = 3, runs: int = 10) -> dict[str, Pair]:
    """Measure `rounds` times, ours and LangGraph's in turns.

    Returns:
        by name: `memory` and `sqlite`, per step of a row of 50, `runs` runs a round; `sends`, per
        branch of a fan-out of 1,000, one run a round.
    """
    with tempfile.TemporaryDirectory() as folder, _langgraph(Path(folder)) as theirs:
        mine = {
            "memory": _row(build().compile(MemoryCheckpointer())),
            "sqlite": _row(build().compile(SqliteCheckpointer(Path(folder, "ours.db")))),
            "sends": _fan(build_fan().compile(MemoryCheckpointer())),
        }
        size = {"memory": (runs, STEPS), "sqlite": (runs, STEPS), "sends": (1, FANOUT)}
        found = {}
        for name, (count, units) in size.items():
            ours, other = [], []
            for number in range(rounds):
                ours.append(_cost(mine[name], f"{number}", count, units))
                other.append(_cost(theirs[name], f"{number}", count, units))
            found[name] = Pair(ours, other)
        return found


def measure_import_ms(runs: int = 5) -> float:
    """Return how long `import orchestrator` takes in a new process, less an empty one; median."""

    def took(code: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - begun) * 1000

    return statistics.median(took("import orchestrator") - took("pass") for _ in range(runs))


def _row(graph: Any) -> _Invoke:
    return lambda name: graph.invoke({"count": 0, "seen": []}, _config(name))


def _fan(graph: Any) -> _Invoke:
    return lambda name: graph.invoke({"seen": []}, _config(name))


def _config(name: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


def _cost(invoke: _Invoke, name: str, runs: int, units: int) -> float:
    invoke(f"{name}-warm")
    begun = time.perf_counter()
    for number in range(runs):
        invoke(f"{name}-{number}")
    return (time.perf_counter() - begun) / runs / units * 1000


@contextmanager
def _langgraph(folder: Path) -> Iterator[dict[str, _Invoke]]:
    """Make the same graphs with LangGraph; its SQLite saver waits for the disk, as ours does."""
    from langgraph.checkpoint.memory import InMemorySaver  # noqa: PLC0415 - 1 s to import
    from langgraph.checkpoint.sqlite import SqliteSaver  # noqa: PLC0415
    from langgraph.graph import START, StateGraph  # noqa: PLC0415
    from langgraph.types import Send  # noqa: PLC0415

    def row() -> Any:
        builder: Any = StateGraph(Count)
        before = START
        for number in range(STEPS):
            builder.add_node(f"step{number}", step)
            builder.add_edge(before, f"step{number}")
            before = f"step{number}"
        return builder

    fan: Any = StateGraph(Spread)
    fan.add_node("piece", piece)
    fan.add_conditional_edges(START, lambda _: scatter(Send), ["piece"])
    with SqliteSaver.from_conn_string(str(folder / "theirs.db")) as saver:
        on_disk = row().compile(saver)
        yield {
            "memory": _row(row().compile(InMemorySaver())),
            "sqlite": lambda name: on_disk.invoke(
                {"count": 0, "seen": []}, _config(name), durability="sync"
            ),
            "sends": _fan(fan.compile(InMemorySaver())),
        }
