"""Lost messages are sent again, and an audit repairs lost indexes. (INV-7)"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from orchestrator import limits
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.ids import child_thread
from orchestrator.model.audit import Damage, DamageCode
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    Answer,
    EventDraft,
    ReadyStep,
    Refusal,
    StepUpdate,
    StoredCheckpoint,
    Wait,
)
from orchestrator.model.events import ThreadRepaired
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract, observed
from orchestrator.testing.contract.driver import Driver

# ---- lost messages --------------------------------------------------------------------------
# Messages are hints: lost ones are sent again, and only those of ready steps. (INV-7)

_HOUR_MS = 3_600_000


def _sent(driver: Driver, *nodes: str) -> tuple[int, int]:
    """Mark steps as sent; return between which two times that was."""
    steps = [driver.step(node).step for node in nodes]
    before_ms = driver.now_ms()
    driver.store.mark_sent(steps)
    return before_ms, driver.now_ms()


class HintsContract(Contract):
    """Lost messages and stuck supersteps."""

    def test_a_message_that_a_later_one_overtook_by_the_grace_was_lost(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        _, after_ms = _sent(driver, "a", "b")
        driver.claimed("b", sent_ms=after_ms + driver.grace_ms + 1)
        assert driver.due() == ["a"]

    def test_a_message_within_the_grace_is_still_on_its_way(self, driver: Driver) -> None:
        driver.start("a", "b")
        before_ms, _ = _sent(driver, "a", "b")
        driver.claimed("b", sent_ms=before_ms + driver.grace_ms)
        assert driver.due() == []

    def test_a_message_that_no_later_one_overtook_is_still_on_its_way(self, driver: Driver) -> None:
        driver.start("a", "b")
        before_ms, _ = _sent(driver, "a", "b")
        driver.claimed("b", sent_ms=before_ms)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == []

    def test_what_was_handed_out_again_is_on_its_way_again(self, driver: Driver) -> None:
        driver.start("a", "b")
        _sent(driver, "a", "b")
        driver.tick(1.2 * driver.settings.hint_grace_s)
        driver.claimed("b", sent_ms=driver.now_ms())
        again = driver.sweep().due
        assert [step.node for step in again] == ["a"]
        driver.store.mark_sent(again)
        assert driver.due() == []

    def test_an_early_message_does_not_take_the_watermark_back(self, driver: Driver) -> None:
        driver.start("a", "b", "c", "d")
        _, after_ms = _sent(driver, *"abcd")
        driver.claimed("b", sent_ms=after_ms + driver.grace_ms + 1)
        driver.claimed("c", sent_ms=1)
        driver.claimed("d", sent_ms=0)
        assert driver.due() == ["a"]

    def test_messages_of_other_queues_overtake_nothing(self, driver: Driver) -> None:
        a, b = (
            drafts.ready(driver.thread_id, drafts.FIRST, node, queue=queue)
            for node, queue in (("a", "slow"), ("b", "slow:2"))
        )
        driver.start(ready=(a, b))
        _, after_ms = _sent(driver, "a", "b")
        driver.claimed("b", sent_ms=after_ms + _HOUR_MS)
        assert driver.due() == []

    def test_what_is_not_ready_was_not_lost(self, driver: Driver) -> None:
        driver.start("done", "claimed", "timer", "answer", "person", "last")
        _, after_ms = _sent(driver, "done", "claimed", "timer", "answer", "person")
        driver.finish("done")
        driver.claimed("claimed")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        driver.update(driver.claimed("answer"), wait=Wait.ANSWER)
        driver.update(driver.claimed("person"), wait=Wait.PERSON)
        driver.claimed("last", sent_ms=after_ms + _HOUR_MS)
        driver.store.mark_sent(
            [driver.step(n).step for n in ("claimed", "timer", "answer", "done")]
        )
        driver.tick(1.2 * driver.settings.hint_grace_s)
        driver.store.renew(["worker"], ttl_s=3600)
        assert driver.due() == []
        assert driver.step("timer").wait is Wait.TIMER

    def test_marking_what_is_gone_does_nothing(self, driver: Driver) -> None:
        driver.start("a", "b")
        gone = [driver.step("a").step, driver.step("b").step]
        driver.advance("c")
        driver.store.mark_sent([*gone, drafts.ready("unknown", drafts.FIRST, "x")])
        driver.store.mark_sent([])
        driver.claimed("c", sent_ms=driver.now_ms() + _HOUR_MS)
        assert driver.due() == []
        assert driver.on("unknown").due() == []
        assert driver.store.load("unknown") is None

    def test_a_local_step_is_never_handed_out(self, driver: Driver) -> None:
        driver.start("ready", "timer", "dead", "last", queue="")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=0)
        driver.claimed("dead", owner="dead")
        driver.until(lambda: driver.sweep().released)
        driver.claimed("last", sent_ms=driver.now_ms() + _HOUR_MS)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == []
        driver.claimed("dead")

    def test_many_due_steps_are_handed_out_in_batches(self, driver: Driver) -> None:
        count = 2 * limits.SWEEP_BATCH_MAX + 10
        steps = tuple(
            drafts.ready(driver.thread_id, drafts.FIRST, "n", index=i) for i in range(count)
        )
        driver.start(ready=steps)
        driver.change(
            updates=tuple(StepUpdate(step=step, wait=Wait.TIMER, delay_ms=0) for step in steps)
        )
        sizes: list[int] = []
        seen: set[str] = set()
        while len(seen) < count and len(sizes) < 10:
            due = driver.sweep().due
            driver.store.mark_sent(due)
            sizes.append(len(due))
            seen |= {step.step_id for step in due}
        assert (len(seen), max(sizes), sum(sizes)) == (count, limits.SWEEP_BATCH_MAX, count)

    # ---- stuck supersteps ---------------------------------------------------------------

    def test_a_superstep_that_no_process_advances_is_reported_after_the_grace(
        self, driver: Driver
    ) -> None:
        driver.start("a", "b")
        driver.finish("a")
        ended = driver.finish("b")
        driver.until(driver.stuck)
        assert driver.now_ms() >= ended.now_ms + driver.grace_ms
        driver.until(driver.stuck)

    def test_a_superstep_whose_steps_wait_for_answers_is_reported_too(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        driver.update(driver.claimed("b"), wait=Wait.ANSWER, asks={"q": b"?"})
        driver.update(driver.claimed("c"), wait=Wait.PERSON)
        driver.until(driver.stuck)
        driver.change(status=RunStatus.PAUSED)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_superstep_that_was_advanced_is_not_reported(self, driver: Driver) -> None:
        driver.start("a")
        driver.finish("a")
        driver.advance("b")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()
        driver.finish("b")
        driver.until(driver.stuck)
        driver.advance("c")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_superstep_with_open_steps_is_not_reported(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        driver.finish("a")
        driver.update(driver.claimed("b"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_superstep_that_was_opened_again_is_not_reported(self, driver: Driver) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.PERSON)
        driver.revive("a")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_local_run_is_not_reported(self, driver: Driver) -> None:
        driver.start("a", queue="", head={"local": 1, "run_id": "r"})
        driver.finish("a")
        driver.tick(2 * driver.settings.hint_grace_s)
        assert not driver.stuck()

    def test_a_run_without_steps_disturbs_no_sweep(self, driver: Driver) -> None:
        other = driver.on("another")
        while other.partition != driver.partition:
            other = driver.on(other.thread_id + "+")
        driver.start()
        other.start("a")
        other.finish("a")
        driver.until(other.stuck)


class UnsentContract(Contract):
    """Messages of stores that do not send them: unsent ones are found."""

    def test_what_was_not_sent_is_handed_out_after_the_grace(self, driver: Driver) -> None:
        committed = driver.start("a", "b")
        due = driver.until(lambda: driver.sweep().due)
        assert driver.now_ms() >= committed.now_ms + driver.grace_ms
        assert {step.node for step in due} == {"a", "b"}
        assert set(due) == {driver.step("a").step, driver.step("b").step}

    def test_what_was_handed_out_and_sent_is_not_handed_out_again(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.store.mark_sent(driver.until(lambda: driver.sweep().due))
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == []

    def test_what_was_handed_out_is_not_handed_out_at_once_again(self, driver: Driver) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=0)
        from_ms = driver.now_ms()
        assert driver.due() == ["a"]
        assert driver.due() == [] or driver.now_ms() >= from_ms + driver.grace_ms

    def test_what_was_handed_out_and_not_sent_is_handed_out_again(self, driver: Driver) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=0)
        from_ms = driver.now_ms()
        assert driver.due() == ["a"]
        driver.until(lambda: "a" in driver.due())
        assert driver.now_ms() >= from_ms + driver.grace_ms

    def test_what_was_sent_is_not_handed_out(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.store.mark_sent([driver.step("a").step])
        driver.tick(2 * driver.settings.hint_grace_s)
        assert driver.due() == ["b"]

    def test_a_step_that_is_ready_again_is_unsent_again(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.store.mark_sent([driver.step("a").step, driver.step("b").step])
        update = driver.update(driver.claimed("a"), failed=True)
        assert driver.until(driver.due) == ["a"]
        assert driver.now_ms() >= update.now_ms + driver.grace_ms

    def test_what_the_dead_left_is_handed_out_unless_it_was_sent(self, driver: Driver) -> None:
        driver.start("a", "b")
        driver.claimed("a", owner="dead")
        driver.claimed("b", owner="dead")
        a, b = sorted(driver.store.release("dead"), key=lambda step: step.node)
        driver.store.mark_sent([a])
        assert driver.until(lambda: driver.sweep().due) == (b,)

    def test_the_steps_of_a_revived_run_are_handed_out(self, driver: Driver) -> None:
        driver.start("timer", "ready", "done")
        driver.finish("done")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        driver.change(status=RunStatus.FAILED)
        driver.revive("timer", "ready", "done", status=RunStatus.RUNNING)
        assert driver.until(driver.due) == ["ready", "timer"]


# ---- pushed messages ------------------------------------------------------------------------
# A store that is also the broker: messages of ready steps are part of the commit.

Queue = Callable[[str], list[bytes]]  # The messages in a queue, the next to be received first.

_IDLE = [status for status in RunStatus if not status.active]


def render(step: ReadyStep, now_ms: int) -> tuple[str, bytes]:
    """Return the queue and a message with every field."""
    text = json.dumps([step.thread_id, step.step_id, step.node, now_ms])
    return step.queue, text.encode() + drafts.ALL_BYTES


def _nodes(messages: list[bytes]) -> list[str]:
    return [json.loads(message[: -len(drafts.ALL_BYTES)])[2] for message in messages]


class PushingContract(Contract):
    """Messages that commits push."""

    @pytest.fixture
    def queue(self) -> Queue:
        raise NotImplementedError

    def test_the_store_says_that_it_pushes(self, driver: Driver) -> None:
        assert driver.store.pushes

    def test_each_ready_step_gets_its_message_in_the_order_of_the_plan(
        self, driver: Driver, queue: Queue
    ) -> None:
        before_ms = driver.now_ms()
        driver.start("c", "a", "b")
        messages = queue(drafts.QUEUE)
        assert _nodes(messages) == ["c", "a", "b"]
        thread_id, step_id, _, now_ms = json.loads(messages[0][: -len(drafts.ALL_BYTES)])
        assert (thread_id, step_id) == (driver.thread_id, driver.step("c").step.step_id)
        assert before_ms - 1000 <= now_ms <= driver.now_ms() + 1000
        assert all(message.endswith(drafts.ALL_BYTES) for message in messages)

    def test_each_message_goes_to_its_queue(self, driver: Driver, queue: Queue) -> None:
        queues = {"a": "one", "b": "two", "c": "one", "d": "", "e": "tw ö{1}"}
        steps = (
            drafts.ready(driver.thread_id, drafts.FIRST, n, queue=q) for n, q in queues.items()
        )
        driver.start(ready=tuple(steps))
        assert (_nodes(queue("one")), _nodes(queue("two"))) == (["a", "c"], ["b"])
        assert (_nodes(queue("tw ö{1}")), queue("")) == (["e"], [])

    def test_of_a_wide_superstep_more_is_sent_when_half_of_what_was_sent_is_done(
        self, driver: Driver, queue: Queue
    ) -> None:
        window = limits.FAN_OUT_WINDOW
        nodes = [f"n{n}" for n in range(1500)]
        driver.start(*nodes)
        assert _nodes(queue(drafts.QUEUE)) == nodes[:window]
        half = [driver.complete(driver.claimed(node)) for node in nodes[: window // 2]]
        assert [len(result.due) for result in half] == [0] * (window // 2 - 1) + [window // 2]
        assert [s.node for s in half[-1].due] == nodes[window : window + window // 2]
        driver.advance("next")
        assert driver.complete(driver.claimed("next")).due == ()

    def test_a_completion_pushes_what_follows(self, driver: Driver, queue: Queue) -> None:
        driver.start("a")
        claim = driver.claimed("a")
        id_ = drafts.FIRST + 1
        following = drafts.plan(driver.thread_id, id_, "b", "c")
        driver.complete(claim, checkpoint=drafts.checkpoint(id_), ready=following)
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b", "c"]

    def test_a_refused_commit_pushes_nothing(self, driver: Driver, queue: Queue) -> None:
        driver.start("a")
        again = drafts.starting(driver.thread_id, "b")
        assert driver.store.commit(again).refused is Refusal.THREAD_EXISTS
        steps = drafts.plan(driver.thread_id, drafts.FIRST + 1, "b")
        stored = drafts.checkpoint(drafts.FIRST + 1)
        assert driver.commit(expect_head=1, checkpoint=stored, ready=steps).refused
        assert _nodes(queue(drafts.QUEUE)) == ["a"]

    @pytest.mark.parametrize("status", _IDLE, ids=str)
    def test_an_idle_run_gets_no_messages(
        self, driver: Driver, queue: Queue, status: RunStatus
    ) -> None:
        driver.start("a", status=status)
        assert queue(drafts.QUEUE) == []
        driver.revive("a", status=RunStatus.RUNNING)
        assert _nodes(queue(drafts.QUEUE)) == ["a"]

    def test_a_step_that_is_ready_again_gets_another_message(
        self, driver: Driver, queue: Queue
    ) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=Wait.ANSWER, asks={"q": b"?"})
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b"]
        driver.change(
            answers=(Answer(driver.step("a").step.step_id, "q", b"!"),),
            updates=(StepUpdate(step=driver.step("a").step),),
        )
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b", "a"]
        driver.update(driver.claimed("b"), failed=True)
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b", "a", "b"]

    @pytest.mark.parametrize("wait", [Wait.TIMER, Wait.ANSWER, Wait.PERSON], ids=str)
    def test_a_step_that_waits_gets_no_message(
        self, driver: Driver, queue: Queue, wait: Wait
    ) -> None:
        driver.start("a", "b")
        driver.update(driver.claimed("a"), wait=wait, delay_ms=_HOUR_MS)
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b"]

    def test_a_delayed_step_is_handed_out_by_a_sweep_when_it_is_due(
        self, driver: Driver, queue: Queue
    ) -> None:
        driver.start("a", "b")
        update = driver.update(driver.claimed("a"), wait=Wait.TIMER, delay_ms=100, failed=True)
        assert driver.until(driver.due) == ["a"]
        assert driver.now_ms() >= update.now_ms + 100
        assert _nodes(queue(drafts.QUEUE)) == ["a", "b"]

    def test_what_is_not_ready_gets_no_message_by_an_update(
        self, driver: Driver, queue: Queue
    ) -> None:
        driver.start("done", "claimed", "waiting")
        driver.finish("done")
        driver.claimed("claimed")
        driver.update(driver.claimed("waiting"), wait=Wait.PERSON)
        driver.revive("done", "claimed", "waiting")
        assert _nodes(queue(drafts.QUEUE)) == ["done", "claimed", "waiting", "waiting"]

    def test_a_message_that_waits_in_its_queue_is_not_sent_again(
        self, driver: Driver, queue: Queue
    ) -> None:
        driver.start("a", "b")
        driver.tick(3 * driver.settings.hint_grace_s)
        assert driver.due() == []
        assert len(queue(drafts.QUEUE)) == 2

    def test_a_message_that_left_its_queue_without_a_claim_is_sent_again(
        self, driver: Driver, drain: Callable[[str], None]
    ) -> None:
        started = driver.start("a", "b")
        drain(drafts.QUEUE)
        assert driver.until(driver.due) == ["a", "b"]
        assert driver.now_ms() >= started.now_ms + driver.grace_ms

    @pytest.fixture
    def drain(self) -> Callable[[str], None]:
        raise NotImplementedError


# ---- audits ---------------------------------------------------------------------------------
# An audit finds threads that no sweep would continue, and changes no other. (INV-7)

# Damages a stored thread directly: takes the thread, the step's id, and the damage.
Damaging = Callable[[str, str, str], None]
_HEAD = {"graph": "graph", "fingerprint": "print", "run_id": drafts.RUN, "stop": 25, "config": b"c"}


class Plans:
    """The plans of the threads that a test has started: a draft's bytes hold none."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, int], Sequence[ReadyStep]] = {}

    def learn(self, driver: Driver) -> None:
        """Remember the head checkpoint's steps, while they are all there."""
        loaded = driver.load()
        steps = [kept.step for kept in loaded.steps.values()]
        self.steps[driver.thread_id, loaded.checkpoint.id] = steps

    def __call__(self, thread_id: str, _: str, stored: StoredCheckpoint) -> Sequence[ReadyStep]:
        return self.steps[thread_id, stored.id]


class AuditingContract(Contract):
    """Damage is found, reported and repaired; a backend says how to damage its records."""

    @pytest.fixture
    def damage(self, store: Checkpointer) -> Damaging:
        """Damage a thread: `count` open steps wrong, `lose` a step, `settle` one that is not."""
        raise NotImplementedError

    @pytest.fixture
    def plans(self) -> Plans:
        return Plans()

    def audit(
        self, driver: Driver, plans: Plans, *, repair: bool = True, limit: int = 100
    ) -> tuple[list[Damage], int]:
        """Audit all threads; return what was found, and how many there are."""
        found: list[Damage] = []
        threads = 0
        for partition in range(driver.store.partitions):
            cursor, rounds = "", 0
            while rounds == 0 or cursor:
                audited = driver.store.audit(
                    partition, plan=plans, repair=repair, cursor=cursor, limit=limit
                )
                cursor, rounds = audited.cursor, rounds + 1
                found += audited.found
                threads += audited.threads
        return found, threads

    def started(self, driver: Driver, plans: Plans, *nodes: str) -> Driver:
        """Start a thread as the engine does."""
        driver.start(*nodes, head=_HEAD)
        plans.learn(driver)
        return driver

    def test_what_is_as_it_was_written_is_left_alone(self, driver: Driver, plans: Plans) -> None:
        self.started(driver, plans, "done", "claimed", "timer", "asking", "parked", "ready")
        driver.finish("done")
        driver.claimed("claimed")
        driver.update(driver.claimed("timer"), wait=Wait.TIMER, delay_ms=_HOUR_MS)
        driver.update(driver.claimed("asking"), wait=Wait.ANSWER, asks={"q": b"?"})
        driver.update(driver.claimed("parked"), wait=Wait.PERSON)
        before = observed(driver.store, [driver.thread_id])
        assert self.audit(driver, plans)[0] == []
        assert observed(driver.store, [driver.thread_id]) == before

    def test_a_thread_that_ended_or_paused_is_left_alone(
        self, driver: Driver, plans: Plans
    ) -> None:
        for status in (s for s in RunStatus if not s.active):
            other = self.started(driver.on(f"{status}-thread"), plans, "a", "b")
            other.change(status=status, events=(EventDraft(f"run_{status}"),))
        assert self.audit(driver, plans)[0] == []

    def test_a_settled_superstep_is_left_to_the_sweeper(self, driver: Driver, plans: Plans) -> None:
        self.started(driver, plans, "a", "b")
        driver.finish("a", "b")
        assert self.audit(driver, plans)[0] == []
        driver.until(driver.stuck)
        assert self.audit(driver, plans)[0] == []

    def test_every_thread_is_audited_a_few_at_a_time(self, driver: Driver, plans: Plans) -> None:
        names = [f"thread-{number}" for number in range(12)]
        names += [child_thread(name, "sub") for name in names[:3]]
        for name in names:
            self.started(driver.on(name), plans, "a")
        found, threads = self.audit(driver, plans, limit=2)
        assert (found, threads) == ([], len(names))

    def test_a_wrong_count_is_put_right_and_the_log_says_so(
        self, driver: Driver, plans: Plans, damage: Damaging
    ) -> None:
        self.started(driver, plans, "a", "b")
        damage(driver.thread_id, driver.step("a").step.step_id, "count")
        [found] = self.audit(driver, plans)[0]
        assert (found.thread_id, found.code) == (driver.thread_id, DamageCode.MISCOUNTED)
        assert found.repaired
        assert driver.load().head.open == 2
        [event] = driver.events(ThreadRepaired.type)
        assert event.fields["codes"] == b"MISCOUNTED"
        assert self.audit(driver, plans)[0] == []
        driver.finish("a", "b")
        driver.until(driver.stuck)

    def test_without_repair_nothing_is_changed_and_the_remedy_is_reported(
        self, driver: Driver, plans: Plans, damage: Damaging
    ) -> None:
        self.started(driver, plans, "a", "b")
        damage(driver.thread_id, driver.step("a").step.step_id, "count")
        for _ in range(2):
            [found] = self.audit(driver, plans, repair=False)[0]
            assert found.remedy
            assert not found.repaired
        assert driver.events(ThreadRepaired.type) == []

    def test_a_step_that_is_gone_is_written_anew_and_handed_out(
        self, driver: Driver, plans: Plans, damage: Damaging
    ) -> None:
        self.started(driver, plans, "a", "b")
        planned: Mapping[str, object] = driver.load().steps
        driver.store.mark_sent([driver.step("a").step, driver.step("b").step])
        damage(driver.thread_id, driver.step("b").step.step_id, "lose")
        found = self.audit(driver, plans)[0]
        assert DamageCode.STEP_LOST in {damage.code for damage in found}
        assert all(damage.repaired for damage in found)
        assert list(driver.load().steps) == list(planned)
        assert self.audit(driver, plans)[0] == []
        assert driver.until(driver.due) == ["b"]
        driver.finish("a", "b")
        driver.until(driver.stuck)

    def test_a_ready_step_that_counts_as_settled_keeps_its_superstep_open_again(
        self, driver: Driver, plans: Plans, damage: Damaging
    ) -> None:
        self.started(driver, plans, "a", "b")
        damage(driver.thread_id, driver.step("b").step.step_id, "settle")
        found = self.audit(driver, plans)[0]
        assert {damage.code for damage in found} == {DamageCode.STEP_ALTERED}
        assert self.audit(driver, plans)[0] == []
        driver.finish("a")
        assert not driver.stuck()
        driver.finish("b")
        driver.until(driver.stuck)
