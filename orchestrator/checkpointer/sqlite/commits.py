"""Commits, claims and leases, inside a transaction. (INV-1, INV-2, INV-3, INV-8)

`transition` decides, from the rows that it asks for; all checks come before the first write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from orchestrator import limits
from orchestrator.checkpointer.sqlite import queries
from orchestrator.checkpointer.sqlite.database import statements
from orchestrator.checkpointer.sqlite.rows import (
    HeadFields,
    HeadRow,
    StepRow,
    head_fields,
    pack_fields,
    pack_names,
    pack_step,
    seal_of,
    sealed_fields,
    text,
    to_text,
)
from orchestrator.checkpointer.transition import (
    Change,
    Refused,
    StepChange,
    released_event,
    stale_event,
    transition,
    unready,
)
from orchestrator.envelope.list_tails import found_values, opened_values
from orchestrator.envelope.sealed_records import opened_claim
from orchestrator.frozen import frozen, replace
from orchestrator.ids import CHILD, root_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    CRASHED,
    HANDED_BACK,
    Claim,
    Commit,
    CommitResult,
    EventDraft,
    ReadyStep,
    Refusal,
)

_SQL = statements("writes")
_SWEEP = statements("upkeep")
_LEFT = ("drop_steps", "drop_questions", "drop_all_notes")  # Of a plan, as `left` reports them.
_TRIM_EVERY = 1000  # Trim once per 1,000 events; trimming on each commit is slower.


def commit(
    connection: sqlite3.Connection, commit: Commit, now: int
) -> tuple[CommitResult, HeadFields]:
    """Make all of a commit true, or refuse it; return the thread's head, too, as it is now.

    See `Checkpointer.commit`.
    """
    found = find_head(connection, commit.thread_id)
    head = found or _new_head(connection, commit.thread_id, now)
    write = _Write(connection, commit, now, head)
    holder = _holder(connection, commit.thread_id, now) if commit.guard is None else None
    view = StoredThread(connection, found) if found is not None else None
    change = transition(view, commit, now, holder, partial(_is_planned, connection))
    if isinstance(change, Refused):
        if change.why is Refusal.STALE_FENCE:
            write.note_refusal()
        return CommitResult(refused=change.why, detail=change.detail, now_ms=now), head
    if commit.hold_ms is not None:
        _hold(connection, commit, now)
    if commit.only_holds:
        return CommitResult(now_ms=now), head
    if found is None:
        added = connection.execute(_SQL["add_thread"], (to_text(commit.thread_id),))
        head["thread"] = added.lastrowid
    write.apply(change)
    connection.execute(_SQL["add_head" if found is None else "set_head"], head)
    return CommitResult(now_ms=now, open=head["open"], waiting=write.waits()), head


def is_held(connection: sqlite3.Connection, thread_id: str, now: int) -> bool:
    """Return whether a call holds a thread."""
    return _holder(connection, thread_id, now) is not None


def _holder(connection: sqlite3.Connection, thread_id: str, now: int) -> str | None:
    row = connection.execute(_SQL["held"], (to_text(thread_id), now)).fetchone()
    return text(row[0]) if row else None


def _is_planned(connection: sqlite3.Connection, thread_id: str, step_id: str) -> bool:
    head = find_head(connection, thread_id)
    return head is not None and find_step(connection, head, step_id) is not None


def _hold(connection: sqlite3.Connection, commit: Commit, now: int) -> None:
    name, until = to_text(commit.thread_id), now + (commit.hold_ms or 0)
    if commit.hold_ms:
        connection.execute(_SQL["hold"], (name, to_text(commit.holder), until))
    else:
        connection.execute(_SQL["end_hold"], (name,))


def find_head(connection: sqlite3.Connection, thread_id: str) -> HeadFields | None:
    """Return a thread's row of `head`."""
    row = connection.execute(_SQL["head"], (to_text(thread_id),)).fetchone()
    return head_fields(row) if row else None


def find_step(connection: sqlite3.Connection, head: HeadFields, step_id: str) -> StepRow | None:
    """Return a step of the current plan."""
    key = (head["thread"], head["checkpoint_id"], to_text(step_id))
    row = connection.execute(_SQL["step"], key).fetchone()
    return StepRow._make(row) if row else None


def add_events(
    connection: sqlite3.Connection, log: HeadFields, now: int, drafts: tuple[EventDraft, ...]
) -> None:
    """Write events to the log of a head, and change its `seq`, which is not written."""
    thread, seq = log["thread"], log["seq"]
    rows = [
        (thread, number, now, to_text(draft.type), pack_fields(draft.fields))
        for number, draft in enumerate(drafts, seq + 1)
    ]
    connection.executemany(_SQL["add_event"], rows)
    log["seq"] = last = seq + len(rows)
    if last > limits.EVENTS_MAX and last // _TRIM_EVERY > seq // _TRIM_EVERY:
        connection.execute(_SQL["trim_events"], (thread, last - limits.EVENTS_MAX))


def _new_head(connection: sqlite3.Connection, thread_id: str, now: int) -> HeadFields:
    """Return the head of a thread before its first commit."""
    names = ("graph", "fingerprint", "run_id", "owner")
    numbers = ("checkpoint_id", "open", "idle_since_ms", "seq", "fence")
    others = ("stop", "breaks_seen", "resumes", "local")
    times = {"created_ms": now, "updated_ms": now}
    fields = {**dict.fromkeys(names, ""), **dict.fromkeys((*numbers, *others), 0), **times}
    child = CHILD in thread_id
    fields["seal"] = ""
    floor = connection.execute(_SQL["fence_floor"]).fetchone()
    fields["fence"] = floor[0] if floor else 0
    return {"thread": 0, "status": RunStatus.QUEUED.value, "child": child, **fields}


@frozen(kw_only=False)
class _Head:
    """See `HeadView`."""

    status: RunStatus
    checkpoint_id: int
    run_id: str
    open: int


class StoredThread:
    """A thread's rows, read when a rule asks for them; see `ThreadView`."""

    def __init__(self, connection: sqlite3.Connection, fields: HeadFields) -> None:
        self._connection, self._fields = connection, fields
        status, run_id = RunStatus(fields["status"]), text(fields["run_id"])
        self.head = _Head(status, fields["checkpoint_id"], run_id, fields["open"])

    def step(self, step_id: str) -> StepRow | None:
        """See `ThreadView.step`."""
        return find_step(self._connection, self._fields, step_id)

    def run_of_key(self, key: str) -> str | None:
        """See `ThreadView.run_of_key`."""
        values = (self._fields["thread"], to_text(key))
        used = self._connection.execute(_SQL["run_of_key"], values).fetchone()
        return text(used[0]) if used else None

    def is_unanswered(self, step: StepRow, interrupt_id: str) -> bool:
        """See `ThreadView.is_unanswered`."""
        asked = self._connection.execute(_SQL["questions"], step.key)
        return any(text(name) == interrupt_id and had is None for name, _, had in asked)

    def is_enqueued(self, run_id: str) -> bool:
        """See `ThreadView.is_enqueued`."""
        key = (self._fields["thread"], to_text(run_id))
        return self._connection.execute(_SQL["in_line"], key).fetchone() is not None

    def has_steps(self) -> bool:
        """See `ThreadView.has_steps`."""
        plan = (self._fields["thread"], self._fields["checkpoint_id"])
        return self._connection.execute(_SQL["any_step"], plan).fetchone() is not None


@dataclass(slots=True)
class _Write:
    """Writes one commit into the rows of its thread."""

    connection: sqlite3.Connection
    commit: Commit
    now: int
    head: HeadFields

    def note_refusal(self) -> None:
        """Count a commit under an old fence, and leave an event. (INV-3)"""
        log = self._log()
        add_events(self.connection, log, self.now, (stale_event(self.commit),))
        self.connection.execute(_SQL["set_seq"], (log["seq"], log["thread"]))
        self.connection.execute(_SQL["count"], ("stale_refused",))

    def _log(self) -> HeadFields:
        """Return the head of the thread whose log takes the events."""
        if self.commit.log in {"", self.commit.thread_id}:
            return self.head
        return find_head(self.connection, self.commit.log) or self.head

    def apply(self, change: Change) -> None:
        """Write all but the head, and change the head's fields."""
        connection, commit, head = self.connection, self.commit, self.head
        thread = head["thread"]
        was_active = RunStatus(head["status"]).active
        head["updated_ms"], head["status"] = self.now, change.status.value
        active = change.status.active
        if commit.blobs:
            rows = [(thread, to_text(name), value) for name, value in commit.blobs.items()]
            connection.executemany(_SQL["put_blob"], rows)
        self._change_steps(change)
        if commit.checkpoint is not None:
            self._put_checkpoint()
        if active is not was_active:  # Those that are there; new ones know from the start.
            connection.execute(_SQL["set_live"], (active, thread, head["checkpoint_id"]))
        if commit.ready:
            self._put_steps(live=active)
        self._set_fields(commit.head)
        if commit.key is not None:
            row = (thread, to_text(commit.key[0]), to_text(commit.key[1]))
            connection.execute(_SQL["put_key"], row)
        if commit.dequeue is not None:
            connection.execute(_SQL["dequeue"], (thread, to_text(commit.dequeue)))
        if commit.enqueue is not None:
            run_id, begins = commit.enqueue
            connection.execute(_SQL["enqueue"], (thread, to_text(run_id), begins))
        head["open"] = change.open
        head["idle_since_ms"] = (head["idle_since_ms"] or self.now) if change.stuck else 0
        if commit.events:
            log = self._log()
            add_events(connection, log, self.now, commit.events)
            if log is not head:  # Its own is written with all the rest of it.
                connection.execute(_SQL["set_seq"], (log["seq"], log["thread"]))

    def waits(self) -> bool:
        """Return whether the run has ended and others are queued."""
        if not self.commit.moves_line:
            return False
        found = self.connection.execute(_SQL["any_in_line"], (self.head["thread"],)).fetchone()
        return found is not None and RunStatus(self.head["status"]).final

    def _change_steps(self, change: Change) -> None:
        connection, commit, head = self.connection, self.commit, self.head
        plan = (head["thread"], head["checkpoint_id"])
        if change.guarded is not None:
            self._change_guarded(change.guarded)
        if commit.revoke:
            for step_id, fence, attempt in connection.execute(_SQL["claims"], plan).fetchall():
                self._unclaim((*plan, step_id), fence)
                connection.execute(_SQL["set_attempt"], (attempt, *plan, step_id))
        for answer in commit.answers:
            name = to_text(answer.step_id), to_text(answer.interrupt_id)
            connection.execute(_SQL["answer"], (answer.value, *plan, *name))
        for step, changed in change.steps:
            self._update(step, changed)

    def _change_guarded(self, step: StepRow) -> None:
        connection, commit = self.connection, self.commit
        stays = commit.checkpoint is None  # Else its claim and notes go with the whole plan.
        if stays and not commit.keeps_claim:
            self._unclaim(step.key, step.fence)
        if commit.completed is not None:
            connection.execute(_SQL["complete"], (commit.completed, step.attempt, *step.key))
            if stays:
                connection.execute(_SQL["drop_notes"], step.key)
            return
        if not commit.keeps_claim:
            connection.execute(_SQL["set_attempt"], (step.attempt, *step.key))
        if commit.notes:
            rows = [(*step.key, to_text(name), value) for name, value in commit.notes.items()]
            connection.executemany(_SQL["note"], rows)

    def _unclaim(self, key: tuple[int, int, str], fence: int | None) -> None:
        """Forget a claim, but never its fence: the next one is greater. (INV-3)"""
        self.connection.execute(_SQL["unclaim"], key)
        self.head["fence"] = max(self.head["fence"], fence or 0)

    def _update(self, step: StepRow, to: StepChange) -> None:
        values = (to.wait.value, to_text(to.reason), to.due_ms, self.now, to.error)
        counts = (to.failures, to.deaths, to.settled)
        self.connection.execute(_SQL["update_step"], (*values, *counts, *step.key))
        for name, ask in to.update.asks.items():
            self.connection.execute(_SQL["ask"], (*step.key, to_text(name), ask))

    def _put_checkpoint(self) -> None:
        """Write the next checkpoint, make it the head, and drop the steps of the old plan."""
        checkpoint, head = self.commit.checkpoint, self.head
        assert checkpoint is not None
        execute = self.connection.execute
        left = execute(_SQL["left"], (head["thread"],)).fetchone()
        if left is not None:  # The thread is not new.
            self._drop_plan(*left)
        names = pack_names(checkpoint.refs)
        values = (to_text(checkpoint.ns), checkpoint.header, checkpoint.plan, names)
        key = (head["thread"], checkpoint.id)
        execute(_SQL["put_checkpoint"], (*key, *values))
        for (plan, step_id), outcome in self.commit.results.items():
            execute(_SQL["put_result"], (head["thread"], plan, to_text(step_id), outcome))
        head["checkpoint_id"] = checkpoint.id

    def _drop_plan(self, fence: int | None, *are_there: int) -> None:
        """Drop the rest of the old plan; of its claims the greatest fence stays. (INV-3)"""
        execute, head = self.connection.execute, self.head
        plan = (head["thread"], head["checkpoint_id"])
        if fence is not None:
            execute(_SQL["drop_claims"], plan)
            head["fence"] = max(head["fence"], fence)
        for statement, is_there in zip(_LEFT, are_there, strict=True):
            if is_there:
                execute(_SQL[statement], plan)

    def _put_steps(self, *, live: bool) -> None:
        plan, ready = (self.head["thread"], self.head["checkpoint_id"]), self.commit.ready
        rows = [
            (*plan, to_text(s.step_id), place, pack_step(s), to_text(s.queue), live, self.now)
            for place, s in enumerate(ready)
        ]
        self.connection.executemany(_SQL["put_step"], rows)

    def _set_fields(self, fields: Mapping[str, str | int | bytes]) -> None:
        head = self.head
        for name, value in fields.items():
            if name in {"config", "error"}:
                self.connection.execute(_SQL[f"set_{name}"], (value, head["thread"]))
            else:
                assert name in head, f"a head has no field {name!r}"
                head[name] = to_text(value) if isinstance(value, str) else value
        if fields or not head["seal"]:
            row = self.connection.execute(_SQL["config_and_error"], (head["thread"],)).fetchone()
            head["seal"] = seal_of(self.commit.thread_id, sealed_fields(head, *row))


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of a claim; see `Checkpointer.claim`."""

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
        refused = unready(step, now)
        if refused is not None:
            return Claim(refused=refused, detail=asked.step_id, now_ms=now)
        assert step is not None
        step = _claim(connection, head, step, asked)
        renew(connection, asked.owner, now + lease_ms, lease_ms // 2)
    return _claimed(connection, found, step, asked, now)


def claim_of_commit(
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


def _claim(
    connection: sqlite3.Connection, head: HeadFields, step: StepRow, asked: Asked
) -> StepRow:
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
        release_step(connection, text(name), step, now, since_ms=now, died=died)
        if step.queue and step.live:
            steps.append(step.step(text(name)))
    return steps


def release_step(
    connection: sqlite3.Connection,
    thread_id: str,
    step: StepRow,
    now: int,
    *,
    since_ms: int,
    died: bool = True,
) -> None:
    """Take a claim away from its owner; a worker's death for its step, if it `died`."""
    assert step.owner is not None
    assert step.fence is not None
    draft = released_event(thread_id, text(step.id), text(step.owner), step.fence)
    root, _ = root_thread(thread_id)
    log = find_head(connection, root) or find_head(connection, thread_id)
    assert log is not None
    add_events(connection, log, now, (draft,))
    connection.execute(_SQL["set_seq"], (log["seq"], log["thread"]))
    connection.execute(_SQL["raise_fence"], (step.fence, step.thread))
    connection.execute(_SQL["unclaim"], step.key)
    reason = CRASHED if died else HANDED_BACK
    connection.execute(_SWEEP["release_step"], (step.attempt, died, reason, since_ms, *step.key))
    connection.execute(_SQL["count"], ("released",))
