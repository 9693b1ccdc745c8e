"""Whatever is broken by hand in a stored thread is found, and repaired or told with a remedy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.client.compiled import CompiledStateGraph
from orchestrator.config import Settings
from orchestrator.engine.rollback import set_back
from orchestrator.engine.settle import Placement
from orchestrator.maintenance.auditor import planned_by
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import ReadyStep, StoredCheckpoint
from tests.faults.damage.doing import head
from tests.faults.damage.kinds import KINDS, Kind
from tests.faults.damage.world import GRAPH, STAGES, THREAD, World

pytestmark = pytest.mark.server

FOUND_S, REPAIRED_S = 5.0, 10.0
undisturbed: dict[str, list[str]] = {}  # State of a thread → how it ends if nobody breaks anything.


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    made = World(settings)
    yield made
    made.close()


def ends_as(stage: str, settings: Settings) -> list[str]:
    """Return how a thread ends that nobody disturbs."""
    if stage not in undisturbed:
        world = World(replace(settings, namespace=f"{settings.namespace}-undisturbed"))
        STAGES[stage](world)
        assert world.audit() == []
        undisturbed[stage] = world.finish()
        assert world.audit() == []
        world.close()
    return undisturbed[stage]


def test_there_are_a_hundred_kinds_of_damage() -> None:
    assert len({str(kind) for kind in KINDS}) == len(KINDS) >= 100


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_damage_is_found_and_repaired_or_told(kind: Kind, world: World, settings: Settings) -> None:
    expected = ends_as(kind.stage, settings) if kind.outcome == "same" else []
    STAGES[kind.stage](world)
    kind.inject(world)
    began = world.store.now_ms()
    end = time.monotonic() + FOUND_S
    while kind.code and kind.code not in {damage.code for damage in world.found}:
        assert time.monotonic() < end, f"not found; but {world.found}"
        world.sweeper.once()
        world.audit()
    found_ms = world.store.now_ms() - began
    if kind.outcome == "reported":
        told = [damage for damage in world.found if damage.code == kind.code]
        assert all(damage.remedy and not damage.repaired for damage in told)
        return
    while world.audit():
        assert time.monotonic() < end + REPAIRED_S - FOUND_S, f"not repaired: {world.found}"
    repaired_ms = world.store.now_ms() - began
    print(f"TIMES {found_ms} {repaired_ms}")
    assert all(damage.why and damage.repaired for damage in world.found), world.found
    state = world.finish()
    assert kind.outcome == "repaired" or state == expected
    assert world.audit() == []
    about = [damage.thread_id for damage in world.found if damage.thread_id]
    if about and "ev" not in str(kind):
        assert "thread_repaired" in {event.type for event in world.client.events(THREAD)}
        assert int(world.redis.hget(f"{world.prefix}stats", "repaired") or 0) >= 1


def test_a_commit_between_looking_and_repairing_is_not_overwritten(world: World) -> None:
    STAGES["ready"](world)
    head(world, open=7)
    ran: list[int] = []

    def plan(thread: str, graph: str, stored: StoredCheckpoint) -> tuple[ReadyStep, ...]:
        if not ran:  # It was looked at, and is not yet changed.
            ran.append(world.run())
        return planned_by(thread, graph, stored)

    for _ in range(2):
        assert world.store.audit(0, plan=plan, repair=True).found == ()
        assert world.status is RunStatus.SUCCEEDED


def test_looking_without_repair_changes_nothing(world: World) -> None:
    STAGES["half"](world)
    head(world, open=7)
    for key in ("done", "s:" + world.step("piece:2")):
        world.redis.delete(f"{world.own}{key}")

    def contents() -> dict[bytes, bytes | None]:
        return {key: world.redis.dump(key) for key in world.redis.scan_iter(f"{world.prefix}*")}

    before = contents()
    found = world.store.audit(0, plan=planned_by, repair=False).found
    assert len(found) >= 2
    assert not any(damage.repaired for damage in found)
    assert contents() == before


def test_a_thread_that_a_person_edited_stays_paused(world: World) -> None:
    STAGES["asking"](world)
    graph = CompiledStateGraph(GRAPH.spec, checkpointer=world.store)
    graph.update_state(THREAD, {"log": ["by hand"]}, as_node="first")
    for _ in range(2):
        assert world.audit() == []
        assert world.status is RunStatus.PAUSED


@pytest.mark.parametrize("stage", ["failed", "asking"])
def test_a_thread_that_was_set_back_stays_where_it_is(world: World, stage: str) -> None:
    STAGES[stage](world)
    before = world.store.load(THREAD, checkpoint_id=world.store.history(THREAD)[1])
    assert before is not None
    where = Placement(THREAD, "g", world.settings.queue)
    commit = set_back(GRAPH.records, where, GRAPH.spec, world.load(), before, "as the test says")
    assert world.store.commit(commit).refused is None
    for _ in range(2):
        assert world.audit() == []
        assert world.status is RunStatus.PAUSED


def test_a_sweeper_survives_what_it_cannot_mark_as_sent_and_leads(world: World) -> None:
    STAGES["ready"](world)
    ready = f"{world.prefix}ready:{world.settings.queue}"
    world.redis.set(ready, "something else")
    world.redis.zadd(f"{world.prefix}unsent", {world.step("first") + THREAD: 0})
    world.redis.delete(f"{world.prefix}queues")  # The sweep itself does not look at the list.
    assert world.sweeper.once().sent == 1
    assert world.sweeper.leading  # Whose auditor would repair it otherwise?
    assert world.audit()
    assert world.finish()
