"""With `durability="async"` commits are made behind the steps: in order, and all of them."""

from __future__ import annotations

import operator
import signal
import threading
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import (
    START,
    Command,
    RunCancelledError,
    StateGraph,
    StepContext,
    interrupt,
)
from orchestrator.client.calls import Calls
from orchestrator.errors import NotReplicatedError
from orchestrator.model.commit import Commit, CommitResult
from tests.semantics.places import WAIT_S, Place, apart

ASYNC: dict[str, Any] = {"durability": "async"}

pytestmark = pytest.mark.parametrize("kind", apart("sqlite", "redis"))


class State(TypedDict):
    log: Annotated[list[Any], operator.add]


def row(**nodes: Callable[..., Any]) -> StateGraph:
    builder = StateGraph(State)
    before = START
    for name, action in nodes.items():
        builder.add_node(name, action).add_edge(before, name)
        before = name
    return builder


def leaves(name: str) -> Callable[[State], State]:
    return lambda _: {"log": [name]}


class Watched:
    """A store of which each commit is first shown to `watch`."""

    def __init__(self, store: Any, watch: Callable[[Commit], None]) -> None:
        """Watch `store`."""
        self._store, self._watch = store, watch

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the store does."""
        return getattr(self._store, name)

    def commit(self, commit: Commit, meanwhile: Any = None) -> CommitResult:
        """Commit what may be committed."""
        self._watch(commit)
        return self._store.commit(commit, meanwhile)


def store_of(place: Place) -> Any:
    return place.graph("plain").checkpointer


def test_what_is_stored_is_as_with_sync(place: Place) -> None:
    inner = row(x=leaves("x"), ask=lambda _: {"log": [interrupt("what?")]}).compile()
    builder = row(a=leaves("a"), sub=inner, b=leaves("b"))
    builder.add_node("beside", leaves("beside")).add_edge("a", "beside")
    seen = {}
    for durability in ("sync", "async"):
        thread = place.another()
        graph = builder.compile(checkpointer=store_of(place))
        graph.invoke({"log": []}, thread, durability=durability)
        output = graph.invoke(Command(resume="so"), thread, durability=durability)
        other = builder.compile(checkpointer=store_of(place))
        history = list(other.get_state_history(thread))
        seen[durability] = (
            output,
            [(s.values, s.next, s.metadata["step"], len(s.tasks)) for s in history],
            [s.parent_config for s in history] == [*(s.config for s in history[1:]), None],
            Counter(event.type for event in graph.checkpointer.events(thread)),
        )
    assert seen["async"] == seen["sync"]


def test_a_step_begins_before_the_one_before_is_stored(place: Place) -> None:
    begun = threading.Event()
    waited: list[bool] = []

    def watch(commit: Commit) -> None:
        if commit.guard is not None:
            waited.append(begun.wait(WAIT_S))

    def b(_: State) -> State:
        begun.set()
        return {"log": ["b"]}

    graph = row(a=leaves("a"), b=b).compile(checkpointer=Watched(store_of(place), watch))
    assert graph.invoke({"log": []}, place.thread, **ASYNC) == {"log": ["a", "b"]}
    assert waited == [True] * 3
    assert store_of(place).load(place.thread).head.status == "succeeded"


def test_an_error_of_the_store_is_raised_by_the_call(place: Place) -> None:
    def watch(commit: Commit) -> None:
        if commit.checkpoint is not None and commit.guard is not None:
            raise NotReplicatedError("too few replicas")

    graph = row(a=leaves("a"), b=leaves("b")).compile(checkpointer=Watched(store_of(place), watch))
    with pytest.raises(NotReplicatedError, match="too few replicas"):
        graph.invoke({"log": []}, place.thread, **ASYNC)
    assert len(list(graph.get_state_history(place.thread))) == 1


def test_an_effect_is_noted_before_it_happens(place: Place) -> None:
    notes: list[Any] = []
    store = store_of(place)

    def pay(_: State, ctx: StepContext) -> State:
        def look() -> None:
            (step,) = store.load(place.thread).steps.values()
            notes.extend(step.notes)

        ctx.once("pay", look)
        return {"log": ["paid"]}

    graph = row(a=leaves("a"), pay=pay).compile(checkpointer=store)
    assert graph.invoke({"log": []}, place.thread, **ASYNC) == {"log": ["a", "paid"]}
    assert len(notes) == 1


def test_a_run_that_is_cancelled_elsewhere_ends(place: Place) -> None:
    store = store_of(place)

    def cancels(_: State) -> State:
        assert Calls(store_of(place), graph.records).cancel(place.thread)
        return {"log": ["cancels"]}

    graph = row(a=leaves("a"), cancels=cancels, b=leaves("b")).compile(checkpointer=store)
    with pytest.raises(RunCancelledError):
        graph.invoke({"log": []}, place.thread, **ASYNC)
    assert "b" not in graph.get_state(place.thread).values["log"]


def test_a_process_that_is_killed_leaves_what_was_stored(place: Place) -> None:
    call = {"value": {"witness": place.witness}, "options": ASYNC}
    assert place.elsewhere().death("dies", place.thread, **call) == signal.SIGKILL
    graph = place.graph("dies")
    stored = graph.get_state(place.thread)
    assert stored.next in {("__start__",), ("work",), ("die",)}
    assert place.call(graph, None, **ASYNC)["log"] == ["work", "die", "after"]
    assert len(place.ran("work")) == 1 + (stored.next != ("die",))


def test_many_steps_are_all_stored(place: Place) -> None:
    builder = StateGraph(State).add_node("more", lambda s: {"log": [len(s["log"])]})
    builder.add_edge(START, "more")
    builder.add_conditional_edges("more", lambda s: "more" if len(s["log"]) < 150 else "__end__")
    graph = builder.compile(checkpointer=store_of(place))
    config = {"thread_id": place.thread, "recursion_limit": 200}
    output = graph.invoke({"log": []}, config, **ASYNC)
    assert output == {"log": list(range(150))}
    assert len(list(graph.get_state_history(place.thread))) == 152
    assert graph.get_state(place.thread).values == output
