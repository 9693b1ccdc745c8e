"""What is wrong is said clearly, with its code, and nothing is lost by it."""

import operator
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import END, START, Command, MemoryCheckpointer, Send, StateGraph
from orchestrator.errors import (
    EmptyInputError,
    GraphRecursionError,
    GraphstalkError,
    InvalidGraphError,
    InvalidThreadIdError,
    InvalidUpdateError,
    NoPendingInterruptError,
    UnknownThreadError,
    UnserializableValueError,
)
from tests.fixtures.ids import plain


class State(TypedDict, total=False):
    count: int
    value: Any
    log: Annotated[list, operator.add]


def compiled(action, *more, router=None, ends=None, **options):
    """START → work → router; and nodes that run after it."""
    builder = StateGraph(State).add_node("work", action).add_edge(START, "work")
    for node in more:
        builder.add_node(node).add_edge("work", node.__name__)
    if router is not None:
        builder.add_conditional_edges("work", router, ends)
    return builder.compile(MemoryCheckpointer(), **options)


def after(state):
    return {"log": ["after"]}


def nothing(state):
    return None


def facts(graph, thread="t"):
    """All that could be lost: the state, its place in history, and the record of the run."""
    snapshot = graph.get_state(thread)
    loaded = graph.checkpointer.load(thread)
    return snapshot, loaded and loaded.head, loaded and loaded.steps, graph.checkpointer.events("t")


def refused(graph, error, call, *texts, thread="t"):
    """Check that the call raises, says these things, and changes nothing."""
    before = facts(graph, thread)
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) is error
    for text in texts:
        assert text in str(raised.value)
    assert facts(graph, thread) == before
    return raised.value


def fails(graph, error, *texts, values=None, start=None):
    """Check that a run's step fails, says these things, and the state before it stays."""
    start = {"count": 1, "log": ["before"]} if start is None else start
    with pytest.raises(error) as raised:
        graph.invoke(start, "t")
    for text in texts:
        assert text in str(raised.value)
    snapshot = graph.get_state("t")
    assert snapshot.values == (start if values is None else values)
    assert snapshot.next == ("work",)
    assert graph.checkpointer.load("t").head.status == "failed"
    return raised.value


# ---- graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "texts"),
    [
        (
            lambda g: g.add_edge(START, "a").add_edge("a", "b"),
            ["ending at unknown node 'b'", "nodes are: 'a'"],
        ),
        (lambda g: g, ["no entry", "add_edge(START, 'first_node')"]),
        (lambda g: g.add_node("a", nothing), ["already has a node named 'a'", "another name"]),
        (lambda g: g.add_node(END, nothing), ["'__end__' is reserved"]),
        (lambda g: g.add_node("a:b", nothing), ["'a:b'", "are reserved"]),
        (lambda g: g.add_node("a\x07", nothing), ["cannot name a node", "printable"]),
    ],
)
def test_a_graph_that_cannot_run_is_refused_when_it_is_written_or_compiled(write, texts):
    builder = StateGraph(State).add_node("a", nothing)
    with pytest.raises(InvalidGraphError) as raised:
        write(builder).compile()
    assert raised.value.code == "INVALID_GRAPH"
    assert all(text in str(raised.value) for text in texts)


# ---- what nodes and routers return ----------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "ends", "texts"),
    [
        ("nowhere", None, ["router 'router' of 'work' leads to 'nowhere'", "nodes are: 'work'"]),
        (Send("nowhere", 1), None, ["leads to 'nowhere'", "no node"]),
        (START, None, ["leads to '__start__'"]),
        (None, None, ["leads to None"]),
        (7, None, ["leads to 7"]),
        ("other", {"yes": END}, ["returned 'other'; its path map knows: 'yes'"]),
        ([["unhashable"]], {"yes": END}, ["returned ['unhashable']"]),
        (["work", "nowhere"], None, ["leads to 'nowhere'"]),
    ],
)
def test_a_router_that_leads_nowhere_fails_its_step(target, ends, texts):
    def router(state):
        return target

    error = fails(compiled(nothing, router=router, ends=ends), InvalidUpdateError, *texts)
    assert error.code == "INVALID_UPDATE"


@pytest.mark.parametrize(
    ("result", "texts"),
    [
        (Send("nowhere", 1), ["the node 'work' leads to 'nowhere', which is no node"]),
        (Command(goto="nowhere"), ["the node 'work' leads to 'nowhere'"]),
        (Command(goto=5), ["Command(goto=5): expected a node, a Send, or a list"]),
        (Command(graph="other"), ["for the graph 'other': graph must be Command.PARENT"]),
        ([Send("nowhere", 1)], ["leads to 'nowhere'"]),
        (3, ["what the node 'work' returned is no update", "expected a dict", "it is 3"]),
        ("text", ["it is 'text'"]),
        ([1, 2], ["it is [1, 2]"]),
        (Command(update=3), ["is no update of the state"]),
        (
            {"conut": 1},
            ["updates 'conut', which is no key", "Did you mean 'count'?", "The keys are"],
        ),
        ({"zzz": 1}, ["updates 'zzz'", "The keys are: count, value, log"]),
        (Command(update={"conut": 1}), ["Did you mean 'count'?"]),
        (Command(update=[("conut", 1)]), ["Did you mean 'count'?"]),
        ({3: 1}, ["updates 3, which is no key"]),
    ],
    ids=plain,
)
def test_a_result_that_is_no_update_fails_its_step(result, texts):
    error = fails(compiled(lambda state: result), InvalidUpdateError, *texts)
    assert error.code == "INVALID_UPDATE"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"value": {"a": [object()]}}, "the write to 'value': value['a'][0] is a builtins.object"),
        ({"value": nothing}, "value is a builtins.function"),
        (Send("work", {"deep": (object(),)}), "value['deep'][0] is a builtins.object"),
        ({"log": [object()]}, "'log'"),
    ],
    ids=["deep", "function", "sent", "reduced"],
)
def test_a_value_that_cannot_be_encoded_fails_its_step_with_the_path(result, text):
    error = fails(compiled(lambda state: result), UnserializableValueError, text)
    assert error.code == "UNSERIALIZABLE_VALUE"


def test_a_reducer_that_raises_fails_its_step_with_what_it_raised():
    graph = compiled(lambda state: {"log": 5})
    error = fails(graph, TypeError, "can only concatenate list")
    assert error.__notes__ == [f"the reducer of 'log' raised TypeError: {error}"]


def test_a_reducer_that_raises_on_the_input_raises_that():
    with pytest.raises(TypeError, match="can only concatenate list"):
        compiled(nothing).invoke({"log": 5}, "t")


def test_a_failed_step_goes_on_once_its_node_is_mended():
    results = [{"conut": 2}, {"count": 2}]
    graph = compiled(lambda state: results.pop(0), after)
    with pytest.raises(InvalidUpdateError):
        graph.invoke({"count": 1}, "t")
    assert graph.invoke(None, "t") == {"count": 2, "log": ["after"]}


# ---- two values at once ---------------------------------------------------------------------


def conflicting(ran):
    def writes(name):
        def node(state):
            ran.append(name)
            return {"value": name, "log": [name]}

        return node

    builder = StateGraph(State).add_node("a", writes("a")).add_node("b", writes("b"))
    builder.add_node("after", after).add_edge(["a", "b"], "after")
    return builder.add_edge(START, "a").add_edge(START, "b").compile(MemoryCheckpointer())


def test_two_values_for_a_last_value_key_fail_the_step_and_the_state_stays_readable():
    graph = conflicting([])
    with pytest.raises(InvalidUpdateError) as raised:
        graph.invoke({"value": "start"}, "t")
    assert "2 values for 'value' in one superstep" in str(raised.value)
    assert "Annotated[" in str(raised.value)
    snapshot = graph.get_state("t")
    assert snapshot.values == {"value": "start", "log": []}
    assert snapshot.next == ("a", "b")
    assert [s.values.get("value") for s in graph.get_state_history("t")] == ["start", None]


def test_two_values_are_repaired_by_update_state_and_the_thread_resumes():
    ran = []
    graph = conflicting(ran)
    with pytest.raises(InvalidUpdateError):
        graph.invoke({"value": "start"}, "t")
    graph.update_state("t", {"value": "mended"}, as_node="a")
    graph.update_state("t", {"log": ["mended"]}, as_node="b")
    assert graph.get_state("t").next == ("after",)
    assert graph.invoke(None, "t") == {"value": "mended", "log": ["mended", "after"]}
    assert sorted(ran) == ["a", "b"]


def test_resuming_without_repair_says_the_same_and_runs_nothing_again():
    ran = []
    graph = conflicting(ran)
    for given in ({"value": "start"}, None):
        with pytest.raises(GraphstalkError, match="2 values for 'value'"):
            graph.invoke(given, "t")
    assert sorted(ran) == ["a", "b"]
    assert graph.get_state("t").values == {"value": "start", "log": []}


def test_resuming_without_repair_raises_the_same_class():
    graph = conflicting([])
    for given in ({"value": "start"}, None):
        with pytest.raises(InvalidUpdateError, match="2 values for 'value'"):
            graph.invoke(given, "t")


# ---- input and config -----------------------------------------------------------------------


@pytest.fixture
def done():
    graph = compiled(after)
    graph.invoke({"count": 1}, "t")
    return graph


@pytest.mark.parametrize(
    ("value", "error", "texts"),
    [
        ({"conut": 1}, InvalidUpdateError, ["the input updates 'conut'", "mean 'count'?"]),
        (7, InvalidUpdateError, ["the input is no update of the state", "it is 7"]),
        ({"value": [object()]}, UnserializableValueError, ["the input: value['value'][0] is a"]),
        (Command(), EmptyInputError, ["Command(resume=answer)"]),
        (Command(graph=Command.PARENT, goto="work"), InvalidUpdateError, ["leave out graph=…"]),
        (Command(resume=1), NoPendingInterruptError, ["'t' (succeeded) asks nothing", "stored"]),
    ],
    ids=plain,
)
def test_a_wrong_input_is_refused_and_changes_nothing(done, value, error, texts):
    refused(done, error, lambda: done.invoke(value, "t"), *texts)


@pytest.mark.parametrize(
    ("thread_id", "text"),
    [
        ("", "is empty"),
        ("x" * 256, "256 characters"),
        ("a\tb", "control"),
        (b"t", "must be a string"),
    ],
)
@pytest.mark.parametrize("method", ["invoke", "get_state", "update_state", "get_state_history"])
def test_a_thread_id_that_cannot_be_one_is_refused_by_every_call(done, method, thread_id, text):
    config = {"thread_id": thread_id}
    calls = {
        "invoke": lambda: done.invoke({"count": 2}, config),
        "get_state": lambda: done.get_state(config),
        "update_state": lambda: done.update_state(config, {"count": 2}),
        "get_state_history": lambda: list(done.get_state_history(config)),
    }
    assert refused(done, InvalidThreadIdError, calls[method], text).code == "INVALID_THREAD_ID"


@pytest.mark.parametrize("config", [None, {}, {"configurable": {}}])
def test_without_a_thread_id_a_checkpointer_has_nowhere_to_keep_the_run(done, config):
    forms = ['{"configurable": {"thread_id": "my-thread"}}', 'config={"thread_id": "my-thread"}']
    with pytest.raises(ValueError, match="keeps its threads") as raised:
        done.invoke({"count": 1}, config)
    assert all(form in str(raised.value) for form in forms)
    assert raised.value.code == "INVALID_CONFIG"
    assert [thread for thread, _ in done.checkpointer.threads()] == ["t"]


def test_without_a_checkpointer_there_is_no_state_to_look_at():
    graph = StateGraph(State).add_node("work", nothing).add_edge(START, "work").compile()
    for call in (graph.get_state, lambda c: graph.update_state(c, {})):
        with pytest.raises(ValueError, match="No checkpointer set: the graph keeps no threads"):
            call("t")


@pytest.mark.parametrize(
    ("value", "error"), [(None, EmptyInputError), (Command(resume=1), NoPendingInterruptError)]
)
def test_a_thread_that_is_not_there_has_nothing_to_go_on_with(done, value, error):
    raised = refused(done, error, lambda: done.invoke(value, "absent"), "'absent'", thread="absent")
    assert "start a run" in str(raised)


def test_none_on_a_finished_thread_runs_nothing_and_returns_the_state(done):
    before = facts(done)
    assert done.invoke(None, "t") == {"count": 1, "log": ["after"]}
    assert facts(done) == before


def test_a_checkpoint_that_is_not_there_is_unknown(done):
    config = {"thread_id": "t", "checkpoint_id": "0" * 16}
    refused(done, UnknownThreadError, lambda: done.get_state(config), "'t' has no checkpoint '0000")


# ---- the recursion limit --------------------------------------------------------------------


def counting():
    def work(state):
        return {"count": state["count"] + 1}

    return compiled(work, router=lambda state: "work" if state["count"] < 10 else END)


def test_a_run_beyond_its_limit_stops_says_so_and_may_be_resumed_with_a_fresh_budget():
    graph, config = counting(), {"thread_id": "t", "recursion_limit": 4}
    counts = []
    for given in ({"count": 0}, None):
        with pytest.raises(GraphRecursionError) as raised:
            graph.invoke(given, config)
        counts.append(graph.get_state("t").values["count"])
    assert counts == [4, 8]
    assert raised.value.code == "GRAPH_RECURSION_LIMIT"
    assert "(work)" in str(raised.value)
    assert "Raise recursion_limit in the config, or resume the thread" in str(raised.value)
    assert graph.get_state("t").next == ("work",)
    assert graph.invoke(None, config)["count"] == 10


def test_a_raised_limit_counts_for_the_run_that_is_resumed_with_it():
    graph = counting()
    with pytest.raises(GraphRecursionError):
        graph.invoke({"count": 0}, {"thread_id": "t", "recursion_limit": 2})
    assert graph.invoke(None, {"thread_id": "t", "recursion_limit": 50})["count"] == 10


def test_a_run_that_just_fits_its_limit_ends_well():
    assert counting().invoke({"count": 0}, {"thread_id": "t", "recursion_limit": 10})["count"] == 10


# ---- editing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "as_node", "error", "texts"),
    [
        ({"count": 2}, "absent", InvalidUpdateError, ["as 'absent', which is no node", "'work'"]),
        ({"conut": 2}, "work", InvalidUpdateError, ["Did you mean 'count'?"]),
        (5, "work", InvalidUpdateError, ["what the node 'work' returned is no update"]),
        ({"log": 5}, "work", TypeError, ["can only concatenate list"]),
        ({"value": object()}, "work", UnserializableValueError, ["value is a builtins.object"]),
    ],
)
def test_an_edit_that_cannot_be_is_refused_and_changes_nothing(done, values, as_node, error, texts):
    refused(done, error, lambda: done.update_state("t", values, as_node=as_node), *texts)


def test_an_edit_after_several_nodes_ran_asks_as_which():
    builder = StateGraph(State).add_node("a", nothing).add_node("b", nothing)
    graph = builder.add_edge(START, "a").add_edge(START, "b").compile(MemoryCheckpointer())
    graph.invoke({"count": 1}, "t")
    call = lambda: graph.update_state("t", {"count": 2})  # noqa: E731 - given to be called
    refused(graph, InvalidUpdateError, call, "several nodes ran last (a, b): say which, as_node=…")
    graph.update_state("t", {"count": 2}, as_node="b")
    assert graph.get_state("t").values["count"] == 2
