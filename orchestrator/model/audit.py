"""The findings of an audit: threads without a next step, and entries that differ from the log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DamageCode(StrEnum):
    """The kind of a finding, for programs: a code never changes its meaning."""

    HEAD_LOST = "HEAD_LOST"  # Checkpoints without a head.
    HEAD_ALTERED = "HEAD_ALTERED"  # A field of the head is missing, or has an impossible value.
    STATUS_ALTERED = "STATUS_ALTERED"  # The status differs from the log.
    CHECKPOINT_LOST = "CHECKPOINT_LOST"  # The head names one that is missing or unreadable.
    CHECKPOINT_UNLISTED = "CHECKPOINT_UNLISTED"  # A checkpoint that the history does not list.
    PLAN_ALTERED = "PLAN_ALTERED"  # The steps differ from those of the plan.
    VALUE_LOST = "VALUE_LOST"  # The checkpoint refers to a missing value.
    STEP_LOST = "STEP_LOST"
    STEP_ALTERED = "STEP_ALTERED"
    OUTCOME_LOST = "OUTCOME_LOST"  # A completed step without its result: it must run again.
    DONE_LOST = "DONE_LOST"  # A result of a step that is not marked as completed.
    CLAIM_LOST = "CLAIM_LOST"  # A claim that the sweeper would not release if its owner died.
    UNINDEXED = "UNINDEXED"  # The sweeper's index lacks the thread or its step.
    OVERDUE = "OVERDUE"  # An impossible time in the future.
    MISCOUNTED = "MISCOUNTED"  # The number of open steps, of a fence or of an event.
    LINE_ALTERED = "LINE_ALTERED"  # The queue of runs and the records of its runs differ.
    NOTHING_PLANNED = "NOTHING_PLANNED"  # An active run without steps.
    KEY_BROKEN = "KEY_BROKEN"  # A key has another type than the one it was written with.


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One finding of an audit.

    Attributes:
        thread_id: the thread; empty: all threads of a partition share the damage.
        code: the kind of damage.
        why: a sentence with the found value and the expected one.
        repaired: whether the auditor repaired it.
        remedy: the next move for a person, where the auditor cannot repair it.
    """

    thread_id: str
    code: DamageCode
    why: str
    repaired: bool = False
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """The result of auditing some of a partition's threads."""

    cursor: str = ""  # Where the next audit continues; empty: all threads were audited.
    threads: int = 0  # The number of audited threads.
    found: tuple[Damage, ...] = ()
