"""After a failure a run goes on where it stopped: what has completed does not run again."""

import operator
from typing import Annotated, TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, StateGraph


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class World:
    """What nodes do outside: each effect is noted, and payments fail until they are mended."""

    def __init__(self):
        self.effects = []
        self.broken = True

    def node(self, name):
        def run(state):
            self.effects.append(name)
            if name == "pay" and self.broken:
                raise ConnectionError("the bank does not answer")
            return {"log": [name]}

        return run


def test_resuming_repeats_only_the_step_that_failed():
    world = World()
    builder = StateGraph(State)
    builder.add_sequence([(name, world.node(name)) for name in ("reserve", "pay", "ship")])
    graph = builder.set_entry_point("reserve").compile(MemoryCheckpointer())

    with pytest.raises(ConnectionError, match="the bank"):
        graph.invoke({}, "order-1")
    assert graph.get_state("order-1").values == {"log": ["reserve"]}
    assert graph.get_state("order-1").next == ("pay",)

    world.broken = False
    assert graph.invoke(None, "order-1") == {"log": ["reserve", "pay", "ship"]}
    assert world.effects == ["reserve", "pay", "pay", "ship"]


def test_what_completed_beside_a_failed_step_is_kept():
    world = World()
    builder = StateGraph(State)
    for name in ("mail", "pay"):
        builder.add_node(name, world.node(name)).add_edge(START, name)
    graph = builder.compile(MemoryCheckpointer())

    with pytest.raises(ConnectionError):
        graph.invoke({}, "order-1")

    world.broken = False
    assert graph.invoke(None, "order-1") == {"log": ["mail", "pay"]}
    assert world.effects.count("mail") == 1
