"""Claims and leases: the right to run a step, inside a transaction. (INV-2, INV-3)"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from orchestrator.checkpoint.commit import (
    CRASHED,
    HANDED_BACK,
    Claim,
    Commit,
    EventDraft,
    ReadyStep,
    Refusal,
    Wait,
)
from orchestrator.checkpoint.model import RunStatus
from orchestrator.checkpointer.sqlite import queries
from orchestrator.checkpointer.sqlite.commits import add_events, find_head, find_step
from orchestrator.checkpointer.sqlite.rows import HeadFields, HeadRow, StepRow, text, to_text
from orchestrator.checkpointer.sqlite.statements import statements
from orchestrator.envelope.list_tails import found_values, opened_values
from orchestrator.envelope.sealed_records import opened_claim
from orchestrator.frozen import replace
from orchestrator.ids import below, root_thread

_SQL = statements("writes")
_SWEEP = statements("upkeep")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for by a claim; see `Checkpointer.claim`."""

    thread_id: str
    step_id: str
    owner: str
    token: str
    known: Collection[str]
    sent_ms: int


def claim(connection: sqlite3.Connection, asked: Asked, lease_ms: int, now: int) -> Claim:
    """Give the right to run a ready step, or refuse."""
    found = queries.head(connection, asked.thread_id)
    if found is None:
        return Claim(refused=Refusal.UNKNOWN_THREAD, detail=asked.thread_id, now_ms=now)
    head = found.fields
    status = RunStatus(head["status"])
    if not status.active:
        return Claim(refused=Refusal.WRONG_STATUS, detail=status, now_ms=now)
    step = find_step(connection, head, asked.step_id)
    if step is None or step.token is None or text(step.token) != asked.token:
        refused = _unready(step, now)
        if refused is not None:
            return Claim(refused=refused, detail=asked.step_id, now_ms=now)
        assert step is not None
        step = _take(connection, head, step, asked)
        renew(connection, asked.owner, now + lease_ms, lease_ms // 2)
    return _claimed(connection, found, step, asked, now)


def taken(
    connection: sqlite3.Connection, commit: Commit, head: HeadFields, lease_ms: int, now: int
) -> Claim:
    """Claim the one step that a commit has made ready; what its owner knows is not read again.

    Args:
        connection: in the transaction of the commit.
        commit: a commit that takes a step, as it was before it was sealed.
        head: of the thread, as the commit left it.
        lease_ms: how long claims are leased.
        now: the store's time.
    """
    step, take, stored = commit.takes, commit.take, commit.checkpoint
    assert step is not None
    assert take is not None
    known = take.head
    is_active = RunStatus(head["status"]).active
    if stored is None or known is None or known.seal != head["seal"] or not is_active:
        asked = Asked(
            step.thread_id, step.step_id, take.owner, take.token, frozenset(take.known), 0
        )
        return opened_claim(step.thread_id, claim(connection, asked, lease_ms, now))
    thread, fence = head["thread"], head["fence"] + 1  # The claims on the plan before are gone.
    names = to_text(step.step_id), to_text(take.owner), to_text(take.token)
    connection.execute(_SQL["claim"], (thread, stored.id, *names, fence, 1))
    status = RunStatus.RUNNING
    if head["status"] != status:
        connection.execute(_SQL["set_status"], (status.value, thread))
    renew(connection, take.owner, now + lease_ms, lease_ms // 2)
    wanted = (*stored.refs, step.arg) if step.arg else stored.refs
    found = found_values(partial(queries.blob, connection, thread), wanted, take.known)
    blobs, tails = opened_values(step.thread_id, found, wanted)
    return Claim(
        now_ms=now,
        step=step,
        fence=fence,
        head=replace(
            known, status=status, checkpoint_id=stored.id, open=head["open"], updated_ms=now
        ),
        header=stored.header,
        refs=stored.refs,
        blobs=blobs,
        tails=tails,
    )


def _unready(step: StepRow | None, now: int) -> Refusal | None:
    """Return why a step cannot be claimed. (Rule 4)"""
    if step is None:
        return Refusal.UNKNOWN_STEP
    if step.outcome is not None:
        return Refusal.COMPLETED
    if step.owner is not None:
        return Refusal.CLAIMED
    if step.wait == Wait.NOTHING or (step.wait == Wait.TIMER and step.due_ms <= now):
        return None
    return Refusal.WAITING


def _take(connection: sqlite3.Connection, head: HeadFields, step: StepRow, asked: Asked) -> StepRow:
    """Write the claim; return the step as it is now."""
    [claimed] = connection.execute(_SQL["last_fence"], (step.thread,)).fetchone()
    fence, attempt = max(head["fence"], claimed or 0) + 1, step.attempt + 1
    owner, token = to_text(asked.owner), to_text(asked.token)
    connection.execute(_SQL["claim"], (*step.key, owner, token, fence, attempt))
    if step.wait:
        connection.execute(_SQL["end_timer"], step.key)
    if head["status"] == RunStatus.QUEUED:
        head["status"] = RunStatus.RUNNING.value
        connection.execute(_SQL["set_status"], (head["status"], step.thread))
    if step.queue and asked.sent_ms:
        connection.execute(_SQL["move_mark"], (step.queue, asked.sent_ms))
    return step._replace(wait="", owner=owner, token=token, fence=fence, claim=attempt)


def _claimed(
    connection: sqlite3.Connection, head: HeadRow, step: StepRow, asked: Asked, now: int
) -> Claim:
    ready = step.step(asked.thread_id)
    header, refs = queries.header(connection, step.thread, step.plan)
    wanted = (*refs, ready.arg) if ready.arg else refs
    find = partial(queries.blob, connection, step.thread)
    assert step.fence is not None
    questions = connection.execute(_SQL["questions"], step.key).fetchall()
    return Claim(
        now_ms=now,
        step=ready,
        fence=step.fence,
        attempt=step.attempt,
        failures=step.failures,
        deaths=step.deaths,
        reason=text(step.reason),
        head=head.head(asked.thread_id),
        header=header,
        refs=refs,
        blobs=found_values(find, wanted, asked.known),
        asks={text(name): ask for name, ask, _ in questions},
        answers={text(name): answer for name, _, answer in questions if answer is not None},
        notes={text(name): value for name, value in connection.execute(_SQL["notes"], step.key)},
    )


def renew(connection: sqlite3.Connection, owner: str, end_ms: int, spare_ms: int = 0) -> None:
    """Prolong a lease to `end_ms`, if that is later by more than `spare_ms`; never cut it short."""
    connection.execute(_SQL["renew"], (to_text(owner), end_ms, spare_ms))


def release(connection: sqlite3.Connection, owner: str, now: int, *, died: bool) -> list[ReadyStep]:
    """Take all claims from `owner`; return the steps to send again."""
    connection.execute(_SWEEP["forget_lease"], (to_text(owner),))
    found = connection.execute(_SWEEP["claimed_by"], (to_text(owner),)).fetchall()
    steps = []
    for name, *row in found:
        step = StepRow._make(row)
        take_away(connection, text(name), step, now, since_ms=now, died=died)
        if step.queue and step.live:
            steps.append(step.step(text(name)))
    return steps


def take_away(
    connection: sqlite3.Connection,
    thread_id: str,
    step: StepRow,
    now: int,
    *,
    since_ms: int,
    died: bool = True,
) -> None:
    """Take a claim from whoever has it: a worker's death under its step, if it `died`."""
    assert step.owner is not None
    assert step.fence is not None
    draft = EventDraft(
        "step_released",
        {
            "step": text(step.id),
            "owner": text(step.owner),
            "fence": step.fence,
            **below(thread_id),
        },
    )
    root, _ = root_thread(thread_id)
    log = find_head(connection, root) or find_head(connection, thread_id)
    assert log is not None
    add_events(connection, log, now, (draft,))
    connection.execute(_SQL["set_seq"], (log["seq"], log["thread"]))
    connection.execute(_SQL["raise_fence"], (step.fence, step.thread))
    connection.execute(_SQL["unclaim"], step.key)
    reason = CRASHED if died else HANDED_BACK
    connection.execute(_SWEEP["take_away"], (step.attempt, died, reason, since_ms, *step.key))
    connection.execute(_SQL["count"], ("released",))
