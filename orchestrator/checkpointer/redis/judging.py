"""Whether a thread is as it was written, and whether anything will move it on. Pure. (INV-7)

A judgement has stages: what else is judged by must be right first. The first stage that finds
something to repair is the last one; after the repair the thread is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest

from orchestrator import limits
from orchestrator.checkpoint.audit import DamageCode
from orchestrator.checkpoint.commit import Event, ReadyStep
from orchestrator.checkpoint.model import RunStatus
from orchestrator.checkpointer.redis.looking import Look
from orchestrator.checkpointer.redis.stepjudging import Change, Fix, StepJudge, is_number
from orchestrator.errors import StateCorruptedError
from orchestrator.ids import CHILD, root_thread

__all__ = ["ThreadJudge"]

_BACKUP = (
    "restore the server from a backup, or delete what is left of the thread: "
    "graphstalk threads delete {thread}"
)
# Events by which the status of a run stays what it was. One that is not known here may change it.
_NEUTRAL = {
    *("commit_refused", "task_done", "run_enqueued", "run_withdrawn"),
    *("checkpoint_resume", "thread_repaired", "thread_damaged"),
}
_STATUSES = {
    "run_accepted": RunStatus.QUEUED,
    "run_resumed": RunStatus.RUNNING,
    "interrupt_answered": RunStatus.RUNNING,
    "superstep": RunStatus.RUNNING,
}
_EARLIER = "go back to an earlier checkpoint (history shows them), or start a new run"


@dataclass(slots=True)
class ThreadJudge:
    """Judges one look at a thread.

    Attributes:
        thread_id: the thread.
        look: what is there.
        keys: the prefixes of the thread's partition and of its own keys.
        plan: returns the steps that the head checkpoint planned; raises `StateCorruptedError`.
        log: returns the newest events, newest first.
        guess_queue: tells where a step goes whose record is gone.
        unseal: finds out what the fields of the head were that do not fit their seal.
    """

    thread_id: str
    look: Look
    keys: tuple[str, str]
    plan: Callable[[str, Look], Sequence[ReadyStep]]
    log: Callable[[], Sequence[Event]]
    guess_queue: Callable[[str], str]
    unseal: Callable[[], Mapping[str, bytes]]
    fixes: list[Fix] = field(default_factory=list)

    def judge(self) -> list[Fix]:
        """Return everything that is wrong and can be judged now."""
        stages = (self._types, self._head, self._checkpoint, self._line, self._steps)
        for stage in stages:
            if not stage() or any(fix.changes for fix in self.fixes):
                break
        return self.fixes

    # ---- what is there at all -----------------------------------------------------------------

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
        """Set keys of a wrong type aside: then they are missing, and judged as that."""
        for key in self.look.wrong:
            name = key.decode("utf-8", "surrogateescape")
            space = "T" if name.startswith(self.keys[1]) else "P"
            rest = name[len(self.keys[space == "T"]) :]
            what = f"the key {rest!r} holds another type than it was written with; it is set aside"
            self._fix(DamageCode.KEY_BROKEN, what, ("RENAME", space, rest, f"{name}:aside"))
        return True

    def _head(self) -> bool:
        """Look at the fields of the head."""
        head = self.look.head
        if head.status is None and head.checkpoint_id is None and head.run_id is None:
            self._fix(DamageCode.HEAD_LOST, "its head is gone", remedy=_BACKUP)
            return False
        if head.is_whole is None:
            self._unseal()
        self._numbers()
        return True

    def _unseal(self) -> None:
        """Find out what the fields were that do not fit their seal."""
        were = self.unseal()
        if not were:
            what = "with what its run was started is not what was stored, and nothing tells it"
            self._fix(DamageCode.HEAD_ALTERED, what, remedy=_BACKUP)
            return
        for name, value in were.items():
            what = f"{name} of the head is not what was stored; by the seal it is {value!r:.80}"
            gone: Change = ("HDEL", "T", "head", name)
            change = ("HSET", "T", "head", name, value) if value else gone
            self._fix(DamageCode.HEAD_ALTERED, what, change)

    def _numbers(self) -> None:
        """Look at numbers: a script that adds to what is none would fail half-way."""
        head = self.look.head
        for name in ("created_ms", "updated_ms"):
            value = getattr(head, name)
            if not is_number(value):
                what = f"{name} of the head is {value!r}"
                self._set(DamageCode.HEAD_ALTERED, what, **{name: self.look.now_ms})
        last = int((head.last_event or "0").partition("-")[0])
        if not is_number(head.seq) and (head.seq is not None or last):
            self._set(DamageCode.MISCOUNTED, f"its event counter is {head.seq!r}", seq=last)
        elif int(head.seq or 0) < last:
            what = f"its event counter is {head.seq}, and the log goes up to {last}"
            self._set(DamageCode.MISCOUNTED, what, seq=last)
        fences = [int(s.fence) for s in self.look.steps if s.fence and is_number(s.fence)]
        fence, least = head.fence, max(fences, default=0)
        if fence is None or not is_number(fence) or int(fence) < least:
            # Fences of earlier claims may be greater, and must not be given again. (INV-3)
            known = [int(e.fields.get("fence") or 0) for e in self.log()]
            given = max([least, *known])
            if given == 0 and fence is None:
                return  # Nothing was claimed yet.
            self._set(DamageCode.MISCOUNTED, f"its fence counter is {fence!r}", fence=given + 1)

    def _planned(self) -> Sequence[ReadyStep]:
        return self.plan(self.thread_id, self.look)

    def _checkpoint(self) -> bool:
        """Look at the checkpoint that the head names, and at its list of steps."""
        head = self.look.head
        id_, newest = head.checkpoint_id or "", head.newest or ""
        is_behind = newest > id_ or (newest and head.header is None and newest != id_)
        if is_behind and head.newest_header is not None:
            what = f"the head names the checkpoint {id_ or None}, and {newest} is the latest"
            self._set(DamageCode.HEAD_ALTERED, what, checkpoint_id=newest)
            return False
        if head.header is None or head.plan is None:
            what = f"the checkpoint {id_ or None} that the head names is not there, or not whole"
            self._fix(DamageCode.CHECKPOINT_LOST, what, remedy=_EARLIER)
            return False
        if head.listed is None:
            what = f"the history does not hold the head checkpoint {id_}"
            self._fix(DamageCode.CHECKPOINT_UNLISTED, what, ("ZADD", "T", "ids", 0, id_))
        if head.lost:
            names = head.lost.split("\n")
            what = f"{len(names)} values of the checkpoint {id_} are gone: {_shown(names)}"
            self._fix(DamageCode.VALUE_LOST, what, remedy=_EARLIER)
        try:
            planned = [step.step_id for step in self._planned()]
        except StateCorruptedError as error:
            what = f"the checkpoint {id_} cannot be read: {error}"
            self._fix(DamageCode.CHECKPOINT_LOST, what, remedy=_EARLIER)
            return False
        if self.look.step_ids != planned:
            what = f"the checkpoint {id_} lists other steps than it planned"
            pairs = (
                part for pair in self.look.checkpoint_records(planned).items() for part in pair
            )
            self._fix(DamageCode.PLAN_ALTERED, what, ("HSET", "T", "data", *pairs))
        return True

    # ---- runs that wait -----------------------------------------------------------------------

    def _line(self) -> bool:
        """Look whether each run in line can begin, and will."""
        head = self.look.head
        line, begins = (head.line or "").split("\n"), (head.begins or "").split("\n")
        line, begins = [r for r in line if r], [r for r in begins if r]
        for run in dict.fromkeys(line):
            if run not in begins:
                what = f"what the run {run} in line begins with is gone; it is withdrawn"
                changes = ("LREM", "T", "line", 0, run)
                self._fix(DamageCode.LINE_ALTERED, what, changes, remedy="submit its input again")
        order = [e.fields.get("run", b"").decode() for e in self.log() if set(begins) - set(line)]
        missing = sorted(
            set(begins) - set(line), key=lambda run: -order.index(run) if run in order else 0
        )
        for run in missing:
            what = f"the run {run} was accepted to wait, and is not in line; it is the last now"
            self._fix(DamageCode.LINE_ALTERED, what, ("RPUSH", "T", "line", run))
        return True

    # ---- what comes next ----------------------------------------------------------------------

    def _steps(self) -> bool:
        """Look at the status, at each step, and at what is counted of them."""
        status = self._status()
        if status is None:
            return False
        judges = [
            StepJudge(
                seen,
                planned,
                self._ns,
                status.active,
                self.look.now_ms,
                partial(self.guess_queue, planned.step_id),
                self.log,
            )
            for seen, planned in zip(self.look.steps, self._planned(), strict=True)
        ]
        for judge in judges:
            judge.judge()
        found = [fix for judge in judges for fix in judge.fixes]
        self.fixes += found
        open_ = sum(not (judge.done or judge.settled) for judge in judges)
        if self.look.head.open != str(open_):
            what = f"{open_} steps are open, and the head counts {self.look.head.open}"
            self._set(DamageCode.MISCOUNTED, what, open=open_)
        self._indexes(status, open_)
        if status.active:
            self._turns(judges, open_)
        if self.fixes and status.active:
            self._doubt(status)
        return True

    def _turns(self, judges: Sequence[StepJudge], open_: int) -> None:
        """Look whether the steps of a wide superstep that are sent later will ever be."""
        later = [judge for judge in judges if judge.is_later]
        if not later or open_ > len(later):
            return
        following = later[: limits.FAN_OUT_WINDOW]
        changes = [change for judge in following for change in judge.sent_now()]
        what = f"{len(later)} of its steps are to be sent when others are done, and there are none"
        self.fixes.append(Fix(DamageCode.UNINDEXED, what, tuple(changes)))

    def _status(self) -> RunStatus | None:
        """Return the status of the run; `None` if it was not right."""
        raw, steps = self.look.head.status, self.look.steps
        status = RunStatus(raw) if raw in set(RunStatus) else None
        if status is None:
            logged = self._logged()
            meant = logged or (RunStatus.RUNNING if steps else RunStatus.SUCCEEDED)
            self._restore(raw, meant, "by the log" if logged else "by its steps")
            return None
        if status.active and not steps:
            meant = self._logged() or RunStatus.SUCCEEDED
            if meant.active:
                meant = RunStatus.SUCCEEDED
            self._restore(raw, meant, "nothing is planned, so", DamageCode.NOTHING_PLANNED)
            return None
        if not status.active and (steps or status is not RunStatus.SUCCEEDED):
            meant = self._logged() or status
            if meant is not status:
                self._restore(raw, meant, "by the log")
                return None
        return status

    def _doubt(self, status: RunStatus) -> None:
        """Ask the log whether a run that is to be moved on is active at all."""
        logged = self._logged()
        if logged is not None and not logged.active:
            self.fixes.clear()
            self._restore(status, logged, "by the log")

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

    def _logged(self) -> RunStatus | None:
        """Return the status of the run that the log tells last; active ones count alike.

        `None` if it does not tell: then the head is right. A thread that rests because somebody
        changed it by hand must not be moved on.
        """
        mine = [event for event in self.log() if _ns_of(event) == self._ns]
        for event, before in zip_longest(mine, mine[1:]):
            by_hand = before is not None and before.type == "state_edited"
            if not _is_neutral(event, by_hand=by_hand):
                return _told(event)
        return None

    def _indexes(self, status: RunStatus, open_: int) -> None:
        """Look whether the sweeper would find the thread."""
        head, thread = self.look.head, self.thread_id
        if status.active and not open_ and head.stuck is None:
            what = "all of its steps are settled, and nobody knows that it is to be advanced"
            self._fix(DamageCode.UNINDEXED, what, ("ZADD", "P", "stuck", 0, thread))
        elif head.stuck == "far":
            what = "the time since which it is to be advanced has not come yet"
            self._fix(DamageCode.OVERDUE, what, ("ZADD", "P", "stuck", 0, thread))
        if head.stuck is not None and (open_ or not status.active):
            what = "it is told to be advanced, and it is not to be"
            self._fix(DamageCode.UNINDEXED, what, ("ZREM", "P", "stuck", thread))
        if status.final and head.line and head.waiting is None:
            what = "its run has ended, and nobody knows that others are in line"
            self._fix(DamageCode.UNINDEXED, what, ("ZADD", "P", "waiting", 0, thread))
        elif head.waiting == "far":
            what = "the time since which the next run in line waits has not come yet"
            self._fix(DamageCode.OVERDUE, what, ("ZADD", "P", "waiting", 0, thread))
        if CHILD not in thread and head.in_threads is None:
            what = "the list of threads does not hold it"
            at = head.updated_ms or self.look.now_ms
            self._fix(DamageCode.UNINDEXED, what, ("ZADD", "P", "threads", at, thread))


def _ns_of(event: Event) -> str:
    return event.fields.get("ns", b"").decode("utf-8", "surrogatepass")


def _is_neutral(event: Event, *, by_hand: bool) -> bool:
    """Return whether an event leaves the status of its run as it is, and tells nothing of it."""
    if event.type == "interrupt_answered":
        return "checkpoint" not in event.fields  # Else it was the last: the run goes on.
    if event.type == "superstep":  # One that is not live is followed by the status it leaves.
        return by_hand or event.fields.get("live") != b"1"
    return event.type in _NEUTRAL or event.type.startswith(("step_", "stream_"))


def _told(event: Event) -> RunStatus | None:
    """Return the status of the run after an event, if the event tells it."""
    if event.type in _STATUSES:
        return _STATUSES[event.type]
    name = event.type.removeprefix("run_")
    ended = event.type.startswith("run_") and name in set(RunStatus)
    return RunStatus(name) if ended else None


def _shown(names: Sequence[str]) -> str:
    """Return names of values for people."""
    plain = [name.replace("\x1f", "/").strip("/") for name in names]
    return ", ".join(plain[:3]) + (" …" if len(plain) > 3 else "")
