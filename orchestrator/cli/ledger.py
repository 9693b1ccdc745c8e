"""The account of what a fleet did to its threads, drawn up from their events alone.

It reads stored events only, not the plans of the caller that started the work, nor the messages of
workers. Pure: events in, numbers out.

Rule 1: a planned step of a finished thread must have one commit. None: it is lost. Two: it is
        duplicated.
Rule 2: a step that was planned before a later superstep must have one commit too, finished or not,
        because the later superstep was planned on its result.
Rule 3: an open step of a superstep that a new run abandoned is not lost.
Rule 4: a commit of a step that was not planned counts as duplicated: a result from nowhere.
Rule 5: a step ran again if its claim was taken from a dead worker and it was committed after that.
        A step that asked a question and got its answer ran twice as well, but by design: it is not
        counted.
Rule 6: events without gaps, or no account at all: numbers from half the facts would be wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.events import (
    RunAccepted,
    RunSucceeded,
    StepCommitted,
    StepReleased,
    Superstep,
)

COMMITTED = StepCommitted.type
ACCEPTED = RunAccepted.type
PLANNED = frozenset({ACCEPTED, Superstep.type})  # Each names the steps it makes ready.
RELEASED = StepReleased.type


class Fact(Protocol):
    """An event, as far as accounting reads it."""

    @property
    def seq(self) -> int:
        """Its number; the first event of a thread has 1."""
        ...

    @property
    def ts_ms(self) -> int:
        """When it was stored, in the server's time."""
        ...

    @property
    def type(self) -> str:
        """What happened."""
        ...

    @property
    def fields(self) -> Mapping[str, object]:
        """The details."""
        ...


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed, and the owners of claims that died with it."""

    at_ms: int  # In the server's time.
    owners: frozenset[str]


@dataclass(frozen=True, slots=True)
class Takeover:
    """A step whose worker died: when that was noticed, and when another worker claimed it."""

    step: str
    owner: str  # Who died.
    released_ms: int
    claimed_ms: int | None  # `None`: the one that took it died, too, before it could commit.


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadAccount:
    """The sums of one thread's events."""

    planned: int = 0
    committed: int = 0  # Commits, doubled ones included.
    lost: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()  # A step once for each commit too many.
    rerun: tuple[Takeover, ...] = ()
    finished: bool = False
    gaps: int = 0  # Events that are missing from the record.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The sums of all threads' accounts."""

    threads: int
    finished: int
    steps_committed: int
    reexecuted: int
    lost: int
    duplicated: int
    gaps: int

    @property
    def clean(self) -> bool:
        """Whether every thread finished and each of its steps was committed exactly once."""
        whole = self.threads > 0 and self.finished == self.threads
        return whole and not (self.lost or self.duplicated or self.gaps)


def account_of(events: Sequence[Fact], *, finished: bool) -> ThreadAccount:
    """Draw up the account of one thread.

    Args:
        events: all of the thread's events, in order.
        finished: whether its run succeeded, as stored in the thread's head.
    """
    plans = [event for event in events if event.type in PLANNED]
    supersteps = [text_of(event, "steps").split() for event in plans]
    commits = Counter(text_of(event, "step") for event in events if event.type == COMMITTED)
    planned = {step for steps in supersteps for step in steps}
    followed = [after.type != ACCEPTED for after in plans[1:]]  # Not by a new run: it abandons.
    due = {
        step
        for steps, owed in zip(supersteps, [*followed, finished], strict=False)
        if owed
        for step in steps
    }
    extra = {step: count - (step in planned) for step, count in commits.items()}
    return ThreadAccount(
        planned=len(planned),
        committed=commits.total(),
        lost=tuple(sorted(due - commits.keys())),
        duplicated=tuple(sorted(Counter(extra).elements())),
        rerun=tuple(_reruns(events)),
        finished=finished,
        gaps=_gaps(events),
    )


def add_up(accounts: Iterable[ThreadAccount]) -> Ledger:
    """Add the accounts of threads up."""
    accounts = list(accounts)
    return Ledger(
        threads=len(accounts),
        finished=sum(account.finished for account in accounts),
        steps_committed=sum(account.committed for account in accounts),
        reexecuted=sum(len(account.rerun) for account in accounts),
        lost=sum(len(account.lost) for account in accounts),
        duplicated=sum(len(account.duplicated) for account in accounts),
        gaps=sum(account.gaps for account in accounts),
    )


def takeovers(accounts: Iterable[ThreadAccount], kills: Iterable[Kill]) -> list[float]:
    """Return the seconds from a kill to the next claim of each step that died with it."""
    died = {owner: kill.at_ms for kill in kills for owner in kill.owners}
    return [
        (rerun.claimed_ms - died[rerun.owner]) / 1000
        for account in accounts
        for rerun in account.rerun
        if rerun.owner in died and rerun.claimed_ms is not None
    ]


def _reruns(events: Iterable[Fact]) -> Iterable[Takeover]:
    """Pair the last release before a commit with the claim of that commit; give the others, too."""
    open_: dict[str, list[Fact]] = {}
    for event in events:
        step = text_of(event, "step")
        if event.type == RELEASED:
            open_.setdefault(step, []).append(event)
        elif event.type == COMMITTED:
            claimed_ms = int(text_of(event, "claimed_ms") or event.ts_ms)
            releases = open_.pop(step, [])
            for release in releases:
                claimed = claimed_ms if release is releases[-1] else None
                yield Takeover(step, text_of(release, "owner"), release.ts_ms, claimed)


def _gaps(events: Sequence[Fact]) -> int:
    """Return how many events are missing below the newest one that is there."""
    return events[-1].seq - len({event.seq for event in events}) if events else 0


def text_of(event: Fact, name: str) -> str:
    """Return a field as text; events come from the store as bytes."""
    value = event.fields.get(name, b"")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# ---- the verdict on disturbed threads -------------------------------------------------------
#
# Rule 1: a thread and each of its subgraphs has an account of its own.
# Rule 2: a committed step must have run: a commit without a witness is a result from nowhere.
# Rule 3: a committed step does not run again. Attempts are claims, and their numbers only grow, so
#         an attempt above the committed one was claimed later. (An earlier one may still run: its
#         process was frozen and does not know that it lost its claim.)
# Rule 4: a thread ends, or waits for an answer. Any other is stranded.

IDLE = frozenset(status for status in RunStatus if not status.active)
GONE = "gone"  # The status of a thread that was accepted and that the store does not know.
SUCCEEDED = RunSucceeded.type


class Ran(NamedTuple):
    """An attempt that really ran."""

    step: str
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise."""

    thread: str
    kind: str  # "lost", "duplicated", "stranded", "different" or "gap"
    detail: str

    def __str__(self) -> str:
        return f"{self.thread}: {self.kind}: {self.detail}"


@dataclass(slots=True)
class Verdict:
    """The findings of all threads, without their events."""

    threads: int = 0
    commits: int = 0
    findings: list[Finding] = field(default_factory=list)
    rerun: list[Takeover] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Return how many findings there are of a kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings."""
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
    """Judge one thread, add it to the verdict, and return its findings.

    Args:
        verdict: where it is added.
        thread: its name.
        events: all of its events, in order.
        status: of its run, as stored.
        ran: the attempts that a witness saw; `None` if there was no witness.
        silent: the nodes that a witness never sees.
    """
    found: list[tuple[str, str]] = []
    for ns, mine in _by_graph(events).items():
        finished = status == RunStatus.SUCCEEDED if not ns else _succeeded(mine)
        account = account_of(mine, finished=finished)
        verdict.commits += account.committed
        verdict.rerun += account.rerun
        found += [("lost", f"step {step} has no commit") for step in account.lost]
        found += [("duplicated", f"step {step} has one more") for step in account.duplicated]
    missing = account_of(events, finished=False).gaps
    if missing:
        found.append(("gap", f"{missing} events are missing, so the account is not complete"))
    if status == GONE:
        found.append(("lost", "the thread was accepted, and the store does not know it"))
    elif status not in IDLE:
        found.append(("stranded", f"its run is {status}, and did not pause or end"))
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
    """Compare commits with the attempts that a witness saw. (Rules 2 and 3)"""
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
        rerun: the steps that ran again.
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
    """Return the percentile of values; `None` if there are none."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 3) if ordered else None
