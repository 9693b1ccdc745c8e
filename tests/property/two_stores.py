"""One thing after another is done to two stores, and after each they must look the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.ids import child_thread, root_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    Answer,
    Commit,
    EventDraft,
    LoadedStep,
    ReadyStep,
    StepGuard,
    StepUpdate,
    Wait,
)
from orchestrator.testing.contract import drafts
from tests.property.growing_lists import GrowingLists
from tests.property.pair import Pair, World

__all__ = ["Agreement"]

ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING)
RESTING = tuple(status for status in RunStatus if not status.active)
CHILD = child_thread("t1", "sub|{1}")
THREADS = (CHILD, "t1", "t:{2}", "local")
OWNERS = ("w1", "w2")
QUESTIONS = ("q1", "q2")
NOTES = ("n1", "n2", "q1")
KEYS = ("k1", "k2")
RUNS = ("run-2", "run-3")
HOUR_MS = 3_600_000
OFF = st.sampled_from([0, 0, 0, 0, 0, 1])  # Of an expected head: mostly it is right.

threads = st.sampled_from(THREADS)
owners = st.sampled_from(OWNERS)
picks = st.integers(0, 99)  # Which of those there are, counted around.
widths = st.integers(0, 3)


class Agreement(RuleBasedStateMachine):
    """Does to a store and to the memory one whatever the engine could do, and more."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.pair = world, Pair(world)
        self.clock, self.memory = self.pair.clock, self.pair.memory
        self.asked: list[dict] = []  # How claims were asked for.
        self.claims: list[tuple[ReadyStep, StepGuard]] = []  # All that were given.
        self.steps: list[ReadyStep] = []  # All that were ever planned.
        self.lists = GrowingLists()
        self.seqs = dict.fromkeys(THREADS, 0)  # Events that were compared already.

    def both(self, method: str, *args, **kwargs):
        return self.pair.both(method, *args, **kwargs)

    def commit(self, thread_id: str, **fields):
        log, ns = root_thread(thread_id)
        events = (EventDraft("committed", {"ns": ns, "what": " ".join(fields)}),)
        given = {"log": log, "events": events, **fields}
        return self.both("commit", Commit(thread_id=thread_id, **given))

    # ---- what there is to choose from ------------------------------------------------------

    def loaded(self, thread_id: str):
        return self.memory.load(thread_id)

    def head_id(self, thread_id: str) -> int:
        loaded = self.loaded(thread_id)
        return loaded.head.checkpoint_id if loaded else drafts.FIRST

    def active(self, thread_id: str) -> bool:
        loaded = self.loaded(thread_id)
        return loaded is not None and loaded.head.status.active

    def next_plan(self, thread_id: str, width: int):
        """Return the fields of a commit that brings the next checkpoint, one of them a `Send`."""
        id_ = self.head_id(thread_id) + 1
        queue = "" if thread_id == "local" else drafts.QUEUE
        steps = drafts.plan(thread_id, id_, *"abc"[:width], queue=queue)
        if width == 3:
            send = drafts.ready(thread_id, id_, "c", index=0, arg=f"arg-{id_}", queue=queue)
            steps = (*steps[:2], send)
        self.steps += steps
        name, value, tails = self.lists.grow(thread_id, id_)
        blobs = {f"blob-{id_}": b"%d" % id_, f"arg-{id_}": b"argument", name: value}
        stored = drafts.checkpoint(id_, (f"blob-{id_}", name))
        return {"checkpoint": stored, "blobs": blobs, "tails": tails, "ready": steps}

    def planned(self, *, active: bool = False) -> list[LoadedStep]:
        """Return the steps of all current plans, or only of runs that are active."""
        threads = [self.loaded(thread_id) for thread_id in THREADS]
        wanted = [t for t in threads if t is not None and (t.head.status.active or not active)]
        return [step for thread in wanted for step in thread.steps.values()]

    def one_step(self, pick: int, likely: Callable[[LoadedStep], bool]) -> ReadyStep:
        """Return a step that something can be done with; now and then just any."""
        fit = [step.step for step in self.planned(active=True) if likely(step)]
        return _any_of(fit if fit and pick % 8 else self.steps[-8:], pick)

    def one_claim(self, pick: int) -> tuple[ReadyStep, StepGuard]:
        """Return a claim that is live; now and then just any."""
        owned = {s.step.step_id for s in self.planned(active=True) if s.owner}
        latest = {guard.step_id: (step, guard) for step, guard in self.claims}
        live = [claim for id_, claim in latest.items() if id_ in owned]
        return _any_of(live if live and pick % 8 else self.claims[-8:], pick)

    # ---- runs ---------------------------------------------------------------------------

    @initialize()
    def begin(self):
        for width, thread_id in enumerate(THREADS[::-1], 1):
            self.start(thread_id, min(width, 3), "")

    def start(self, thread_id, width, key):
        owner = "w1" if thread_id == "local" else ""
        head = {"run_id": drafts.RUN, "local": int(thread_id == "local"), "owner": owner}
        plan = self.next_plan(thread_id, width)
        used = (key, f"run of {key}") if key else None
        self.commit(
            thread_id, expect_new=True, status=RunStatus.QUEUED, head=head, key=used, **plan
        )

    @rule(pick=picks, thread_id=threads)
    def start_again(self, pick, thread_id):
        if pick % 8 == 0:
            self.start(thread_id, 1, KEYS[pick % 2])

    def resting(self) -> list[str]:
        return [thread_id for thread_id in THREADS if not self.active(thread_id)]

    @precondition(lambda self: self.resting())
    @rule(pick=picks, width=st.integers(1, 3), key=st.sampled_from(["", *KEYS]), off=OFF)
    def run_again(self, pick, width, key, off):
        thread_id = _any_of(self.resting() if pick % 8 else THREADS, pick)
        expected = self.head_id(thread_id) - off
        self.commit(
            thread_id,
            expect_head=expected,
            expect_status=RESTING,
            status=RunStatus.QUEUED,
            key=(key, f"run of {key} {expected}") if key else None,
            **self.next_plan(thread_id, width),
        )

    @rule(
        pick=picks,
        thread_id=threads,
        width=widths,
        off=OFF,
        status=st.sampled_from([None, None, RunStatus.PAUSED, RunStatus.SUCCEEDED]),
    )
    def advance(self, pick, thread_id, width, off, status):
        loaded = self.loaded(thread_id)
        if loaded.head.open and pick % 8:
            return  # Most often somebody settles a superstep before it is advanced.
        expected = self.head_id(thread_id) + off
        plan = self.next_plan(thread_id, width)
        self.commit(thread_id, expect_head=expected, expect_status=ACTIVE, status=status, **plan)

    @precondition(lambda self: all(self.active(thread_id) for thread_id in THREADS))
    @rule(thread_id=threads, status=st.sampled_from(RESTING), revoke=st.booleans())
    def rest(self, thread_id, status, revoke):
        self.commit(thread_id, expect_status=ACTIVE, status=status, revoke=revoke)

    @precondition(lambda self: self.resting())
    @rule(pick=picks, also_done=st.booleans())
    def revive(self, pick, also_done):
        thread_id = _any_of(self.resting() if pick % 8 else THREADS, pick)
        loaded = self.loaded(thread_id)
        steps = loaded.steps.values() if loaded else ()
        updates = [
            StepUpdate(step=s.step, reset=True) for s in steps if also_done or not s.completed
        ]
        self.commit(
            thread_id,
            expect_status=RESTING,
            status=RunStatus.RUNNING,
            updates=tuple(updates),
            head={"resumes": 1},
        )

    # ---- steps --------------------------------------------------------------------------

    @rule(pick=picks, late=st.sampled_from([False, False, True]), owner=owners, known=st.booleans())
    def claim(self, pick, late, owner, known):
        step = self.one_step(pick, lambda s: not (s.owner or s.completed or s.wait))
        self.claim_step(step, owner, late=late, known=known)

    @rule(thread_id=threads, owner=owners)
    def do_all(self, thread_id, owner):
        for step in self.loaded(thread_id).steps.values():
            guard = self.claim_step(step.step, owner)
            if guard is not None:
                self.commit(thread_id, guard=guard, completed=b"done")

    def claim_step(self, step, owner, *, late=False, known=False) -> StepGuard | None:
        # A message so much younger has overtaken all there are.
        overtaking_ms = int(self.world.settings.hint_grace_s * 1000) + 7_777
        asked = {
            "thread_id": step.thread_id,
            "step_id": step.step_id,
            "owner": owner,
            "token": f"token {len(self.asked)}",
            "known": self.lists.known(step, len(self.asked)) if known else (),
            "sent_ms": self.clock.now_ms() + overtaking_ms if late else 0,
        }
        claim = self.both("claim", **asked)
        self.asked.append(asked)
        if claim.refused is not None:
            return None
        self.claims.append((step, StepGuard(step.step_id, claim.fence)))
        return self.claims[-1][1]

    @precondition(lambda self: self.asked)
    @rule(pick=picks)
    def ask_again(self, pick):
        self.both("claim", **_any_of(self.asked[-8:], pick))

    @precondition(lambda self: self.claims)
    @rule(pick=picks, old=st.sampled_from([0, 0, 0, 0, 1]))
    def complete(self, pick, old):
        step, guard = self.one_claim(pick)
        guard = replace(guard, fence=guard.fence - old)
        self.commit(step.thread_id, guard=guard, completed=b"done by %d" % guard.fence)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, names=st.sets(st.sampled_from(NOTES), min_size=1), old=OFF)
    def note(self, pick, names, old):
        step, guard = self.one_claim(pick)
        guard = replace(guard, fence=guard.fence - old)
        notes = dict.fromkeys(names, b"noted by %d %d" % (guard.fence, pick))
        self.commit(step.thread_id, guard=guard, notes=notes)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, width=widths)
    def complete_and_advance(self, pick, width):
        step, guard = self.one_claim(pick)
        plan, expected = self.next_plan(step.thread_id, width), step.checkpoint_id
        status = None if width else RunStatus.SUCCEEDED
        self.commit(
            step.thread_id,
            guard=guard,
            completed=b"".join(plan["blobs"].values()) if pick % 2 else b"",
            expect_head=expected,
            status=status,
            **plan,
        )

    @precondition(lambda self: self.claims)
    @rule(
        pick=picks,
        wait=st.sampled_from(Wait),
        delay_ms=st.sampled_from([0, 300, HOUR_MS]),
        counts=st.tuples(st.booleans(), st.booleans()),
        asks=st.sets(st.sampled_from(QUESTIONS)),
        notes=st.sets(st.sampled_from(NOTES)),
    )
    def update(self, pick, wait, delay_ms, counts, asks, notes):
        step, guard = self.one_claim(pick)
        update = StepUpdate(
            step=step,
            wait=wait,
            delay_ms=HOUR_MS if delay_ms and self.world.clock is None else delay_ms,
            failed=counts[0],
            reset=counts[1],
            error=b"error" if counts[0] else None,
            reason=f"{wait} {delay_ms}",
            asks={name: name.encode() for name in asks} if wait is Wait.ANSWER else {},
        )
        noted = dict.fromkeys(notes, b"with an update")
        self.commit(step.thread_id, guard=guard, updates=(update,), notes=noted)

    @precondition(lambda self: any(s.wait is Wait.ANSWER for s in self.planned()))
    @rule(pick=picks, question=st.sampled_from(QUESTIONS), goes_on=st.booleans())
    def answer(self, pick, question, goes_on):
        step = self.one_step(pick, lambda s: s.wait is Wait.ANSWER and question in s.asks)
        goes_on = goes_on and self.active(step.thread_id)
        self.commit(
            step.thread_id,
            answers=(Answer(step.step_id, question, b"answer"),),
            updates=(StepUpdate(step=step, reset=True),) if goes_on else (),
        )

    @rule(thread_id=threads, log=st.sampled_from(["", "nobody", *THREADS]), others=st.booleans())
    def append(self, thread_id, log, others):
        run = "another run" if others else drafts.RUN
        events = (EventDraft("appended"), EventDraft("twice"))
        self.commit(thread_id, expect_run=run, events=events, log=log)

    @rule(thread_id=threads, run=st.sampled_from(RUNS))
    def wait_in_line(self, thread_id, run):
        loaded = self.loaded(thread_id)
        waits = loaded is not None and run in loaded.line
        self.commit(thread_id, enqueue=None if waits else (run, run.encode()))

    @rule(thread_id=threads, run=st.sampled_from(RUNS), begins=st.booleans())
    def leave_the_line(self, thread_id, run, begins):
        self.commit(thread_id, dequeue=run, status=RunStatus.QUEUED if begins else None)

    @rule(thread_id=threads, owner=st.sampled_from(["", *OWNERS]))
    def own(self, thread_id, owner):
        self.commit(thread_id, head={"owner": owner})

    # ---- what moves by itself ------------------------------------------------------------

    @rule(owner=owners)
    def die(self, owner):
        self.both("release", owner)

    @rule(owner=owners, ttl_s=st.sampled_from([0.001, 2.0]))
    def renew(self, owner, ttl_s):
        if self.world.clock is None:
            ttl_s *= HOUR_MS  # Where time passes by itself, no lease ends while one looks.
        self.both("renew", [owner], ttl_s=ttl_s)

    @rule(sends=st.booleans())
    def sweep(self, sends):
        swept = self.both("sweep", 0, leader="leader")
        if sends:
            self.both("mark_sent", [*swept.due, *swept.stuck])

    @rule(thread_id=threads)
    def send(self, thread_id):
        loaded = self.loaded(thread_id)
        ready = [
            s.step
            for s in (loaded.steps.values() if loaded else ())
            if s.wait is Wait.NOTHING and not s.owner and not s.completed and s.step.queue
        ]
        self.both("mark_sent", ready)

    # Far more or far less than any lease, grace or delay: a store may save writes near the edges.
    @precondition(lambda self: self.world.clock is not None)
    @rule(seconds=st.sampled_from([0.001, 0.9, 5.0]))
    def wait(self, seconds):
        self.world.clock.sleep(seconds)

    @precondition(lambda self: self.world.clock is not None)
    @rule(rounds=st.integers(1, 3), sends=st.booleans())
    def wait_and_sweep(self, rounds, sends):
        for _ in range(rounds):
            self.world.clock.sleep(0.9)
            self.sweep(sends)

    # ---- what must be so after each -------------------------------------------------------

    @invariant()
    def they_look_the_same(self):
        for thread_id in THREADS:
            self.both("load", thread_id)
            after = self.seqs[thread_id]
            given, expected = (
                self.pair.noted(store.events(thread_id, after=after))
                for store in (self.world.store, self.memory)
            )
            assert given == expected
            self.seqs[thread_id] += len(expected[0])

    def teardown(self) -> None:
        try:
            self.their_pasts_look_the_same()
        finally:
            self.world.close()

    def their_pasts_look_the_same(self):
        for thread_id in THREADS:
            ids = self.memory.history(thread_id)
            assert self.world.store.history(thread_id) == ids
            for id_ in ids:
                self.both("load", thread_id, checkpoint_id=id_)
        for status in (None, *RunStatus):
            given, expected = (
                {name: self.pair.timeless(head) for name, head in store.threads(status=status)}
                for store in (self.world.store, self.memory)
            )
            assert given == expected

    @invariant()
    def open_is_right(self):
        settled = {Wait.ANSWER, Wait.PERSON}
        for loaded in map(self.loaded, THREADS):
            steps = loaded.steps.values() if loaded else ()
            kept = [step for step in steps if not step.completed and step.wait not in settled]
            assert loaded is None or loaded.head.open == len(kept)


def _any_of(found, pick):
    return found[-1 - pick % len(found)]
