"""Keys that the engine fills in: how far a run may still go."""

from typing import Annotated, NotRequired, Required, TypedDict

import pytest

from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.routing import START
from orchestrator.graph.schema import (
    IsLastStep,
    Loop,
    ManagedValue,
    RemainingSteps,
    channels_of,
    managed_of,
)


class Twice(ManagedValue):
    @staticmethod
    def get(loop):
        return 2 * loop.step


class State(TypedDict):
    x: int
    last: IsLastStep
    left: NotRequired[RemainingSteps]


def node(state): ...


def test_they_are_no_channels_of_the_state():
    assert set(channels_of(State)) == {"x"}
    assert set(managed_of(State)) == {"last", "left"}


@pytest.mark.parametrize(
    ("step", "left", "last"), [(1, 4, False), (3, 2, False), (4, 1, True), (5, 0, False)]
)
def test_a_node_reads_them_beside_the_state(step, left, last):
    spec = GraphBuilder(State).add_node("a", node).add_edge(START, "a").freeze("g")
    seen = spec.nodes["a"].reader.read(spec.channels, {"x": 1}, Loop(step, 5))
    assert seen == {"x": 1, "last": last, "left": left}


def test_who_reads_outside_of_a_run_gets_none_of_them():
    spec = GraphBuilder(State).add_node("a", node).add_edge(START, "a").freeze("g")
    assert spec.nodes["a"].reader.read(spec.channels, {"x": 1}) == {"x": 1}


def test_nobody_writes_or_gets_them_from_outside():
    spec = GraphBuilder(State).add_node("a", node).add_edge(START, "a").freeze("g")
    assert spec.state_keys == spec.input_keys == spec.output_keys == ("x",)


class Wrapped(TypedDict):
    plain: Annotated[int, "words", Twice]
    needed: Required[Annotated[int, Twice]]
    spare: NotRequired[Annotated[int, Twice]]


def test_one_of_ones_own_is_told_by_its_class():
    assert managed_of(Wrapped) == dict.fromkeys(("plain", "needed", "spare"), Twice)
    assert managed_of(Wrapped)["plain"].get(Loop(3, 9)) == 6


def test_the_base_class_knows_no_value():
    with pytest.raises(NotImplementedError):
        ManagedValue.get(Loop(0, 1))
