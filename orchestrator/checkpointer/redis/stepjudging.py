"""Whether a step is as it was written, and whether anything will move it on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.checkpoint.audit import DamageCode
from orchestrator.checkpoint.commit import Commit, Event, ReadyStep, StepUpdate, Wait
from orchestrator.checkpointer.redis.encode import step_of, step_record
from orchestrator.checkpointer.redis.looking import SeenStep, has_record
from orchestrator.envelope.sealed_records import sealed
from orchestrator.errors import StateCorruptedError

__all__ = ["Change", "Fix", "StepJudge", "is_number"]

Change = tuple[str | bytes | int, ...]  # A command, `P` or `T`, the rest of the key, arguments.
_DUE_SLACK_MS = 1.0  # Scores are floats.
_SETTLED = {Wait.ANSWER, Wait.PERSON}


@dataclass(frozen=True, slots=True)
class Fix:
    """One damage, and the changes that repair it; without any it can only be told."""

    code: DamageCode
    why: str
    changes: tuple[Change, ...] = ()
    remedy: str = ""


@dataclass(slots=True)
class StepJudge:
    """Looks at one step of an audited thread.

    Attributes:
        seen: what is there.
        planned: the step as the plan has it; its queue may not be known.
        ns: the namespace of the thread, by which its events are told from others.
        active: whether the run is active.
        guess_queue: tells where a step goes whose record is gone.
        log: returns the newest events, newest first.
    """

    seen: SeenStep
    planned: ReadyStep
    ns: str
    active: bool
    now_ms: int
    guess_queue: Callable[[], str]
    log: Callable[[], Sequence[Event]]
    fixes: list[Fix] = field(default_factory=list)
    done: bool = False
    settled: bool = False

    def judge(self) -> None:
        """Find out what is wrong, and how the step stands once that is right again."""
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
        self.settled = wait in _SETTLED
        if wait is Wait.ANSWER and self.seen.asked == "0":
            self._questions()
        if self.settled != (self.seen.settled is not None):
            now = ("HSET", "settled", 1) if self.settled else ("HDEL", "settled")
            self._fix(
                DamageCode.STEP_ALTERED,
                f"whether it keeps its superstep open does not agree with its state ({wait!r})",
                self._own(*now),
            )
        if owner:
            self._claim(owner)
        elif self.active and step.queue:
            self._index(step, wait)

    # ---- the record -------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"the step of {self.planned.node!r} ({self.planned.step_id[:8]})"

    @property
    def _member(self) -> str:
        return self.planned.step_id + self.planned.thread_id

    def _fix(self, code: DamageCode, what: str, *changes: Change, remedy: str = "") -> None:
        self.fixes.append(Fix(code, f"{self._name}: {what}", changes, remedy))

    def _own(self, command: str, *arguments: str | bytes | int) -> Change:
        """Return a change of the step's record."""
        return (command, "T", f"s:{self.planned.step_id}", *arguments)

    def _again(self, queue: str, score: int = 0) -> tuple[Change, ...]:
        """Return the change by which the sweeper sends the step at once."""
        if not (self.active and queue):
            return ()
        return (("ZADD", "P", "unsent", score, self._member),)

    @property
    def is_later(self) -> bool:
        """Whether it is sent when others of its superstep are done."""
        seen = self.seen
        indexed = seen.ready is not None or seen.unsent is not None
        waits = seen.owner or seen.wait or self.done or self.settled
        return seen.later is not None and not (indexed or waits)

    def sent_now(self) -> tuple[Change, ...]:
        """Return the changes by which the sweeper sends it at once."""
        taken = ("ZREM", "T", "later", self.planned.step_id)
        return (taken, *self._again(self.seen.queue or ""))

    def _written(self, step: ReadyStep) -> Change:
        cp = f"{step.checkpoint_id:016x}"
        fields = ("step", step_record(step), "cp", cp, "queue", step.queue, "arg", step.arg)
        return self._own("HSET", *fields)

    def _rebuild(self) -> None:
        """Write a step anew whose record is gone: from the plan, the result and the log."""
        step = replace(self.planned, queue=self.guess_queue())
        changes = [self._written(step)]
        if self.seen.outcome is not None:
            self.done = True
            if self.seen.done is None:
                changes.append(("SADD", "T", "done", step.step_id))
            self._fix(DamageCode.STEP_LOST, "its record is gone; its result is kept", *changes)
            return
        if self.seen.done is not None:
            changes.append(("SREM", "T", "done", step.step_id))
        wait, fields = _by_log(*self._who)
        self.settled = wait in _SETTLED
        if fields:
            changes.append(self._own("HSET", *self._sealed(fields)))
        if not self.settled:
            changes += self._again(step.queue)
        so = f"by the log it waits ({wait})" if self.settled else "it is to be run"
        self._fix(DamageCode.STEP_LOST, f"its record is gone; {so}", *changes)

    def _as_planned(self) -> ReadyStep:
        """Return the step as its record should have it; repair what the plan says otherwise."""
        seen = self.seen
        stored = self._stored()
        queue = self._queue(stored)
        step = replace(self.planned, queue=queue, graph=self.planned.graph)
        cp = f"{step.checkpoint_id:016x}"
        if stored != step or (seen.cp, seen.queue, seen.arg or "") != (cp, queue, step.arg):
            again = () if seen.wait or seen.owner or seen.done else self._again(queue)
            what = "its record is not what the plan says"
            self._fix(DamageCode.STEP_ALTERED, what, self._written(step), *again)
        if step.arg and seen.has_arg is None and seen.arg == step.arg:
            self._fix(
                DamageCode.VALUE_LOST,
                "what was sent to it is gone",
                remedy="go back to an earlier checkpoint (history shows them), or start a new run",
            )
        return step

    def _stored(self) -> ReadyStep | None:
        """Return the step as its record has it, if that is whole."""
        seen, planned = self.seen, self.planned
        record = (seen.step or "").encode("utf-8", "surrogateescape")
        try:
            return step_of(planned.thread_id, planned.step_id, seen.cp or "", record)
        except StateCorruptedError:
            return None

    def _queue(self, stored: ReadyStep | None) -> str:
        """Return the step's queue, which is kept in two places."""
        seen = self.seen
        if stored is None:
            return self.guess_queue() if seen.queue is None else seen.queue
        if seen.queue is None or seen.queue == stored.queue:
            return stored.queue
        return seen.queue if seen.ready is not None else stored.queue

    def _numbers(self) -> None:
        """Drop counters that are none: a script that adds to them would fail half-way."""
        for name in ("attempt", "failures", "deaths"):
            value = getattr(self.seen, name)
            if value is not None and not is_number(value):
                what = f"its {name} is {value!r:.40}, not a number; it is counted anew"
                self._fix(DamageCode.STEP_ALTERED, what, self._own("HDEL", name))

    def _is_done(self, step: ReadyStep) -> bool:
        done, kept = self.seen.done is not None, self.seen.outcome is not None
        if kept and not done:
            self._fix(
                DamageCode.DONE_LOST,
                "it has its result, and does not count as completed",
                ("SADD", "T", "done", step.step_id),
                *self._unclaimed(),
            )
        if done and not kept:
            self._fix(
                DamageCode.OUTCOME_LOST,
                "its result is gone, so it is to be run again",
                ("SREM", "T", "done", step.step_id),
                *self._unclaimed(),
                *self._again(step.queue),
            )
            return False
        return kept

    def _unclaimed(self) -> tuple[Change, ...]:
        owner = self.seen.owner
        if owner is None:
            return ()
        return (self._own("HDEL", "owner"), ("SREM", "P", f"claims:{owner}", self._member))

    # ---- what it waits for --------------------------------------------------------------------

    def _wait(self, owner: str) -> Wait:
        """Return what the step waits for; repair it where it cannot be that."""
        seen = self.seen
        is_known = seen.wait is None or seen.wait in set(Wait) - {Wait.NOTHING}
        wait = Wait(seen.wait or "") if is_known else None
        meant = self._meant(wait, owner)
        if wait is not meant:
            now = ("HSET", "wait", meant) if meant else ("HDEL", "wait", "due")
            again = () if meant or owner else self._again(seen.queue or "")
            what = f"it waits for {seen.wait!r}, which cannot be; it is {meant or 'ready'!r}"
            self._fix(DamageCode.STEP_ALTERED, what, self._own(*now), *again)
        return meant

    def _meant(self, wait: Wait | None, owner: str) -> Wait:
        """Return what a step waits for, by all else that its record holds."""
        seen = self.seen
        asked, open_ = int(seen.asked or 0), int(seen.open or 0)
        if owner:
            return Wait.NOTHING  # A claim ends whatever it waited for.
        if wait is Wait.ANSWER:
            return Wait.NOTHING if asked and not open_ else Wait.ANSWER
        if wait is Wait.PERSON:  # It may have asked before it failed, without an answer.
            by_log = _by_log(*self._who)[0] if open_ else wait
            return Wait.ANSWER if by_log is Wait.ANSWER else Wait.PERSON
        if seen.settled is not None:
            by_log = _by_log(*self._who)[0]
            return by_log if by_log in _SETTLED or self.active else Wait.PERSON
        if seen.due is not None:
            return Wait.TIMER
        if wait is Wait.TIMER:
            return wait
        return Wait.ANSWER if wait is None and open_ else Wait.NOTHING

    def _questions(self) -> None:
        """Ask again what the log says was asked, where the record does not hold it any more."""
        asks = {k: v for k, v in _by_log(*self._who)[1].items() if k.startswith("ask:")}
        if asks:
            what = "it waits for an answer, and its question is gone; the log has it"
            self._fix(DamageCode.STEP_ALTERED, what, self._own("HSET", *self._sealed(asks)))

    def _sealed(self, fields: Mapping[str, str | bytes | int]) -> list[str | bytes | int]:
        """Return fields by the log as a step's record holds them."""
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

    @property
    def _who(self) -> tuple[str, str, Sequence[Event]]:
        return self.planned.step_id, self.ns, self.log()

    def _claim(self, owner: str) -> None:
        """Look whether somebody would notice if the owner of the claim died."""
        seen = self.seen
        if not is_number(seen.fence):
            what = "its claim has no fence, so nobody can commit under it; it is taken away"
            again = self._again(seen.queue or "")
            self._fix(DamageCode.CLAIM_LOST, what, *self._unclaimed(), *again)
            return
        if seen.claimed is None:
            what = f"{owner} has claimed it, and the list of its claims does not say so"
            self._fix(DamageCode.CLAIM_LOST, what, ("SADD", "P", f"claims:{owner}", self._member))
        if seen.lease is None:
            what = f"{owner} has claimed it, and has no lease that could run out"
            # If it lives it renews; if not, this one runs out.
            self._fix(
                DamageCode.CLAIM_LOST, what, ("ZADD", "P", "leases", "NX", self.now_ms, owner)
            )

    def _index(self, step: ReadyStep, wait: Wait) -> None:
        """Look whether the sweeper would find the step when it is due or lost."""
        if wait is Wait.TIMER:
            self._timer()
        elif wait is Wait.NOTHING and not any(self._member in fix[4:] for fix in self._changes()):
            self._ready(step.queue)

    def _changes(self) -> Iterator[Change]:
        return (change for fix in self.fixes for change in fix.changes)

    def _ready(self, queue: str) -> None:
        seen = self.seen
        if seen.unsent is None and seen.ready is None and seen.later is None:
            self._fix(DamageCode.UNINDEXED, "it is ready, and nobody knows", *self._again(queue))
        elif seen.ready is not None and seen.queue_known is None:
            what = f"it was sent to the queue {queue!r}, which nobody watches"
            self._fix(DamageCode.UNINDEXED, what, ("SADD", "P", "queues", queue))
        far = [
            key
            for key, when in ((f"ready:{queue}", seen.ready), ("unsent", seen.unsent))
            if when == "far"
        ]
        for key in far:
            what = f"the time at which it became ready ({key}) has not come yet"
            change = ("ZADD", "P", key, self.now_ms, self._member)
            self._fix(DamageCode.OVERDUE, what, change)

    def _timer(self) -> None:
        seen = self.seen
        due, score = _number(seen.due), _number(seen.timer)
        if due is not None and score is not None and abs(due - score) <= _DUE_SLACK_MS:
            return
        when = int(min((at for at in (due, score) if at is not None), default=self.now_ms))
        what = f"its timer ({seen.timer}) and its time ({seen.due}) do not agree; it is {when}"
        code = DamageCode.UNINDEXED if score is None else DamageCode.STEP_ALTERED
        changes = (("ZADD", "P", "timers", when, self._member), self._own("HSET", "due", when))
        self._fix(code, what, *changes)


def is_number(text: str | None) -> bool:
    """Return whether stored text is a whole number, as scripts need it to add to it."""
    return text is not None and text.lstrip("-").isdecimal() and len(text) < 19


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _by_log(
    step_id: str, ns: str, events: Sequence[Event]
) -> tuple[Wait, Mapping[str, str | bytes | int]]:
    """Return what a step waits for, by the log, and the fields that say so."""
    answered: set[bytes] = set()
    asks: dict[str, str | bytes | int] = {}
    asked_ms = failures = 0
    for event in events:  # The newest first.
        fields = event.fields
        if fields.get("ns", b"").decode("utf-8", "surrogatepass") != ns:
            continue
        if event.type in {"run_resumed", "run_accepted"}:
            break
        if event.type == "interrupt_answered":
            answered.add(fields.get("interrupt", b""))
        if fields.get("step", b"").decode() != step_id:
            continue
        if asked_ms and (event.type != "step_interrupted" or event.ts_ms != asked_ms):
            break
        if event.type == "step_interrupted":
            asked_ms = event.ts_ms
            asks |= _ask(fields, answered)
        elif event.type == "step_failed":
            return Wait.PERSON, {"wait": "person", "settled": 1, "error": fields["error"]}
        elif event.type == "step_paused":
            return Wait.PERSON, {"wait": "person", "settled": 1, "reason": fields["reason"]}
        elif event.type == "step_retry":
            failures += 1
    if asks:
        return Wait.ANSWER, {"wait": "answer", "settled": 1, **asks}
    return Wait.NOTHING, {"failures": failures, "attempt": failures} if failures else {}


def _ask(fields: Mapping[str, bytes], answered: set[bytes]) -> dict[str, str | bytes | int]:
    question = fields["interrupt"]
    if not question or question in answered:
        return {}
    return {f"ask:{question.decode()}": fields["value"]}
