"""A node may run more than once until its step is committed; its effects need not."""

from typing import TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, StateGraph
from orchestrator.errors import UnknownEffectError


class State(TypedDict, total=False):
    receipt: str


def twice(node):
    """A graph whose node fails on its first attempt, after what it does."""

    def run(state, ctx):
        update = node(ctx)
        if ctx.attempt == 1:
            raise ConnectionError("after the effect")
        return update

    builder = StateGraph(State).add_node("run", run).add_edge(START, "run")
    graph = builder.compile(MemoryCheckpointer())
    with pytest.raises(ConnectionError):
        graph.invoke({}, "t")
    return graph.invoke(None, "t")


def test_an_effect_that_was_seen_to_end_is_not_repeated():
    charged = []

    def charge():
        charged.append(1)
        return "receipt"

    assert twice(lambda ctx: {"receipt": ctx.once("charge", charge)}) == {"receipt": "receipt"}
    assert charged == [1]


def test_a_key_for_effects_outside_is_the_same_in_every_attempt():
    keys = []
    twice(lambda ctx: keys.append(ctx.idempotency_key))
    assert keys[0] == keys[1]


def test_time_and_chance_are_the_same_in_every_attempt():
    drawn = []
    twice(lambda ctx: drawn.append((ctx.now(), ctx.random(), ctx.uuid())))
    assert drawn[0] == drawn[1]


def test_an_effect_that_was_not_seen_to_end_is_never_silently_repeated():
    tried = []

    def vanish():
        tried.append(1)
        raise ConnectionError("did it arrive?")

    with pytest.raises(UnknownEffectError):
        twice(lambda ctx: {"receipt": ctx.once("send", vanish)})
    assert tried == [1]


def test_somebody_who_can_find_out_is_asked_instead():
    def vanish():
        raise ConnectionError("did it arrive?")

    found = twice(lambda ctx: {"receipt": ctx.once("send", vanish, reconcile=lambda: "found")})
    assert found == {"receipt": "found"}
