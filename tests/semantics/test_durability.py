"""What `durability` promises where the process that calls runs the graph."""

from __future__ import annotations

import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import (
    END,
    START,
    Command,
    CompiledStateGraph,
    RetryPolicy,
    Send,
    StateGraph,
    StepContext,
    get_stream_writer,
    interrupt,
)
from orchestrator.errors import (
    EmptyInputError,
    GraphDrained,
    RunCancelledError,
    ThreadBusyError,
)
from orchestrator.graph.scope import RunControl
from tests.semantics import graphs
from tests.semantics.graphs import BoomError
from tests.semantics.places import WAIT_S, Place, apart

HERE = apart("memory", "sqlite", "redis")
EXIT: dict[str, Any] = {"durability": "exit"}

pytestmark = pytest.mark.parametrize("kind", HERE)


class State(TypedDict):
    log: Annotated[list[Any], operator.add]


def leaves(*items: Any) -> Callable[[State], State]:
    return lambda _: {"log": [*items]}


def built(place: Place, builder: StateGraph, **options: Any) -> CompiledStateGraph:
    return builder.compile(checkpointer=place.graph("plain").checkpointer, **options)


def row(**nodes: Callable[..., Any]) -> StateGraph:
    builder = StateGraph(State)
    before = START
    for name, action in nodes.items():
        builder.add_node(name, action).add_edge(before, name)
        before = name
    return builder


def asks(_: State) -> State:
    return {"log": [interrupt("what?")]}


def steps(graph: CompiledStateGraph, thread: str, ns: str = "") -> list[tuple[int, Any]]:
    """Return the number of each checkpoint and what came next, newest first."""
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ns}}
    return [(s.metadata["step"], s.next) for s in graph.get_state_history(config)]


def is_chained(graph: CompiledStateGraph, thread: str) -> bool:
    """Return whether each checkpoint's parent is the one stored before it."""
    history = list(graph.get_state_history(thread))
    parents = [snapshot.parent_config for snapshot in history]
    return parents == [*(snapshot.config for snapshot in history[1:]), None]


# ---- what is stored -----------------------------------------------------------------------


def test_exit_stores_one_checkpoint_for_each_call(place: Place) -> None:
    graph = built(place, row(a=leaves("a"), b=leaves("b"), c=leaves("c")))
    for call in (1, 2):
        output = graph.invoke({"log": [call]}, place.thread, **EXIT)
        assert output == graph.get_state(place.thread).values
    assert output == {"log": [1, "a", "b", "c", 2, "a", "b", "c"]}
    assert steps(graph, place.thread) == [(8, ()), (3, ())]
    assert is_chained(graph, place.thread)


def test_what_exit_stores_goes_on_as_after_sync(place: Place) -> None:
    runs = {}
    for durability in ("sync", "exit"):
        thread = place.another()
        graph = built(place, row(a=leaves("a"), ask=asks, b=leaves("b"), late=asks))
        graph.invoke({"log": [0]}, thread, durability=durability)
        first = graph.get_state(thread)
        graph.invoke(Command(resume="one"), thread, durability=durability)
        second = graph.get_state(thread)
        output = graph.invoke(Command(resume="two"), thread)
        runs[durability] = (
            [(s.values, s.next, [t.interrupts[0].value for t in s.tasks]) for s in (first, second)],
            output,
        )
        newest = steps(graph, thread)[0]
        assert newest == (4, ())
    assert runs["exit"] == runs["sync"]


def test_exit_keeps_the_work_of_completed_siblings(place: Place) -> None:
    graph = place.graph("siblings")
    with place.failing(graphs.BoomError):
        place.call(graph, {}, **EXIT)
    assert steps(graph, place.thread) == [(0, ("side", "work"))]
    state = graph.get_state(place.thread)
    assert (state.next, state.values["log"]) == (("work",), ["side"])
    assert [task.error is not None for task in state.tasks] == [False, True]
    place.call(graph, None, **EXIT)
    assert sorted(place.ran()) == ["end", "side", "work", "work"]  # No sibling twice. (INV-4)
    assert is_chained(graph, place.thread)


def test_exit_stores_retries_answers_notes_and_sends(place: Place) -> None:
    tries: list[int] = []
    charged: list[int] = []

    def flaky(state: dict[str, Any], ctx: StepContext) -> State:
        ctx.once(f"charge {state['n']}", lambda: charged.append(state["n"]))
        tries.append(state["n"])
        if tries.count(state["n"]) < 2:
            raise ConnectionError(state["n"])
        return {"log": [(state["n"], interrupt(f"{state['n']}?"))]}

    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.05, jitter=False)
    builder.add_node("part", flaky, retry_policy=policy)
    builder.add_conditional_edges(START, lambda _: [Send("part", {"n": n}) for n in range(3)])
    graph = built(place, builder)
    asked = graph.invoke({"log": []}, place.thread, **EXIT)["__interrupt__"]
    assert [one.value for one in asked] == ["0?", "1?", "2?"]
    ids = [one.id for one in graph.get_state(place.thread).interrupts]
    assert ids == [one.id for one in asked]
    left = graph.invoke(Command(resume={ids[1]: "b"}), place.thread, **EXIT)["__interrupt__"]
    assert [one.id for one in left] == [ids[0], ids[2]]
    output = graph.invoke(Command(resume={ids[0]: "a", ids[2]: "c"}), place.thread, **EXIT)
    assert output == {"log": [(0, "a"), (1, "b"), (2, "c")]}
    assert sorted(charged) == [0, 1, 2]
    assert steps(graph, place.thread)[-1] == (0, ("part",) * 3)
    assert is_chained(graph, place.thread)


def test_a_long_list_is_stored_whole(place: Place) -> None:
    def more(state: State) -> State:
        return {"log": [f"{len(state['log'])} {'x' * 200}"]}

    builder = StateGraph(State).add_node("more", more).add_edge(START, "more")
    builder.add_conditional_edges("more", lambda s: END if len(s["log"]) % 150 == 0 else "more")
    graph = built(place, builder)
    config = {"thread_id": place.thread, "recursion_limit": 200}
    for size in (150, 300):
        output = graph.invoke({"log": []}, config, **EXIT)
        assert len(output["log"]) == size
        assert graph.get_state(place.thread).values == output
    assert len(steps(graph, place.thread)) == 2


def test_history_keeps_what_was_asked_and_how_it_failed(place: Place) -> None:
    tries: list[int] = []

    def asks_and_fails(_: State) -> State:
        answer = interrupt("what?")
        tries.append(1)
        if len(tries) == 1:
            raise BoomError(answer)
        return {"log": [answer]}

    graph = built(place, row(work=asks_and_fails, after=leaves("after")))
    graph.invoke({"log": []}, place.thread, **EXIT)
    asked = graph.get_state(place.thread)
    with pytest.raises(BoomError):
        graph.invoke(Command(resume="so"), place.thread, **EXIT)
    assert graph.invoke(None, place.thread, **EXIT) == {"log": ["so", "after"]}
    (work,) = list(graph.get_state_history(place.thread))[1].tasks
    assert work.interrupts == asked.tasks[0].interrupts
    assert work.error is not None
    assert graph.invoke(Command(resume="else"), asked.config, **EXIT) == {"log": ["else", "after"]}


# ---- subgraphs ----------------------------------------------------------------------------


def test_exit_is_inherited_by_subgraphs(place: Place) -> None:
    inner = row(x=leaves("x"), y=leaves("y"))
    asking = row(before=leaves("before"), ask=asks)
    outer = row(done=inner.compile(), open=asking.compile(), end=leaves("end"))
    graph = built(place, outer)
    graph.invoke({"log": []}, place.thread, **EXIT)
    assert [name for name, _ in graph.checkpointer.threads()].count(place.thread) == 1
    (task,) = graph.get_state(place.thread, subgraphs=True).tasks
    assert task.state.next == ("ask",)
    ns = task.state.config["configurable"]["checkpoint_ns"]
    assert steps(graph, place.thread, ns) == [(1, ("ask",))]
    assert steps(graph, place.thread) == [(1, ("open",))]
    output = graph.invoke(Command(resume="answer"), place.thread, **EXIT)
    assert output["log"][-2:] == ["answer", "end"]
    assert steps(graph, place.thread) == [(3, ()), (1, ("open",))]


def test_a_subgraph_that_succeeded_in_a_step_that_is_open_does_not_run_again(place: Place) -> None:
    ran: list[str] = []
    quick = row(quick=lambda _: ran.append("quick") or {"log": ["quick"]}).compile()
    asking = row(ask=asks).compile()

    def both(state: State) -> State:
        return {"log": [quick.invoke({"log": []})["log"], asking.invoke({"log": []})["log"]]}

    graph = built(place, row(both=both))
    graph.invoke({"log": []}, place.thread, **EXIT)
    output = graph.invoke(Command(resume="answer"), place.thread, **EXIT)
    assert output == {"log": [["quick"], ["answer"]]}
    assert ran == ["quick"]


def test_a_subgraph_with_memory_is_stored(place: Place) -> None:
    counting = row(count=lambda s: {"log": [len(s["log"])]}).compile(checkpointer=True)
    graph = built(place, row(sub=counting))
    for _ in range(3):
        graph.invoke({"log": []}, place.thread, **EXIT)
    assert [step for step, _ in steps(graph, place.thread, "sub")] == [7, 4, 1]


# ---- the other ways to end ------------------------------------------------------------------


def test_a_run_that_is_drained_is_stored(place: Place) -> None:
    control = RunControl()

    def drains(_: State) -> State:
        control.request_drain("shutdown")
        return {"log": ["drains"]}

    graph = built(place, row(drains=drains, after=leaves("after")))
    with pytest.raises(GraphDrained, match="shutdown"):
        graph.invoke({"log": []}, place.thread, control=control, **EXIT)
    assert steps(graph, place.thread) == [(1, ("after",))]
    assert graph.invoke(None, place.thread, **EXIT) == {"log": ["drains", "after"]}


def test_a_reader_that_leaves_has_what_was_done_stored(place: Place) -> None:
    graph = built(place, row(a=leaves("a"), b=leaves("b"), c=leaves("c")))
    stream = graph.stream({"log": []}, place.thread, stream_mode="updates", **EXIT)
    assert next(stream) == {"a": {"log": ["a"]}}
    stream.close()
    assert steps(graph, place.thread) == [(1, ("b",))]
    assert graph.invoke(None, place.thread, **EXIT) == {"log": ["a", "b", "c"]}


def test_a_stream_shows_everything(place: Place) -> None:
    def writes(_: State) -> State:
        get_stream_writer()("custom")
        return {"log": ["writes"]}

    graph = built(place, row(writes=writes, after=leaves("after")))
    modes = ["updates", "custom", "values", "tasks", "checkpoints"]
    seen = {}
    for durability in ("sync", "exit"):
        parts = graph.stream(
            {"log": [0]}, place.another(), stream_mode=modes, durability=durability
        )
        seen[durability] = [mode for mode, _ in parts]
    assert seen["exit"] == seen["sync"]


def test_a_checkpoint_in_a_stream_is_named_as_it_is_stored(place: Place) -> None:
    graph = built(place, row(a=leaves("a"), ask=asks, b=leaves("b")))
    for value in ({"log": []}, Command(resume="answer")):
        *_, last = graph.stream(value, place.thread, stream_mode="checkpoints", **EXIT)
        stored = graph.get_state(place.thread)
        assert last["config"] == stored.config
        assert last["parent_config"] == stored.parent_config


def test_calls_that_are_refused_leave_the_thread_free(place: Place) -> None:
    graph = built(place, row(a=leaves("a")))
    with pytest.raises(EmptyInputError):
        graph.invoke(None, place.thread, **EXIT)
    assert graph.get_state(place.thread).config == {"configurable": {"thread_id": place.thread}}
    assert graph.invoke({"log": []}, place.thread) == {"log": ["a"]}
    before = graph.get_state(place.thread)
    assert graph.invoke(None, place.thread, **EXIT) == {"log": ["a"]}
    assert graph.get_state(place.thread) == before
    assert graph.invoke({"log": []}, place.thread) == {"log": ["a", "a"]}


# ---- time travel -----------------------------------------------------------------------------


def test_a_branch_is_one_checkpoint_below_the_one_it_leaves(place: Place) -> None:
    graph = built(place, row(a=leaves("a"), b=leaves("b"), c=leaves("c")))
    graph.invoke({"log": []}, place.thread)
    earlier = next(s for s in graph.get_state_history(place.thread) if s.next == ("b",))
    length = len(steps(graph, place.thread))
    assert graph.invoke(None, earlier.config, **EXIT) == {"log": ["a", "b", "c"]}
    assert len(steps(graph, place.thread)) == length + 1
    assert graph.get_state(place.thread).parent_config == earlier.config


def test_a_command_at_an_earlier_checkpoint_is_one_checkpoint_too(place: Place) -> None:
    graph = built(place, row(a=leaves("a"), b=leaves("b"), c=leaves("c")))
    graph.invoke({"log": []}, place.thread)
    earlier = next(s for s in graph.get_state_history(place.thread) if s.next == ("b",))
    length = len(steps(graph, place.thread))
    output = graph.invoke(Command(update={"log": ["new"]}), earlier.config, **EXIT)
    assert output == {"log": ["a", "new", "b", "c"]}
    assert len(steps(graph, place.thread)) == length + 1
    assert graph.get_state(place.thread).parent_config == earlier.config


def test_a_branch_from_a_checkpoint_with_sends_runs_them(place: Place) -> None:
    builder = StateGraph(State).add_node("part", lambda n: {"log": [n]})
    builder.add_node("end", leaves("end")).add_edge("part", "end")
    builder.add_conditional_edges(START, lambda _: [Send("part", n) for n in range(3)], ["part"])
    graph = built(place, builder)
    graph.invoke({"log": []}, place.thread)
    earlier = next(s for s in graph.get_state_history(place.thread) if s.next == ("part",) * 3)
    assert graph.invoke(None, earlier.config, **EXIT) == {"log": [0, 1, 2, "end"]}


# ---- others on the thread ---------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1])
def test_a_second_call_is_refused_while_the_first_runs(place: Place, before: int) -> None:
    graph, other = place.graph("waits"), place.graph("waits")
    for _ in range(before):
        place.open("work")
        place.call(graph, {})
        graphs.gate_of(place.witness, "work").unlink()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(place.call, graph, {}, **EXIT)
        place.wait_ran("work", before + 1)
        for options in ({}, EXIT):
            with pytest.raises(ThreadBusyError, match="durability='exit'"):
                place.call(other, {}, **options)
        with pytest.raises(ThreadBusyError):
            other.update_state(place.thread, {"log": ["edit"]}, as_node="work")
        assert len(steps(other, place.thread)) == 4 * before
        place.open("work")
        assert running.result(WAIT_S)["log"] == ["work", "after"] * (before + 1)
    assert place.call(other, {})["log"] == ["work", "after"] * (before + 2)


def test_an_answer_is_refused_while_another_is_used(place: Place) -> None:
    graph, other = place.graph("asks"), place.graph("asks")
    place.call(graph, {}, **EXIT)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(place.call, graph, Command(resume="first"), **EXIT)
        place.wait_ran("work", 2)
        with pytest.raises(ThreadBusyError):
            place.call(other, Command(resume="second"))
        place.open("work")
        assert running.result(WAIT_S)["log"] == ["work", "first", "work"]


def test_a_call_can_wait_for_one_that_stores_at_its_end(place: Place) -> None:
    graph, other = place.graph("waits"), place.graph("waits")
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(place.call, graph, {}, **EXIT)
        place.wait_ran("work")
        second = pool.submit(place.call, other, {}, multitask_strategy="enqueue")
        with pytest.raises(TimeoutError):
            second.result(0.3)
        place.open("work")
        assert running.result(WAIT_S)["log"] == ["work", "after"]
        assert second.result(WAIT_S)["log"] == ["work", "after"] * 2


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_a_call_that_was_stopped_stores_nothing(place: Place, strategy: Any) -> None:
    graph, other = place.graph("overtaken"), place.graph("overtaken")
    place.open("end")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(place.call, graph, {}, **EXIT)
        place.wait_ran("work")
        second = place.call(other, {}, multitask_strategy=strategy)
        assert second["log"] == ["work", "end"]
        place.open("work")
        with pytest.raises(RunCancelledError):
            running.result(WAIT_S)
    assert place.values(graph)["log"] == ["work", "end"]
