"""Calls that change a thread while others do: decided anew, or refused, never mixed."""

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, StateGraph, interrupt
from orchestrator.client.thread_calls import Calls
from orchestrator.engine.accept import RunConfig
from orchestrator.errors import (
    EmptyInputError,
    NoPendingInterruptError,
    ThreadBusyError,
    UnknownThreadError,
)
from orchestrator.model.commit import Claim, Commit, CommitResult


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


class RacingStore(MemoryCheckpointer):
    """A store in which somebody else is faster, when told so: each time, before a commit."""

    def __init__(self) -> None:
        super().__init__()
        self.faster: list[Callable[[], Any]] = []
        self.between: list[Callable[[], Any]] = []  # Before a claim.

    def claim(self, *args: Any, **options: Any) -> Claim:
        if self.between:
            self.between.pop(0)()
        return super().claim(*args, **options)

    def commit(self, commit: Commit, *args: Any) -> CommitResult:
        if self.faster:
            self.faster.pop(0)()
        return super().commit(commit, *args)


def ask(state: State) -> State:
    return {"log": [interrupt("sure?")]}


class World:
    def __init__(self) -> None:
        self.store = RacingStore()
        builder = StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
        self.graph = builder.compile(self.store, name="g")
        self.calls = Calls(self.store, self.graph.records)
        self.fleet = Calls(self.store, self.graph.records, "a queue")

    def accept(self, run_id: str, *, key: str | None = None) -> str:
        return self.fleet.accept("t", "g", {"log": [run_id]}, RunConfig(run_id=run_id, key=key))[0]

    def run(self, value: Any) -> Any:
        return self.graph.invoke(value, "t")

    @property
    def question(self) -> str:
        return self.graph.get_state("t").interrupts[0].id


def test_the_same_key_is_the_same_run() -> None:
    world = World()
    assert world.accept("one", key="order 7") == "one"
    assert world.accept("two", key="order 7") == "one"
    assert len(world.store.history("t")) == 1


def test_of_two_calls_with_one_key_at_the_same_time_one_is_accepted() -> None:
    world = World()
    world.store.faster = [lambda: world.accept("one", key="order 7")]
    assert world.accept("two", key="order 7") == "one"


def test_a_key_of_another_run_waits_for_the_thread_as_any_run_does() -> None:
    world = World()
    world.accept("one", key="order 7")
    with pytest.raises(ThreadBusyError, match="'t' is busy: its run one is queued"):
        world.accept("two", key="order 8")


def test_a_thread_that_somebody_began_meanwhile_is_busy() -> None:
    world = World()
    world.store.faster = [lambda: world.accept("one")]
    with pytest.raises(ThreadBusyError, match="its run one"):
        world.accept("two")


def test_a_run_in_this_process_is_not_taken_over_between_two_of_its_steps() -> None:
    world = World()
    refused: list[BaseException] = []

    def intrude() -> None:
        try:
            world.run({"log": ["intruder"]})
        except ThreadBusyError as error:
            refused.append(error)

    world.store.between = [lambda: None, intrude]
    world.run({"log": ["in"]})
    assert len(refused) == 1
    assert world.graph.get_state("t").values["log"] == ["in"]


def test_a_run_begins_on_top_of_what_somebody_did_meanwhile() -> None:
    world = World()
    world.run({"log": ["in"]})
    edit = lambda: world.graph.update_state("t", {"log": ["edit"]}, as_node="ask")  # noqa: E731
    world.store.faster = [edit]
    assert world.run({"log": ["more"]})["log"] == ["in", "edit", "more"]


def test_an_edit_stands_on_what_somebody_did_meanwhile() -> None:
    world = World()
    world.run({"log": ["in"]})
    edit = lambda text: world.graph.update_state("t", {"log": [text]}, as_node="ask")  # noqa: E731
    world.store.faster = [lambda: edit("first")]
    edit("second")
    assert world.graph.get_state("t").values["log"] == ["in", "first", "second"]


def test_of_two_answers_at_the_same_time_the_first_counts_and_the_second_is_refused() -> None:
    world = World()
    world.run({})
    question = world.question
    world.store.faster = [lambda: world.calls.answer("t", "first", question)]
    with pytest.raises(NoPendingInterruptError, match=r"answered already|asks nothing"):
        world.calls.answer("t", "second", question)
    assert world.run(None)["log"] == ["first"]


@pytest.mark.parametrize("what", ["accept", "edit", "answer"])
def test_a_thread_that_never_rests_is_busy_in_the_end(what: str) -> None:
    world = World()
    world.run({})

    def disturb() -> None:
        faster, world.store.faster = world.store.faster, []
        world.graph.update_state("t", {"log": ["x"]}, as_node=START)
        world.run(None)
        world.store.faster = faster

    world.store.faster = [disturb] * 20
    call = {
        "accept": lambda: world.accept("two"),
        "edit": lambda: world.graph.update_state("t", {}, as_node="ask"),
        "answer": lambda: world.calls.answer("t", "yes"),
    }[what]
    with pytest.raises(ThreadBusyError, match="'t' kept changing during this call"):
        call()


def test_a_thread_that_does_not_exist_has_nothing_to_answer_continue_or_cancel() -> None:
    calls = World().calls
    with pytest.raises(UnknownThreadError, match="no thread 't'"):
        calls.answer("t", "yes")
    with pytest.raises(UnknownThreadError, match="no thread 't'"):
        calls.cancel("t")
    with pytest.raises(EmptyInputError, match="no thread 't' to continue"):
        calls.carry_on("t")


def test_what_a_dead_process_of_this_machine_had_claimed_is_taken_from_it() -> None:
    world = World()
    world.calls.accept("t", "g", {}, RunConfig(run_id="one"))
    (step,) = world.store.load("t").steps.values()
    host = world.graph.owner.rsplit(":", 2)[0]
    dead = f"{host}:4194999:abcd"  # Beyond the greatest process number of Linux.
    world.store.claim("t", step.step.step_id, owner=dead, token="x", known=())
    assert world.run(None)["__interrupt__"]
