"""Differences to LangGraph that were found at random and mended, each as small as it gets."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

import orchestrator
from tests.property import twins
from tests.property.comparing import difference, explained, no_luck
from tests.property.plans import END, START, Full, GraphPlan, NodePlan, RouterPlan, Target
from tests.property.test_workflows_against_langgraph import differing
from tests.property.twins import Ours
from tests.property.views import Do
from tests.property.workflows import Statement, TaskPlan, WorkflowPlan, build

__all__ = ["no_luck"]

INVOKE, STREAM, DEEP = (
    Do("input", {"log": ["in"]}, via=via) for via in ("invoke", "stream", "deep")
)
FROM_A = ((START, "a"),)
INNER = GraphPlan((NodePlan("aa"),), ((START, "aa"),))
STOPPING = GraphPlan((NodePlan("aa"),), ((START, "aa"),), before=("*",))
DEEPER = GraphPlan(
    (NodePlan("aaa"), NodePlan("aab")), ((START, "aaa"), ("aaa", "aab")), before=("aab",)
)
UP = GraphPlan((NodePlan("aa", up=Target(END)),), ((START, "aa"),))


def graph(*nodes: NodePlan, **fields: object) -> GraphPlan:
    return GraphPlan(nodes, FROM_A, **fields)


ONE = NodePlan("a", sub=INNER)
JOIN = (("a", "b"), "b")
GRAPHS = {
    "an Overwrite is shown as it was returned": (graph(NodePlan("a", replaces=True)), [INVOKE]),
    "an Overwrite is streamed again as it was returned": (
        GraphPlan((NodePlan("a", asks=1), NodePlan("b", replaces=True)), (*FROM_A, (START, "b"))),
        [INVOKE, Do("go", via="stream")],
    ),
    "a subgraph that has not begun has an empty state": (graph(ONE, before=("a",)), [INVOKE]),
    "a subgraph that keeps nothing has no state": (
        graph(NodePlan("a", sub=INNER, keeps=False), before=("a",)),
        [INVOKE],
    ),
    "a subgraph that keeps its state shows it": (
        graph(NodePlan("a", sub=STOPPING, keeps=True)),
        [INVOKE],
    ),
    "a task shows all that can trigger it, once": (
        graph(
            NodePlan("a"),
            NodePlan("b"),
            joins=(JOIN, JOIN),
            routers=(RouterPlan("a", "r0", ((Target("b"),),)),),
        ),
        [STREAM],
    ),
    "a stream shows all keys of the state": (
        graph(NodePlan("a", keys=("last",)), schema="bounded", narrow_out=True),
        [STREAM],
    ),
    "a stop in a subgraph asks nothing": (graph(NodePlan("a", sub=STOPPING)), [STREAM]),
    "a stop two deep is told of by the outermost graph": (
        graph(NodePlan("a", sub=GraphPlan((NodePlan("aa", sub=DEEPER),), ((START, "aa"),)))),
        [DEEP],
    ),
    "a command for the graph around is no update": (
        graph(NodePlan("a", sub=UP), schema="bounded"),
        [DEEP],
    ),
    "a called subgraph steers the graph around": (
        graph(NodePlan("a", sub=UP, called=1), schema="bounded"),
        [INVOKE],
    ),
    "a subgraph takes the model of the graph around": (graph(ONE, schema="model"), [INVOKE]),
}
WORKFLOWS = {
    "a workflow shows what it returned": (
        WorkflowPlan((TaskPlan("t"),), (Statement("call", (0,)),)),
        [Do("input", 1)],
    ),
    "what a task asks, its workflow asks": (
        WorkflowPlan((TaskPlan("t", asks=1),), (Statement("call", (0,)),)),
        [Do("input", 1, via="stream"), Do("go", via="stream")],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.usefixtures("no_luck", "small_tails")
def test_a_mended_difference_stays_away(name: str) -> None:
    met: Counter[str] = Counter()
    found = difference(GRAPHS[name], met)
    assert found is None, explained(found)
    assert not [what for what in met if what.startswith("deviation")]


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.usefixtures("no_luck", "small_tails")
def test_a_mended_difference_of_workflows_stays_away(name: str) -> None:
    met: Counter[str] = Counter()
    found = differing(*WORKFLOWS[name], met)
    assert found is None, explained(found)
    assert {what for what in met if what.startswith("deviation")} <= {"deviation: tasks seen"}


def test_an_update_after_everything_was_settled_is_made_as_the_node_that_ran_last() -> None:
    config = {"thread_id": "t"}
    ours = twins.ours(graph(NodePlan("a")))
    ours.invoke({"log": ["in"]}, config)
    ours.update_state(config, None, END)
    ours.update_state(config, {"last": "up"})
    assert ours.get_state(config).next == ()  # Made as START, it would begin anew.


def test_what_holds_for_retries_of_an_entrypoint_holds_for_its_tasks() -> None:
    plan = WorkflowPlan((TaskPlan("t", fails=1),), (Statement("call", (0,)),), attempts=2)
    parts = list(build(plan, Ours).stream(1, {"thread_id": "t"}, stream_mode="tasks"))
    assert [part["name"] for part in parts] == ["flow", "t", "t", "flow"]  # Each begins, and ends.


def test_steps_of_a_subgraph_run_as_many_at_a_time_as_the_caller_allows() -> None:
    running, most = [], []

    def work(state: dict[str, object]) -> None:
        running.append(1)
        most.append(len(running))
        threading.Event().wait(0.01)
        running.pop()

    inner = orchestrator.StateGraph(Full)
    for name in "abc":
        inner.add_node(name, work)
        inner.add_edge(START, name)
    outer = orchestrator.StateGraph(Full).add_node("sub", inner.compile()).add_edge(START, "sub")
    outer.compile().invoke({"log": []}, {"max_concurrency": 1})
    assert most == [1, 1, 1]
