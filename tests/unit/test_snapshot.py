"""A thread's state as people see it, with the graph and without."""

import copy
import operator
import pickle
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, Command, MemoryCheckpointer, Send, StateGraph, interrupt
from orchestrator.client.snapshot import shown, snapshot
from orchestrator.errors import InvalidUpdateError, UnknownThreadError
from orchestrator.model.checkpoint import StepError


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    n: int


def build(nodes: dict[str, Any], schema: Any = State, **options: Any) -> Any:
    builder = StateGraph(schema)
    for name, node in nodes.items():
        builder.add_node(name, node).add_edge(START, name)
    return builder.compile(MemoryCheckpointer(), **options)


def fails(state: State) -> None:
    raise ValueError("no")


def test_a_thread_that_does_not_exist_is_empty() -> None:
    empty = build({"a": fails}).get_state("t")
    assert (empty.values, empty.next, empty.tasks, empty.interrupts) == ({}, (), (), ())
    assert empty.config == {"configurable": {"thread_id": "t"}}
    assert empty.parent_config is None


def test_a_checkpoint_that_does_not_exist_is_an_error() -> None:
    graph = build({"a": lambda state: None})
    config = graph.update_state("t", {"n": 1}, as_node="a")
    other = {**config["configurable"], "checkpoint_id": "f" * 16}
    with pytest.raises(UnknownThreadError, match="'t' has no checkpoint 'ffff"):
        graph.get_state({"configurable": other})


def test_steps_are_shown_as_added_after_what_was_sent() -> None:
    def send(state: State) -> list[Any]:
        return [Send("c", {"n": 2}), Send("b", {"n": 1})]

    builder = StateGraph(State)
    for name in ("d", "b", "c", "a"):
        builder.add_node(name, lambda state: None)
    builder.add_edge("d", "c").add_edge("d", "a").add_edge(START, "d").add_edge(START, "a")
    builder.add_conditional_edges("d", send)
    graph = builder.compile(MemoryCheckpointer(), interrupt_before="*")
    graph.invoke({}, "t")
    assert graph.get_state("t").next == ("d", "a")
    graph.invoke(None, "t")
    now = graph.get_state("t")
    assert now.next == ("c", "b", "c", "a")
    assert [task.name for task in now.tasks] == ["c", "b", "c", "a"]


def test_an_older_snapshot_shows_what_was_asked_there() -> None:
    graph = build({"a": lambda state: {"log": [interrupt("who?")]}})
    graph.invoke({}, "t")
    graph.invoke(Command(resume="me"), "t")
    asked = [[each.value for each in one.interrupts] for one in graph.get_state_history("t")]
    assert asked == [[], ["who?"], []]


def test_a_snapshot_says_when_and_by_whom() -> None:
    graph = build({"a": lambda state: None})
    graph.invoke({}, {"thread_id": "t", "metadata": {"user": "me"}})
    now = graph.get_state("t")
    assert now.metadata == {"user": "me", "source": "loop", "step": 1, "parents": {}}
    assert now.created_at.endswith("+00:00")
    assert now.created_at.startswith("20")


def test_a_step_shows_what_it_wrote_without_where_it_led() -> None:
    schema = TypedDict("Coloned", {"a:b": int}, total=False)
    graph = build({"a": lambda state: {"a:b": 1}}, schema)
    graph.invoke({}, "t")
    before = list(graph.get_state_history("t"))[1]
    assert [(task.name, task.path, task.result) for task in before.tasks] == [
        ("a", ("__pregel_pull", "a"), {"a:b": 1})
    ]


def test_a_step_that_was_sent_something_shows_its_place() -> None:
    builder = StateGraph(State).add_node("a", lambda arg: {"log": [arg["x"]]})
    builder.add_conditional_edges(START, lambda state: [Send("a", {"x": x}) for x in "pq"])
    graph = builder.compile(MemoryCheckpointer())
    graph.invoke({}, "t")
    tasks = list(graph.get_state_history("t"))[1].tasks
    assert [(task.path, task.result) for task in tasks] == [
        (("__pregel_push", 0, False), {"log": ["p"]}),
        (("__pregel_push", 1, False), {"log": ["q"]}),
    ]


def test_the_latest_snapshot_shows_what_completed_steps_wrote() -> None:
    graph = build({"done": lambda state: {"log": ["done"]}, "fails": fails})
    with pytest.raises(ValueError, match="no"):
        graph.invoke({"log": ["in"]}, "t")
    now = graph.get_state("t")
    assert (now.values, now.next) == ({"log": ["in", "done"]}, ("fails",))
    done, failed = now.tasks
    assert (done.result, done.error) == ({"log": ["done"]}, None)
    assert isinstance(failed.error, StepError)
    assert (failed.error.type, failed.error.message, failed.error.node) == (
        "ValueError",
        "no",
        "fails",
    )
    assert "ValueError: no" in failed.error.traceback
    assert failed.result is None


def test_an_earlier_look_at_the_same_checkpoint_shows_where_it_began() -> None:
    graph = build({"done": lambda state: {"log": ["done"]}, "fails": fails})
    with pytest.raises(ValueError, match="no"):
        graph.invoke({}, "t")
    began = graph.get_state(graph.get_state("t").config)
    assert (began.values, began.next) == ({"log": []}, ("done", "fails"))


def test_results_that_do_not_fit_together_are_all_still_to_come() -> None:
    graph = build({"a": lambda state: {"n": 1}, "b": lambda state: {"n": 2}})
    with pytest.raises(InvalidUpdateError, match="2 values for 'n'"):
        graph.invoke({"n": 0}, "t")
    now = graph.get_state("t")
    assert (now.values, now.next) == ({"log": [], "n": 0}, ("a", "b"))


def test_an_open_question_is_shown_with_its_step_and_gone_when_answered() -> None:
    graph = build({"a": lambda state: {"n": interrupt("how many?")}})
    graph.invoke({}, "t")
    now = graph.get_state("t")
    (task,) = now.tasks
    assert [i.value for i in task.interrupts] == [i.value for i in now.interrupts] == ["how many?"]
    graph.update_state("t", {"n": 3}, as_node="a")
    assert graph.get_state("t").interrupts == ()


def test_a_state_without_fields_is_shown_as_it_is() -> None:
    graph = build({"a": lambda state: ["new"]}, Annotated[list, operator.add])
    assert graph.invoke(["in"], "t") == ["in", "new"]
    assert graph.get_state("t").values == ["in", "new"]


def test_private_keys_are_part_of_the_state_and_not_of_the_output() -> None:
    class Output(TypedDict):
        n: int

    builder = StateGraph(State, output_schema=Output)
    builder.add_node("a", lambda state: {"n": 1, "log": ["x"]}).add_edge(START, "a")
    graph = builder.compile(MemoryCheckpointer())
    assert graph.invoke({}, "t") == {"n": 1}
    assert graph.get_state("t").values == {"n": 1, "log": ["x"]}


def test_without_the_graph_the_stored_values_are_shown() -> None:
    graph = build({"done": lambda state: {"log": ["done"]}, "fails": fails})
    with pytest.raises(ValueError, match="no"):
        graph.invoke({"n": 1}, "t")
    loaded = graph.checkpointer.load("t")
    blind = snapshot("t", loaded, graph.records, None, latest=True)
    assert (blind.values, blind.next) == ({"n": 1}, ("fails",))
    assert shown({"n": 1}, None) == {"n": 1}


def test_an_error_is_a_text_that_knows_more() -> None:
    error = StepError(type="ConnectionError", module="builtins", message="I'm off", node="two")
    assert error == repr(ConnectionError("I'm off"))
    assert {str(error): 1}[error] == 1
    assert ("ConnectionError" in error, error.node) == (True, "two")
    assert error != replace(error, node="one")
    assert error == replace(error)
    for again in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (again, again.node, type(again)) == (error, "two", StepError)
