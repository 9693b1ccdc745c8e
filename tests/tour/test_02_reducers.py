"""A reducer says how a key takes several values.

A plain key keeps the last value and takes one per superstep. `Annotated[type, reducer]` folds every
write into the value, in the order of the nodes' names, whoever finishes first.
"""

import operator
from typing import Annotated, TypedDict

import pytest

from orchestrator import START, Overwrite, StateGraph
from orchestrator.errors import InvalidUpdateError


class State(TypedDict, total=False):
    topic: str
    notes: Annotated[list[str], operator.add]


def two_writers(key, one, other):
    builder = StateGraph(State)
    builder.add_node("anna", lambda state: {key: one})
    builder.add_node("bert", lambda state: {key: other})
    return builder.add_edge(START, "anna").add_edge(START, "bert").compile()


def test_a_reduced_key_gathers_what_nodes_write_side_by_side():
    graph = two_writers("notes", ["from anna"], ["from bert"])

    assert graph.invoke({"notes": ["first"]})["notes"] == ["first", "from anna", "from bert"]


def test_a_plain_key_cannot_take_two_values_at_once():
    graph = two_writers("topic", "tea", "coffee")

    with pytest.raises(InvalidUpdateError, match="2 values for 'topic' in one superstep"):
        graph.invoke({"topic": "none"})


def test_an_overwrite_replaces_what_was_gathered():
    graph = two_writers("notes", Overwrite(["start over"]), [])

    assert graph.invoke({"notes": ["old"]})["notes"] == ["start over"]
