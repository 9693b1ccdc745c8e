"""Whether a thread's keys are as they were written, and the sweeper will find it. Pure. (INV-7)

The checks have stages, each of which relies on the one before. The first stage that finds something
to repair is the last one; after the repair the thread is inspected again. A stage decides from the
plan, the records and the log what the state is; then it states which entries of indexes that state
must have, and writes the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from orchestrator import limits
from orchestrator.checkpointer.log_evidence import logged_status, logged_wait
from orchestrator.checkpointer.redis.decode import Inspection, SeenStep, has_record
from orchestrator.checkpointer.redis.encode import step_of, step_record
from orchestrator.envelope.sealed_records import sealed
from orchestrator.errors import StateCorruptedError
from orchestrator.ids import CHILD, root_thread
from orchestrator.model.audit import DamageCode
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import SETTLED_WAITS, Commit, Event, ReadyStep, StepUpdate, Wait

EARLIER = "go back to an earlier checkpoint (history shows them), or start a new run"
_BACKUP = (
    "restore the server from a backup, or delete what is left of the thread: "
    "graphstalk threads delete {thread}"
)
_DUE_SLACK_MS = 1.0  # Scores are floats.

Change = tuple[str | bytes | int, ...]  # A command, `P` or `T`, the rest of the key, arguments.


@dataclass(frozen=True, slots=True)
class Fix:
    """One damage, and the changes that repair it; without changes it is only reported."""

    code: DamageCode
    why: str
    changes: tuple[Change, ...] = ()
    remedy: str = ""


@dataclass(slots=True)
class ThreadCheck:
    """Checks one inspection of a thread.

    Attributes:
        thread_id: the thread.
        seen: what is there.
        keys: the prefixes of the thread's partition and of its own keys.
        plan: returns the steps that the head checkpoint planned; raises `StateCorruptedError`.
        log: returns the newest events, newest first.
        find_queue: returns the queue of a step whose record is lost.
        restore_head: returns the former value of an altered field of the head.
    """

    thread_id: str
    seen: Inspection
    keys: tuple[str, str]
    plan: Callable[[], Sequence[ReadyStep]]
    log: Callable[[], Sequence[Event]]
    find_queue: Callable[[str], str]
    restore_head: Callable[[], Mapping[str, bytes]]
    fixes: list[Fix] = field(default_factory=list)

    def fixes_needed(self) -> list[Fix]:
        """Return everything that is wrong and can be decided now."""
        for stage in (self._types, self._head, self._checkpoint, self._queue, self._steps):
            if not stage() or any(fix.changes for fix in self.fixes):
                break
        return self.fixes

    # ---- keys and the head --------------------------------------------------------------------

    @property
    def _ns(self) -> str:
        return root_thread(self.thread_id)[1]

    def _fix(self, code: DamageCode, why: str, *changes: Change, remedy: str = "") -> None:
        self.fixes.append(Fix(code, why, changes, remedy))

    def _set(self, code: DamageCode, why: str, **fields: str | int) -> None:
        """Repair fields of the head."""
        pairs = [part for pair in fields.items() for part in pair]
        self._fix(code, why, ("HSET", "T", "head", *pairs))

    def _types(self) -> bool:
        """Set keys of a wrong type aside; the next stages repair what is missing then."""
        for key in self.seen.wrong:
            name = key.decode("utf-8", "surrogateescape")
            space = "T" if name.startswith(self.keys[1]) else "P"
            rest = name[len(self.keys[space == "T"]) :]
            what = f"the key {rest!r} holds another type than it was written with; it is set aside"
            self._fix(DamageCode.KEY_BROKEN, what, ("RENAME", space, rest, f"{name}:aside"))
        return True

    def _head(self) -> bool:
        """Check the fields of the head."""
        head = self.seen.head
        if head.status is None and head.checkpoint_id is None and head.run_id is None:
            self._fix(DamageCode.HEAD_LOST, "its head is gone", remedy=_BACKUP)
            return False
        if head.is_whole is None:
            self._sealed_fields()
        self._numbers()
        return True

    def _sealed_fields(self) -> None:
        were = self.restore_head()
        if not were:
            what = "the head does not fit its seal, and neither the log nor the seal proves why"
            self._fix(DamageCode.HEAD_ALTERED, what, remedy=_BACKUP)
            return
        for name, value in were.items():
            what = f"{name} of the head is not what was stored; by the seal it is {value!r:.80}"
            gone: Change = ("HDEL", "T", "head", name)
            change = ("HSET", "T", "head", name, value) if value else gone
            self._fix(DamageCode.HEAD_ALTERED, what, change)

    def _numbers(self) -> None:
        """Check numbers: a script that adds to something else would fail half-way."""
        head = self.seen.head
        for name in ("created_ms", "updated_ms"):
            value = getattr(head, name)
            if not is_number(value):
                what = f"{name} of the head is {value!r}"
                self._set(DamageCode.HEAD_ALTERED, what, **{name: self.seen.now_ms})
        last = int((head.last_event or "0").partition("-")[0])
        if not is_number(head.seq) and (head.seq is not None or last):
            self._set(DamageCode.MISCOUNTED, f"its event counter is {head.seq!r}", seq=last)
        elif int(head.seq or 0) < last:
            what = f"its event counter is {head.seq}, and the log ends with {last}"
            self._set(DamageCode.MISCOUNTED, what, seq=last)
        fences = [int(s.fence) for s in self.seen.steps if s.fence and is_number(s.fence)]
        fence, least = head.fence, max(fences, default=0)
        if fence is None or not is_number(fence) or int(fence) < least:
            # Fences of earlier claims may be greater, and must not be given again. (INV-3)
            given = max([least, *(int(e.fields.get("fence") or 0) for e in self.log())])
            if given or fence is not None:  # Else no step was claimed yet.
                what = f"its fence counter is {fence!r}"
                self._set(DamageCode.MISCOUNTED, what, fence=given + 1)

    # ---- the checkpoint and queued runs -------------------------------------------------------

    def _checkpoint(self) -> bool:
        """Check the checkpoint that the head names, and its list of steps."""
        head = self.seen.head
        id_, newest = head.checkpoint_id or "", head.newest or ""
        is_behind = newest > id_ or (newest and head.header is None and newest != id_)
        if is_behind and head.newest_header is not None:
            what = f"the head names the checkpoint {id_ or None}, and {newest} is the latest"
            self._set(DamageCode.HEAD_ALTERED, what, checkpoint_id=newest)
            return False
        if head.header is None or head.plan is None:
            what = f"the checkpoint {id_ or None} that the head names is not there, or not whole"
            self._fix(DamageCode.CHECKPOINT_LOST, what, remedy=EARLIER)
            return False
        if head.listed is None:
            what = f"the history does not hold the head checkpoint {id_}"
            self._fix(DamageCode.CHECKPOINT_UNLISTED, what, ("ZADD", "T", "ids", 0, id_))
        if head.lost:
            names = head.lost.split("\n")
            what = f"{len(names)} values of the checkpoint {id_} are gone: {_shown(names)}"
            self._fix(DamageCode.VALUE_LOST, what, remedy=EARLIER)
        try:
            planned = [step.step_id for step in self.plan()]
        except StateCorruptedError as error:
            what = f"the checkpoint {id_} cannot be read: {error}"
            self._fix(DamageCode.CHECKPOINT_LOST, what, remedy=EARLIER)
            return False
        if self.seen.step_ids != planned:
            what = f"the checkpoint {id_} lists other steps than it planned"
            records = self.seen.checkpoint_records(planned)
            pairs = (part for pair in records.items() for part in pair)
            self._fix(DamageCode.PLAN_ALTERED, what, ("HSET", "T", "data", *pairs))
        return True

    def _queue(self) -> bool:
        """Check that each queued run has its input, and is in the queue."""
        head = self.seen.head
        line = [run for run in (head.line or "").split("\n") if run]
        begins = [run for run in (head.begins or "").split("\n") if run]
        for run in dict.fromkeys(line):
            if run not in begins:
                what = f"the input of the queued run {run} is gone; it is withdrawn"
                change = ("LREM", "T", "line", 0, run)
                self._fix(DamageCode.LINE_ALTERED, what, change, remedy="submit its input again")
        missing = set(begins) - set(line)
        order = [e.fields.get("run", b"").decode() for e in self.log()] if missing else []
        for run in sorted(missing, key=lambda run: -order.index(run) if run in order else 0):
            what = f"the run {run} was accepted and is not in the queue; it is the last now"
            self._fix(DamageCode.LINE_ALTERED, what, ("RPUSH", "T", "line", run))
        return True

    # ---- status, steps, indexes ---------------------------------------------------------------

    def _steps(self) -> bool:
        """Check the status, each step, and what is counted and indexed of them."""
        status = self._status()
        if status is None:
            return False
        checks = [
            StepCheck(
                seen,
                planned,
                self._ns,
                status.active,
                self.seen.now_ms,
                partial(self.find_queue, planned.step_id),
                self.log,
            )
            for seen, planned in zip(self.seen.steps, self.plan(), strict=True)
        ]
        for check in checks:
            check.check()
            self.fixes += check.fixes
        open_ = sum(not (check.done or check.settled) for check in checks)
        if self.seen.head.open != str(open_):
            what = f"{open_} steps are open, and the head counts {self.seen.head.open}"
            self._set(DamageCode.MISCOUNTED, what, open=open_)
        self._indexes(status, open_)
        if status.active:
            self._window(checks, open_)
        if self.fixes and status.active:
            self._doubt(status)
        return True

    def _window(self, checks: Sequence[StepCheck], open_: int) -> None:
        """Check that the deferred steps of a wide superstep will be sent."""
        later = [check for check in checks if check.is_later]
        if not later or open_ > len(later):
            return
        changes = [c for check in later[: limits.FAN_OUT_WINDOW] for c in check.sent_now()]
        what = f"{len(later)} of its steps are sent after others, and no other step is open"
        self._fix(DamageCode.UNINDEXED, what, *changes)

    def _status(self) -> RunStatus | None:
        """Return the status of the run; `None` if it had to be repaired."""
        raw, steps = self.seen.head.status, self.seen.steps
        status = RunStatus(raw) if raw in set(RunStatus) else None
        if status is None:
            logged = self._logged()
            meant = logged or (RunStatus.RUNNING if steps else RunStatus.SUCCEEDED)
            self._restore(raw, meant, "by the log" if logged else "by its steps")
            return None
        if status.active and not steps:
            meant = self._logged() or RunStatus.SUCCEEDED
            meant = RunStatus.SUCCEEDED if meant.active else meant
            self._restore(raw, meant, "nothing is planned, so", DamageCode.NOTHING_PLANNED)
            return None
        if not status.active and (steps or status is not RunStatus.SUCCEEDED):
            meant = self._logged() or status
            if meant is not status:
                self._restore(raw, meant, "by the log")
                return None
        return status

    def _doubt(self, status: RunStatus) -> None:
        """Check by the log that a run that needs repairs is active at all."""
        logged = self._logged()
        if logged is not None and not logged.active:
            self.fixes.clear()
            self._restore(status, logged, "by the log")

    def _logged(self) -> RunStatus | None:
        return logged_status(self.log(), self._ns)

    def _restore(
        self,
        raw: str | None,
        meant: RunStatus,
        why: str,
        code: DamageCode = DamageCode.STATUS_ALTERED,
    ) -> None:
        if meant is RunStatus.QUEUED:
            meant = RunStatus.RUNNING  # A claim makes it that without an event.
        self._set(code, f"its status is {raw!r}; {why} it is {meant.value!r}", status=meant.value)

    def _indexes(self, status: RunStatus, open_: int) -> None:
        """Write the entries that the thread must have in indexes of the sweeper."""
        head, thread = self.seen.head, self.thread_id
        is_stuck = status.active and not open_
        begins_next = status.final and bool(head.line)
        what = "all of its steps are settled, and the sweeper does not know that it must advance"
        self._entry("stuck", head.stuck, is_stuck, what)
        if head.stuck is not None and not is_stuck:
            what = "the sweeper has it among the settled ones, and it is not"
            self._fix(DamageCode.UNINDEXED, what, ("ZREM", "P", "stuck", thread))
        what = "its run has ended, and the sweeper does not know that others are queued"
        self._entry("waiting", head.waiting, begins_next, what)
        if CHILD not in thread and head.in_threads is None:
            what = "the list of threads does not hold it"
            at = head.updated_ms or self.seen.now_ms
            self._fix(DamageCode.UNINDEXED, what, ("ZADD", "P", "threads", at, thread))

    def _entry(self, index: str, when: str | None, must: bool, what: str) -> None:  # noqa: FBT001
        """Check an entry of an index of threads, whose score is the time since when it holds."""
        change = ("ZADD", "P", index, 0, self.thread_id)
        if must and when is None:
            self._fix(DamageCode.UNINDEXED, what, change)
        elif when == "far":
            self._fix(DamageCode.OVERDUE, f"the time of its entry in {index!r} is ahead", change)


@dataclass(slots=True)
class StepCheck:
    """Checks one step of a thread.

    Attributes:
        seen: what is there.
        planned: the step as the plan has it; its queue may not be known.
        ns: the namespace of the thread.
        active: whether the run is active.
        now_ms: the store's time.
        find_queue: returns its queue if the record is lost.
        log: returns the newest events, newest first.
        done: whether it is completed, once it is repaired.
        settled: whether it waits for an answer or a person, once it is repaired.
    """

    seen: SeenStep
    planned: ReadyStep
    ns: str
    active: bool
    now_ms: int
    find_queue: Callable[[], str]
    log: Callable[[], Sequence[Event]]
    fixes: list[Fix] = field(default_factory=list)
    done: bool = False
    settled: bool = False

    def check(self) -> None:
        """Find what is wrong, and the state of the step once that is repaired."""
        if not has_record(self.seen):
            self._rebuild()
            return
        step = self._as_planned()
        self._numbers()
        self.done = self._is_done(step)
        if self.done:
            return
        owner = self.seen.owner or ""
        wait = self._wait(owner)
        self.settled = wait in SETTLED_WAITS
        if wait is Wait.ANSWER and self.seen.asked == "0":
            self._questions()
        if self.settled != (self.seen.settled is not None):
            now = ("HSET", "settled", 1) if self.settled else ("HDEL", "settled")
            what = f"whether it keeps its superstep open does not fit its state ({wait!r})"
            self._fix(DamageCode.STEP_ALTERED, what, self._own(*now))
        if owner:
            self._claim(owner)
        elif self.active and step.queue:
            self._indexes(step, wait)

    @property
    def is_later(self) -> bool:
        """Whether it is sent when others of its superstep are done."""
        seen = self.seen
        indexed = seen.ready is not None or seen.unsent is not None
        waits = seen.owner or seen.wait or self.done or self.settled
        return seen.later is not None and not (indexed or waits)

    def sent_now(self) -> tuple[Change, ...]:
        """Return the changes after which the sweeper sends it at once."""
        return (("ZREM", "T", "later", self.planned.step_id), *self._unsent(self.seen.queue or ""))

    @property
    def _member(self) -> str:
        return self.planned.step_id + self.planned.thread_id

    def _fix(self, code: DamageCode, what: str, *changes: Change, remedy: str = "") -> None:
        name = f"the step of {self.planned.node!r} ({self.planned.step_id[:8]})"
        self.fixes.append(Fix(code, f"{name}: {what}", changes, remedy))

    def _own(self, command: str, *arguments: str | bytes | int) -> Change:
        """Return a change of the step's record."""
        return (command, "T", f"s:{self.planned.step_id}", *arguments)

    def _unsent(self, queue: str) -> tuple[Change, ...]:
        """Return the change after which the sweeper sends the step at once."""
        return (("ZADD", "P", "unsent", 0, self._member),) if self.active and queue else ()

    # ---- the record -------------------------------------------------------------------------

    def _written(self, step: ReadyStep) -> Change:
        cp = f"{step.checkpoint_id:016x}"
        fields = ("step", step_record(step), "cp", cp, "queue", step.queue, "arg", step.arg)
        return self._own("HSET", *fields)

    def _rebuild(self) -> None:
        """Write a lost record again: from the plan, the result and the log."""
        step = replace(self.planned, queue=self.find_queue())
        changes = [self._written(step)]
        if self.seen.outcome is not None:
            self.done = True
            if self.seen.done is None:
                changes.append(("SADD", "T", "done", step.step_id))
            self._fix(DamageCode.STEP_LOST, "its record is gone; its result is kept", *changes)
            return
        if self.seen.done is not None:
            changes.append(("SREM", "T", "done", step.step_id))
        wait, fields = self._logged()
        self.settled = wait in SETTLED_WAITS
        if fields:
            changes.append(self._own("HSET", *self._sealed(fields)))
        if not self.settled:
            changes += self._unsent(step.queue)
        so = f"by the log it waits ({wait})" if self.settled else "it is to be run"
        self._fix(DamageCode.STEP_LOST, f"its record is gone; {so}", *changes)

    def _as_planned(self) -> ReadyStep:
        """Return the step as its record must have it; repair what differs from the plan."""
        seen, planned = self.seen, self.planned
        record = (seen.step or "").encode("utf-8", "surrogateescape")
        try:
            stored = step_of(planned.thread_id, planned.step_id, seen.cp or "", record)
        except StateCorruptedError:
            stored = None
        queue = self._queue(stored)
        step = replace(planned, queue=queue)
        cp = f"{step.checkpoint_id:016x}"
        if stored != step or (seen.cp, seen.queue, seen.arg or "") != (cp, queue, step.arg):
            again = () if seen.wait or seen.owner or seen.done else self._unsent(queue)
            what = "its record is not what the plan says"
            self._fix(DamageCode.STEP_ALTERED, what, self._written(step), *again)
        if step.arg and seen.has_arg is None and seen.arg == step.arg:
            self._fix(DamageCode.VALUE_LOST, "the argument sent to it is gone", remedy=EARLIER)
        return step

    def _queue(self, stored: ReadyStep | None) -> str:
        """Return the step's queue, which is stored in two places."""
        seen = self.seen
        if stored is None:
            return self.find_queue() if seen.queue is None else seen.queue
        if seen.queue is None or seen.queue == stored.queue:
            return stored.queue
        return seen.queue if seen.ready is not None else stored.queue

    def _numbers(self) -> None:
        """Drop counters that are no numbers: a script that adds to them would fail half-way."""
        for name in ("attempt", "failures", "deaths"):
            value = getattr(self.seen, name)
            if value is not None and not is_number(value):
                what = f"its {name} is {value!r:.40}, not a number; it is counted anew"
                self._fix(DamageCode.STEP_ALTERED, what, self._own("HDEL", name))

    def _is_done(self, step: ReadyStep) -> bool:
        done, kept = self.seen.done is not None, self.seen.outcome is not None
        if kept and not done:
            change = ("SADD", "T", "done", step.step_id)
            what = "it has its result, and does not count as completed"
            self._fix(DamageCode.DONE_LOST, what, change, *self._unclaimed())
        if done and not kept:
            change = ("SREM", "T", "done", step.step_id)
            again = (*self._unclaimed(), *self._unsent(step.queue))
            what = "its result is gone, so it is to be run again"
            self._fix(DamageCode.OUTCOME_LOST, what, change, *again)
        return kept

    def _unclaimed(self) -> tuple[Change, ...]:
        owner = self.seen.owner
        if owner is None:
            return ()
        return (self._own("HDEL", "owner"), ("SREM", "P", f"claims:{owner}", self._member))

    # ---- what it waits for --------------------------------------------------------------------

    def _wait(self, owner: str) -> Wait:
        """Return what the step waits for; repair a wait that cannot be."""
        seen = self.seen
        is_known = seen.wait is None or seen.wait in set(Wait) - {Wait.NOTHING}
        wait = Wait(seen.wait or "") if is_known else None
        meant = self._meant(wait, owner)
        if wait is not meant:
            now = ("HSET", "wait", meant) if meant else ("HDEL", "wait", "due")
            again = () if meant or owner else self._unsent(seen.queue or "")
            what = f"it waits for {seen.wait!r}, which cannot be; it is {meant or 'ready'!r}"
            self._fix(DamageCode.STEP_ALTERED, what, self._own(*now), *again)
        return meant

    def _meant(self, wait: Wait | None, owner: str) -> Wait:
        """Return what a step waits for, by everything else that its record holds."""
        seen = self.seen
        asked, open_ = int(seen.asked or 0), int(seen.open or 0)
        if owner:
            return Wait.NOTHING  # A claim ends every wait.
        if wait is Wait.ANSWER:
            return Wait.NOTHING if asked and not open_ else Wait.ANSWER
        if wait is Wait.PERSON:  # It may have asked before it failed, without an answer.
            by_log = self._logged()[0] if open_ else wait
            return Wait.ANSWER if by_log is Wait.ANSWER else Wait.PERSON
        if seen.settled is not None:
            by_log = self._logged()[0]
            return by_log if by_log in SETTLED_WAITS or self.active else Wait.PERSON
        if seen.due is not None:
            return Wait.TIMER
        if wait is Wait.TIMER:
            return wait
        return Wait.ANSWER if wait is None and open_ else Wait.NOTHING

    def _questions(self) -> None:
        """Write questions again that the log has, and the record lost."""
        asks = {k: v for k, v in self._logged()[1].items() if k.startswith("ask:")}
        if asks:
            what = "it waits for an answer, and its question is gone; the log has it"
            self._fix(DamageCode.STEP_ALTERED, what, self._own("HSET", *self._sealed(asks)))

    def _sealed(self, fields: Mapping[str, str | bytes | int]) -> list[str | bytes | int]:
        """Return fields of the log as a step's record holds them."""
        asks = {k[4:]: v for k, v in fields.items() if k[:4] == "ask:" and isinstance(v, bytes)}
        error = fields.get("error")
        update = StepUpdate(
            step=self.planned, asks=asks, error=error if isinstance(error, bytes) else None
        )
        [made] = sealed(Commit(thread_id=self.planned.thread_id, updates=(update,))).updates
        whole = {**fields, **{f"ask:{id_}": ask for id_, ask in made.asks.items()}}
        if made.error is not None:
            whole["error"] = made.error
        return [part for pair in whole.items() for part in pair]

    def _logged(self) -> tuple[Wait, Mapping[str, str | bytes | int]]:
        return logged_wait(self.planned.step_id, self.ns, self.log())

    # ---- its claim, or its entries in indexes -------------------------------------------------

    def _claim(self, owner: str) -> None:
        """Check that the claim would be released if its owner died."""
        seen = self.seen
        if not is_number(seen.fence):
            what = "its claim has no fence, so no commit can be made under it; it is released"
            again = self._unsent(seen.queue or "")
            self._fix(DamageCode.CLAIM_LOST, what, *self._unclaimed(), *again)
            return
        if seen.claimed is None:
            what = f"{owner} has claimed it, and the list of its claims does not hold it"
            self._fix(DamageCode.CLAIM_LOST, what, ("SADD", "P", f"claims:{owner}", self._member))
        if seen.lease is None:
            what = f"{owner} has claimed it, and has no lease that could run out"
            # A live owner renews it; that of a dead one runs out.
            change = ("ZADD", "P", "leases", "NX", self.now_ms, owner)
            self._fix(DamageCode.CLAIM_LOST, what, change)

    def _indexes(self, step: ReadyStep, wait: Wait) -> None:
        """Write the entry by which the sweeper finds the step when it is due or lost."""
        if wait is Wait.TIMER:
            self._timer()
        elif wait is Wait.NOTHING and not any(self._member in c[4:] for c in self._changes()):
            self._ready(step.queue)

    def _changes(self) -> Iterator[Change]:
        return (change for fix in self.fixes for change in fix.changes)

    def _ready(self, queue: str) -> None:
        seen = self.seen
        if seen.unsent is None and seen.ready is None and seen.later is None:
            what = "it is ready, and no index of the sweeper holds it"
            self._fix(DamageCode.UNINDEXED, what, *self._unsent(queue))
        elif seen.ready is not None and seen.queue_known is None:
            what = f"it was sent to the queue {queue!r}, which the sweeper does not know"
            self._fix(DamageCode.UNINDEXED, what, ("SADD", "P", "queues", queue))
        for key, when in ((f"ready:{queue}", seen.ready), ("unsent", seen.unsent)):
            if when == "far":
                what = f"the time at which it became ready ({key}) is ahead"
                change = ("ZADD", "P", key, self.now_ms, self._member)
                self._fix(DamageCode.OVERDUE, what, change)

    def _timer(self) -> None:
        seen = self.seen
        due, score = _number(seen.due), _number(seen.timer)
        if due is not None and score is not None and abs(due - score) <= _DUE_SLACK_MS:
            return
        when = int(min((at for at in (due, score) if at is not None), default=self.now_ms))
        what = f"its timer ({seen.timer}) and its time ({seen.due}) differ; it is due at {when}"
        code = DamageCode.UNINDEXED if score is None else DamageCode.STEP_ALTERED
        changes = (("ZADD", "P", "timers", when, self._member), self._own("HSET", "due", when))
        self._fix(code, what, *changes)


def is_number(text: str | None) -> bool:
    """Return whether stored text is a whole number that scripts can add to."""
    return text is not None and text.lstrip("-").isdecimal() and len(text) < 19


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _shown(names: Sequence[str]) -> str:
    """Return names of values for people."""
    plain = [name.replace("\x1f", "/").strip("/") for name in names]
    return ", ".join(plain[:3]) + (" …" if len(plain) > 3 else "")
