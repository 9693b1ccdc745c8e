"""What a step's code finds around it: config, runtime, store, writer, in the forms of LangGraph."""

import asyncio
import contextlib
import contextvars
import dataclasses
import threading
from typing import Any, TypedDict

import pydantic
import pytest

from orchestrator import (
    START,
    InMemoryStore,
    MemoryCheckpointer,
    RetryPolicy,
    RunControl,
    Runtime,
    Send,
    StateGraph,
    entrypoint,
    get_config,
    get_runtime,
    get_store,
    get_stream_writer,
    task,
)
from orchestrator.dispatch.local import InProcess
from orchestrator.testing.manual_clock import ManualClock
from tests.fixtures.bench import State, boom


@dataclasses.dataclass
class Context:
    user: str
    level: int = 1


class Model(pydantic.BaseModel):
    user: str


class Plain(TypedDict):
    user: str


def compiled(node: Any, schema: Any = None, **options: Any) -> Any:
    builder = StateGraph(State, schema).add_node("work", node).add_edge(START, "work")
    return builder.compile(options.pop("checkpointer", MemoryCheckpointer()), **options)


def seen_by_node(config: Any = "t", **call: Any) -> dict[str, Any]:
    """Run a node that asks for all there is; return what it got."""
    got: dict[str, Any] = {}

    def node(state, config, ctx, previous, runtime, store, writer) -> None:
        got.update(config=config, ctx=ctx, previous=previous)
        got.update(runtime=runtime, store=store, writer=writer)

    compiled(node, Context, store=call.pop("store", None)).invoke({"log": ["in"]}, config, **call)
    return got


# ---- by parameter ---------------------------------------------------------------------------


def test_the_config_names_the_thread_and_the_checkpoint_beside_what_the_caller_gave() -> None:
    llm = object()
    config = {"configurable": {"thread_id": "t", "user": 7, "llm": llm}, "metadata": {"m": 1}}
    got = seen_by_node({**config, "tags": ["a"], "recursion_limit": 9})["config"]
    info = seen_by_node(config)["runtime"].execution_info
    configurable = dict(got["configurable"])
    assert len(configurable.pop("checkpoint_id")) == len(info.checkpoint_id)
    assert configurable.pop("checkpoint_ns").startswith("work:")
    assert configurable == {"thread_id": "t", "user": 7, "llm": llm}
    assert (got["tags"], got["recursion_limit"]) == (["a"], 9)


def test_the_metadata_says_which_step_it_is_as_in_langgraph() -> None:
    got = seen_by_node({"thread_id": "t", "metadata": {"m": 1}})["config"]["metadata"]
    assert got == {
        "m": 1,
        "thread_id": "t",
        "langgraph_step": 1,
        "langgraph_node": "work",
        "langgraph_triggers": ("branch:to:work",),
        "langgraph_path": ("__pregel_pull", "work"),
        "langgraph_checkpoint_ns": got["langgraph_checkpoint_ns"],
    }


def test_a_step_that_was_sent_something_says_so_in_its_path() -> None:
    paths: list[Any] = []

    def node(arg: Any, config: Any) -> None:
        paths.append(config["metadata"]["langgraph_path"])

    builder = StateGraph(State).add_node("work", node)
    builder.add_conditional_edges(START, lambda state: [Send("work", n) for n in range(2)])
    builder.compile().invoke({"log": []})
    assert sorted(paths) == [("__pregel_push", 0, False), ("__pregel_push", 1, False)]


def test_the_checkpoint_it_names_is_the_one_that_planned_the_step() -> None:
    at: list[Any] = []
    graph = compiled(lambda state: at.append(get_config()["configurable"]["checkpoint_id"]))
    graph.invoke({}, "t")
    snapshot = graph.get_state({"thread_id": "t", "checkpoint_id": at[0]})
    assert snapshot.next == ("work",)


def test_the_runtime_says_which_step_runs_and_how_often_it_was_tried() -> None:
    infos: list[Any] = []

    def node(state: State, runtime: Runtime[Any], ctx: Any) -> None:
        infos.append((runtime.execution_info, ctx))
        if len(infos) < 3:
            raise ConnectionError

    clock = ManualClock()
    builder = StateGraph(State).add_node("work", node, retry_policy=RetryPolicy(jitter=False))
    builder.add_edge(START, "work")
    store = MemoryCheckpointer(clock=clock)
    builder.compile(store, executor=InProcess(clock=clock)).invoke({"log": []}, "t")
    (first, ctx), *others = infos
    assert [info.node_attempt for info, _ in infos] == [1, 2, 3]
    assert {info.task_id for info, _ in infos} == {ctx.step_id}
    assert (first.thread_id, first.run_id) == ("t", ctx.run_id)
    assert first.checkpoint_ns == f"work:{ctx.step_id}"
    assert {info.node_first_attempt_time for info, _ in others} == {first.node_first_attempt_time}
    assert first.node_first_attempt_time > 1e9


def test_a_resumed_run_counts_the_attempts_of_a_step_anew() -> None:
    infos: list[Any] = []

    def node(state: State, runtime: Runtime[Any]) -> None:
        infos.append(runtime.execution_info)
        if len(infos) < 4:
            raise ConnectionError

    clock = ManualClock()
    policy = RetryPolicy(jitter=False, max_attempts=2)
    builder = StateGraph(State).add_node("work", node, retry_policy=policy)
    store = MemoryCheckpointer(clock=clock)
    graph = builder.add_edge(START, "work").compile(store, executor=InProcess(clock=clock))
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []}, "t")
    clock.sleep(60)
    graph.invoke(None, "t")
    assert [info.node_attempt for info in infos] == [1, 2, 1, 2]
    times = [info.node_first_attempt_time for info in infos]
    assert times[0] == times[1] < times[2] == times[3]


def test_a_task_knows_its_own_attempts() -> None:
    infos: list[Any] = []

    @task(retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    def work() -> None:
        infos.append(get_runtime().execution_info)
        if len(infos) < 3:
            raise ConnectionError

    @entrypoint()
    def flow(_: int) -> int:
        work().result()
        return get_runtime().execution_info.node_attempt

    assert flow.invoke(1) == 1
    assert [info.node_attempt for info in infos] == [1, 2, 3]
    assert len({info.node_first_attempt_time for info in infos}) == 1


@pytest.mark.parametrize(
    ("schema", "given", "context"),
    [
        (Context, {"user": "me"}, Context("me")),
        (Context, Context("me", 2), Context("me", 2)),
        (Model, {"user": "me"}, Model(user="me")),
        (Plain, {"user": "me"}, {"user": "me"}),
        (None, {"user": "me"}, {"user": "me"}),
        (None, "anything", "anything"),
        (Context, None, None),
    ],
    ids=str,
)
def test_the_context_comes_as_the_type_that_the_graph_names(
    schema: Any, given: Any, context: Any
) -> None:
    got: list[Any] = []

    def node(state: State, runtime: Runtime[Any]) -> None:
        got.append(runtime.context)

    compiled(node, schema).invoke({"log": []}, "t", context=given)
    assert got == [context]


@pytest.mark.parametrize(
    ("schema", "given", "error"),
    [
        (Context, {"user": "me", "age": 3}, TypeError),
        (Context, {}, TypeError),
        (Model, {"user": 3}, pydantic.ValidationError),
    ],
)
def test_a_context_that_does_not_fit_is_refused_before_anything_runs(
    schema: Any, given: Any, error: type[Exception]
) -> None:
    graph = compiled(lambda state: pytest.fail("ran"), schema)
    with pytest.raises(error):
        graph.invoke({"log": []}, "t", context=given)
    assert graph.get_state("t").values == {}


def test_store_and_control_are_the_ones_that_were_given() -> None:
    store, control = InMemoryStore(), RunControl()
    got = seen_by_node(store=store, control=control)
    assert got["store"] is got["runtime"].store is store
    assert got["runtime"].control is control
    assert not got["runtime"].drain_requested
    nothing = seen_by_node()
    assert (nothing["store"], nothing["runtime"].control, nothing["previous"]) == (None, None, None)


def test_what_a_functional_run_saved_comes_to_the_next_one_of_its_thread() -> None:
    @entrypoint(checkpointer=MemoryCheckpointer())
    def flow(given: int, *, previous: Any = None) -> Any:
        assert get_runtime().previous == previous
        return entrypoint.final(value=previous, save=given)

    assert [flow.invoke(n, "t") for n in (1, 2, 3)] == [None, 1, 2]
    assert flow.invoke(4, "another") is None


def test_what_is_kept_in_the_store_outlives_the_thread() -> None:
    def node(state: State, store: Any) -> State:
        found = store.get(("users",), "me")
        store.put(("users",), "me", {"runs": 1 + (found.value["runs"] if found else 0)})
        return {"log": [store.get(("users",), "me").value["runs"]]}

    graph = compiled(node, store=InMemoryStore())
    assert [graph.invoke({}, thread)["log"] for thread in "ab"] == [[1], [2]]


def test_the_writer_writes_to_the_stream_and_to_nobody_where_none_is_read() -> None:
    def node(state: State, writer: Any) -> None:
        writer({"progress": 1})
        get_stream_writer()("two")
        get_runtime().stream_writer("three")

    graph = compiled(node)
    shown = list(graph.stream({"log": []}, "t", stream_mode="custom"))
    assert shown == [{"progress": 1}, "two", "three"]
    assert graph.invoke({"log": []}, "t") == {"log": []}


def test_a_router_may_ask_for_the_same() -> None:
    def router(state: State, runtime: Runtime[Context], config: Any) -> str:
        assert config["configurable"]["thread_id"] == "t"
        return runtime.context.user

    builder = StateGraph(State, Context)
    for name in ("a", "b"):
        builder.add_node(name, lambda state, name=name: {"log": [name]})
    graph = builder.add_conditional_edges(START, router).compile(MemoryCheckpointer())
    assert graph.invoke({}, "t", context={"user": "b"}) == {"log": ["b"]}


# ---- from anywhere below a node -------------------------------------------------------------


def look() -> tuple[Any, Any]:
    return get_config()["configurable"]["thread_id"], get_runtime(Context).context


def test_code_below_a_node_finds_it_without_being_given_it() -> None:
    got: list[Any] = []
    store = InMemoryStore()
    graph = compiled(lambda state: got.append((look(), get_store())), Context, store=store)
    graph.invoke({"log": []}, "t", context={"user": "me"})
    assert got == [(("t", Context("me")), store)]


def test_coroutines_find_it_too() -> None:
    got: list[Any] = []

    async def below() -> Any:
        await asyncio.sleep(0)
        return look()

    async def node(state: State) -> None:
        got.extend(await asyncio.gather(below(), asyncio.create_task(below())))

    compiled(node, Context).invoke({"log": []}, "t", context={"user": "me"})
    assert got == [("t", Context("me"))] * 2


def test_a_thread_of_the_nodes_own_finds_it_with_the_nodes_context() -> None:
    got: list[Any] = []

    def node(state: State) -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: got.append(context.run(look)))
        thread.start()
        thread.join()

    compiled(node).invoke({"log": []}, "t")
    assert got == [("t", None)]


def test_steps_side_by_side_each_find_their_own() -> None:
    barrier, got = threading.Barrier(2, timeout=10), {}

    def node(name: str) -> Any:
        def run(state: State) -> None:
            barrier.wait()
            got[name] = get_config()["metadata"]["langgraph_node"]
            barrier.wait()

        return run

    builder = StateGraph(State)
    for name in ("a", "b"):
        builder.add_node(name, node(name)).add_edge(START, name)
    builder.compile().invoke({"log": []})
    assert got == {"a": "a", "b": "b"}


@pytest.mark.parametrize("act", [lambda: None, boom])
def test_after_a_step_nothing_is_left_of_it(act: Any) -> None:
    with contextlib.suppress(ValueError):
        compiled(lambda state: act()).invoke({"log": []}, "t")
    with pytest.raises(RuntimeError, match="works only inside a node"):
        get_config()
