"""A run that goes on: its hook is called once, and it does not go on for ever."""

import operator
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import (
    START,
    Command,
    CompiledStateGraph,
    GraphPausedError,
    InMemorySaver,
    ResumesExhaustedError,
    StateGraph,
    interrupt,
)


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    go: bool


class World:
    """A graph `first` → `second`, where `second` does what it is told, and a hook that listens."""

    def __init__(self, second: Any) -> None:
        self.heard: list[tuple[list[Any], str]] = []
        self.ran: list[str] = []
        self.answers: Any = {"log": ["hook"]}

        def first(state: State) -> State:
            self.ran.append("first")
            return {"log": ["first"]}

        def named(state: State) -> State:
            self.ran.append("second")
            return second(state)

        def hook(state: State, reason: str) -> Any:
            self.heard.append((list(state["log"]), reason))
            if isinstance(self.answers, Exception):
                raise self.answers
            return self.answers

        builder = StateGraph(State).add_node(first).add_node("second", named)
        builder.add_edge(START, "first").add_edge("first", "second").on_resume(hook)
        self.graph: CompiledStateGraph = builder.compile(InMemorySaver())

    def begin(self) -> None:
        try:
            self.graph.invoke({"log": []}, "t")
        except (ConnectionError, GraphPausedError):
            return

    def log(self, value: Any, **config: Any) -> list[Any]:
        return self.graph.invoke(value, {"thread_id": "t", **config})["log"]


def fails_until_the_hook_came(state: State) -> State:
    if "hook" not in state["log"]:
        raise ConnectionError("not yet")
    return {"log": ["second"]}


def asks(state: State) -> State:
    return {"log": [interrupt("?")]}


def pauses(state: State) -> State:
    if not state.get("go"):
        raise InterruptedError("wait")
    return {"log": ["second"]}


@pytest.mark.parametrize(
    ("second", "value", "reason", "last"),
    [
        (fails_until_the_hook_came, None, "failure", "second"),
        (asks, Command(resume="yes"), "answer", "yes"),
        (pauses, {"go": True}, "pause", "second"),
    ],
)
def test_the_hook_is_called_once_before_what_is_left_and_its_update_is_committed(
    second: Any, value: Any, reason: str, last: str
) -> None:
    world = World(second)
    world.begin()
    assert world.heard == []
    assert world.log(value) == ["first", "hook", last]
    assert world.heard == [(["first"], reason)]
    assert world.ran == ["first", "second", "second"]


def test_a_hook_that_returns_nothing_changes_nothing() -> None:
    world = World(asks)
    world.answers = None
    world.begin()
    assert world.log(Command(resume="yes")) == ["first", "yes"]


def test_a_hook_that_raises_fails_the_run_and_is_called_again() -> None:
    world = World(asks)
    world.answers = ConnectionError("the session is gone")
    world.begin()
    with pytest.raises(ConnectionError):
        world.log(Command(resume="yes"))
    assert world.ran == ["first", "second"]
    world.answers = None
    assert world.log(None) == ["first", "yes"]
    assert [reason for _, reason in world.heard] == ["answer", "answer", "failure"][
        : len(world.heard)
    ]


def test_a_run_that_is_not_resumed_calls_no_hook() -> None:
    world = World(lambda _: {"log": ["second"]})
    assert world.log({"log": ["in"]}) == ["in", "first", "second"]
    assert world.log(None) == ["in", "first", "second"]
    assert world.heard == []


def test_a_run_is_resumed_as_often_as_resumes_max_allows() -> None:
    world = World(fails_until_the_hook_came)
    world.answers = None
    with pytest.raises(ConnectionError):
        world.log({"log": []}, resumes_max=2)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            world.log(None)
    before = world.graph.get_state("t")
    with pytest.raises(ResumesExhaustedError, match="resumed 2 times, and resumes_max is 2"):
        world.log(None)
    assert world.graph.get_state("t") == before
    assert world.log({"log": ["hook"]})[-1] == "second"


def test_answers_do_not_count_as_failures() -> None:
    world = World(asks)
    world.begin()
    assert world.log(Command(resume=1)) == ["first", "hook", 1]
    for number in range(3):
        world.graph.invoke({"log": []}, {"thread_id": "t", "resumes_max": 0})
        assert world.log(Command(resume=number))[-1] == number
