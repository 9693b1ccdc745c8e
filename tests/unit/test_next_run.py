"""Who does not know a type passes its values on as they are."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any, TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, StateGraph
from orchestrator.cli.output import json_line
from orchestrator.client.subgraphs import step_runner
from orchestrator.client.thread_calls import Calls
from orchestrator.engine.accept import RunConfig
from orchestrator.engine.records import Records
from orchestrator.errors import StateCorruptedError, UnknownTypeError
from orchestrator.serde.codec import UNKNOWN_TYPED, Codec, UnknownValue
from orchestrator.step.next_run import CARRYING, begin_next
from orchestrator.step.runner import run_step
from orchestrator.step.store_access import Access


@dataclasses.dataclass(frozen=True)
class Order:
    number: int
    lines: tuple[str, ...] = ()


class State(TypedDict, total=False):
    order: Order


builder = StateGraph(State).add_node("take", lambda state: {}).add_edge(START, "take")
graph = builder.compile(name="orders")

VALUES: list[Any] = [
    Order(1, ("a", "b")),
    {"deep": [{"in": Order(2)}], "when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
    {Order(3): "as a key"},
    [bytearray(b"buffer"), Order(4), "\udcff"],
    Order(5, (b"bytes", 2**80)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_that_was_carried_comes_back_as_it_was(value: Any) -> None:
    stored = graph.records.encode(value)
    with pytest.raises(StateCorruptedError, match="does not know"):
        Codec().decode(stored)
    carried = CARRYING.encode(CARRYING.decode(stored))
    assert carried == stored
    assert graph.records.decode(carried) == value


def test_what_is_carried_says_what_it_is_and_is_equal_to_nothing_else() -> None:
    stored = graph.records.encode(Order(1))
    one, other = CARRYING.decode(stored), CARRYING.decode(stored)
    assert isinstance(one, UnknownValue)
    assert one.type.endswith("Order")
    assert one != other


def test_a_run_in_line_begins_by_whoever_does_not_know_its_types() -> None:
    store = MemoryCheckpointer()
    calls = Calls(store, graph.records, "queue")
    calls.accept("t", "orders", {"order": Order(1)}, RunConfig(run_id="first"))
    waiting = RunConfig(run_id="second", multitask="enqueue")
    calls.accept("t", "orders", {"order": Order(2, ("x",))}, waiting)
    Calls(store, CARRYING, "queue").cancel("t")
    (ready,) = begin_next(store, "t")
    assert ready.node == START
    loaded = store.load("t")
    assert loaded is not None
    assert (loaded.head.run_id, loaded.line) == ("second", {})
    assert "run_withdrawn" not in [event.type for event in store.events("t")]
    runner = step_runner(graph, Access(store, graph.owner), "queue")
    while ready is not None:
        report = run_step(runner, "t", ready.step_id)
        ready = report.ready[0] if report.ready else None
    assert builder.compile(store).get_state("t").values == {"order": Order(2, ("x",))}


def test_a_thread_whose_type_is_not_known_is_not_set_back_nor_begun_anew() -> None:
    store = MemoryCheckpointer()
    owner = StateGraph(State).add_node("take", lambda state: {}).add_edge(START, "take")
    mine = owner.compile(store, name="orders")
    config = {"thread_id": "t", "metadata": {"order": Order(1)}}
    mine.invoke({"order": Order(2)}, config)
    before = store.load("t")
    codec = Codec()
    calls = Calls(store, Records(codec.encode, codec.decode), "queue")
    run = RunConfig(run_id="r", fingerprint="", recursion_limit=5, on_corrupt="restart")
    with pytest.raises(UnknownTypeError, match="does not know") as refused:
        calls.accept("t", "orders", {}, run)
    assert refused.value.code == "UNKNOWN_TYPE"
    after = store.load("t")
    assert before is not None
    assert after is not None
    assert (after.checkpoint, after.head) == (before.checkpoint, before.head)
    assert mine.get_state("t").values == {"order": Order(2)}


def test_what_is_shown_names_its_type_and_is_stored_again_as_it_was() -> None:
    stored = graph.records.encode({"order": Order(1, ("a",)), "n": 1})
    shown = Codec().decode(stored, UNKNOWN_TYPED)
    assert shown["n"] == 1
    assert repr(shown["order"]) == f"<{__name__}.Order {{'number': 1, 'lines': ('a',)}}>"
    assert json.loads(json_line(shown)) == {
        "order": {"type": f"{__name__}.Order", "value": {"number": 1, "lines": ["a"]}},
        "n": 1,
    }
    assert graph.records.decode(Codec().encode(shown)) == {"order": Order(1, ("a",)), "n": 1}
