"""Where nodes and routers lead: names of any kind of text, and clear errors for what is no node."""

import enum
import operator
from typing import Annotated, Literal, TypedDict

import pytest

from orchestrator import (
    END,
    START,
    Command,
    InvalidUpdateError,
    MemoryCheckpointer,
    ParentCommand,
    RetryPolicy,
    Send,
    StateGraph,
)


class State(TypedDict, total=False):
    x: Annotated[list, operator.add]


class Name(str, enum.Enum):  # noqa: UP042 - as people write it, and another text than a `StrEnum`'s
    TWO = "two"
    END = "__end__"
    LOST = "lost"


class Short(enum.StrEnum):
    TWO = "two"
    END = "__end__"
    LOST = "lost"


def two(state):
    return {"x": ["two"]}


def graph_of(one, *, path=None, path_map=None):
    builder = StateGraph(State).add_node("one", one).add_node(two).add_edge(START, "one")
    if path is not None:
        builder.add_conditional_edges("one", path, path_map)
    return builder.compile(MemoryCheckpointer())


def goto(target):
    return graph_of(lambda state: Command(goto=target)).invoke({}, "t").get("x", [])


def route(target, path_map=None):
    return graph_of(lambda s: {}, path=lambda s: target, path_map=path_map).invoke({}, "t")["x"]


@pytest.mark.parametrize("names", [Name, Short])
def test_a_member_of_a_str_enum_leads_to_the_node_that_it_equals(names):
    for target in (names.TWO, [names.TWO], Send(names.TWO, {}), [Send(names.TWO, {})]):
        assert goto(target) == ["two"]
        assert route(target) == ["two"]
    assert route(names.TWO, {names.TWO: "two"}) == ["two"]
    assert route("yes", {"yes": names.TWO}) == ["two"]
    assert route("two", [names.TWO]) == ["two"]
    assert goto(names.END) == route(names.END) == []


@pytest.mark.parametrize("names", [Name, Short])
def test_a_caller_may_name_a_node_by_a_member_of_an_enum(names):
    graph = graph_of(lambda state: {"x": ["one"]})
    graph.invoke({}, "t")
    assert graph.invoke(Command(goto=names.TWO), "t")["x"] == ["one", "two"]
    assert graph.invoke(Command(goto=[Send(names.TWO, {})]), "t")["x"][2:] == ["two"]


def test_hints_of_a_router_and_of_a_command_may_name_members():
    def path(state) -> Literal[Name.TWO]:
        return Name.TWO

    def one(state) -> Command[Literal[Name.TWO]]:
        return Command(goto=Name.TWO)

    assert graph_of(lambda s: {}, path=path).invoke({}, "t")["x"] == ["two"]
    graph = graph_of(one)
    assert graph.invoke({}, "t")["x"] == ["two"]
    assert ("one", "two") in {(edge.source, edge.target) for edge in graph.get_graph().edges}


@pytest.mark.parametrize("target", ["lost", Name.LOST, Short.LOST, Send("lost", 1), START, "", 5])
def test_a_target_that_is_no_node_is_an_error_that_lists_the_nodes(target):
    for lead in (lambda t: goto([t]), route):
        with pytest.raises(InvalidUpdateError, match=r"is no node\. The nodes are: 'one', 'two'"):
            lead(target)


@pytest.mark.parametrize("target", [5, None, enum.Enum("Plain", {"TWO": "two"}).TWO])
def test_a_goto_that_is_neither_a_target_nor_a_list_is_an_error(target):
    with pytest.raises(InvalidUpdateError, match="expected a node, a Send, or a list"):
        goto(target)


# ---- the graph around ----------------------------------------------------------------------


def test_a_command_for_the_graph_around_leaves_a_root_graph_as_it_is():
    command = Command(graph=Command.PARENT, goto="z", update={"x": [1]})
    tries = []

    def one(state):
        tries.append(1)
        return command

    builder = StateGraph(State).add_node(
        "one",
        one,
        retry_policy=RetryPolicy(initial_interval=0.001, retry_on=Exception),
        error_handler=lambda state, error: {"x": ["handled"]},
    )
    graph = builder.add_edge(START, "one").compile(MemoryCheckpointer())
    with pytest.raises(ParentCommand) as raised:
        graph.invoke({}, "t")
    assert raised.value.args[0] == raised.value.command == command
    assert str(raised.value) == "Command(graph='__parent__', update={'x': [1]}, goto='z')"
    assert len(tries) == 1
    assert graph.get_state("t").next == ("one",)
    assert graph.get_state("t").values["x"] == []


def test_the_graph_around_is_led_by_a_member_and_refuses_what_is_no_node():
    def outer(target):
        inner = StateGraph(State).add_node(
            "deep", lambda state: Command(graph=Command.PARENT, goto=target)
        )
        return graph_of(inner.add_edge(START, "deep").compile()).invoke({}, "t")

    assert outer(Name.TWO)["x"] == ["two"]
    assert outer(END)["x"] == []
    with pytest.raises(
        InvalidUpdateError, match="the node 'one' leads to 'lost', which is no node"
    ):
        outer("lost")
    for wrong in (5, [5], None):
        with pytest.raises(Exception, match="expected a node, a Send, or a list"):
            outer(wrong)


def test_a_command_shows_only_what_it_says():
    assert repr(Command()) == "Command()"
    assert repr(Command(resume=None)) == "Command(resume=None)"
    assert repr(Command(update={}, goto=["a"])) == "Command(update={}, goto=['a'])"


def test_a_send_shows_its_limit_only_if_it_has_one():
    assert repr(Send("a", 3)) == "Send(node='a', arg=3)"
    assert repr(Send("a", 3, timeout=1)).startswith("Send(node='a', arg=3, timeout=TimeoutPolicy(")
