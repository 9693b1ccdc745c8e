"""Making a `Commit` true inside a transaction, or refusing it. (INV-1, INV-2, INV-3, INV-8)

What is refused, and in which order, is what `memory.py` refuses; all checks come before the first
write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator import limits
from orchestrator.checkpoint.commit import (
    Answer,
    Commit,
    CommitResult,
    EventDraft,
    Refusal,
    StepUpdate,
    Wait,
)
from orchestrator.checkpoint.model import RunStatus
from orchestrator.checkpointer.sqlite.rows import (
    HeadFields,
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
from orchestrator.checkpointer.sqlite.statements import statements
from orchestrator.ids import CHILD, below

_SQL = statements("writes")
_LEFT = ("drop_steps", "drop_questions", "drop_all_notes")  # Of a plan, as `left` tells of them.
_TRIM_EVERY = 1000  # Events are trimmed at each so-manieth, which is cheaper than at every one.


def commit(
    connection: sqlite3.Connection, commit: Commit, now: int
) -> tuple[CommitResult, HeadFields]:
    """Make all of a commit true, or refuse it; return the thread's head, too, as it is now.

    See `Checkpointer.commit`.
    """
    found = find_head(connection, commit.thread_id)
    head = found or _new_head(connection, commit.thread_id, now)
    change = _Change(connection, commit, now, head)
    refused, detail = _hold_refusal(connection, commit, now)
    if refused is None:
        refused, detail = change.refusal(known=found is not None)
    if refused is not None:
        if refused is Refusal.STALE_FENCE:
            change.note_refusal()
        return CommitResult(refused=refused, detail=detail, now_ms=now), head
    if commit.hold_ms is not None:
        _hold(connection, commit, now)
    if commit.only_holds:
        return CommitResult(now_ms=now), head
    if found is None:
        added = connection.execute(_SQL["add_thread"], (to_text(commit.thread_id),))
        head["thread"] = added.lastrowid
    change.apply()
    connection.execute(_SQL["add_head" if found is None else "set_head"], head)
    return CommitResult(now_ms=now, open=head["open"], waiting=change.waits()), head


def _hold_refusal(
    connection: sqlite3.Connection, commit: Commit, now: int
) -> tuple[Refusal | None, str]:
    """Return whether another call holds the thread, and which."""
    if commit.guard is not None:
        return None, ""
    held = _holder(connection, commit.thread_id, now)
    return (None, "") if held in {None, commit.holder} else (Refusal.HELD, str(held))


def is_held(connection: sqlite3.Connection, thread_id: str, now: int) -> bool:
    """Return whether a call holds a thread."""
    return _holder(connection, thread_id, now) is not None


def _holder(connection: sqlite3.Connection, thread_id: str, now: int) -> str | None:
    row = connection.execute(_SQL["held"], (to_text(thread_id), now)).fetchone()
    return text(row[0]) if row else None


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


@dataclass(slots=True)
class _Change:
    """One commit and the thread it changes."""

    connection: sqlite3.Connection
    commit: Commit
    now: int
    head: HeadFields
    guarded: StepRow | None = None  # The step that the guard names.

    # ---- preconditions --------------------------------------------------------------------

    def refusal(self, *, known: bool) -> tuple[Refusal | None, str]:
        """Return why the commit cannot be made, and the detail of it."""
        commit, head = self.commit, self.head
        if not known:
            if not commit.expect_new:
                return Refusal.UNKNOWN_THREAD, commit.thread_id
            return self._refused_parts()
        if commit.key is not None:
            key = (head["thread"], to_text(commit.key[0]))
            used = self.connection.execute(_SQL["run_of_key"], key).fetchone()
            if used:
                return Refusal.KEY_USED, text(used[0])
        if commit.expect_new:
            return Refusal.THREAD_EXISTS, commit.thread_id
        if commit.guard is not None:
            step = self.guarded = find_step(self.connection, head, commit.guard.step_id)
            if step is not None and step.outcome is not None:
                return Refusal.COMPLETED, commit.guard.step_id
            if step is None or step.fence != commit.guard.fence:
                return Refusal.STALE_FENCE, commit.guard.step_id
        if commit.expect_head is not None and head["checkpoint_id"] != commit.expect_head:
            return Refusal.HEAD_MOVED, str(head["checkpoint_id"])
        if commit.expect_run is not None and text(head["run_id"]) != commit.expect_run:
            return Refusal.WRONG_RUN, text(head["run_id"])
        if commit.expect_status and head["status"] not in commit.expect_status:
            return Refusal.WRONG_STATUS, head["status"]
        if commit.expect_settled and head["open"]:
            return Refusal.UNSETTLED, str(head["open"])
        return self._refused_parts()

    def _refused_parts(self) -> tuple[Refusal | None, str]:
        """Return why one of the things that the commit speaks of cannot be changed."""
        commit, head = self.commit, self.head
        if commit.parent is not None:
            around, step_id = commit.parent
            planned_by = find_head(self.connection, around)
            if planned_by is None or find_step(self.connection, planned_by, step_id) is None:
                return Refusal.UNKNOWN_STEP, step_id
        for answer in commit.answers:
            if not self._asks(answer):
                return Refusal.NO_INTERRUPT, answer.interrupt_id
        for update in commit.updates:
            if find_step(self.connection, head, update.step.step_id) is None:
                return Refusal.UNKNOWN_STEP, update.step.step_id
        if commit.dequeue is not None:
            key = (head["thread"], to_text(commit.dequeue))
            if self.connection.execute(_SQL["in_line"], key).fetchone() is None:
                return Refusal.NOT_WAITING, commit.dequeue
        return None, ""

    def _asks(self, answer: Answer) -> bool:
        """Return whether a question is open: its step waits for the answer. (INV-8)"""
        step = find_step(self.connection, self.head, answer.step_id)
        if step is None or step.wait != Wait.ANSWER or step.outcome is not None:
            return False
        asked = self.connection.execute(_SQL["questions"], step.key)
        return any(text(name) == answer.interrupt_id and had is None for name, _, had in asked)

    def note_refusal(self) -> None:
        """Count a commit under an old fence, and leave an event. (INV-3)"""
        assert self.commit.guard is not None
        draft = EventDraft(
            "commit_refused",
            {
                "reason": Refusal.STALE_FENCE.value,
                "step": self.commit.guard.step_id,
                "fence": self.commit.guard.fence,
                **below(self.commit.thread_id),
            },
        )
        log = self._log()
        add_events(self.connection, log, self.now, (draft,))
        self.connection.execute(_SQL["set_seq"], (log["seq"], log["thread"]))
        self.connection.execute(_SQL["count"], ("stale_refused",))

    def _log(self) -> HeadFields:
        """Return the head of the thread whose log takes the events."""
        if self.commit.log in {"", self.commit.thread_id}:
            return self.head
        return find_head(self.connection, self.commit.log) or self.head

    # ---- effects --------------------------------------------------------------------------

    def apply(self) -> None:
        """Write all but the head, and change the head's fields."""
        connection, commit, head = self.connection, self.commit, self.head
        thread = head["thread"]
        was_active = RunStatus(head["status"]).active
        head["updated_ms"] = self.now
        if commit.status is not None:
            head["status"] = commit.status.value
        active = RunStatus(head["status"]).active
        if commit.blobs:
            rows = [(thread, to_text(name), value) for name, value in commit.blobs.items()]
            connection.executemany(_SQL["put_blob"], rows)
        self._change_steps()
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
        stuck = head["open"] == 0 and active and self._any_step()
        head["idle_since_ms"] = (head["idle_since_ms"] or self.now) if stuck else 0
        if commit.events:
            log = self._log()
            add_events(connection, log, self.now, commit.events)
            if log is not head:  # Its own is written with all the rest of it.
                connection.execute(_SQL["set_seq"], (log["seq"], log["thread"]))

    def waits(self) -> bool:
        """Return whether the run has ended and others are in line."""
        if not self.commit.moves_line:
            return False
        found = self.connection.execute(_SQL["any_in_line"], (self.head["thread"],)).fetchone()
        return found is not None and RunStatus(self.head["status"]).final

    def _change_steps(self) -> None:
        connection, commit, head = self.connection, self.commit, self.head
        plan = (head["thread"], head["checkpoint_id"])
        if self.guarded is not None:
            self._change_guarded(self.guarded)
        if commit.revoke:
            for step_id, fence, attempt in connection.execute(_SQL["claims"], plan).fetchall():
                self._unclaim((*plan, step_id), fence)
                connection.execute(_SQL["set_attempt"], (attempt, *plan, step_id))
        for answer in commit.answers:
            name = to_text(answer.step_id), to_text(answer.interrupt_id)
            connection.execute(_SQL["answer"], (answer.value, *plan, *name))
        for update in commit.updates:
            step = find_step(connection, head, update.step.step_id)
            assert step is not None
            if step.outcome is None:
                self._update(step, update)

    def _change_guarded(self, step: StepRow) -> None:
        connection, commit = self.connection, self.commit
        stays = commit.checkpoint is None  # Else its claim and notes go with the whole plan.
        if stays and not commit.keeps_claim:
            self._unclaim(step.key, step.fence)
        if commit.completed is not None:
            connection.execute(_SQL["complete"], (commit.completed, step.attempt, *step.key))
            if stays:
                connection.execute(_SQL["drop_notes"], step.key)
            self.head["open"] -= 1
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

    def _update(self, step: StepRow, update: StepUpdate) -> None:
        settled = update.wait in {Wait.ANSWER, Wait.PERSON}
        self.head["open"] += step.settled - settled
        counts = (0, 0) if update.reset else (step.failures + update.failed, step.deaths)
        values = (
            update.wait.value,
            to_text(update.reason),
            self.now + update.delay_ms if update.wait is Wait.TIMER else 0,
            self.now,
            step.error if update.error is None else update.error,
            *counts,
            settled,
        )
        self.connection.execute(_SQL["update_step"], (*values, *step.key))
        for name, ask in update.asks.items():
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
        head["checkpoint_id"], head["open"] = checkpoint.id, 0

    def _drop_plan(self, fence: int | None, *are_there: int) -> None:
        """Drop what is left of the old plan; of its claims the greatest fence stays. (INV-3)"""
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
        self.head["open"] += len(rows)

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

    def _any_step(self) -> bool:
        plan = (self.head["thread"], self.head["checkpoint_id"])
        return self.connection.execute(_SQL["any_step"], plan).fetchone() is not None
