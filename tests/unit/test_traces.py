"""What traces show of a run: names, inputs, outputs, tags, metadata; as in LangGraph."""

from __future__ import annotations

import asyncio
import logging
import operator
import subprocess
import sys
import textwrap
from typing import Annotated, Any, TypedDict

import langgraph.graph
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import BaseTracer
from langgraph.checkpoint.memory import InMemorySaver as LangGraphSaver

from orchestrator import (
    END,
    START,
    Command,
    GraphCallbackHandler,
    GraphRecursionError,
    MemoryCheckpointer,
    OptionError,
    Send,
    StateGraph,
    entrypoint,
    interrupt,
    task,
)


class State(TypedDict):
    x: Annotated[list, operator.add]


class Traces(BaseTracer):
    """Keeps the trees of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.roots.append(run)

    def tree(self, run: Any = None) -> Any:
        """Return names, as a tree."""
        run = run or self.roots[-1]
        below = [self.tree(each) for each in run.child_runs]
        return (run.name, *below) if below else run.name

    def all(self) -> list[Any]:
        """Return all runs, each before those below it."""
        found, todo = [], list(self.roots)
        while todo:
            run = todo.pop(0)
            found.append(run)
            todo = [*run.child_runs, *todo]
        return found

    def tags(self, name: str) -> set[str]:
        """Return what a caller tagged a run with."""
        run = next(run for run in self.all() if run.name == name)
        return {tag for tag in run.tags if ":" not in tag}

    def metadata(self, name: str) -> dict[str, Any]:
        """Return the metadata of a run."""
        run = next(run for run in self.all() if run.name == name)
        return {k: v for k, v in run.extra["metadata"].items() if not k.startswith("langgraph_")}


def one(node: str, **compiled: Any) -> Any:
    builder = StateGraph(State).add_node(node, lambda state: {"x": [node]})
    return builder.add_edge(START, node).compile(**compiled)


def traced(graph: Any, value: Any = None, **config: Any) -> Traces:
    traces = Traces()
    graph.invoke({"x": []} if value is None else value, {"callbacks": [traces], **config})
    return traces


# ---- names --------------------------------------------------------------------------------------


def test_a_graph_has_the_name_that_was_given_or_that_of_the_library():
    assert traced(one("a")).tree() == ("LangGraph", "a")
    assert traced(one("a", name="mine")).tree() == ("mine", "a")
    assert traced(one("a", name="mine"), run_name="now").tree() == ("now", "a")


def test_the_step_that_takes_the_input_is_shown_only_where_it_decides():
    builder = StateGraph(State).add_node("a", lambda state: {"x": [1]})
    builder.add_conditional_edges(START, lambda state: "a", ["a"])
    assert traced(builder.compile()).tree() == (
        "LangGraph",
        ("__start__", "RunnableCallable"),
        "a",
    )
    hidden = [run for run in traced(builder.compile()).all() if "langsmith:hidden" in run.tags]
    assert [run.name for run in hidden] == ["__start__", "RunnableCallable"]


def test_a_router_is_a_part_of_its_node_and_what_it_calls_a_part_of_the_router():
    def route(state):
        return RunnableLambda(lambda _: END, name="thinks").invoke(state)

    builder = StateGraph(State).add_node("a", lambda state: {"x": [1]})
    builder.add_edge(START, "a").add_conditional_edges("a", route, [END])
    traces = traced(builder.compile())
    assert traces.tree() == ("LangGraph", ("a", ("route", "thinks")))
    run = next(run for run in traces.all() if run.name == "route")
    assert (run.inputs, run.outputs) == ({"x": [1]}, {"output": END})


def test_a_router_that_fails_is_seen_to_fail():
    def route(state):
        raise ValueError("lost")

    builder = StateGraph(State).add_node("a", lambda state: {"x": [1]})
    builder.add_edge(START, "a").add_conditional_edges("a", route, [END])
    traces = Traces()
    with pytest.raises(ValueError, match="lost"):
        builder.compile().invoke({"x": []}, {"callbacks": [traces]})
    assert all("lost" in run.error for run in traces.all())


def test_a_task_shows_its_arguments_by_name():
    @task
    def plus(n, m=1):
        return n + m

    @entrypoint()
    def flow(n):
        return plus(n).result() + plus(1, m=2).result()

    traces = traced(flow, 1)
    assert traces.tree() == ("LangGraph", ("flow", "plus", "plus"))
    found = [run.inputs for run in traces.all() if run.name == "plus"]
    assert found == [{"n": 1, "m": 1}, {"n": 1, "m": 2}]


def test_a_task_whose_arguments_do_not_fit_shows_them_as_they_are():
    @task
    def plus(n):
        return n

    @entrypoint()
    def flow(n):
        return plus(n, n, more=n).result()

    traces = Traces()
    with pytest.raises(TypeError):
        flow.invoke(1, {"callbacks": [traces]})
    found = [run.inputs for run in traces.all() if run.name == "plus"]
    assert found == [{"args": (1, 1), "kwargs": {"more": 1}}]


def test_questions_are_no_output():
    builder = StateGraph(State).add_node("ask", lambda state: {"x": [interrupt("q?")]})
    graph = builder.add_edge(START, "ask").compile(MemoryCheckpointer())
    for call in (
        lambda config: graph.invoke({"x": []}, config),
        lambda config: graph.invoke({"x": []}, config, version="v2"),
        lambda config: list(graph.stream({"x": []}, config)),
    ):
        traces = Traces()
        call({"thread_id": f"t{call}", "callbacks": [traces]})
        assert traces.roots[-1].outputs == {"x": []}


# ---- graphs inside graphs -----------------------------------------------------------------------


def test_a_graph_in_a_graph_is_a_run_of_its_own():
    builder = StateGraph(State).add_node("sub", one("a")).add_node("named", one("b", name="deep"))
    graph = builder.add_edge(START, "sub").add_edge("sub", "named").compile()
    assert traced(graph).tree() == (
        "LangGraph",
        ("sub", ("LangGraph", "a")),
        ("named", ("deep", "b")),
    )


def test_code_that_calls_a_graph_may_say_how_it_is_traced():
    own, inner = Traces(), one("a")
    given = {"tags": ["inner"], "metadata": {"k": 1}, "run_name": "now", "callbacks": [own]}

    def call(state, config):
        return inner.invoke(state, given)

    graph = StateGraph(State).add_node("call", call).add_edge(START, "call").compile()
    traces = traced(graph, tags=["outer"], metadata={"m": 2})
    assert traces.tree() == ("LangGraph", ("call", ("now", "a")))
    assert own.tree() == ("now", "a")
    for name in ("now", "a"):
        assert traces.tags(name) == {"inner", "outer"}
        assert {"k": 1, "m": 2}.items() <= traces.metadata(name).items()
    assert traces.tags("call") == {"outer"}
    assert "k" not in traces.metadata("call")


def test_nodes_of_a_graph_that_code_calls_find_what_the_code_said_in_their_config():
    seen: list[Any] = []

    def look(state, config):
        seen.append((config["tags"], config["metadata"]["k"], config["configurable"]["who"]))

    inner = StateGraph(State).add_node("look", look).add_edge(START, "look").compile()

    def call(state):
        inner.invoke(state, {"tags": ["t"], "metadata": {"k": 1}, "configurable": {"who": "me"}})

    graph = StateGraph(State).add_node("call", call).add_edge(START, "call").compile()
    graph.invoke({"x": []})
    assert seen == [(["t"], 1, "me")]


# ---- what a graph is bound to -------------------------------------------------------------------


def test_a_call_adds_to_the_tags_callbacks_and_metadata_that_the_graph_is_bound_to():
    bound, called = Traces(), Traces()
    graph = one("a").with_config({"callbacks": [bound], "tags": ["b"], "metadata": {"b": 1}})
    graph = graph.with_config(tags=["also"], metadata={"also": 2})
    graph.invoke({"x": []}, {"callbacks": [called], "tags": ["c"], "metadata": {"c": 3}})
    for traces in (bound, called):
        assert traces.tags("a") == {"b", "also", "c"}
        assert {"b": 1, "also": 2, "c": 3}.items() <= traces.metadata("a").items()


def test_a_config_of_nothing_takes_nothing_from_a_graph_that_is_bound():
    bound = Traces()
    graph = one("a").with_config(callbacks=[bound], run_name="mine")
    graph.invoke({"x": []}, {"callbacks": None, "tags": None, "run_name": None})
    assert bound.tree() == ("mine", "a")


def test_managers_and_lists_of_handlers_are_joined():
    from langchain_core.callbacks import CallbackManager

    first, second = Traces(), Traces()
    manager = CallbackManager([first], inheritable_handlers=[first])
    for given, bound in ((manager, [second]), ([second], manager)):
        one("a").with_config(callbacks=bound).invoke({"x": []}, {"callbacks": given})
    assert first.tree() == second.tree() == ("LangGraph", "a")
    assert len(first.roots) == len(second.roots) == 2


def test_handlers_around_hear_of_a_graph_that_has_handlers_of_its_own():
    around, own = Traces(), Traces()
    outer = RunnableLambda(lambda value: one("a").invoke(value, {"callbacks": [own]}), name="outer")
    outer.invoke({"x": []}, {"callbacks": [around]})
    assert around.tree() == ("outer", ("LangGraph", "a"))
    assert own.tree() == ("LangGraph", "a")


# ---- metadata -----------------------------------------------------------------------------------


def test_metadata_names_what_the_caller_named():
    assert "thread_id" not in traced(one("a")).metadata("a")
    config = {"thread_id": "t", "run_id": "r", "assistant_id": "s", "other": "o"}
    found = traced(one("a"), configurable=config).metadata("a")
    assert found == {
        **{key: config[key] for key in ("thread_id", "run_id", "assistant_id")},
        "ls_integration": "langgraph",
    }


def test_a_config_names_no_thread_that_nobody_named():
    seen: list[Any] = []

    def look(state, config):
        seen.append(config["metadata"].get("thread_id"))

    graph = StateGraph(State).add_node("look", look).add_edge(START, "look").compile()
    graph.invoke({"x": []})
    graph.invoke({"x": []}, {"thread_id": "mine"})
    assert seen == [None, "mine"]


def test_another_integration_keeps_its_name():
    traces = traced(one("a"), metadata={"ls_integration": "mine"})
    assert traces.metadata("a")["ls_integration"] == "mine"


# ---- who is heard -------------------------------------------------------------------------------

_ALONE = """
    import sys
    import orchestrator
    from orchestrator import StateGraph, START
    from typing import TypedDict

    assert not any(name.startswith("langchain") for name in sys.modules), "not light"

    class S(TypedDict):
        x: int

    graph = StateGraph(S).add_node("a", lambda state: {"x": 1}).add_edge(START, "a").compile()
    graph.invoke({"x": 0})
    assert not any(name.startswith("langchain") for name in sys.modules), "not light"
"""
_WAYS = {
    "a handler": """
        from langchain_core.callbacks import BaseCallbackHandler

        class Heard(BaseCallbackHandler):
            def on_chain_start(self, *args, **more):
                print(more["name"])

        graph.invoke({"x": 0}, {"callbacks": [Heard()]})
    """,
    "a handler of pauses": """
        from orchestrator import GraphCallbackHandler

        class Heard(GraphCallbackHandler):
            def on_chain_start(self, *args, **more):
                print(more["name"])

        graph.invoke({"x": 0}, {"callbacks": [Heard()]})
    """,
    "a context": """
        from langchain_core.tracers.context import collect_runs

        with collect_runs() as runs:
            graph.invoke({"x": 0})
        print(runs.traced_runs[0].name)
        print(runs.traced_runs[0].child_runs[0].name)
    """,
}


@pytest.mark.parametrize("way", _WAYS)
def test_a_handler_is_heard_whatever_else_the_program_imports(way):
    code = textwrap.dedent(_ALONE) + textwrap.dedent(_WAYS[way])
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["LangGraph", "a"], ran.stderr


def test_a_program_that_asks_for_traces_by_its_environment_gets_them():
    code = textwrap.dedent(_ALONE) + textwrap.dedent("""
        import os

        os.environ["LANGSMITH_TRACING"] = "true"
        graph.invoke({"x": 0})
        assert "langchain_core.callbacks.manager" in sys.modules
        os._exit(0)  # Without waiting for what sends traces.
    """)
    env = {"LANGSMITH_ENDPOINT": "http://127.0.0.1:9", "LANGSMITH_API_KEY": "none"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env
    )
    assert ran.returncode == 0, ran.stderr


# ---- handlers that fail -------------------------------------------------------------------------


class Breaks(GraphCallbackHandler):
    def on_interrupt(self, event):
        raise ValueError("a broken metric")

    def on_resume(self, event):
        raise ValueError("a broken metric")


class Counts(GraphCallbackHandler):
    def __init__(self):
        self.heard = []

    async def on_interrupt(self, event):
        await asyncio.sleep(0)
        self.heard.append(("paused", event.run_id))

    async def on_resume(self, event):
        self.heard.append(("resumed", event.run_id))


def asking() -> Any:
    builder = StateGraph(State).add_node("ask", lambda state: {"x": [interrupt("q?")]})
    return builder.add_edge(START, "ask").compile(MemoryCheckpointer())


@pytest.mark.parametrize("streams", [False, True])
def test_an_error_in_a_handler_of_pauses_is_logged_and_the_run_continues(streams, caplog):
    graph, counts = asking(), Counts()
    config = {"thread_id": "t", "callbacks": [Breaks(), counts]}
    with caplog.at_level(logging.WARNING):
        for value in ({"x": []}, Command(resume="yes")):
            list(graph.stream(value, config)) if streams else graph.invoke(value, config)
    assert [record.exc_info[1].args for record in caplog.records] == [("a broken metric",)] * 2
    assert "Breaks.on_interrupt" in caplog.messages[0]
    assert graph.get_state("t").values == {"x": ["yes"]}
    assert [what for what, _ in counts.heard] == ["paused", "resumed"]


def test_a_handler_may_insist_that_its_errors_end_the_call():
    breaks = Breaks()
    breaks.raise_error = True
    graph = asking()
    with pytest.raises(ValueError, match="a broken metric"):
        graph.invoke({"x": []}, {"thread_id": "t", "callbacks": [breaks]})
    assert graph.get_state("t").interrupts


def test_coroutines_of_handlers_are_awaited_in_the_callers_loop():
    counts, graph = Counts(), asking()

    async def main():
        await graph.ainvoke({"x": []}, {"thread_id": "t", "callbacks": [counts]})

    asyncio.run(main())
    assert [what for what, _ in counts.heard] == ["paused"]


def test_handlers_of_pauses_learn_the_id_under_which_the_run_is_traced():
    counts, traces = Counts(), Traces()
    asking().invoke({"x": []}, {"thread_id": "t", "callbacks": [counts, traces]})
    assert counts.heard == [("paused", traces.roots[0].id)]


def test_a_handler_of_pauses_is_a_handler_of_langchain():
    assert issubclass(GraphCallbackHandler, BaseCallbackHandler)
    assert GraphCallbackHandler().on_interrupt(None) is GraphCallbackHandler().on_resume(None)


def test_steps_side_by_side_are_traced_each_under_the_graph():
    builder = StateGraph(State).add_node("a", lambda state: {"x": [1]})
    builder.add_conditional_edges(START, lambda state: [Send("a", state)] * 3)
    traces = traced(builder.compile())
    names = [run.name for run in traces.roots[0].child_runs]
    assert names == ["__start__", "a", "a", "a"]


# ---- events of langchain ------------------------------------------------------------------------


def events(graph: Any, value: Any = None, config: Any = None, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        value_ = {"x": []} if value is None else value
        return [event async for event in graph.astream_events(value_, config, **options)]

    return asyncio.run(main())


def test_events_tell_what_handlers_hear_in_the_form_of_langchain():
    found = events(one("a", name="mine"), stream_mode="updates")
    assert [(event["event"], event["name"]) for event in found] == [
        ("on_chain_start", "mine"),
        ("on_chain_start", "a"),
        ("on_chain_stream", "a"),
        ("on_chain_end", "a"),
        ("on_chain_stream", "mine"),
        ("on_chain_end", "mine"),
    ]
    assert found[2]["data"] == {"chunk": {"x": ["a"]}}
    assert found[4]["data"] == {"chunk": {"a": {"x": ["a"]}}}
    assert found[5]["data"] == {"output": {"x": ["a"]}}


def test_events_are_chosen_and_handlers_of_the_graph_hear_of_the_same_run():
    bound = Traces()
    graph = one("a").with_config(callbacks=[bound])
    found = events(graph, include_names=["a"], version="v2")
    assert {event["name"] for event in found} == {"a"}
    assert bound.tree() == ("LangGraph", "a")
    with pytest.warns(DeprecationWarning, match="v1"):
        assert events(graph, include_names=["a"], version="v1")


def test_a_run_that_is_read_by_its_events_may_take_as_many_steps_as_any():
    builder = StateGraph(State).add_node("a", lambda state: {"x": [1]}).add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: "a" if len(state["x"]) < 40 else END)
    graph = builder.compile()
    assert len(events(graph)[-1]["data"]["output"]["x"]) == 40
    with pytest.raises(GraphRecursionError):
        events(graph, config={"recursion_limit": 5})


def test_a_thread_is_named_for_its_events_as_for_other_calls():
    graph = asking()
    for config in ("t", {"configurable": {"thread_id": "u"}}):
        assert events(graph, config=config)[-1]["data"] == {"output": {"x": []}}
    assert graph.get_state("t").interrupts
    assert graph.get_state("u").interrupts


def test_other_versions_of_events_are_refused():
    with pytest.raises(OptionError, match="v1"):
        events(one("a"), version="v3")


# ---- LangSmith ----------------------------------------------------------------------------------


def test_what_langsmith_traces_in_a_node_is_below_the_node():
    from langchain_core.tracers import LangChainTracer
    from langsmith import Client
    from langsmith.run_helpers import get_current_run_tree, tracing_context

    class Unsent(LangChainTracer):
        def _persist_run_single(self, run):
            """Send nothing."""

        def _update_run_single(self, run):
            """Send nothing."""

    seen: list[Any] = []

    def look(state):
        seen.append(get_current_run_tree())

    graph = StateGraph(State).add_node("look", look).add_edge(START, "look").compile()
    client = Client("http://127.0.0.1:9", api_key="none", auto_batch_tracing=False)
    with tracing_context(enabled=True):
        graph.invoke({"x": []}, {"callbacks": [Unsent(client=client)]})
    assert (seen[0].name, seen[0].parent_run_id == seen[0].trace_id) == ("look", True)


def test_the_first_call_imports_no_part_of_langchain_that_takes_long() -> None:
    program = """
import asyncio, sys
from langchain_core.callbacks.base import BaseCallbackHandler
from orchestrator import START, MessagesState, StateGraph

graph = StateGraph(MessagesState).add_node("a", lambda _: {}).add_edge(START, "a").compile()
before = set(sys.modules)
asyncio.run(graph.ainvoke({"messages": []}, {"callbacks": [BaseCallbackHandler()]}))
print(sorted(name for name in set(sys.modules) - before if name.startswith("langchain_core")))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "manager" not in ran.stdout
    assert "tracers" not in ran.stdout


def test_the_ids_of_a_call_are_in_the_metadata_that_langgraph_puts_them_in():
    ids = {name: name[0] for name in ("run_id", "assistant_id", "graph_id", "task_id", "model")}

    def seen(kind: Any, saver: Any) -> list[Any]:
        inner = kind(State).add_node("in", lambda state: None).add_edge(START, "in").compile()
        builder = kind(State).add_node("a", lambda state: None).add_node("sub", inner)
        graph = builder.add_edge(START, "a").add_edge("a", "sub").compile(checkpointer=saver)
        config = {"configurable": {"thread_id": "t", **ids}}
        graph.invoke({"x": []}, {**config, "callbacks": [first := Traces()]})
        earlier = list(graph.get_state_history(config))[2].config
        assert earlier["configurable"]["checkpoint_id"]
        graph.invoke(None, {**earlier, "callbacks": [second := Traces()]})
        steps = [run for traces in (first, second) for run in traces.all()]
        return [
            (
                run.name,
                {k: v for k, v in run.metadata.items() if k in {*ids, "thread_id"}},
                {k for k in run.metadata if k.endswith(("_id", "_ns"))},
            )
            for run in steps
        ]

    ours = seen(StateGraph, MemoryCheckpointer())
    assert ours == seen(langgraph.graph.StateGraph, LangGraphSaver())
    assert {"checkpoint_id", "checkpoint_ns", "langgraph_checkpoint_ns"} < ours[-1][2]
