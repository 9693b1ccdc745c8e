"""Each sentence that says what a thread waits for, from the facts that lead to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.client.explaining import Claimed, Facts, Station, explain
from orchestrator.engine.records import Records
from orchestrator.engine.settle import ASLEEP
from orchestrator.model.checkpoint import Head, Interrupt, RunStatus, StepError
from orchestrator.model.commit import (
    Event,
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StoredCheckpoint,
    Wait,
    as_bytes,
)
from orchestrator.model.events import Entry, StepInterrupted, StepPaused
from orchestrator.serde.codec import Codec

NOW = 1_800_000_000_000
CODEC = Codec()
RECORDS = Records(CODEC.encode, CODEC.decode)
ERROR = RECORDS.store_error(
    StepError(type="ValueError", module="builtins", message="no funds", node="pay", step="pay-id")
)


def step(node: str = "pay", *, queue: str = "gpu", **fields: Any) -> LoadedStep:
    ready = ReadyStep(
        thread_id="t", step_id=f"{node}-id", checkpoint_id=1, graph="g", node=node, queue=queue
    )
    return LoadedStep(step=ready, **fields)


def facts(
    *steps: LoadedStep, status: RunStatus = RunStatus.RUNNING, thread: str = "t", **fields: Any
) -> Facts:
    of_head = {k: fields.pop(k) for k in ("error", "local", "owner") if k in fields}
    of_thread = {k: fields.pop(k) for k in ("line", "owner_alive") if k in fields}
    head = Head(
        graph="g",
        fingerprint="",
        run_id="run-1",
        status=status,
        checkpoint_id=1,
        updated_ms=NOW - 60_000,
        **of_head,
    )
    loaded = LoadedThread(
        head=head,
        checkpoint=StoredCheckpoint(id=1, header=b"", plan=b""),
        blobs={},
        steps={one.step.step_id: one for one in steps},
        now_ms=NOW,
        **of_thread,
    )
    return Facts(thread_id=thread, loaded=loaded, records=RECORDS, **fields)


def logged(entry: Entry) -> Event:
    draft = entry.draft()
    return Event(1, NOW - 3000, draft.type, {k: as_bytes(v) for k, v in draft.fields.items()})


def said(given: Facts, run_id: str = "") -> tuple[str, str]:
    """Return the code and the text of the one reason."""
    [reason] = explain(given, run_id).reasons
    return reason.code, reason.text


def test_a_queue_that_nobody_takes_from() -> None:
    assert said(facts(step())) == (
        "NO_WORKER",
        "node pay: waiting for a worker on queue gpu: none is alive",
    )
    other = Station(queues=["cpu"], graphs=["g"])
    assert said(facts(step(), workers=[other]))[0] == "NO_WORKER"


def test_a_node_that_sleeps() -> None:
    asleep = step(wait=Wait.TIMER, due_ms=NOW + 8000, reason=ASLEEP)
    assert said(facts(asleep)) == ("ASLEEP", "node pay sleeps for 8 s more")


def test_a_server_that_lost_what_it_had_is_the_first_reason() -> None:
    first, second = explain(facts(step(), halted="the server went back in time by 5 s")).reasons
    assert (first.code, second.code) == ("HALTED", "NO_WORKER")
    assert first.text == (
        "nothing runs until somebody decides: the server went back in time by 5 s; "
        "see graphstalk doctor"
    )


def test_workers_that_do_not_know_the_graph() -> None:
    worker = Station(queues=["gpu"], graphs=["other"])
    assert said(facts(step(), workers=[worker, worker])) == (
        "NO_GRAPH",
        "node pay: waiting for a worker on queue gpu: none of the 2 alive knows the graph g",
    )


def test_a_step_of_a_subgraph_is_done_by_whoever_knows_the_graph_around_it() -> None:
    waiting = step()
    inner = replace(waiting, step=replace(waiting.step, graph="g|inner"))
    worker = Station(queues=["gpu", "cpu"], graphs=["g"])
    assert said(facts(inner, workers=[worker])) == (
        "QUEUED",
        "node pay: waiting for a worker on queue gpu: 1 alive",
    )


def test_a_lease_that_is_kept() -> None:
    held = {"pay-id": Claimed(NOW - 3000, NOW + 4900)}
    claimed = step(owner="host:42:beef", attempt=2)
    assert said(facts(claimed, claims=held)) == (
        "CLAIMED",
        "node pay: lease held by host:42 for 3 s (attempt 2), renewed 0.1 s ago",
    )


def test_a_lease_that_ran_out() -> None:
    claimed = step(owner="host:42:beef", attempt=1)
    held = {"pay-id": Claimed(NOW - 9000, NOW - 2000)}
    assert said(facts(claimed, claims=held)) == (
        "LEASE_RAN_OUT",
        (
            "node pay: lease held by host:42 for 9 s (attempt 1); it ran out 2 s ago, so the step "
            "is about to be taken over"
        ),
    )
    assert "already" in said(facts(claimed))[1]


def test_a_retry_with_and_without_its_policy_at_hand() -> None:
    failed = step(
        wait=Wait.TIMER, due_ms=NOW + 8000, failures=1, reason="ValueError: no", error=ERROR
    )
    assert said(facts(failed, attempts_max={"pay": 5})) == (
        "RETRY",
        "node pay: retry 2 of 5 in 8 s: ValueError: no",
    )
    assert said(facts(failed))[1] == "node pay: retry 2 in 8 s: ValueError: no"


def test_a_step_that_a_worker_could_not_run() -> None:
    reason = "no graph census on the worker host:42:beef; it knows: none"
    deferred = step(wait=Wait.TIMER, due_ms=NOW + 5000, reason=reason)
    assert said(facts(deferred)) == (
        "DEFERRED",
        f"the step of pay waits: {reason}; it is looked at again in 5 s",
    )


def test_a_question() -> None:
    asked = RECORDS.store_interrupt(Interrupt("ok to pay?", "i" * 32, "approve"))
    asking = step(wait=Wait.ANSWER, asks={"i" * 32: asked})
    where: dict[str, Any] = {"node": "pay", "number": 1, "checkpoint": 1}
    events = [logged(StepInterrupted(step=id_, **where)) for id_ in ("else", "pay-id")]
    assert said(facts(asking, status=RunStatus.PAUSED, events=events)) == (
        "ANSWER",
        "waiting for the answer to approve of node pay since 2027-01-15 07:59:57 UTC: 'ok to pay?'",
    )
    unlogged = said(facts(asking, status=RunStatus.PAUSED))[1]
    assert unlogged == "waiting for the answer to approve of node pay: 'ok to pay?'"


def test_a_node_that_paused() -> None:
    paused = step("review", wait=Wait.PERSON, reason="somebody should look")
    entry = StepPaused(step="review-id", node="review", number=1, checkpoint=1, reason="r")
    events = [logged(entry)]
    assert said(facts(paused, status=RunStatus.PAUSED, events=events)) == (
        "PAUSED",
        (
            "paused at review since 2027-01-15 07:59:57 UTC: somebody should look; go on with: "
            "graphstalk resume t"
        ),
    )


def test_a_stop_before_a_node() -> None:
    assert said(facts(step("review"), status=RunStatus.PAUSED)) == (
        "PAUSED",
        "paused before review since 2027-01-15 07:59:00 UTC; go on with: graphstalk resume t",
    )


def test_a_failure() -> None:
    assert said(facts(status=RunStatus.FAILED, error=ERROR)) == (
        "FAILED",
        "failed in node pay: ValueError: no funds; resume with: graphstalk resume t",
    )
    unknown = said(facts(status=RunStatus.FAILED))[1]
    assert unknown == "failed; resume with: graphstalk resume t"


def test_a_failed_step_whose_siblings_still_run() -> None:
    failed = step("pay", wait=Wait.PERSON, error=ERROR)
    codes = [reason.code for reason in explain(facts(failed, step("ship"))).reasons]
    assert codes == ["FAILED", "NO_WORKER"]
    text = explain(facts(failed, step("ship"))).reasons[0].text
    assert (
        text
        == "node pay failed: ValueError: no funds; the run fails when the other steps are settled"
    )


def test_a_superstep_that_is_settled() -> None:
    text = "all of its steps are settled; it is to be advanced, which any worker does"
    assert said(facts(step(completed=True))) == ("SETTLED", text)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (RunStatus.SUCCEEDED, "the run run-1 has succeeded"),
        (RunStatus.CANCELLED, "the run run-1 has been cancelled"),
    ],
)
def test_a_run_that_ended(status: RunStatus, text: str) -> None:
    assert said(facts(status=status)) == ("ENDED", text)


def test_a_run_of_a_process_that_lives_or_is_gone() -> None:
    local: dict[str, Any] = {"local": True, "owner": "host:7:beef"}
    alive = facts(step(queue=""), owner_alive=True, **local)
    assert said(alive) == ("LOCAL", "runs in the process that called it (host:7)")
    assert said(facts(step(queue=""), **local)) == (
        "ABANDONED",
        "the process that called it is gone: call the graph again with None to go on",
    )


def test_a_place_in_line_and_who_is_behind() -> None:
    line = {"run-2": b"", "run-3": b""}
    assert said(facts(step(), line=line), "run-3") == (
        "IN_LINE",
        "run 2 of 2 in line, behind run-1",
    )
    ended = explain(facts(status=RunStatus.SUCCEEDED, line=line)).reasons[-1].text
    assert ended == "2 runs wait in line (run-2, run-3): the next begins at once"
    busy = explain(facts(step(), line=line)).reasons[-1].text
    assert busy == "2 runs wait in line (run-2, run-3): they begin when it has ended"


def test_a_subgraph_says_what_it_waits_for_itself() -> None:
    around = step("sub", wait=Wait.TIMER, reason="its subgraph runs", due_ms=NOW + 5000)
    child = explain(facts(step("inner"), thread="t\x1fsub:sub-id"))
    given = facts(around, children={"sub-id": child})
    assert said(given) == (
        "SUBGRAPH",
        (
            "node sub waits for its subgraph: node inner: waiting for a worker on queue gpu: none "
            "is alive"
        ),
    )
    assert said(facts(around))[1] == "node sub waits for its subgraph: it begins"


def test_spans_are_told_in_units_that_people_use() -> None:
    for delay_ms, text in ((200, "0.2 s"), (15_000, "15 s"), (600_000, "10 min"), (9e6, "2 h")):
        deferred = step(wait=Wait.TIMER, due_ms=NOW + int(delay_ms), reason="why")
        assert said(facts(deferred))[1].endswith(f"in {text}")
