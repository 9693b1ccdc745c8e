"""Whatever user code raises, its step's claim ends in a commit, or nobody would run it again."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from orchestrator import START, Command, MemoryCheckpointer, RetryPolicy, StateGraph, interrupt
from orchestrator.errors import UnserializableValueError
from orchestrator.model.commit import Wait


class State(TypedDict, total=False):
    value: Any


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def fails(state: State) -> None:
    raise ConnectionError("the world")


def asks_for_an_object(state: State) -> None:
    interrupt(object())


def raises_unprintable(state: State) -> None:
    raise UnprintableError


def broken_policy(error: BaseException) -> bool:
    raise KeyError("policy")


@pytest.mark.parametrize(
    ("node", "policy", "raised"),
    [
        (asks_for_an_object, None, UnserializableValueError),
        (raises_unprintable, None, UnprintableError),
        (fails, RetryPolicy(retry_on=broken_policy), ConnectionError),
    ],
)
def test_an_odd_failure_parks_the_step_for_a_person(
    node: Any, policy: RetryPolicy | None, raised: type[BaseException]
) -> None:
    store = MemoryCheckpointer()
    builder = StateGraph(State).add_node("node", node, retry_policy=policy).add_edge(START, "node")
    graph = builder.compile(store)
    with pytest.raises(raised):
        graph.invoke({"value": 1}, "thread")
    loaded = store.load("thread")
    assert loaded is not None
    (step,) = loaded.steps.values()
    assert (step.owner, step.wait) == ("", Wait.PERSON)
    assert loaded.head.status == "failed"
    assert graph.get_state("thread").values == {"value": 1}


def test_ctrl_c_hands_the_step_back_and_the_thread_goes_on() -> None:
    pressed = []

    def node(state: State) -> State:
        if not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        return {"value": state["value"] + 1}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
    compiled = graph.compile(MemoryCheckpointer())
    with pytest.raises(KeyboardInterrupt):
        compiled.invoke({"value": 1}, "thread")
    assert compiled.invoke(None, "thread") == {"value": 2}


def test_none_is_an_answer() -> None:
    def node(state: State) -> State:
        return {"value": interrupt("question")}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
    compiled = graph.compile(MemoryCheckpointer())
    assert "__interrupt__" in compiled.invoke({"value": 1}, "thread")
    assert compiled.invoke(Command(resume=None), "thread") == {"value": None}
