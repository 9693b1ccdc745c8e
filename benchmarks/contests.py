"""What is measured: contests, each of entries that are run in turns.

An entry is a peer's program, one of its stores and how much it does. Those that a target is about
run in every round. In a quick run sizes are those of `quick`, and an entry marked `rare` runs once;
entries marked `full` are left to a full run, which has the others in few rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["CONTESTS", "Contest", "Entry"]

How = Literal["always", "rare", "full"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender, by its name in tables."""

    name: str
    peer: str  # Its module in `benchmarks.peers`.
    store: str = ""
    how: How = "always"
    args: tuple[tuple[str, int], ...] = ()  # Its own sizes, over those of the contest.
    twice: bool = False  # Run in two processes on one folder: the second one's result counts.


@dataclass(frozen=True, slots=True)
class Contest:
    """Entries that do the same work."""

    name: str  # `w<number>_<word>`
    title: str
    work: str  # The workload of the peers' programs.
    metric: str  # What is plotted.
    unit: str
    entries: tuple[Entry, ...]
    quick: dict[str, int] = field(default_factory=dict)  # Sizes, `rounds` among them.
    full: dict[str, int] = field(default_factory=dict)
    log: bool = False  # Whether the plot's axis is logarithmic.

    @property
    def workload(self) -> str:
        """Return `W1` to `W8`."""
        return self.name.partition("_")[0].upper()


LOCAL, FLEET = "graphstalk_local", "graphstalk_fleet"
LANGGRAPH, DBOS, CELERY, PREFECT, RESTATE = "langgraph", "dbos", "celery", "prefect", "restate"


def _sized(name: str, peer: str, store: str, size: int, how: How = "always", **more: int) -> Entry:
    label = {1_000: "1 KB", 64_000: "64 KB", 1_000_000: "1 MB"}[size]
    return Entry(f"{name}, {label}", peer, store, how, (("size", size), *more.items()))


def _wide(name: str, peer: str, store: str, size: int, how: How = "always", **more: int) -> Entry:
    return Entry(f"{name}, {size:,}", peer, store, how, (("size", size), *more.items()))


def _deep(name: str, peer: str, store: str, depth: int, how: How = "rare") -> Entry:
    return Entry(f"{name}, {depth:,}", peer, store, how, (("depth", depth),), twice=True)


CONTESTS = (
    Contest(
        "w1_row",
        "50 steps in a row, one thread",
        "row",
        "ms_per_step",
        "ms per step",
        (
            Entry("graphstalk memory", LOCAL, "memory"),
            Entry("LangGraph memory", LANGGRAPH, "memory"),
            Entry("graphstalk sqlite", LOCAL, "sqlite"),
            Entry("LangGraph sqlite", LANGGRAPH, "sqlite"),
            Entry("graphstalk inline", FLEET, "inline"),
            Entry("DBOS postgres", DBOS, "postgres"),
            Entry("Restate", RESTATE, "restate"),
            Entry("graphstalk queue", FLEET, "queue", "rare"),
            Entry("graphstalk on Redis, in process", LOCAL, "redis", "rare"),
            Entry("LangGraph postgres", LANGGRAPH, "postgres", "rare"),
            Entry("DBOS sqlite", DBOS, "sqlite", "rare"),
            Entry("Celery chain", CELERY, "chain", "rare"),
            Entry("Prefect", PREFECT, "sqlite", "rare", (("runs", 1), ("steps", 20))),
        ),
        {"rounds": 3, "runs": 10},
        {"rounds": 5, "runs": 20},
        log=True,
    ),
    Contest(
        "w1_rows",
        "200 threads of 50 steps, three processes",
        "rows",
        "steps_per_s",
        "steps per second",
        (
            Entry("graphstalk queue", FLEET, "queue"),
            Entry("Celery chain", CELERY, "chain"),
            Entry("graphstalk inline", FLEET, "inline"),
            Entry("LangGraph sqlite", LANGGRAPH, "sqlite", "full"),
            Entry("LangGraph postgres", LANGGRAPH, "postgres", "full"),
            Entry("DBOS sqlite", DBOS, "sqlite", "full"),
            Entry("DBOS postgres", DBOS, "postgres", "full"),
            Entry("Restate", RESTATE, "restate", "full"),
            Entry("Prefect, 8 threads", PREFECT, "sqlite", "full", (("threads", 8),)),
        ),
        {"rounds": 2, "threads": 200},
        {"rounds": 5, "threads": 200},
    ),
    Contest(
        "w2_fan",
        "fan-out and join",
        "fan",
        "ms_per_branch",
        "ms per branch",
        (
            _wide("graphstalk memory", LOCAL, "memory", 1_000),
            _wide("LangGraph memory", LANGGRAPH, "memory", 1_000),
            _wide("graphstalk queue", FLEET, "queue", 200, "rare", runs=5),
            _wide("graphstalk queue", FLEET, "queue", 10_000, "rare"),
            _wide("Celery chord", CELERY, "chain", 200, "rare", runs=5),
            _wide("Celery chord", CELERY, "chain", 10_000, "full"),
            _wide("LangGraph sqlite", LANGGRAPH, "sqlite", 200, "rare"),
            _wide("LangGraph sqlite", LANGGRAPH, "sqlite", 10_000, "full"),
            _wide("DBOS postgres", DBOS, "postgres", 200, "rare"),
            _wide("DBOS postgres", DBOS, "postgres", 10_000, "full"),
            _wide("Restate", RESTATE, "restate", 200, "rare"),
            _wide("Prefect", PREFECT, "sqlite", 200, "full"),
        ),
        {"rounds": 3, "runs": 1},
        {"rounds": 3, "runs": 1},
        log=True,
    ),
    Contest(
        "w3_long",
        "a thread of many steps, then resumed; a short one in turns with it",
        "long",
        "long_ms",
        "ms from the resume to the next node",
        (Entry("graphstalk inline", FLEET, "inline", "rare"),),
        {"rounds": 1, "depth": 10_000},
        {"rounds": 1, "depth": 100_000},
    ),
    Contest(
        "w3_warm",
        "resume in the process that paused",
        "resume",
        "long_ms",
        "ms from the resume to the next node",
        (
            Entry("graphstalk on Redis, in process", LOCAL, "redis", "rare"),
            Entry("graphstalk sqlite", LOCAL, "sqlite", "rare"),
            Entry("LangGraph sqlite", LANGGRAPH, "sqlite", "rare"),
        ),
        {"rounds": 1, "depth": 1_000},
        {"rounds": 1, "depth": 10_000},
    ),
    Contest(
        "w3_cold",
        "resume in a new process, by number of steps",
        "cold",
        "ms",
        "ms from the opened store to the next node",
        (
            _deep("graphstalk on Redis, in process", LOCAL, "redis", 10, "full"),
            _deep("graphstalk on Redis, in process", LOCAL, "redis", 1_000),
            _deep("graphstalk on Redis, in process", LOCAL, "redis", 10_000, "full"),
            _deep("LangGraph sqlite", LANGGRAPH, "sqlite", 10, "full"),
            _deep("LangGraph sqlite", LANGGRAPH, "sqlite", 1_000),
            _deep("LangGraph sqlite", LANGGRAPH, "sqlite", 10_000, "full"),
            _deep("LangGraph postgres", LANGGRAPH, "postgres", 1_000, "full"),
            _deep("DBOS postgres", DBOS, "postgres", 10, "full"),
            _deep("DBOS postgres", DBOS, "postgres", 1_000),
            _deep("DBOS postgres", DBOS, "postgres", 10_000, "full"),
        ),
        {"rounds": 1},
        {"rounds": 3},
        log=True,
    ),
    Contest(
        "w3_grown",
        "50 steps that each append a number to a list which has grown to 100,000",
        "grown",
        "ms_per_step",
        "ms per step",
        (
            Entry("graphstalk inline", FLEET, "inline", "rare"),
            Entry("LangGraph sqlite", LANGGRAPH, "sqlite", "rare"),
        ),
        {"rounds": 1, "depth": 100_000},
        {"rounds": 2, "depth": 100_000},
    ),
    Contest(
        "w4_append",
        "200 steps that each append 10 KB",
        "append",
        "stored_bytes",
        "bytes stored",
        (
            Entry("graphstalk queue", FLEET, "queue"),
            Entry("graphstalk inline", FLEET, "inline", "rare"),
            Entry("graphstalk sqlite", LOCAL, "sqlite", "rare"),
            Entry("LangGraph sqlite", LANGGRAPH, "sqlite", "rare"),
            Entry("LangGraph postgres", LANGGRAPH, "postgres", "rare"),
            Entry("DBOS postgres", DBOS, "postgres", "rare"),
            Entry("DBOS sqlite", DBOS, "sqlite", "rare"),
        ),
        {"rounds": 1, "steps": 200, "size": 10_240},
        {"rounds": 3, "steps": 200, "size": 10_240},
        log=True,
    ),
    Contest(
        "w5_kill",
        "kill -9 of the process that runs a step",
        "kill",
        "ms",
        "ms until the step runs elsewhere",
        (
            Entry("graphstalk fleet, by itself", FLEET, "queue", "rare"),
            Entry("DBOS postgres, restarted at once", DBOS, "postgres", "rare"),
            Entry("Restate, service restarted at once", RESTATE, "restate", "rare"),
            Entry("LangGraph sqlite, restarted and called again", LANGGRAPH, "sqlite", "rare"),
        ),
        {"rounds": 1, "runs": 5},
        {"rounds": 2, "runs": 10},
        log=True,
    ),
    Contest(
        "w6_smallest",
        "the smallest deployment",
        "smallest",
        "memory_mb",
        "MB",
        (
            Entry("graphstalk sqlite, in process", LOCAL, "sqlite", "rare"),
            Entry("LangGraph sqlite", LANGGRAPH, "sqlite", "rare"),
            Entry("DBOS sqlite", DBOS, "sqlite", "rare"),
            Entry("graphstalk fleet", FLEET, "queue", "rare"),
            Entry("Celery", CELERY, "chain", "rare"),
            Entry("DBOS postgres", DBOS, "postgres", "rare"),
            Entry("LangGraph postgres", LANGGRAPH, "postgres", "rare"),
            Entry("Restate", RESTATE, "restate", "rare"),
            Entry("Prefect", PREFECT, "sqlite", "full"),
        ),
        {"rounds": 1},
        {"rounds": 3},
    ),
    Contest(
        "w6_import",
        "import of the library",
        "imports",
        "ms",
        "ms",
        (Entry("graphstalk", LOCAL, "memory"),),
        {"rounds": 1, "runs": 5},
        {"rounds": 3, "runs": 5},
    ),
    Contest(
        "w7_carry",
        "small steps beside a large value",
        "carry",
        "ms_per_step",
        "ms per step",
        (
            _sized("graphstalk inline", FLEET, "inline", 1_000),
            _sized("graphstalk inline", FLEET, "inline", 64_000, "rare"),
            _sized("graphstalk inline", FLEET, "inline", 1_000_000),
            _sized("LangGraph sqlite", LANGGRAPH, "sqlite", 1_000, "rare"),
            _sized("LangGraph sqlite", LANGGRAPH, "sqlite", 64_000, "rare"),
            _sized("LangGraph sqlite", LANGGRAPH, "sqlite", 1_000_000, "rare"),
            _sized("LangGraph postgres", LANGGRAPH, "postgres", 1_000, "full"),
            _sized("LangGraph postgres", LANGGRAPH, "postgres", 1_000_000, "full"),
            _sized("DBOS postgres", DBOS, "postgres", 1_000, "full"),
            _sized("DBOS postgres", DBOS, "postgres", 1_000_000, "full"),
            _sized("Restate", RESTATE, "restate", 1_000, "full"),
            _sized("Restate", RESTATE, "restate", 1_000_000, "full"),
        ),
        {"rounds": 2, "runs": 2, "steps": 200},
        {"rounds": 5, "runs": 3, "steps": 200},
        log=True,
    ),
    Contest(
        "w8_paused",
        "threads that wait for an answer",
        "paused",
        "bytes_per_thread",
        "bytes stored per thread",
        (
            Entry("graphstalk queue", FLEET, "queue"),
            Entry("LangGraph sqlite", LANGGRAPH, "sqlite", "rare", (("threads", 500),)),
            Entry("LangGraph postgres", LANGGRAPH, "postgres", "rare", (("threads", 500),)),
            Entry("graphstalk sqlite", LOCAL, "sqlite", "rare", (("threads", 500),)),
        ),
        {"rounds": 1, "threads": 2_000},
        {"rounds": 1, "threads": 10_000},
    ),
)
