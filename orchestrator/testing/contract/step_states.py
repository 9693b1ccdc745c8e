"""A ready step is claimed once, and completes once. (INV-2, INV-4)"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest

from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    WITHDRAWN,
    Answer,
    Claim,
    LoadedStep,
    Refusal,
    StepGuard,
    StepUpdate,
    Take,
    Wait,
)
from orchestrator.model.events import StepReleased
from orchestrator.model.lifecycle import ACTIVE, STEPS, RunMove, RunRow, StepMove, StepState
from orchestrator.model.lifecycle import RUNS as RUN_TABLE
from orchestrator.testing.concurrency import race
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver

# ---- claims ---------------------------------------------------------------------------------
# Only a ready step of an active run is claimed, once, with all records it needs. (INV-2)

_IDLE = [status for status in RunStatus if not status.active]
_HOUR_MS = 3_600_000


class ClaimingContract(Contract):
    """Claims."""

    def test_a_claim_brings_what_the_step_needs(self, driver: Driver) -> None:
        stored = drafts.checkpoint(drafts.FIRST, ("x", "y"))
        driver.start("a", checkpoint=stored, blobs={"x": b"1", "y": b"2", "z": b"3"})
        claim = driver.claimed("a")
        assert claim.step == driver.step("a").step
        assert (claim.header, claim.refs) == (stored.header, stored.refs)
        assert claim.blobs == {"x": b"1", "y": b"2"}
        assert (claim.attempt, claim.failures, claim.deaths) == (1, 0, 0)
        assert claim.fence > 0
        assert claim.head == driver.load().head

    @pytest.mark.parametrize("knowing", ["nothing", "the head"])
    @pytest.mark.parametrize("fields", [{}, {"breaks_seen": 7}], ids=["head-same", "head-new"])
    def test_a_commit_may_take_the_one_step_that_it_makes_ready(
        self, driver: Driver, knowing: str, fields: dict[str, int]
    ) -> None:
        driver.start("a")
        claim, second = driver.claimed("a"), drafts.FIRST + 1
        following = drafts.ready(driver.thread_id, second, "b")
        result = driver.complete(
            claim,
            checkpoint=drafts.checkpoint(second, ("x",)),
            blobs={"x": b"1"},
            ready=(following,),
            head=fields,
            take=Take("taker", "token", (), claim.head if knowing == "the head" else None),
        )
        assert result.refused is None
        assert result.claim is not None
        assert result.claim.head == driver.load().head
        assert result.claim.step == following
        assert result.claim.fence > claim.fence
        assert (result.claim.attempt, result.claim.blobs) == (1, {"x": b"1"})
        assert driver.step("b").owner == "taker"
        again = driver.claim(following, owner="taker", token="token")  # noqa: S106 - of a claim
        assert (again.refused, again.fence) == (None, result.claim.fence)

    def test_of_several_ready_steps_none_is_taken(self, driver: Driver) -> None:
        driver.start("a")
        second = drafts.FIRST + 1
        steps = drafts.plan(driver.thread_id, second, "b", "c")
        result = driver.complete(
            driver.claimed("a"),
            checkpoint=drafts.checkpoint(second),
            ready=steps,
            take=Take("taker", "token"),
        )
        assert (result.refused, result.claim) == (None, None)
        assert [driver.claimed(step).refused for step in steps] == [None, None]

    @pytest.mark.parametrize(
        ("known", "brought"),
        [((), {"x", "y"}), (("x",), {"y"}), (("y", "x"), set()), (("z", "X", "x "), {"x", "y"})],
    )
    def test_a_claim_brings_only_what_is_not_known(
        self, driver: Driver, known: tuple[str, ...], brought: set[str]
    ) -> None:
        stored = drafts.checkpoint(drafts.FIRST, ("x", "y"))
        driver.start("a", checkpoint=stored, blobs={"x": b"1", "y": b"2"})
        claim = driver.claimed("a", known=known)
        assert (set(claim.blobs), claim.refs) == (brought, ("x", "y"))

    def test_a_claim_brings_the_argument_of_its_send_and_no_others(self, driver: Driver) -> None:
        steps = tuple(
            drafts.ready(driver.thread_id, drafts.FIRST, "n", index=i, arg=f"arg-{i}")
            for i in range(3)
        )
        driver.start(
            ready=steps,
            checkpoint=drafts.checkpoint(drafts.FIRST, ("x",)),
            blobs={"x": b"1", "arg-0": b"zero", "arg-1": b"one", "arg-2": b""},
        )
        assert driver.claimed(steps[1]).blobs == {"x": b"1", "arg-1": b"one"}
        assert driver.claimed(steps[2], known=("x",)).blobs == {"arg-2": b""}
        assert driver.claimed(steps[0], known=("x", "arg-0")).blobs == {}

    def test_a_claim_brings_questions_and_answers(self, driver: Driver) -> None:
        driver.start("a", "b")
        step = driver.step("a").step
        asks = {"q1": b"?1", "q2": b"?2"}
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks=asks)
        driver.change(answers=(Answer(step.step_id, "q2", drafts.ALL_BYTES),))
        driver.revive("a")
        claim = driver.claimed("a")
        assert (claim.asks, claim.answers) == (asks, {"q2": drafts.ALL_BYTES})

    def test_the_first_claim_starts_a_queued_run(self, driver: Driver) -> None:
        driver.start("a", "b", status=RunStatus.QUEUED)
        claim = driver.claimed("a")
        assert claim.head is not None
        assert claim.head.status is RunStatus.RUNNING
        assert driver.load().head.status is RunStatus.RUNNING
        assert driver.store.threads(status=RunStatus.QUEUED) == []
        assert [id_ for id_, _ in driver.store.threads(status=RunStatus.RUNNING)] == [
            driver.thread_id
        ]

    def test_a_claim_names_its_owner(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="host:{1}:ä b")
        assert (driver.step("a").owner, driver.step("b").owner) == ("host:{1}:ä b", "")

    def test_claims_of_a_step_are_counted(self, driver: Driver) -> None:
        driver.start("a")
        for attempt in (1, 2, 3):
            claim = driver.claimed("a")
            assert (claim.attempt, claim.failures) == (attempt, attempt - 1)
            driver.update(claim, failed=True)
        assert driver.step("a").attempt == 3

    # ---- asked again --------------------------------------------------------------------

    def test_an_owner_that_claims_again_gets_the_same_claim(self, driver: Driver) -> None:
        stored = drafts.checkpoint(drafts.FIRST, ("x",))
        driver.start("a", "b", checkpoint=stored, blobs={"x": b"1"})
        first = driver.claimed("a", owner="w", attempt="mine")
        again = driver.claimed("a", owner="w", attempt="mine")
        assert (again.fence, again.attempt, again.blobs) == (first.fence, 1, first.blobs)
        assert driver.step("a").attempt == 1
        driver.complete(again)

    def test_another_attempt_of_the_same_owner_is_refused(self, driver: Driver) -> None:
        driver.start("a")
        driver.claimed("a", owner="w", attempt="one")
        assert driver.claim("a", owner="w", attempt="two").refused is Refusal.CLAIMED

    def test_a_token_gives_nothing_once_its_claim_is_gone(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.complete(driver.claimed("a", attempt="one"))
        assert driver.claim("a", attempt="one").refused is Refusal.COMPLETED
        first = driver.claimed("b", owner="w", attempt="two")
        driver.store.release("w")
        again = driver.claimed("b", owner="w", attempt="two")
        assert (again.fence > first.fence, again.attempt) == (True, 2)

    # ---- refusals -----------------------------------------------------------------------

    def test_a_claimed_step_is_refused_to_everybody_else(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="one")
        claim = driver.claim("a", owner="two")
        assert (claim.refused, claim.detail) == (Refusal.CLAIMED, driver.step("a").step.step_id)
        assert driver.step("a").owner == "one"
        driver.claimed("b", owner="two")

    def test_of_racing_claims_one_wins(self, driver: Driver) -> None:
        driver.start("a")
        step = driver.step("a").step
        owners = [f"w{n}" for n in range(6)]
        claims = race([partial(driver.claim, step, owner=owner) for owner in owners])
        won = [claim for claim in claims if claim.refused is None]
        assert len(won) == 1
        assert {claim.refused for claim in claims} == {None, Refusal.CLAIMED}
        assert driver.step("a").owner == owners[claims.index(won[0])]
        assert driver.step("a").attempt == 1

    def test_a_completed_step_is_refused_while_its_siblings_are_open(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.finish("a")
        claim = driver.claim("a")
        assert (claim.refused, claim.detail) == (Refusal.COMPLETED, driver.step("a").step.step_id)
        driver.claimed("b")
        assert driver.claim("a").refused is Refusal.COMPLETED

    def test_a_completed_step_is_refused_before_its_superstep_advances(
        self, driver: Driver
    ) -> None:
        driver.start("a")
        assert driver.finish("a").open == 0
        assert driver.claim("a").refused is Refusal.COMPLETED

    def test_a_step_of_an_earlier_plan_is_refused(self, driver: Driver) -> None:
        driver.start("a", "b")
        old = driver.step("a").step, driver.step("b").step
        driver.finish("a")
        driver.advance("a", "b")
        assert [driver.claim(step).refused for step in old] == [Refusal.UNKNOWN_STEP] * 2

    def test_a_step_that_was_never_planned_is_refused(self, driver: Driver) -> None:
        driver.start("a")
        never = drafts.ready(driver.thread_id, drafts.FIRST, "b")
        claim = driver.claim(never)
        assert (claim.refused, claim.detail) == (Refusal.UNKNOWN_STEP, never.step_id)

    def test_a_step_of_an_unknown_thread_is_refused(self, driver: Driver) -> None:
        driver.start("a")
        step = driver.step("a").step
        claim = driver.on("unknown").claim(step)
        assert (claim.refused, claim.detail) == (Refusal.UNKNOWN_THREAD, "unknown")
        assert driver.store.load("unknown") is None

    @pytest.mark.parametrize("status", _IDLE, ids=str)
    def test_an_idle_run_gives_no_claims(self, driver: Driver, status: RunStatus) -> None:
        driver.start("a", "b")
        driver.claimed("a")
        driver.change(status=status)
        claim = driver.claim("b")
        assert (claim.refused, claim.detail) == (Refusal.WRONG_STATUS, status)
        assert driver.load().head.status is status

    @pytest.mark.parametrize("wait", [Wait.TIMER, Wait.ANSWER, Wait.PERSON], ids=str)
    def test_a_step_that_waits_is_refused(self, driver: Driver, wait: Wait) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=wait, delay_ms=_HOUR_MS)
        claim = driver.claim("a")
        assert (claim.refused, claim.detail) == (Refusal.WAITING, driver.step("a").step.step_id)

    def test_a_refused_claim_changes_no_byte(self, driver: Driver) -> None:
        driver.start("done", "claimed", "waiting", "ready")
        driver.finish("done")
        driver.claimed("claimed", owner="w")
        driver.update(driver.claimed("waiting"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        nodes = ("done", "claimed", "waiting")
        before = observed(driver.store, [driver.thread_id]), self.contents(driver.store)
        refused = {driver.claim(node, owner="v", sent_ms=2**45).refused for node in nodes}
        assert refused == {Refusal.COMPLETED, Refusal.CLAIMED, Refusal.WAITING}
        assert before == (observed(driver.store, [driver.thread_id]), self.contents(driver.store))

    def test_a_local_step_is_claimed_as_any_other(self, driver: Driver) -> None:
        driver.start("a", queue="")
        driver.complete(driver.claimed("a"))


# ---- completion -----------------------------------------------------------------------------
# A superstep counts down, and exactly one commit ends it. (INV-2, INV-4)

_SETTLING = [Wait.ANSWER, Wait.PERSON]


class CompletingContract(Contract):
    """Completed steps and the steps that are open."""

    def test_each_completion_leaves_one_step_fewer_open(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        assert [driver.finish(node).open for node in "bca"] == [2, 1, 0]
        assert driver.load().head.open == 0
        assert all(step.completed for step in driver.load().steps.values())

    def test_completed_steps_keep_their_outcome_whatever_their_siblings_do(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        driver.update(driver.claimed("b"), wait=Wait.PERSON, failed=True)
        driver.claimed("c", owner="dead")
        driver.store.release("dead")
        driver.change(status=RunStatus.FAILED)
        driver.revive("b", "c", status=RunStatus.RUNNING)
        assert driver.load().outcomes == {driver.step("a").step.step_id: b"outcome of a"}
        assert driver.claim("a").refused is Refusal.COMPLETED
        assert driver.load().head.open == 2

    def test_of_racing_siblings_exactly_one_sees_the_end(self, driver: Driver) -> None:
        nodes = [f"n{n}" for n in range(8)]
        driver.start(*nodes)
        claims = [driver.claimed(node) for node in nodes]

        results = race([partial(driver.complete, claim) for claim in claims])
        assert sorted(result.open for result in results) == list(range(8))

    @pytest.mark.parametrize("wait", _SETTLING, ids=str)
    def test_a_step_that_waits_for_an_answer_keeps_nothing_open(
        self, driver: Driver, wait: Wait
    ) -> None:
        driver.start("a", "b")
        assert driver.update(driver.claimed("a"), wait=wait).open == 1
        assert driver.finish("b").open == 0

    def test_a_step_that_waits_for_a_time_keeps_its_superstep_open(self, driver: Driver) -> None:
        driver.start("a", "b")
        assert driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=_HOUR_MS).open == 2
        assert driver.finish("b").open == 1

    @pytest.mark.parametrize("wait", _SETTLING, ids=str)
    def test_a_step_that_is_ready_again_is_open_again(self, driver: Driver, wait: Wait) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=wait)
        assert driver.revive("a").open == 2
        assert driver.revive("a").open == 2
        assert driver.update(driver.claimed("a"), wait=wait).open == 1
        assert driver.revive("a").open == 2
        assert [driver.finish(node).open for node in "ab"] == [1, 0]

    def test_a_step_that_waits_for_another_answer_now_is_not_counted_twice(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        step = driver.step("a").step
        assert driver.change(updates=(StepUpdate(step=step, wait=Wait.PERSON),)).open == 1
        timer = StepUpdate(step=step, wait=Wait.TIMER, delay_ms=_HOUR_MS)
        assert driver.change(updates=(timer,)).open == 2

    def test_an_answer_alone_opens_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        answer = Answer(driver.step("a").step.step_id, "q", b"!")
        assert driver.change(answers=(answer,)).open == 1
        assert driver.step("a").wait is Wait.ANSWER

    def test_claims_releases_and_revocations_open_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="dead")
        driver.store.release("dead")
        driver.claimed("a")
        assert driver.change(revoke=True).open == 2
        assert driver.load().head.open == 2

    def test_an_update_of_a_completed_step_leaves_it_completed(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.finish("a")
        assert driver.revive("a", "b").open == 1
        assert driver.step("a").completed
        assert driver.claim("a").refused is Refusal.COMPLETED
        assert driver.finish("b").open == 0

    @pytest.mark.parametrize("wait", _SETTLING, ids=str)
    def test_a_completed_step_cannot_be_settled_once_more(self, driver: Driver, wait: Wait) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        step = driver.step("a").step
        assert driver.change(updates=(StepUpdate(step=step, wait=wait),)).open == 2
        assert [driver.finish(node).open for node in "bc"] == [1, 0]

    # ---- the next checkpoint ------------------------------------------------------------

    def test_a_lone_step_completes_and_advances_in_one_commit(self, driver: Driver) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        id_ = drafts.FIRST + 1
        result = driver.complete(
            claim,
            expect_head=drafts.FIRST,
            checkpoint=drafts.checkpoint(id_, ("x",)),
            blobs={"x": b"1"},
            ready=drafts.plan(driver.thread_id, id_, "b", "c"),
        )
        loaded = driver.load()
        assert (result.open, loaded.head.open, loaded.head.checkpoint_id) == (2, 2, id_)
        assert sorted(step.step.node for step in loaded.steps.values()) == ["b", "c"]
        assert (loaded.blobs, loaded.outcomes) == ({"x": b"1"}, {})
        assert claim.step is not None
        assert driver.load(drafts.FIRST).outcomes == {claim.step.step_id: b"outcome of a"}

    def test_a_new_checkpoint_opens_its_own_steps_only(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        driver.update(driver.claimed("b"), wait=Wait.PERSON)
        assert driver.advance("d", "e").open == 2
        assert driver.advance().open == 0
        assert driver.load().steps == {}

    def test_a_new_checkpoint_drops_the_old_claims(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="w")
        driver.claimed("b", owner="w")
        driver.advance("a")
        assert driver.store.release("w") == []
        assert driver.events(StepReleased.type) == []
        assert driver.step("a").deaths == 0

    def test_a_new_checkpoint_drops_old_timers_and_messages(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=1)
        driver.store.mark_sent([driver.step("b").step])
        driver.claimed("c", owner="w")
        driver.advance("kept")
        driver.tick(2 * driver.settings.hint_grace_s)
        driver.claimed("kept", sent_ms=driver.now_ms() + 10 * driver.grace_ms)
        assert driver.sweep().due == ()
        driver.until(lambda: driver.sweep().released)
        assert driver.due() in ([], ["kept"])

    def test_an_outcome_by_hand_is_kept_with_its_checkpoint_and_completes_nothing(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        first, a, b = drafts.FIRST, driver.step("a").step.step_id, driver.step("b").step.step_id
        driver.finish("b")
        driver.advance("c", "d", results={(first, a): b"by hand"})
        assert driver.load(first).outcomes == {a: b"by hand", b: b"outcome of b"}
        assert (driver.load().outcomes, driver.load().head.open) == ({}, 2)
        c = driver.step("c").step.step_id
        driver.advance("e")
        driver.advance("f", results={(first + 1, c): b"later"})  # Its step is gone by now.
        assert driver.load(first + 1).outcomes == {c: b"later"}
        assert driver.finish("f").open == 0

    def test_a_question_that_is_withdrawn_is_open_no_more(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?", "r": b"?"})
        driver.revive("a")
        asks = {"q": WITHDRAWN, "s": b"?"}
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks=asks)
        assert sorted(driver.step("a").questions) == ["r", "s"]

    def test_a_new_checkpoint_drops_old_questions(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        old = driver.step("a").step
        driver.advance("a")
        result = driver.commit(answers=(Answer(old.step_id, "q", b"!"),))
        assert (result.refused, driver.step("a").asks) == (Refusal.NO_INTERRUPT, {})

    def test_of_racing_checkpoints_one_becomes_the_head(self, driver: Driver) -> None:
        driver.start("a")
        driver.finish("a")

        def advance(number: int) -> Refusal | None:
            id_ = drafts.FIRST + 1 + number
            steps = drafts.plan(driver.thread_id, id_, f"n{number}")
            stored = drafts.checkpoint(id_)
            expected = drafts.FIRST
            return driver.commit(expect_head=expected, checkpoint=stored, ready=steps).refused

        refusals = race([partial(advance, n) for n in range(6)])
        assert sorted(refusals, key=str) == [None, *[Refusal.HEAD_MOVED] * 5]
        won = refusals.index(None)
        assert driver.head_id() == drafts.FIRST + 1 + won
        assert [s.step.node for s in driver.load().steps.values()] == [f"n{won}"]
        assert driver.store.history(driver.thread_id) == [drafts.FIRST + 1 + won, drafts.FIRST]


# ---- the tables of states -------------------------------------------------------------------
# Every move of the tables, from every state: made as they say, or refused. (INV-2, INV-3)

_WAITS = {Wait.TIMER: StepState.TIMER, Wait.ANSWER: StepState.ANSWER, Wait.PERSON: StepState.PERSON}
_UPDATES: dict[StepMove, dict[str, Any]] = {  # What a process with a claim commits.
    StepMove.WAIT: {"wait": Wait.TIMER, "delay_ms": _HOUR_MS},
    StepMove.ASK: {"wait": Wait.ANSWER, "asks": {"question": b"?"}},
    StepMove.PARK: {"wait": Wait.PERSON, "error": b"error"},
    StepMove.HAND_BACK: {},
}


def _state(step: LoadedStep) -> StepState:
    if step.completed:
        return StepState.COMPLETED
    return StepState.CLAIMED if step.owner else _WAITS.get(step.wait, StepState.READY)


def _bring(driver: Driver, state: StepState) -> Claim:
    """Start a thread of two steps and bring the first to a state; return the claim it had."""
    driver.start("a", "b")
    claim = driver.claimed("a")
    moves = {row.after: move for move, row in STEPS.items() if move in _UPDATES}
    if state is StepState.COMPLETED:
        driver.complete(claim)
    elif state is not StepState.CLAIMED:
        driver.update(claim, **_UPDATES[moves[state]])
    assert _state(driver.step("a")) is state
    return claim


def _try(driver: Driver, move: StepMove, claim: Claim) -> bool:
    """Try to move the step; return whether the store did."""
    assert claim.step is not None
    guard = StepGuard(claim.step.step_id, claim.fence)
    match move:
        case StepMove.CLAIM:
            return driver.claim("a", owner="other").refused is None
        case StepMove.COMPLETE:
            return driver.commit(guard=guard, completed=b"other").refused is None
        case StepMove.RELEASE:
            driver.store.release("worker")
            return _state(driver.step("a")) is StepState.READY
        case StepMove.WAKE:
            driver.change(updates=(StepUpdate(step=claim.step, reset=True),))
            return _state(driver.step("a")) is StepState.READY
        case _:
            updates = (StepUpdate(step=claim.step, **_UPDATES[move]),)
            return driver.commit(guard=guard, updates=updates).refused is None


class LifecycleContract(Contract):
    """The tables of states."""

    @pytest.mark.parametrize(
        ("move", "state"),
        [
            (move, state)
            for move, state in itertools.product(StepMove, StepState)
            # A release of a step without a claim changes nothing.
            if move is not StepMove.RELEASE or state is StepState.CLAIMED
        ],
    )
    def test_a_step_moves_as_the_table_says(
        self, driver: Driver, move: StepMove, state: StepState
    ) -> None:
        claim = _bring(driver, state)
        before, after = STEPS[move]
        moved = _try(driver, move, claim)
        assert moved is (state in before)
        assert _state(driver.step("a")) is (after if moved else state)

    @pytest.mark.parametrize("state", list(StepState))
    def test_only_a_settled_step_lets_its_superstep_end(
        self, driver: Driver, state: StepState
    ) -> None:
        _bring(driver, state)
        assert driver.load().head.open == 1 + (not state.settled)

    @pytest.mark.parametrize("status", list(RunStatus))
    def test_steps_of_active_runs_only_are_claimed(self, driver: Driver, status: RunStatus) -> None:
        driver.start("a", "b")
        driver.change(status=status)
        claimed = driver.claim("a").refused is None
        assert claimed is (status in ACTIVE) is (status in RUN_TABLE[RunMove.CLAIM].before)
        assert driver.load().head.status is (RunStatus.RUNNING if claimed else status)

    @pytest.mark.parametrize("status", list(RunStatus))
    @pytest.mark.parametrize("move", [move for move in RunMove if move is not RunMove.CLAIM])
    def test_a_run_moves_as_the_table_says(
        self, driver: Driver, move: RunMove, status: RunStatus
    ) -> None:
        driver.start("a")
        driver.change(status=status)
        row: RunRow = RUN_TABLE[move]
        refused = driver.commit(expect_status=row.before, status=row.after).refused
        assert (refused is None) is (status in row.before)
        assert driver.load().head.status is (status if refused else row.after)
