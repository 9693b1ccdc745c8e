"""Calling a node and its routers, and reading what they return as writes."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pydantic
import pytest

from orchestrator import END, START, Command, Send, StateGraph
from orchestrator.engine.advance import Frame
from orchestrator.engine.apply import SENDS
from orchestrator.engine.carryover import Steering
from orchestrator.errors import InvalidUpdateError, ParentCommand
from orchestrator.graph.routing import branch_channel
from orchestrator.model.checkpoint import Checkpoint, PlannedStep
from orchestrator.step.call import finish, input_of, writes_after


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    n: int


class Given(TypedDict, total=False):
    n: int


@dataclasses.dataclass
class Change:
    n: int


class Model(pydantic.BaseModel):
    n: int | None = None


FRAME = Frame(Checkpoint(id=1, versions={"log": 1}), {"log": ["old"]})
STEP = PlannedStep("a")
TO_A, TO_B = (branch_channel("a"), None), (branch_channel("b"), None)


def call(
    action: Callable[..., Any],
    *routers: Callable[..., Any],
    ends: dict | None = None,
    step: PlannedStep = STEP,
    schema: Any = State,
    frame: Frame = FRAME,
) -> tuple[tuple[str, Any], ...]:
    """Call the node `a`, which has these routers, and return what it writes."""
    builder = StateGraph(schema, input_schema=Given if schema is State else None)
    builder.add_node("a", action).add_node("b", action).add_edge(START, "a")
    for router in routers:
        builder.add_conditional_edges("a", router, ends)
    spec = builder.compile().spec
    node, extras = spec.nodes[step.node], {"config": {"who": "me"}, "ctx": "the context"}
    result = input_of(spec, frame, step, {"sent": 1})
    if node.action is not None:
        result = finish(node.action(result, **{name: extras[name] for name in node.injected}))
    return writes_after(spec, frame, node, result, extras)


def refused(result: Any, *words: str, router: Any = ..., ends: dict | None = None) -> None:
    routers = () if router is ... else (lambda state: router,)
    with pytest.raises(InvalidUpdateError) as caught:
        call(lambda state: result, *routers, ends=ends)
    assert all(word in str(caught.value) for word in words), str(caught.value)


# ---- what a node sees -------------------------------------------------------------------


def test_a_node_sees_the_state() -> None:
    seen: list[Any] = []
    call(seen.append)
    assert seen == [{"log": ["old"]}]


def test_a_node_that_was_sent_something_sees_that_instead() -> None:
    seen: list[Any] = []
    call(seen.append, step=PlannedStep("a", 0))
    assert seen == [{"sent": 1}]


def test_nodes_and_routers_get_what_they_ask_for_by_name() -> None:
    def node(state, ctx, config):
        return {"log": [ctx, config["who"]]}

    def router(state, config):
        return "b" if config["who"] == "me" else END

    assert call(node, router) == (("log", ["the context", "me"]), TO_B)


def test_coroutines_are_awaited_nodes_and_routers_alike() -> None:
    async def node(state):
        return {"n": 1}

    async def router(state):
        return "b"

    assert call(node, router) == (("n", 1), TO_B)


def test_start_takes_in_the_input() -> None:
    frame = Frame(Checkpoint(id=1, control={START: {"n": 5}}), {})
    writes = call(lambda state: None, step=PlannedStep(START), frame=frame)
    assert writes == (("n", 5), (branch_channel("a"), None))


# ---- what a node may return -------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "writes"),
    [
        (None, ()),
        ({}, ()),
        ({"n": None}, (("n", None),)),
        ({"log": ["new"], "n": 1}, (("log", ["new"]), ("n", 1))),
        (Change(3), (("n", 3),)),
        (Model(n=None), (("n", None),)),
        (Model(), ()),
        (Command(), ()),
        (Command(update={"n": 1}, goto="b"), (("n", 1), TO_B)),
        (Command(update=Change(3), goto=END), (("n", 3),)),
        (Command(goto=["b", END, Send("b", 1)]), (TO_B, (SENDS, Send("b", 1)))),
        (Command(update=[("log", ["x"]), ("log", ["y"])]), (("log", ["x"]), ("log", ["y"]))),
        (Command(update=()), ()),
        (Send("b", 1), ((SENDS, Send("b", 1)),)),
        ([Command(goto="b"), {"n": 2}], (("n", 2), TO_B)),
        ((Command(update={"n": 1}), Send("b", 1)), (("n", 1), (SENDS, Send("b", 1)))),
    ],
)
def test_every_form_of_an_update_is_understood(result: Any, writes: tuple) -> None:
    assert call(lambda state: result) == writes


@pytest.mark.parametrize(
    "result", ["text", 5, 0, False, [], (), {1, 2}, [("n", 1)], object(), [Command(), 5], Send]
)
def test_what_is_no_update_is_refused(result: Any) -> None:
    refused(result, "what the node 'a' returned is no update of the state", "expected a dict")


def test_a_long_result_is_shown_in_part() -> None:
    with pytest.raises(InvalidUpdateError) as caught:
        call(lambda state: "x" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"lgo": ["x"]}, ["updates 'lgo'", "Did you mean 'log'?", "The keys are: log, n"]),
        ({"quite another": 1}, ["updates 'quite another'", "The keys are"]),
        ({7: 1}, ["updates 7"]),
        (Command(update={"m": 1}), ["the node 'a' updates 'm'"]),
        (Command(update=[("n", 1), ("m", 1)]), ["the node 'a' updates 'm'"]),
        (Command(update="n"), ["no update of the state"]),
        (Command(goto="nowhere"), ["'nowhere', which is no node", "The nodes are: 'a', 'b'"]),
        (Command(goto=START), ["'__start__', which is no node"]),
        (Command(goto=[{}]), ["{}, which is no node"]),
        (Command(goto=None), ["Command(goto=None)", "expected a node, a Send, or a list"]),
        (Send("nowhere", 1), ["'nowhere', which is no node"]),
        (Send(END, 1), ["'__end__', which is no node"]),
    ],
)
def test_a_result_that_leads_nowhere_is_refused(result: Any, words: list[str]) -> None:
    refused(result, *words)


@pytest.mark.parametrize("wrap", [lambda command: command, lambda command: [{"n": 1}, command]])
def test_a_command_for_the_graph_around_goes_there_and_writes_nothing_here(wrap: Any) -> None:
    command = Command(graph=Command.PARENT, update={"unknown": 1}, goto="elsewhere")
    with pytest.raises(ParentCommand) as caught:
        call(lambda state: wrap(command), lambda state: pytest.fail("asked"))
    assert caught.value.command is command


@pytest.mark.parametrize(
    ("steering", "writes"),
    [
        (Steering(goto=("b",)), (("n", 5), TO_A, TO_B)),
        (Steering(goto=(Send("b", 1),)), (("n", 5), TO_A, (SENDS, Send("b", 1)))),
        (Steering(kept=()), (("n", 5),)),
        (Steering(kept=(), goto=("b",)), (("n", 5), TO_B)),
    ],
)
def test_start_leads_where_a_callers_command_leads(steering: Steering, writes: tuple) -> None:
    frame = Frame(Checkpoint(id=1, control={START: {"n": 5}, **steering.notes()}), {})
    assert call(lambda state: None, step=PlannedStep(START), frame=frame) == writes


def test_a_callers_command_may_change_keys_that_no_input_has() -> None:
    control = {START: {"log": ["x"]}, **Steering(kept=()).notes()}
    frame = Frame(Checkpoint(id=1, control=control), {})
    assert call(lambda state: None, step=PlannedStep(START), frame=frame) == (("log", ["x"]),)


def test_an_unknown_key_is_refused_also_in_an_input() -> None:
    frame = Frame(Checkpoint(id=1, control={START: {"log": ["x"]}}), {})
    with pytest.raises(InvalidUpdateError, match="the input updates 'log', which is no key of the"):
        call(lambda state: None, step=PlannedStep(START), frame=frame)


def test_an_object_without_the_states_keys_is_no_update() -> None:
    @dataclasses.dataclass
    class Other:
        x: int = 1

    with pytest.raises(InvalidUpdateError, match=r"Other has a field for none .*Return a dict"):
        call(lambda state: Other())


def test_a_state_without_fields_takes_whatever_is_returned() -> None:
    frame = Frame(Checkpoint(id=1), {})
    schema = Annotated[list, operator.add]
    assert call(lambda state: [1], schema=schema, frame=frame) == (("__root__", [1]),)
    result = Command(update=[("a", 1)], goto="b")
    assert call(lambda state: result, schema=schema, frame=frame) == (
        ("__root__", [("a", 1)]),
        TO_B,
    )


# ---- routers ----------------------------------------------------------------------------


def test_a_router_sees_the_nodes_writes_and_nobody_elses() -> None:
    seen: list[Any] = []

    def router(state):
        seen.append(state)
        return END

    assert call(lambda state: {"log": ["new"], "n": 1}, router) == (("log", ["new"]), ("n", 1))
    assert seen == [{"log": ["old", "new"], "n": 1}]


def test_a_router_does_not_see_what_was_sent_to_its_node() -> None:
    seen: list[Any] = []

    def router(state):
        seen.append(state)
        return END

    call(lambda state: None, router, step=PlannedStep("a", 0))
    assert seen == [{"log": ["old"]}]


def test_a_router_sees_what_its_node_returned_beside_what_it_reads() -> None:
    seen: list[Any] = []

    def node(state: Given) -> State:
        return {"log": ["new"]}

    def router(state):
        seen.append(state)
        return END

    call(node, router)
    assert seen == [{"log": ["new"]}]


@pytest.mark.parametrize(
    ("chosen", "ends", "writes"),
    [
        ("b", None, (TO_B,)),
        (END, None, ()),
        (["b", END], None, (TO_B,)),
        (("b", "b"), None, (TO_B, TO_B)),
        ([], None, ()),
        (Send("b", 1), None, ((SENDS, Send("b", 1)),)),
        (True, {True: "b", False: END}, (TO_B,)),
        (False, {True: "b", False: END}, ()),
        ([True, Send("b", 1)], {True: "b"}, (TO_B, (SENDS, Send("b", 1)))),
    ],
)
def test_a_router_leads_on(chosen: Any, ends: dict | None, writes: tuple) -> None:
    assert call(lambda state: None, lambda state: chosen, ends=ends) == writes


@pytest.mark.parametrize(
    ("chosen", "ends", "words"),
    [
        ("nowhere", None, ["the router '<lambda>' of 'a' leads to 'nowhere'", "'a', 'b'"]),
        (START, None, ["'__start__', which is no node"]),
        (None, None, ["leads to None, which is no node"]),
        ({"b"}, None, ["leads to {'b'}, which is no node"]),
        (Send(END, 1), None, ["'__end__', which is no node"]),
        (Send(START, 1), {"x": "b"}, ["'__start__', which is no node"]),
        ("b", {"x": "b"}, ["returned 'b'; its path map knows: 'x'"]),
        ([["x"]], {"x": "b"}, ["returned ['x']; its path map knows: 'x'"]),
    ],
)
def test_a_router_that_leads_nowhere_is_refused(chosen: Any, ends: Any, words: list[str]) -> None:
    refused(None, *words, router=chosen, ends=ends)


def test_what_user_code_raises_goes_through_unchanged() -> None:
    def broken(state):
        raise KeyError("mine")

    for action, routers in ((broken, ()), (lambda state: None, (broken,))):
        with pytest.raises(KeyError, match="mine"):
            call(action, *routers)


def test_a_router_after_an_update_that_cannot_be_applied_is_not_asked() -> None:
    with pytest.raises(InvalidUpdateError, match="the reducer of 'log' raised TypeError"):
        call(lambda state: {"log": 5}, lambda state: pytest.fail("asked"))
