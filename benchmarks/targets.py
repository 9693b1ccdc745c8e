"""The table of targets: what each row divides by what, and the value it must keep to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["ROWS", "Figure", "Row"]


class Figure(NamedTuple):
    """A number of a contest: whose, which, and what is taken of a list of them."""

    contest: str
    entry: str
    metric: str
    percent: float | None = None  # Of a list: this percentile. Of None: the median.


@dataclass(frozen=True, slots=True)
class Row:
    """One promise about numbers."""

    key: str
    says: str
    top: Figure
    bottom: Figure | None  # None: the value of `top` itself.
    target: float
    holds: Literal["at most", "at least"] = "at most"
    slack: float = 0.0  # What a count may be over, for what comes up now and then.

    @property
    def workload(self) -> str:
        """Return the workload it belongs to: that of its contest's name."""
        return self.top.contest.partition("_")[0].upper()

    def keeps(self, value: float) -> bool:
        """Return whether a value is as promised."""
        if self.holds == "at least":
            return value >= self.target - self.slack
        return value <= self.target + self.slack


def _row(entry: str) -> Figure:
    return Figure("w1_row", entry, "ms_per_step")


def _rows(entry: str) -> Figure:
    return Figure("w1_rows", entry, "steps_per_s")


def _fan(entry: str) -> Figure:
    return Figure("w2_fan", entry, "ms_per_branch")


_QUEUE, _INLINE = "graphstalk queue", "graphstalk inline"
_LONG = ("w3_long", _INLINE)
_CHAIN = "Celery chain"

ROWS = (
    Row(
        "w1_queued_over_chain",
        "steps/s of many threads, queued, over those of a Celery chain",
        _rows(_QUEUE),
        _rows(_CHAIN),
        1.8,
        "at least",
    ),
    Row(
        "w1_inline_over_chain",
        "steps/s of many threads, in place, over those of a Celery chain",
        _rows(_INLINE),
        _rows(_CHAIN),
        5.0,
        "at least",
    ),
    Row(
        "w1_inline_over_langgraph_sqlite",
        "ms per step of one thread, in place on Redis, over LangGraph with SQLite",
        _row(_INLINE),
        _row("LangGraph sqlite"),
        0.5,
    ),
    Row(
        "w1_inline_over_dbos_postgres",
        "ms per step of one thread, in place on Redis, over DBOS on Postgres",
        _row(_INLINE),
        _row("DBOS postgres"),
        0.2,
    ),
    Row(
        "w1_inline_over_restate",
        "ms per step of one thread, in place on Redis, over Restate",
        _row(_INLINE),
        _row("Restate"),
        0.4,
    ),
    Row(
        "w1_sqlite_over_langgraph_sqlite",
        "ms per step in process on SQLite, over LangGraph with SQLite",
        _row("graphstalk sqlite"),
        _row("LangGraph sqlite"),
        0.7,
    ),
    Row(
        "w1_memory_over_langgraph_memory",
        "ms per step in process in memory, over LangGraph in memory",
        _row("graphstalk memory"),
        _row("LangGraph memory"),
        0.8,
    ),
    Row(
        "round_trips_queued",
        "commands to the server per step, queued",
        Figure("w1_row", _QUEUE, "round_trips"),
        None,
        2.0,
        slack=0.2,
    ),
    Row(
        "round_trips_inline",
        "commands to the server per step, in place",
        Figure("w1_row", _INLINE, "round_trips"),
        None,
        1.0,
        slack=0.1,
    ),
    Row(
        "w2_branch_10000_over_200",
        "ms per branch of 10,000 over ms per branch of 200",
        _fan("graphstalk queue, 10,000"),
        _fan("graphstalk queue, 200"),
        1.3,
    ),
    Row(
        "sends_over_langgraph",
        "ms per branch of 1,000 in memory, over LangGraph",
        _fan("graphstalk memory, 1,000"),
        _fan("LangGraph memory, 1,000"),
        1.0,
    ),
    Row(
        "w3_resume_100000_over_10",
        "ms from a resume to the next node's first instruction, p99, after 100,000 steps over 10",
        Figure(*_LONG, "long_ms", 99),
        Figure(*_LONG, "short_ms", 99),
        1.2,
    ),
    Row(
        "worker_memory_growth",
        "a worker's memory at the end of 100,000 steps over that after the first tenth",
        Figure(*_LONG, "memory_growth"),
        None,
        1.05,
    ),
    Row(
        "w4_stored_over_state",
        "bytes stored for a thread of 200 appends, over those of its last state",
        Figure("w4_append", _QUEUE, "stored_bytes"),
        Figure("w4_append", _QUEUE, "state_bytes"),
        1.2,
    ),
    Row(
        "w7_step_1mb_over_1kb",
        "ms per step beside 1 MB that does not change, over 1 KB",
        Figure("w7_carry", "graphstalk inline, 1 MB", "ms_per_step"),
        Figure("w7_carry", "graphstalk inline, 1 KB", "ms_per_step"),
        2.0,
    ),
    Row(
        "w8_bytes_per_paused_thread",
        "bytes of the server's memory per paused thread",
        Figure("w8_paused", _QUEUE, "bytes_per_thread"),
        None,
        4096,
    ),
    Row(
        "import_ms",
        "ms to import orchestrator, less an empty interpreter",
        Figure("w6_import", "graphstalk", "ms"),
        None,
        100,
    ),
)
