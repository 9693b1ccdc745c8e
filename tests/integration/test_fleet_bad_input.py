"""Bad input on a fleet: the step says what is wrong, nothing is lost, a fix lets it go on."""

from __future__ import annotations

import pytest

from orchestrator.errors import StepFailedError
from orchestrator.model.commit import Wait
from tests.integration.accounts import assert_settled, of_type
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize(
    ("known", "reason"),
    [({"fan": "fan"}, "no graph 'row'"), ({"row": "longer_row"}, "another structure")],
    ids=["a worker without the graph", "a worker whose graph has another structure"],
)
def test_a_step_that_no_worker_can_run_says_why_and_waits_for_one_that_can(
    fleet: Fleet, known: dict[str, str], reason: str
) -> None:
    ignorant = fleet.start(known=known)
    fleet.submit("row")
    step = fleet.wait_until(lambda: fleet.steps()["__start__"].reason, "it says why")
    assert reason in step
    assert fleet.steps()["__start__"].wait is Wait.TIMER
    deferred = of_type(fleet.client.events("t"), "step_deferred")
    assert reason in deferred[0].fields["reason"].decode()
    assert fleet.client.status("t") == "running"
    ignorant.kill_all()
    fleet.start()
    assert fleet.result()["seen"] == ["one", "two", "three"]
    assert "step_failed" not in {event.type for event in fleet.client.events("t")}
    assert_settled(fleet)


def test_a_node_that_raises_fails_the_run_with_a_record_until_it_is_resumed(shared: Fleet) -> None:
    shared.submit("fan", "raises", script={"piece:1": ["fail"]})
    with pytest.raises(StepFailedError, match="as the script says") as failed:
        shared.result("raises")
    record = failed.value.record
    assert (record["type"], record["module"]) == ("ValueError", "builtins")
    assert (record["node"], record["attempt"]) == ("piece", 1)
    assert "in act" in record["traceback"]
    assert record["worker"] == shared.wait_for("piece:1", thread="raises").worker
    shared.client.carry_on("raises")
    assert shared.result("raises")["total"] == 32
    ran = [r.name for r in shared.ran("raises")]
    assert sorted(ran) == ["gather", "piece:0", "piece:1", "piece:1", "piece:2", "split"]
    assert_settled(shared, "raises")


def test_a_value_that_cannot_be_stored_fails_its_step_with_the_path_to_it(shared: Fleet) -> None:
    shared.submit("opaque", "opaque")
    with pytest.raises(StepFailedError, match=r"answer.*deep.*0.*object") as failed:
        shared.result("opaque")
    assert failed.value.record["type"] == "UnserializableValueError"
    assert "answer" not in shared.client.get_state("opaque").values
    shared.client.carry_on("opaque")
    assert shared.result("opaque")["answer"] == {"deep": ["plain"]}
    assert_settled(shared, "opaque")


def test_failed_attempts_are_counted_over_a_restart_of_the_workers(fleet: Fleet) -> None:
    first = fleet.start()
    fleet.submit("patient", script={"try": ["lose", "lose"]})
    fleet.wait_for("try")
    fleet.wait_until(lambda: fleet.steps()["try"].failures == 1, "the failure is counted")
    first.kill_all()
    assert fleet.steps()["try"].wait is Wait.TIMER  # Nobody is there whose timer it could be.
    fleet.start()
    assert fleet.result()["seen"] == ["try", "after"]
    assert [(r.name, r.attempt) for r in fleet.ran()] == [
        ("try", 1),
        ("try", 2),
        ("try", 3),
        ("after", 1),
    ]
    assert len(of_type(fleet.client.events("t"), "step_retry")) == 2
    assert_settled(fleet)


def test_attempts_end_where_the_policy_says(shared: Fleet) -> None:
    shared.submit("patient", "hopeless", script={"try": ["lose", "lose", "lose"]})
    with pytest.raises(StepFailedError, match="ConnectionError"):
        shared.result("hopeless")
    assert [r.attempt for r in shared.ran("hopeless")] == [1, 2, 3]
    shared.client.carry_on("hopeless")
    assert shared.result("hopeless")["total"] == 2
    assert_settled(shared, "hopeless")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_node_that_asks_to_end_the_process_does_not_get_its_worker(
    fleet: Fleet, pool: str
) -> None:
    fleet.start(pool=pool)
    fleet.submit("row", script={"two": ["exit", "exit"]})
    assert fleet.result()["total"] == 3
    assert len({ran.worker for ran in fleet.ran()}) == 1
    fleet.submit("row", "next")
    assert fleet.result("next")["total"] == 3
    assert_settled(fleet, "t", "next")
