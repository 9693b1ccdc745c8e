"""What is prepared of the next attempt while a commit is on its way, and when it is not used."""

import operator
import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel, field_validator

from orchestrator import END, START, MemoryCheckpointer, Send, StateGraph
from orchestrator.channels import UntrackedValue
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.model.commit import Commit, CommitResult
from orchestrator.step.attempt import Attempt
from orchestrator.step.prefetch import Prefetch


class Remote(MemoryCheckpointer):
    """A store whose answer has to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.on_the_way: Callable[[Commit], None] = lambda _: None
        self.lose_answer_of = 0  # The number of a commit.
        self.commits = 0

    def commit(self, commit: Commit, meanwhile: Callable[[], None] | None = None) -> CommitResult:
        self.commits += 1
        if meanwhile is not None:
            meanwhile()
        self.on_the_way(commit)
        result = super().commit(commit)
        if self.commits == self.lose_answer_of:
            raise CheckpointerUnavailableError("its answer is lost")
        return result


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


@pytest.fixture
def store() -> Remote:
    return Remote()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many attempts were made, and how many of those that were prepared were used."""
    count: Counter[str] = Counter()
    make, use = Attempt.__post_init__, Prefetch.attempt

    def counted(attempt: Attempt) -> None:
        count["made"] += 1
        make(attempt)

    def used(prefetch: Prefetch, claim: Any) -> Attempt | None:
        found = use(prefetch, claim)
        count["used"] += found is not None
        return found

    monkeypatch.setattr(Attempt, "__post_init__", counted)
    monkeypatch.setattr(Prefetch, "attempt", used)
    return count


def add(name: str) -> Callable[[State], State]:
    return lambda state: {"log": [f"{name} saw {len(state['log'])}"]}


def row(*names: str) -> StateGraph:
    builder = StateGraph(State)
    for before, name in zip((START, *names), names, strict=False):
        builder.add_node(name, add(name))
        builder.add_edge(before, name)
    return builder.add_edge(names[-1], END)


def test_each_attempt_is_made_once_and_while_the_commit_before_is_on_its_way(store, made):
    graph = row("a", "b", "c").compile(store)
    assert graph.invoke({"log": []}, "t")["log"] == ["a saw 0", "b saw 1", "c saw 2"]
    assert made == {"made": 4, "used": 3}


def test_what_a_send_carries_is_not_at_hand_so_nothing_is_used(store, made):
    builder = StateGraph(State).add_node("a", add("a"))
    builder.add_node("piece", lambda state: {"log": [state["mine"]]})
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda _: [Send("piece", {"mine": "x"})], ["piece"])
    assert builder.compile(store).invoke({"log": []}, "t")["log"] == ["a saw 0", "x"]
    assert made["used"] == 1


def test_values_that_are_not_stored_are_seen_by_the_next_step(store, made):
    class Untracked(State):
        own: Annotated[str, UntrackedValue]

    builder = StateGraph(Untracked).add_node("a", lambda _: {"own": "mine"})
    builder.add_node("b", lambda state: {"log": [state["own"]]})
    builder.add_edge(START, "a").add_edge("a", "b")
    assert builder.compile(store).invoke({"log": []}, "t")["log"] == ["mine"]
    assert made["used"] == 0


def test_no_node_of_a_refused_commit_runs(store, made):
    ran: list[str] = []
    builder = StateGraph(State)
    builder.add_node("a", lambda _: ran.append("a")).add_node("b", lambda _: ran.append("b"))
    builder.add_edge(START, "a").add_edge("a", "b")

    def revoked(commit: Commit) -> None:
        if commit.takes is not None and commit.takes.node == "b" and ran == ["a"]:
            store.release(commit.take.owner, died=False)

    store.on_the_way = revoked
    builder.compile(store).invoke({"log": []}, "t")
    assert ran == ["a", "a", "b"]
    assert made == {"made": 5, "used": 2}  # Start, a, b for nothing; a again, b.


def test_no_code_of_users_runs_before_the_commit_is_made(store, made):
    seen: list[int] = []

    class Model(BaseModel):
        log: Annotated[list[str], operator.add] = []

        @field_validator("log")
        @classmethod
        def look(cls, value: list[str]) -> list[str]:
            seen.append(len(value))
            return value

    builder = StateGraph(Model)
    builder.add_node("a", lambda _: {"log": ["a"]}).add_node("b", lambda _: {"log": ["b"]})
    builder.add_edge(START, "a").add_edge("a", "b")
    at_commit: list[tuple[str, int]] = []

    def note(commit: Commit) -> None:
        if commit.takes is not None:
            at_commit.append((commit.takes.node, max(seen, default=-1)))

    store.on_the_way = note
    builder.compile(store).invoke({"log": ["x"]}, "t")
    assert made["used"] == 2
    assert at_commit[-1] == ("b", 1)  # Nobody had seen what `a` added.


def test_a_commit_that_takes_long_does_not_count_as_time_of_the_node(store, made):
    def slow(state: State) -> State:
        time.sleep(0.05)
        return {"log": ["slow"]}

    builder = StateGraph(State).add_node("a", slow, timeout=0.5).add_edge(START, "a")
    graph = builder.add_node("b", slow, timeout=0.5).add_edge("a", "b").compile(store)
    store.on_the_way = lambda commit: time.sleep(0.6 if commit.takes else 0)
    assert graph.invoke({"log": []}, "t")["log"] == ["slow", "slow"]
    assert made["used"] == 2


def test_a_claim_whose_answer_was_lost_is_gone_on_with(store, made):
    graph = row("a", "b", "c").compile(store)
    store.lose_answer_of = 3
    assert graph.invoke({"log": []}, "t")["log"] == ["a saw 0", "b saw 1", "c saw 2"]
    assert made["used"] == 3
