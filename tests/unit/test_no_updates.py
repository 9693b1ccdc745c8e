"""What is no update of the state is an error; LangGraph's own objects steer, too."""

from __future__ import annotations

import dataclasses
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph import types as langgraph
from pydantic import BaseModel

from orchestrator import (
    START,
    CompiledStateGraph,
    InMemorySaver,
    InvalidUpdateError,
    StateGraph,
    UnserializableValueError,
    interrupt,
)


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


class Model(BaseModel):
    total: int = 1


@dataclasses.dataclass
class Plain:
    total: int = 1


@dataclasses.dataclass
class Part:
    n: int | None = None
    total: int = 1


def built(action: Any, *more: str) -> CompiledStateGraph:
    builder = StateGraph(State).add_node("first", action).add_edge(START, "first")
    for name in more:
        builder.add_node(name, lambda state, name=name: {"log": [name]})
    return builder.compile(InMemorySaver())


@pytest.mark.parametrize("result", [Model(), Plain()], ids=repr)
def test_an_object_without_a_key_of_the_state_is_no_update(result: Any) -> None:
    graph = built(lambda state: result)
    with pytest.raises(InvalidUpdateError, match=r"has a field for none .*The keys are: n, log"):
        graph.invoke({"n": 1}, "t")
    assert graph.get_state("t").values == {"n": 1, "log": []}
    with pytest.raises(InvalidUpdateError, match="the input must update at least one key"):
        graph.invoke(result, "u")
    graph.update_state("t", {"n": 2}, as_node="first")
    with pytest.raises(InvalidUpdateError, match="at least one key"):
        graph.update_state("t", result, as_node="first")


def test_an_object_with_a_key_of_the_state_is_an_update() -> None:
    assert built(lambda state: Part(n=5)).invoke({"n": 1}, "t") == {"n": 5, "log": []}


def test_langgraphs_commands_and_sends_steer() -> None:
    def first(state: State) -> Any:
        goto = ["a", langgraph.Send("b", {"n": 7})]
        return langgraph.Command(update={"n": 2}, goto=goto)

    found = built(first, "a", "b").invoke({"n": 1}, "t")
    assert (found["n"], sorted(found["log"])) == (2, ["a", "b"])


async def _later(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    "result",
    [
        [langgraph.Command(update={"n": 3}), langgraph.Command(goto="a")],
        ({"n": 3}, langgraph.Send("a", {})),
        _later(langgraph.Command(update={"n": 3}, goto=langgraph.Send("a", {}))),
    ],
    ids=["commands", "a dict and a send", "awaited"],
)
def test_langgraphs_own_may_stand_in_a_list_or_be_awaited(result: Any) -> None:
    assert built(lambda state: result, "a").invoke({"n": 1}, "t") == {"n": 3, "log": ["a"]}


def test_a_router_may_return_langgraphs_sends() -> None:
    builder = StateGraph(State).add_node("a", lambda state: {"log": [str(state["n"])]})
    builder.add_conditional_edges(START, lambda _: [langgraph.Send("a", {"n": i}) for i in (1, 2)])
    assert builder.compile().invoke({"n": 0})["log"] == ["1", "2"]


def test_langgraphs_command_answers_and_edits() -> None:
    graph = built(lambda state: {"n": interrupt("how many?")}, "a")
    graph.invoke({"n": 1}, "t")
    assert graph.invoke(langgraph.Command(resume=4), "t")["n"] == 4
    graph.update_state("t", langgraph.Command(update={"n": 5}, goto="a"), as_node="first")
    assert graph.get_state("t").next == ("a",)
    assert graph.invoke(None, "t") == {"n": 5, "log": ["a"]}


def test_langgraphs_command_leads_the_graph_around() -> None:
    inner = built(lambda state: langgraph.Command(graph=langgraph.Command.PARENT, goto="a"))
    inner.checkpointer = None
    assert built(inner, "a").invoke({"n": 1}, "t")["log"] == ["a"]


def test_langgraphs_others_are_refused_with_the_name_to_import() -> None:
    asked = langgraph.Interrupt(value=1, id="i")
    with pytest.raises(UnserializableValueError, match="import Interrupt from orchestrator"):
        built(lambda state: {"n": asked}).invoke({"n": 1}, "t")
