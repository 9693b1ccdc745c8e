"""`Client.explain`, `graphstalk explain` and `graphstalk doctor --threads` on stored threads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.checkpointer.fleet import Worker
from orchestrator.cli import main
from orchestrator.config import Settings
from orchestrator.errors import UnknownThreadError
from tests.faults.damage.world import STAGES, THREAD, World

pytestmark = pytest.mark.server


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("REDIS_URL", settings.url)
    monkeypatch.setenv("GRAPHSTALK_NAMESPACE", settings.namespace)
    monkeypatch.setenv("GRAPHSTALK_QUEUE", settings.queue)
    monkeypatch.setenv("GRAPHSTALK_PARTITIONS", "1")
    made = World(settings)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("stage", "code", "words"),
    [
        ("queued", "NO_WORKER", "node __start__: waiting for a worker on queue"),
        ("ready", "NO_WORKER", "node first: waiting for a worker on queue"),
        ("claimed", "CLAIMED", "node first: lease held by host:2 for"),
        ("retrying", "RETRY", "node first: retry 2 of 50 in"),
        ("asking", "ANSWER", "of node gather since"),
        ("paused", "PAUSED", "UTC: somebody should look"),
        ("failed", "FAILED", "failed in node gather: ValueError: as the test says; resume with"),
        ("half", "ANSWER", "of node piece since"),
        ("settled", "SETTLED", "to be advanced"),
        ("child", "SUBGRAPH", "its subgraph: node one: waiting for a worker on queue"),
        ("in_line", "IN_LINE", "2 runs wait in line"),
        ("over", "ENDED", "has succeeded"),
    ],
)
def test_a_stored_thread_is_explained(world: World, stage: str, code: str, words: str) -> None:
    STAGES[stage](world)
    found = world.client.explain(THREAD)
    texts = [reason.text for reason in found.reasons if reason.code == code]
    assert texts
    assert words in texts[0]


def test_a_run_in_line_is_explained(world: World) -> None:
    STAGES["in_line"](world)
    waits = world.client.submit("g", {}, thread_id=THREAD, multitask_strategy="enqueue")
    assert str(world.client.explain(THREAD, waits.run_id)).startswith("run 3 of 3 in line")


def test_workers_that_are_alive_are_known(world: World) -> None:
    STAGES["ready"](world)
    queue = world.settings.queue
    worker = Worker(
        name="w", host="h", pid=1, queues=[queue], pool="solo", concurrency=1, graphs=["g"]
    )
    world.store.fleet.announce(worker)
    assert str(world.client.explain(THREAD)).endswith(f"queue {queue}: 1 alive")


def test_a_thread_that_is_not_there_is_unknown(world: World) -> None:
    with pytest.raises(UnknownThreadError):
        world.client.explain("nobody")
    assert main(["explain", "nobody"]) == 3


def test_the_command_explains_in_words_and_in_json(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    STAGES["claimed"](world)
    assert main(["explain", THREAD]) == 0
    assert capsys.readouterr().out.startswith("running: node first: lease held by host:2")
    assert main(["explain", THREAD, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["thread_id"], found["status"]) == (THREAD, "running")
    [reason] = found["reasons"]
    assert (reason["code"], reason["node"]) == ("CLAIMED", "first")


def test_the_doctor_finds_no_fault_with_threads_in_any_state(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    STAGES["half"](world)
    assert main(["doctor", "--threads", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "threads": 1, "findings": []}


def test_the_doctor_tells_of_damage_and_repairs_it_only_when_asked(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    STAGES["ready"](world)
    world.redis.delete(f"{world.own}s:{world.step('first')}")
    for _ in range(2):
        assert main(["doctor", "--threads"]) == 1
        out = capsys.readouterr().out
        assert "FAIL  t: the step of 'first'" in out
        assert "[STEP_LOST]" in out
        assert "→ graphstalk doctor --threads --repair" in out
    assert main(["doctor", "--threads", "--repair"]) == 0
    assert "DONE  t: the step of 'first'" in capsys.readouterr().out
    assert main(["doctor", "--threads"]) == 0
    assert world.finish()


def test_the_doctor_fails_for_what_nobody_can_repair(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    STAGES["ready"](world)
    world.redis.delete(f"{world.own}head")
    assert main(["doctor", "--threads", "--repair", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    [damage] = found["findings"]
    assert (damage["code"], damage["repaired"]) == ("HEAD_LOST", False)
    assert "backup" in damage["remedy"]


def test_repair_alone_is_no_command() -> None:
    assert main(["doctor", "--repair"]) == 2


def test_the_doctor_finds_threads_whose_graph_no_living_worker_knows(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    STAGES["ready"](world)
    assert main(["doctor", "--threads"]) == 0  # No worker is alive: not a fault of this thread.
    capsys.readouterr()
    one = {"queues": [world.settings.queue], "pool": "solo", "concurrency": 1}
    other = Worker(name="w", host="h", pid=1, graphs=["other"], **one)
    world.store.fleet.announce(other)
    assert main(["doctor", "--threads", "--json"]) == 1
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["thread_id"], finding["code"]) == (THREAD, "NO_GRAPH")
    assert main(["doctor", "--threads"]) == 1
    assert "no living worker knows its graph 'g' [NO_GRAPH]" in capsys.readouterr().out
    world.store.fleet.announce(replace(other, name="w2", graphs=["g"]))
    assert main(["doctor", "--threads"]) == 0
