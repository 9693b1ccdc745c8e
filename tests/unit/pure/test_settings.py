"""What can be said about a node when it is added."""

import datetime as dt
from typing import Literal, TypedDict

import pytest

from orchestrator.errors import InvalidGraphError
from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.compile import NodeDefaults, options_of
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy
from orchestrator.graph.routing import START, Command


class State(TypedDict):
    x: int


def node(state): ...


def handler(state, error, config): ...


def options(action=node, defaults=None, **settings):
    builder = GraphBuilder(State).set_node_defaults(**(defaults or {}))
    spec = builder.add_node("a", action, **settings).add_edge(START, "a").freeze("g")
    return spec.nodes["a"].options


def test_an_option_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(TypeError, match=r"add_node\('a'\) has no option 'retries'") as raised:
        GraphBuilder(State).add_node("a", node, retries=3)
    assert "The options are: defer, metadata, input_schema, retry_policy" in str(raised.value)


def test_a_node_that_says_nothing_has_nothing():
    assert options() == options_of("a", {}, NodeDefaults())
    assert (options().retry, options().timeout, options().handler, options().cache) == (
        (),
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("given", "labelled"),
    [
        (["b", "c"], {"b": None, "c": None}),
        (("b",), {"b": None}),
        ({"b": "yes", "c": None}, {"b": "yes", "c": None}),
        (None, {}),
    ],
)
def test_where_a_node_may_lead_is_kept_with_labels(given, labelled):
    assert options(destinations=given).destinations == labelled


def test_where_a_node_may_lead_is_read_from_what_it_returns():
    def one(state) -> Command[Literal["b", "c"]]: ...

    def two(state) -> State | Command[Literal["b"]] | None: ...

    assert options(one).destinations == {"b": None, "c": None}
    assert options(two).destinations == {"b": None}
    assert options(one, destinations=["d"]).destinations == {"d": None}


def test_a_handler_is_kept_with_what_it_asks_for():
    found = options(error_handler=handler).handler
    assert (found.action, found.injected) == (handler, ("error", "config"))


@pytest.mark.parametrize("timeout", [2, 2.0, dt.timedelta(seconds=2), TimeoutPolicy(run_timeout=2)])
def test_a_timeout_is_kept_in_seconds(timeout):
    assert options(timeout=timeout).timeout == TimeoutPolicy(run_timeout=2.0)


@pytest.mark.parametrize("timeout", [0, -1, "soon", TimeoutPolicy(idle_timeout=0)])
def test_a_timeout_that_is_none_is_refused_with_its_node(timeout):
    with pytest.raises(InvalidGraphError, match="the timeout of the node 'a': "):
        options(timeout=timeout)


def test_what_a_node_says_goes_before_what_the_graph_says():
    one, two = RetryPolicy(max_attempts=1), RetryPolicy(max_attempts=2)
    defaults = {"retry_policy": one, "timeout": 1, "error_handler": handler, "cache_policy": "c"}
    default = options(defaults=defaults)
    assert (default.retry, default.timeout.run_timeout) == ((one,), 1.0)
    assert (default.handler.action, default.cache) == (handler, "c")
    own = options(
        defaults=defaults, retry_policy=[two, one], timeout=9, error_handler=node, cache_policy="d"
    )
    assert (own.retry, own.timeout.run_timeout) == ((two, one), 9.0)
    assert (own.handler.action, own.cache) == (node, "d")


def test_what_the_graph_says_later_holds_for_nodes_that_were_there_before():
    builder = GraphBuilder(State).add_node("a", node).add_edge(START, "a")
    builder.set_node_defaults(timeout=3)
    assert builder.freeze("g").nodes["a"].options.timeout.run_timeout == 3.0


def test_an_option_by_its_old_name_counts_and_warns():
    policy = RetryPolicy(max_attempts=7)

    class Seen(TypedDict):
        key: str

    with pytest.warns(DeprecationWarning, match=r"retry=…\) is deprecated: write retry_policy="):
        nodes = GraphBuilder(State).add_node("a", node, retry=policy).nodes
    assert nodes["a"].settings["retry_policy"] is policy
    with pytest.warns(DeprecationWarning, match=r"input=…\) is deprecated: write input_schema="):
        nodes = GraphBuilder(State).add_node("a", node, input=Seen).nodes
    assert nodes["a"].input_schema is Seen
    with pytest.warns(DeprecationWarning, match="retry="):
        nodes = (
            GraphBuilder(State).add_node("a", node, retry=RetryPolicy(), retry_policy=policy).nodes
        )
    assert nodes["a"].settings["retry_policy"] is policy  # The new name counts, as in LangGraph.
