"""Going back to a checkpoint of a subgraph, and in a graph whose subgraphs remember."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import Command
from orchestrator.client.options import ConfigError
from orchestrator.errors import NoPendingInterruptError
from tests.semantics.places import Place

FLAT = ("talks", "remembers")
DEEP = ("talks_deep", "remembers_deep")
WHOLE = {"log": ["before", "after"]}


def invoke(place: Place, graph: Any, value: Any, config: Any = None) -> dict[str, Any]:
    """Invoke without what belongs to the test; questions by what they ask."""
    if isinstance(value, dict):
        value = {"witness": place.witness, **value}
    output = graph.invoke(value, config or place.thread)
    shown = {key: item for key, item in output.items() if key != "witness"}
    if "__interrupt__" in shown:
        shown["__interrupt__"] = [asked.value for asked in shown["__interrupt__"]]
    return shown


def innermost(graph: Any, config: Any) -> Any:
    """Return the snapshot of the innermost subgraph of the one step there is."""
    found = graph.get_state(config, subgraphs=True)
    while found.tasks and found.tasks[0].state is not None:
        found = found.tasks[0].state
    return found


def said(graph: Any, config: Any) -> list[Any]:
    """Return what the subgraph of a config has said at last."""
    named = config["configurable"]
    named = {"thread_id": named["thread_id"], "checkpoint_ns": named["checkpoint_ns"]}
    found: list[Any] = graph.get_state({"configurable": named}).values["said"]
    return found


@pytest.mark.parametrize("name", [*FLAT, *DEEP])
def test_a_call_goes_on_at_the_checkpoint_of_a_subgraph_and_then_around_it(
    place: Place, name: str
) -> None:
    graph = place.graph(name)
    (asked,) = invoke(place, graph, {})["__interrupt__"]
    there = innermost(graph, place.thread).config
    assert invoke(place, graph, Command(resume="one")) == WHOLE
    old = graph.get_state(place.thread).config
    before = place.ran()
    again = place.graph(name)
    assert invoke(place, again, None, there)["__interrupt__"] == [asked]
    assert place.ran()[len(before) :] == ["ask"]
    assert invoke(place, again, Command(resume="two")) == WHOLE
    assert place.ran()[len(before) :] == ["ask", "ask", "last", "after"]
    assert said(graph, there)[-2:] == ["two", "last"]
    assert graph.get_state(old).values["log"] == WHOLE["log"]


@pytest.mark.parametrize("name", [*FLAT, *DEEP])
def test_a_subgraph_that_was_edited_goes_on_with_the_edit(place: Place, name: str) -> None:
    graph = place.graph(name)
    invoke(place, graph, {})
    there = innermost(graph, place.thread).config
    fork = graph.update_state(there, {"said": ["edited"]})
    assert "'edited'" in invoke(place, graph, None, fork)["__interrupt__"][0]
    assert invoke(place, graph, Command(resume="one"), fork) == WHOLE
    assert said(graph, fork)[-3:] == ["edited", "one", "last"]
    other = graph.update_state(there, {"said": ["later"]})
    (asked,) = invoke(place, graph, None, other)["__interrupt__"]
    assert ("'later'" in asked, "'edited'" in asked) == (True, False)
    assert invoke(place, graph, Command(resume="two"), other) == WHOLE
    assert said(graph, other)[-3:] == ["later", "two", "last"]


@pytest.mark.parametrize("name", [*FLAT, *DEEP])
def test_another_answer_can_be_given_where_a_subgraph_had_asked(place: Place, name: str) -> None:
    graph = place.graph(name)
    invoke(place, graph, {})
    around, there = graph.get_state(place.thread).config, innermost(graph, place.thread).config
    invoke(place, graph, Command(resume="one"))
    assert invoke(place, graph, Command(resume="two"), there) == WHOLE
    assert said(graph, there)[-2:] == ["two", "last"]
    assert invoke(place, graph, Command(resume="three"), around) == WHOLE
    assert said(graph, there)[-2:] == ["three", "last"]
    assert place.ran("first") == ["first"] * (1 if name in FLAT else 2)
    assert place.ran("before") == ["before"]


@pytest.mark.parametrize("name", ["remembers", "remembers_deep"])
def test_a_replay_of_a_graph_takes_back_what_its_subgraphs_remember(
    place: Place, name: str
) -> None:
    graph = place.graph(name)
    questions = []
    for answer in ("one", "two", "three"):
        (asked,) = invoke(place, graph, {})["__interrupt__"]
        questions.append(asked)
        invoke(place, graph, Command(resume=answer))
    starts = [s.config for s in graph.get_state_history(place.thread) if s.next == ("talk",)]
    assert invoke(place, graph, None, starts[1])["__interrupt__"] == questions[1:2]
    invoke(place, graph, Command(resume="other"))
    # What comes next stands on the branch, and on nothing that the branch has left.
    (asked,) = invoke(place, graph, {})["__interrupt__"]
    assert ("'one'" in asked, "'other'" in asked) == (True, True)
    assert ("'two'" in asked, "'three'" in asked) == (False, False)
    # An edit that branches off takes it back, too; and so does an input.
    fork = graph.update_state(starts[2], {"log": ["edited"]})
    assert invoke(place, graph, None, fork)["__interrupt__"] == questions[:1]
    (asked,) = invoke(place, graph, {}, starts[1])["__interrupt__"]
    assert ("'one'" in asked, "'two'" in asked) == (True, False)


def test_a_subgraph_that_code_calls_is_gone_back_to_as_well(place: Place) -> None:
    graph = place.graph("calls")
    invoke(place, graph, {})
    snapshots = graph.get_state(place.thread, subgraphs=True).tasks
    ns = f"talk:{snapshots[0].id}|1"
    there = graph.get_state({"thread_id": place.thread, "checkpoint_ns": ns}).config
    assert invoke(place, graph, Command(resume="one")) == {
        "log": [["first", "one", "last"], "after"]
    }
    assert "__interrupt__" in invoke(place, graph, None, there)
    assert invoke(place, graph, Command(resume="two"))["log"][0] == ["first", "two", "last"]
    assert place.ran("first") == ["first"] * 3  # What it calls before that is called again.


@pytest.mark.parametrize("name", FLAT)
def test_an_input_at_the_checkpoint_of_a_subgraph_begins_in_the_graph_around(
    place: Place, name: str
) -> None:
    graph = place.graph(name)
    invoke(place, graph, {})
    there = innermost(graph, place.thread).config
    invoke(place, graph, Command(resume="one"))
    invoke(place, graph, {"log": ["new"]}, there)
    assert graph.get_state(place.thread).values["log"] == ["before", "new", "before"]


def test_what_cannot_be_done_at_the_checkpoint_of_a_subgraph_changes_nothing(place: Place) -> None:
    graph = place.graph("talks")
    invoke(place, graph, {})
    there = innermost(graph, place.thread).config
    started = list(graph.get_state_history(there))[-1].config
    invoke(place, graph, Command(resume="one"))
    before = graph.get_state(place.thread)
    with pytest.raises(ConfigError, match="outermost graph"):
        graph.invoke(Command(goto="after"), there)
    with pytest.raises(NoPendingInterruptError):
        graph.invoke(Command(resume="x"), started)
    lost = {
        **there["configurable"],
        "checkpoint_map": {"": before.config["configurable"]["checkpoint_id"]},
    }
    with pytest.raises(ConfigError, match="no step that ran the subgraph"):
        graph.invoke(None, {"configurable": lost})
    assert graph.get_state(place.thread) == before


def test_a_graph_goes_on_whose_subgraph_has_stopped_where_it_was_told_to(place: Place) -> None:
    graph = place.graph("stops_inside")
    assert invoke(place, graph, {}) == {"log": ["before"]}
    assert innermost(graph, place.thread).next == ("last",)
    assert invoke(place, graph, None) == WHOLE
    assert place.ran() == ["before", "first", "last", "after"]
