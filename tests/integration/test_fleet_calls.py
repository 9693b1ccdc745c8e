"""What a client asks of a fleet is done once, or refused with a reason, and never half."""

from __future__ import annotations

import pytest

from orchestrator import Client
from orchestrator.config import Settings
from orchestrator.errors import (
    CheckpointerUnavailableError,
    GraphPausedError,
    NoPendingInterruptError,
    RunCancelledError,
    ThreadBusyError,
    UnknownGraphError,
    UnknownInterruptError,
)
from tests.integration.accounts import assert_settled, of_type
from tests.integration.fleet import Fleet, inputs

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("thread", ["keyed", None])
def test_the_same_key_is_the_same_run(shared: Fleet, thread: str | None) -> None:
    with Client(settings=shared.settings) as client:  # One that has no graphs.
        state = inputs(shared.ledger)
        handles = [client.submit("row", state, thread_id=thread, key="k") for _ in range(3)]
        assert handles[0].result(30)["total"] == 3
        handles.append(client.submit("row", state, thread_id=thread, key="k"))
    assert len({(handle.thread_id, handle.run_id) for handle in handles}) == 1
    thread_id = handles[0].thread_id
    assert [ran.name for ran in shared.ran(thread_id)] == ["one", "two", "three"]
    assert_settled(shared, thread_id)


def test_a_second_run_on_a_busy_thread_is_refused(shared: Fleet) -> None:
    shared.submit("row", "busy", script={"one": ["wait"]})
    shared.wait_for("one", thread="busy")
    with pytest.raises(ThreadBusyError, match="busy"):
        shared.submit("row", "busy")
    shared.open("one")
    assert shared.result("busy")["total"] == 3
    shared.submit("row", "busy")
    assert shared.result("busy")["total"] == 6
    assert_settled(shared, "busy")


def test_an_unknown_graph_is_refused_and_nothing_is_stored(shared: Fleet) -> None:
    with (
        Client(settings=shared.settings) as client,
        pytest.raises(UnknownGraphError, match=r"'rwo'.*'row'"),
    ):
        client.submit("rwo", inputs(shared.ledger), thread_id="unknown")
    assert shared.store.load("unknown") is None


def test_without_a_server_a_call_says_so() -> None:
    settings = Settings.from_env({"REDIS_URL": "redis://127.0.0.1:1/0"})
    with Client(settings=settings) as client:
        with pytest.raises(CheckpointerUnavailableError, match="REDIS_URL"):
            client.submit("row", {}, thread_id="t")
        with pytest.raises(CheckpointerUnavailableError):
            client.status("t")


def test_an_answer_serves_once_and_only_its_question(shared: Fleet) -> None:
    shared.submit("tour", "asks")
    with pytest.raises(GraphPausedError, match=r"'seen': 8"):
        shared.client.handle("asks").result(30)
    (question,) = shared.client.questions("asks")
    with pytest.raises(UnknownInterruptError, match=question):
        shared.client.resume("asks", 1, interrupt_id="0" * 32)
    shared.client.resume("asks", {"deep": None}, interrupt_id=question)
    with pytest.raises(NoPendingInterruptError):
        shared.client.resume("asks", 2, interrupt_id=question)
    assert shared.result("asks")["answer"] == {"deep": None}
    with pytest.raises(NoPendingInterruptError, match="succeeded"):
        shared.client.resume("asks", 3)
    assert len(of_type(shared.client.events("asks"), "interrupt_answered")) == 1
    assert_settled(shared, "asks")


def test_what_runs_while_its_run_is_cancelled_commits_nothing(shared: Fleet) -> None:
    before = shared.stats("stale_refused")
    shared.submit("row", "cancelled", script={"two": ["wait"]})
    shared.wait_for("two", thread="cancelled")
    handle = shared.client.handle("cancelled")
    assert (handle.cancel(), handle.cancel()) == (True, False)
    shared.open("two")
    events = shared.wait_until(
        lambda: of_type(shared.client.events("cancelled"), "commit_refused"), "a refusal"
    )
    assert [event.fields["reason"] for event in events] == [b"stale_fence"]
    assert shared.stats("stale_refused") == before + 1
    assert handle.status == "cancelled"
    assert shared.client.get_state("cancelled").values["seen"] == ["one"]
    with pytest.raises(RunCancelledError):
        handle.result(5)
    shared.client.carry_on("cancelled")
    assert shared.result("cancelled")["seen"] == ["one", "two", "three"]
    assert [(r.name, r.attempt) for r in shared.ran("cancelled")] == [
        ("one", 1),
        ("two", 1),
        ("two", 2),
        ("three", 1),
    ]
    assert_settled(shared, "cancelled")
