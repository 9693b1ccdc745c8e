"""The auditor goes through all threads a few at a time, and says once what it cannot repair."""

from __future__ import annotations

import logging
import operator
import threading
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, StateGraph
from orchestrator.errors import CheckpointerUnavailableError, StateCorruptedError
from orchestrator.maintenance.auditor import Auditor, planned_by
from orchestrator.model.audit import Audited, Damage, DamageCode
from orchestrator.serde.codec import ALL_PLAIN, Codec


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


@dataclass
class Money:
    """A type that only the graph's own process knows."""

    cents: int


def finished(store: MemoryCheckpointer, *threads: str) -> None:
    builder = StateGraph(State).add_node("a", lambda _: {"log": ["a"]}).add_edge(START, "a")
    graph = builder.compile(store, name="g")
    for thread in threads:
        graph.invoke({"log": ["in"]}, thread)


def lose(store: MemoryCheckpointer, thread: str) -> None:
    """Lose the head checkpoint: nothing can bring it back."""
    kept = store._threads[thread]
    del kept.checkpoints[kept.head.checkpoint_id]


def test_a_round_looks_at_some_threads_and_the_next_at_the_others() -> None:
    store = MemoryCheckpointer()
    names = [f"t{number}" for number in range(20)]
    finished(store, *names)
    auditor = Auditor(store, limit=1)
    rounds = []
    while not (rounds and rounds[-1].complete):
        rounds.append(auditor.once())
    assert sum(each.threads for each in rounds) == len(names)
    assert max(each.threads for each in rounds) <= store.partitions
    assert auditor.all().threads == len(names)
    assert not any(each.found for each in rounds)


def test_what_cannot_be_repaired_is_told_once_with_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryCheckpointer()
    finished(store, "t", "well")
    lose(store, "t")
    auditor = Auditor(store)
    for _ in range(3):
        audit = auditor.all()
        [damage] = audit.found
        assert (damage.thread_id, damage.code) == ("t", DamageCode.CHECKPOINT_LOST)
        assert audit.repaired == 0
        auditor.report(audit.found)
    [line] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "checkpoint is gone" in line.getMessage()
    assert "earlier checkpoint" in line.getMessage()
    [event] = [each for each in store.events("t") if each.type == "thread_damaged"]
    assert event.fields["codes"] == b"CHECKPOINT_LOST"


def test_each_repair_is_told(caplog: pytest.LogCaptureFixture) -> None:
    damage = Damage(thread_id="t", code=DamageCode.STEP_LOST, why="it was gone", repaired=True)
    auditor = Auditor(MemoryCheckpointer())
    auditor.report([damage, damage])
    assert [each.levelname for each in caplog.records] == ["WARNING", "WARNING"]


class Seen(MemoryCheckpointer):
    """Counts audits; the first finds the server away."""

    def __init__(self, enough: threading.Event) -> None:
        super().__init__()
        self.audits, self.enough = 0, enough

    def audit(self, *args: Any, **options: Any) -> Audited:
        self.audits += 1
        if self.audits == 1:
            raise CheckpointerUnavailableError("away")
        if self.audits > 10:
            self.enough.set()
        return super().audit(*args, **options)


def test_the_loop_goes_on_though_the_server_was_away_and_only_where_it_leads() -> None:
    stop = threading.Event()
    store, asked = Seen(stop), []

    def leads() -> bool:
        asked.append(store.audits)
        return len(asked) > 3

    Auditor(store, leads, interval_s=0.001).loop(stop)
    assert asked[:4] == [0, 0, 0, 0]
    assert store.audits > 10


def test_a_plan_is_read_without_the_types_of_the_state() -> None:
    store = MemoryCheckpointer()
    finished(store, "t")
    first = store.load("t", checkpoint_id=store.history("t")[-1])
    assert first is not None
    [step] = planned_by("t", "g", first.checkpoint)
    assert (step.node, step.graph, step.solo) == (START, "g", True)
    typed = Codec()
    typed.register("money", Money, lambda money: [money.cents], lambda plain: Money(*plain))
    data = typed.encode([Money(5), 1])
    with pytest.raises(StateCorruptedError):
        Codec().decode(data)
    assert Codec().decode(data, ALL_PLAIN) == [(5,), 1]


def test_a_plan_that_is_garbled_cannot_be_read() -> None:
    store = MemoryCheckpointer()
    finished(store, "t")
    stored = next(iter(store._threads["t"].checkpoints.values()))
    garbled = type(stored)(id=stored.id, header=stored.header, plan=b"garbled")
    with pytest.raises(StateCorruptedError):
        planned_by("t", "g", garbled)
