"""What chaos draws from its seed: the same faults and the same inputs again."""

from itertools import islice

import pytest

from orchestrator.cli.chaos.faults import Kind, drawn, possible
from orchestrator.cli.chaos.load import ROUNDS, WIDTH_MAX, drawn_input, undisturbed
from orchestrator.cli.chaos.site import Site


def test_a_seed_draws_the_same_faults_again_and_another_draws_others() -> None:
    first, again, other = (list(islice(drawn(seed, Kind), 50)) for seed in (1, 1, 2))
    assert first == again != other


def test_all_kinds_of_faults_are_drawn_and_none_that_is_not_allowed() -> None:
    assert {fault.kind for fault in islice(drawn(1, Kind), 500)} == set(Kind)
    some = {Kind.KILL_PROCESS, Kind.STOP_WORKER}
    assert {fault.kind for fault in islice(drawn(1, some), 50)} == some


def test_a_fault_picks_each_of_those_it_could_hit() -> None:
    faults = list(islice(drawn(1, Kind), 50))
    assert {fault.pick("abc") for fault in faults} == set("abc")
    assert {fault.pick("a") for fault in faults} == {"a"}


def test_the_server_of_somebody_else_is_never_killed(tmp_path) -> None:
    theirs = possible(Site("redis://x", tmp_path), "redis://x")
    assert theirs == set(Kind) - {Kind.KILL_SERVER}


def test_messages_are_lost_and_doubled_on_redis_and_rabbitmq_only(tmp_path) -> None:
    mine, of_messages = Site("redis://x", tmp_path), {Kind.LOSE_MESSAGE, Kind.DOUBLE_MESSAGE}
    assert of_messages <= possible(mine, "redis://x")
    assert of_messages <= possible(mine, "amqp://x")
    assert not of_messages & possible(mine, "sqs://x")


def test_a_seed_draws_the_same_inputs_again_and_they_vary() -> None:
    inputs = [drawn_input(1, number) for number in range(100)]
    assert inputs == [drawn_input(1, number) for number in range(100)]
    assert {value["width"] for value in inputs} == set(range(1, WIDTH_MAX + 1))
    assert {value["rounds"] for value in inputs} == set(ROUNDS)


def test_an_undisturbed_run_ends_with_everything_seen_in_the_order_of_the_plan(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = undisturbed({"width": 3, "rounds": 2})
    assert caplog.records == []  # What a person watches is the fleet.
    assert state["seen"] == [
        *("plan", "left", "right", "join", "piece 0", "piece 1", "piece 2", "gather"),
        *("turn", "turn", "flaky", "ask", "last"),
    ]
    assert state["inside"] == ["inner one", "inner two"]
    assert (state["answer"], state["turns"]) == ("yes", 2)
