"""The verdict on threads that were disturbed: what their events say, and what else was witnessed.

Pure: events and lines in, findings out.

Rule 1: a thread and each of its subgraphs has an account of its own; `ledger` says what is lost and
        what is doubled in one.
Rule 2: what was committed must have run: a commit that no witness saw is a result from nowhere.
Rule 3: nothing runs that was committed before. Attempts are claims, and their numbers only grow, so
        an attempt above the committed one was claimed later. (An earlier one may still run: its
        process was frozen and does not know that its claim is gone.)
Rule 4: a thread ends, or waits for somebody. Any other is stranded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.cli.ledger import ACCEPTED, COMMITTED, Fact, Takeover, account_of, text_of

__all__ = ["AT_REST", "GONE", "Finding", "Ran", "Verdict", "judge", "percentile", "takeover_times"]

AT_REST = frozenset({"succeeded", "failed", "cancelled", "paused"})
GONE = "gone"  # The status of a thread that was accepted and that the store does not know.
SUCCEEDED = "run_succeeded"


class Ran(NamedTuple):
    """An attempt that really ran."""

    step: str
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    thread: str
    kind: str  # "lost", "duplicated", "stranded", "different" or "gap"
    detail: str

    def __str__(self) -> str:
        return f"{self.thread}: {self.kind}: {self.detail}"


@dataclass(slots=True)
class Verdict:
    """What all threads add up to; it keeps no events."""

    threads: int = 0
    commits: int = 0
    findings: list[Finding] = field(default_factory=list)
    rerun: list[Takeover] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Return how many findings there are of a kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings in."""
        self.findings += findings


def judge(
    verdict: Verdict,
    thread: str,
    events: Sequence[Fact],
    *,
    status: str,
    ran: Sequence[Ran] | None = None,
    silent: Collection[str] = (),
) -> list[Finding]:
    """Judge one thread, add it to the verdict, and return what was found.

    Args:
        verdict: where it is added.
        thread: its name.
        events: all of its events, in order.
        status: of its run, as stored.
        ran: what a witness saw of it; `None` if there was no witness.
        silent: the nodes that a witness never sees.
    """
    found: list[tuple[str, str]] = []
    for ns, mine in _by_graph(events).items():
        finished = status == "succeeded" if not ns else _succeeded(mine)
        account = account_of(mine, finished=finished)
        verdict.commits += account.committed
        verdict.rerun += account.rerun
        found += [("lost", f"step {step} has no commit") for step in account.lost]
        found += [("duplicated", f"step {step} has one more") for step in account.duplicated]
    missing = account_of(events, finished=False).gaps
    if missing:
        found.append(("gap", f"{missing} events are missing, so the account is not complete"))
    if status == GONE:
        found.append(("lost", "the thread was accepted, and nobody knows it"))
    elif status not in AT_REST:
        found.append(("stranded", f"its run is {status}, and did not come to rest"))
    if ran is not None:
        found += _contradictions(events, ran, silent)
    findings = [Finding(thread, *each) for each in found]
    verdict.threads += 1
    verdict.add(findings)
    return findings


def _by_graph(events: Iterable[Fact]) -> Mapping[str, list[Fact]]:
    """Return the events of a thread itself (under "") and of each of its subgraphs' threads."""
    found: dict[str, list[Fact]] = {"": []}
    for event in events:
        found.setdefault(text_of(event, "ns"), []).append(event)
    return found


def _succeeded(events: Iterable[Fact]) -> bool:
    ends = [event.type for event in events if event.type in {ACCEPTED, SUCCEEDED}]
    return bool(ends) and ends[-1] == SUCCEEDED


def _contradictions(
    events: Iterable[Fact], ran: Sequence[Ran], silent: Collection[str]
) -> Iterable[tuple[str, str]]:
    """Compare what was committed with what was seen to run. (Rules 2 and 3)"""
    seen = set(ran)
    committed: dict[str, int] = {}
    for event in events:
        if event.type != COMMITTED:
            continue
        step, attempt = text_of(event, "step"), int(text_of(event, "attempt"))
        committed[step] = attempt
        if text_of(event, "node") in silent:
            continue
        if Ran(step, attempt, text_of(event, "worker")) not in seen:
            yield "lost", f"step {step}: attempt {attempt} was committed and did not run"
    for step, attempt, worker in ran:
        if attempt > committed.get(step, attempt):
            yield "duplicated", f"step {step}: attempt {attempt} ran after its commit on {worker}"


def takeover_times(
    rerun: Iterable[Takeover], deaths: Mapping[int, Sequence[float]]
) -> tuple[list[float], list[float]]:
    """Return the seconds from each kill until it was noticed, and until its step was claimed anew.

    The second needs a worker that is free; a step whose next worker died, too, has only the first.

    Args:
        rerun: the steps that were taken over.
        deaths: process → when it was killed, in the server's time (ms). Processes' numbers come
            again, so a process may have several.
    """
    noticed, claimed = [], []
    for one in rerun:
        parts = one.owner.rsplit(":", 2)
        pid = int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0
        before = [at_ms for at_ms in deaths.get(pid, ()) if at_ms <= one.released_ms]
        if not before:
            continue
        noticed.append((one.released_ms - max(before)) / 1000)
        if one.claimed_ms is not None:
            claimed.append((one.claimed_ms - max(before)) / 1000)
    return noticed, claimed


def percentile(values: Sequence[float], part: float) -> float | None:
    """Return the value below which a part of all lies; `None` if there are none."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 3) if ordered else None
