"""The account of what a fleet did to its threads, drawn up from their events alone.

It reads what was stored and believes nothing else: not what was planned by whoever started the
work, nor what a worker said. Pure: events in, numbers out.

Rule 1: a planned step of a finished thread must have one commit. None: it is lost. Two: it is
        duplicated.
Rule 2: a step that was planned before a later superstep must have one commit too, finished or not,
        because the later superstep was planned on its result.
Rule 3: an open step of a superstep that a new run abandoned is not lost.
Rule 4: a commit of a step that nobody planned counts as duplicated: a result from nowhere.
Rule 5: a step ran again if its claim was taken from a dead worker and it was committed after that.
        A step that asked a question and got its answer ran twice as well, but by design: it is not
        counted.
Rule 6: events without gaps, or no account at all: numbers from half the facts would be lies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "Fact",
    "Kill",
    "Ledger",
    "Takeover",
    "ThreadAccount",
    "account_of",
    "add_up",
    "takeovers",
    "text_of",
]

COMMITTED = "step_committed"
ACCEPTED = "run_accepted"
PLANNED = frozenset({ACCEPTED, "superstep"})  # Each names the steps it makes ready.
RELEASED = "step_released"


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
    """A step whose worker died: when that was noticed, and when another worker took it."""

    step: str
    owner: str  # Who died.
    released_ms: int
    claimed_ms: int | None  # `None`: the one that took it died, too, before it could commit.


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadAccount:
    """What one thread's events add up to."""

    planned: int = 0
    committed: int = 0  # Commits, doubled ones included.
    lost: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()  # A step once for each commit too many.
    rerun: tuple[Takeover, ...] = ()
    finished: bool = False
    gaps: int = 0  # Events that are missing from the record.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What all threads' accounts add up to."""

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
