"""The overlay of a call keeps the contract for its threads, and stores what a store would have."""

from dataclasses import replace

import pytest

from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.checkpointer.overlay import Overlay
from orchestrator.checkpointer.sqlite import SqliteCheckpointer
from orchestrator.errors import RunCancelledError
from orchestrator.model.checkpoint import Checkpoint, RunStatus
from orchestrator.model.commit import Answer, Commit, EventDraft, Refusal, Wait
from orchestrator.testing.contract.admission import AcceptingContract, AnsweringContract
from orchestrator.testing.contract.base import SETTINGS
from orchestrator.testing.contract.drafts import FIRST, checkpoint
from orchestrator.testing.contract.driver import Driver, guard
from orchestrator.testing.contract.preconditions import RefusingContract
from orchestrator.testing.contract.step_attempts import NotingContract
from orchestrator.testing.contract.step_states import ClaimingContract, CompletingContract
from orchestrator.testing.contract.stored_values import GrowingContract, StoringContract

THREADS = ("thread", "another", "nobody")
CHILD = "thread\x1fsub:step"


class Headers:
    """Reads the headers that the contract makes up."""

    def checkpoint(self, header, plan=None):
        del plan
        return Checkpoint(id=int(header.split(b" ", 2)[1]) if header[:7] == b"header " else 0)

    def store_checkpoint(self, checkpoint):
        raise AssertionError(f"{checkpoint.id} has no parent to be changed")


def overlay_of(base, holder="call"):
    made = Overlay(base, holder, "owner")
    for thread_id in THREADS:
        made.adopt(thread_id, Headers())
    return made


def at_once(ask):
    return ask()


class TestOverlay(
    AcceptingContract,
    RefusingContract,
    StoringContract,
    ClaimingContract,
    CompletingContract,
    AnsweringContract,
    NotingContract,
    GrowingContract,
):
    """What concerns one call. Sweeping, leases and the line are the store's below."""

    # Of what the call itself made, earlier checkpoints are forgotten.
    test_a_list_of_many_tails_is_whole = None
    # These sweep, or list threads.
    test_notes_outlive_a_death = None
    test_a_new_checkpoint_drops_old_timers_and_messages = None
    test_the_first_claim_starts_a_queued_run = None

    @pytest.fixture
    def store(self):
        return overlay_of(MemoryCheckpointer())


@pytest.fixture(params=["memory", "sqlite"])
def base(request, tmp_path):
    made = MemoryCheckpointer() if request.param == "memory" else SqliteCheckpointer(tmp_path / "f")
    yield made
    made.close()


@pytest.fixture
def overlay(base):
    return overlay_of(base)


@pytest.fixture
def driver(overlay):
    return Driver(overlay, lambda _: None, SETTINGS)


def seen(store, thread_id="thread"):
    """Return a thread as it is loaded, without times, fences, and how often steps were claimed."""
    loaded = store.load(thread_id)
    steps = {i: replace(s, attempt=0, due_ms=0, owner="") for i, s in loaded.steps.items()}
    head = replace(loaded.head, updated_ms=0, created_ms=0, owner="", seal="")
    return head, loaded.checkpoint, loaded.blobs, steps, loaded.outcomes


def rest(driver):
    """Let a superstep end in which each step came to another end."""
    driver.start("a", blobs={"v": b"old"}, checkpoint=checkpoint(FIRST, ("v",)))
    driver.advance("done", "asks", "failed", "waits", "left", blobs={"v2": b"new"})
    driver.complete(driver.claimed("done"))
    claim = driver.claimed("asks")
    driver.change(guard=guard(claim), notes={"paid": b"1"})
    driver.update(claim, wait=Wait.ANSWER, asks={"q1": b"?", "q2": b"?"})
    driver.update(driver.claimed("failed"), wait=Wait.TIMER, delay_ms=0, error=b"1", failed=True)
    driver.update(driver.claimed("failed"), wait=Wait.PERSON, error=b"2", failed=True, reason="no")
    driver.update(driver.claimed("waits"), wait=Wait.TIMER, delay_ms=0, reason="retry")


def test_nothing_is_stored_before_the_end(base, driver):
    rest(driver)
    assert base.load("thread") is None
    assert base.events("thread") == []
    refused = base.commit(Commit(thread_id="thread", expect_new=True, status=RunStatus.QUEUED))
    assert (refused.refused, refused.detail) == (Refusal.HELD, "call")


def test_a_superstep_that_rests_is_stored_as_it_is(base, overlay, driver):
    rest(driver)
    overlay.flush(at_once)
    assert seen(base) == seen(overlay)
    assert base.history("thread") == [driver.head_id()]


def test_what_was_stored_goes_on_in_another_call(base, overlay, driver):
    rest(driver)
    overlay.flush(at_once)
    again = overlay_of(base, "again")
    next_call = Driver(again, lambda _: None, SETTINGS)
    assert seen(again) == seen(base)
    answer = next_call.step("asks").step.step_id
    next_call.change(answers=(Answer(answer, "q1", b"!"),))
    next_call.revive("failed", status=RunStatus.RUNNING)
    next_call.complete(next_call.claimed("failed"))
    assert seen(base) != seen(again)
    again.flush(at_once)
    assert seen(base) == seen(again)
    assert base.history("thread") == [driver.head_id()]


def test_a_call_that_comes_too_late_stores_nothing(base, overlay, driver):
    rest(driver)
    base.commit(Commit(thread_id="thread", expect_new=True, holder="call", hold_ms=0))
    other = Driver(base, lambda _: None, SETTINGS)
    other.start("other")
    before = seen(base)
    with pytest.raises(RunCancelledError, match="not stored"):
        overlay.flush(at_once)
    assert seen(base) == before


def test_events_of_what_is_not_stored_are_left_out(base, overlay, driver):
    driver.start("a", events=(EventDraft("run_accepted"),))
    driver.change(events=(EventDraft("step_retry", {"of": "a"}),))
    driver.advance("b", events=(EventDraft("step_committed"), EventDraft("superstep")))
    driver.change(events=(EventDraft("step_retry", {"of": "b"}),))
    overlay.flush(at_once)
    found = [(event.type, dict(event.fields)) for event in base.events("thread")]
    assert found == [("run_accepted", {}), ("superstep", {}), ("step_retry", {"of": b"b"})]


def test_the_threads_of_subgraphs_are_stored_if_their_step_is_open(base, overlay, driver):
    for child, parent, status in (
        (CHILD + "-of-done", "done", RunStatus.SUCCEEDED),
        (CHILD + "-of-open", "open", RunStatus.SUCCEEDED),
        (CHILD + "-that-failed", "done", RunStatus.FAILED),
        ("thread\x1flasting", "done", RunStatus.SUCCEEDED),
    ):
        if overlay.load("thread") is None:
            driver.start("done", "open")
        overlay.adopt(child, Headers(), ("thread", driver.step(parent).step.step_id))
        assert overlay.load(child) is None
        driver.on(child).start(status=status)
    driver.complete(driver.claimed("done"))
    overlay.flush(at_once)
    children = ("-of-done", "-of-open", "-that-failed")
    assert [base.load(CHILD + name) is not None for name in children] == [False, True, True]
    assert base.load("thread\x1flasting") is not None
