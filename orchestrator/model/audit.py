"""What an audit finds: threads that nothing would move on, and entries that are not as written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DamageCode(StrEnum):
    """What is wrong, for programs: a code never changes its meaning."""

    HEAD_LOST = "HEAD_LOST"  # Checkpoints without the record that says which one counts.
    HEAD_ALTERED = "HEAD_ALTERED"  # A field of it is missing, or cannot be what was written.
    STATUS_ALTERED = "STATUS_ALTERED"  # It is not what the log says.
    CHECKPOINT_LOST = "CHECKPOINT_LOST"  # The head names one that is not there or unreadable.
    CHECKPOINT_UNLISTED = "CHECKPOINT_UNLISTED"  # It is there, and the history does not know it.
    PLAN_ALTERED = "PLAN_ALTERED"  # The list of steps is not that of the plan.
    VALUE_LOST = "VALUE_LOST"  # The checkpoint refers to a value that is not there.
    STEP_LOST = "STEP_LOST"
    STEP_ALTERED = "STEP_ALTERED"
    OUTCOME_LOST = "OUTCOME_LOST"  # A completed step without its result: it must run again.
    DONE_LOST = "DONE_LOST"  # A result whose step does not count as completed.
    CLAIM_LOST = "CLAIM_LOST"  # A claim that no process would release if its owner died.
    UNINDEXED = "UNINDEXED"  # What the sweeper scans does not hold the thread or its step.
    OVERDUE = "OVERDUE"  # A time so far away that no caller can have meant it.
    MISCOUNTED = "MISCOUNTED"  # The number of open steps, or of a fence or an event.
    LINE_ALTERED = "LINE_ALTERED"  # The line and what is kept of those in it do not agree.
    NOTHING_PLANNED = "NOTHING_PLANNED"  # An active run without steps.
    KEY_BROKEN = "KEY_BROKEN"  # A key holds another type than it was written with.


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as it was written.

    Attributes:
        thread_id: the thread; empty: what all threads of a partition share.
        code: what kind of damage.
        why: a sentence: what is there, and what should be.
        repaired: whether it is right again.
        remedy: what a person can do, where the auditor cannot.
    """

    thread_id: str
    code: DamageCode
    why: str
    repaired: bool = False
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What one scan of some of a partition's threads found."""

    cursor: str = ""  # Where the next scan continues; empty: all threads have been seen.
    threads: int = 0  # How many were scanned.
    found: tuple[Damage, ...] = ()
