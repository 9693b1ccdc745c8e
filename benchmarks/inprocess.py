"""Milliseconds per step in process, against LangGraph with its in-memory saver, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.graphs import STEPS, Count, build, step
from orchestrator.checkpointer.memory import MemoryCheckpointer

__all__ = ["InProcessCost", "measure_inprocess"]


@dataclass(frozen=True, slots=True)
class InProcessCost:
    """Milliseconds per step, medians."""

    ours: float
    langgraph: float


def measure_inprocess(*, rounds: int = 3, runs: int = 10) -> InProcessCost:
    """Measure `rounds` times `runs` runs of 50 steps each, ours and LangGraph's in turns."""
    mine = build().compile(MemoryCheckpointer())
    theirs = _langgraph()
    ours, other = [], []
    for number in range(rounds):
        ours.append(_cost(lambda n: mine.invoke({"count": 0, "seen": []}, n), f"{number}", runs))
        other.append(
            _cost(
                lambda n: theirs.invoke(
                    {"count": 0, "seen": []}, {"configurable": {"thread_id": n}}
                ),
                f"{number}",
                runs,
            )
        )
    return InProcessCost(statistics.median(ours), statistics.median(other))


def _cost(invoke: Callable[[str], Any], name: str, runs: int) -> float:
    invoke(f"{name}-warm")
    begun = time.perf_counter()
    for number in range(runs):
        invoke(f"{name}-{number}")
    return (time.perf_counter() - begun) / runs / STEPS * 1000


def _langgraph() -> Any:
    from langgraph.checkpoint.memory import InMemorySaver  # noqa: PLC0415 - 1 s to import
    from langgraph.graph import START, StateGraph  # noqa: PLC0415

    builder: Any = StateGraph(Count)
    before = START
    for number in range(STEPS):
        builder.add_node(f"step{number}", step)
        builder.add_edge(before, f"step{number}")
        before = f"step{number}"
    return builder.compile(InMemorySaver())
