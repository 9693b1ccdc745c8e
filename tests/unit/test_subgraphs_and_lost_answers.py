"""A store that is away for a moment, at any call, makes no step fail that runs a subgraph."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, CompiledStateGraph, MemoryCheckpointer, StateGraph
from orchestrator.cli.ledger import Verdict, judge
from orchestrator.client.calls import Calls
from orchestrator.engine.accept import RunConfig
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.maintenance.sweeper import Sweeper
from orchestrator.model.commit import ReadyStep
from orchestrator.step.access import Access
from orchestrator.testing.manual_clock import ManualClock
from workers.runtime import Runtime

CALLS_MAX = 100  # More than the whole run makes.
ROUNDS_MAX = 20
LOOK_AGAIN_S = 6.0  # Longer than a step waits for its subgraph until it looks for itself.
GRAPH = "outer"


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    inside: list[str]


class Inner(TypedDict, total=False):
    inside: Annotated[list[str], operator.add]


class AwayOnce(MemoryCheckpointer):
    """Away at one call: before it does anything, or after, so that its answer is lost."""

    def __init__(self, clock: ManualClock, call: int, fault: str) -> None:
        super().__init__(clock=clock)
        self.left, self.fault, self.struck = call, fault, False

    def _faulty(self, method: str, *args: Any, **options: Any) -> Any:
        self.left -= 1
        self.struck = self.struck or self.left == 0
        if self.left == 0 and self.fault == "before":
            raise CheckpointerUnavailableError("away")
        result = getattr(super(), method)(*args, **options)
        if self.left == 0:
            raise CheckpointerUnavailableError("away")
        return result

    def load(self, *args: Any, **options: Any) -> Any:
        return self._faulty("load", *args, **options)

    def commit(self, *args: Any, **options: Any) -> Any:
        return self._faulty("commit", *args, **options)

    def claim(self, *args: Any, **options: Any) -> Any:
        return self._faulty("claim", *args, **options)


def node(name: str, key: str = "log") -> Any:
    def run(_: Any) -> dict[str, list[str]]:
        return {key: [name]}

    return run


def inner() -> CompiledStateGraph:
    builder = StateGraph(Inner)
    builder.add_node("one", node("one", "inside"))
    builder.add_node("two", node("two", "inside"))
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    return builder.compile(name="inner")


def outer(kind: str) -> StateGraph:
    child = inner()

    def calling(_: State) -> dict[str, Any]:
        return {"inside": child.invoke({})["inside"]}

    builder = StateGraph(State)
    builder.add_node("before", node("before"))
    builder.add_node("inner", child if kind == "node" else calling)
    builder.add_node("after", node("after"))
    builder.add_edge(START, "before")
    builder.add_edge("before", "inner")
    builder.add_edge("inner", "after")
    return builder


def worked(graph: CompiledStateGraph, store: AwayOnce, clock: ManualClock) -> None:
    """Do a run as a worker of a fleet does."""
    messages: deque[ReadyStep] = deque()

    def send(steps: Sequence[ReadyStep]) -> None:
        messages.extend(steps)

    access = Access(store, "host:1:me", attempts_max=float("inf"), clock=clock)
    runtime = Runtime(access, {GRAPH: graph}, "queue", send, pushes=False)
    calls = Calls(store, graph.records, "queue", clock=clock)
    run = RunConfig(run_id="run", fingerprint=graph.spec.fingerprint)
    call, store.left = store.left, 0  # That of the caller is the caller's to repeat.
    send(calls.accept("t", GRAPH, {}, run)[1])
    store.left = call
    sweeper = Sweeper(store, send, "me")
    for _ in range(ROUNDS_MAX):
        while messages:
            step = messages.popleft()
            runtime.run(step.thread_id, step.step_id, 0)
        call, store.left = store.left, 0
        if store.load("t").head.status.final:
            break
        clock.sleep(LOOK_AGAIN_S)
        store.renew([access.owner], ttl_s=60)
        sweeper.once()
        store.left = call


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("kind", ["node", "called"])
def test_at_whatever_call_the_store_is_away_each_step_is_committed_once(
    kind: str, fault: str
) -> None:
    builder = outer(kind)
    for call in range(1, CALLS_MAX):
        clock = ManualClock()
        store = AwayOnce(clock, call, fault)
        graph = builder.compile(store, name=GRAPH)
        worked(graph, store, clock)
        wanted = {"log": ["before", "after"], "inside": ["one", "two"]}
        assert graph.get_state("t").values == wanted, f"away {fault} call {call}"
        events = store.events("t", limit=1000)
        assert judge(Verdict(), "t", events, status="succeeded") == []
        assert "step_failed" not in {event.type for event in events}
        if not store.struck:
            return  # The run made fewer calls.
    pytest.fail("the run never ended before the fault")
