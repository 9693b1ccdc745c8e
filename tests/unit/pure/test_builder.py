"""Writing a graph, and what freezing it finds wrong."""

import operator
from typing import Annotated, Literal, TypedDict

import pytest

from orchestrator.channels import (
    BinaryOperatorAggregate,
    EphemeralValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
)
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.introspection import ends_of, first_hint, injected, named
from orchestrator.graph.policy import RetryPolicy
from orchestrator.graph.routing import END, START, branch_channel, join_channel


class State(TypedDict):
    x: int


class Seen(TypedDict):
    x: int
    private: str


def node(state):
    return None


def builder(*names):
    graph = GraphBuilder(State)
    for name in names:
        graph.add_node(name, node)
    return graph


def refused(text):
    return pytest.raises(InvalidGraphError, match=text)


# ---- nodes ----------------------------------------------------------------------------------


def test_a_function_names_its_node():
    assert "node" in GraphBuilder(State).add_node(node).set_entry_point("node").freeze("g").nodes


def test_every_writing_method_returns_the_graph():
    graph = GraphBuilder(State)
    assert graph.add_node("a", node) is graph
    assert graph.add_edge(START, "a") is graph
    assert graph.add_conditional_edges("a", lambda state: END) is graph
    assert graph.set_finish_point("a") is graph
    assert graph.add_sequence([("b", node)]) is graph
    assert graph.set_conditional_entry_point(lambda state: "a", ["a"]) is graph
    assert graph.validate() is graph


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "'' cannot name a node: 1 to 200 printable"),
        ("x" * 201, "cannot name a node: 1 to 200"),
        ("a\nb", "cannot name a node"),
        ("a|b", "'|' and ':' are reserved"),
        ("a:b", "'|' and ':' are reserved"),
        (START, "'__start__' is reserved"),
        (END, "'__end__' is reserved"),
    ],
)
def test_a_malformed_or_reserved_name_is_refused_and_nothing_is_added(name, text):
    graph = GraphBuilder(State)
    with pytest.raises(InvalidGraphError) as raised:
        graph.add_node(name, node)
    assert text in str(raised.value)
    assert raised.value.code == "INVALID_GRAPH"
    graph.add_node("a", node).set_entry_point("a")
    assert set(graph.freeze("g").nodes) == {START, "a"}


def test_two_nodes_of_one_name_are_refused():
    with refused("already has a node named 'a'; give this one another name"):
        builder("a", "a")


def test_a_name_without_a_function_says_how_to_give_one():
    with refused(r"the node 'a' must have a function: add_node\('a', function\)"):
        GraphBuilder(State).add_node("a")


@pytest.mark.parametrize(("given", "text"), [("text", r"must be a function.*\(str: 'text'\)")])
def test_an_action_that_cannot_be_called_is_refused(given, text):
    with refused(text):
        GraphBuilder(State).add_node("a", given)


@pytest.mark.parametrize("given", [3, object()])
def test_what_is_neither_a_name_nor_something_to_call_is_no_node(given):
    with refused("must be a function, a callable object, a compiled graph, a runnable or a dict"):
        GraphBuilder(State).add_node(given)


def test_the_options_of_a_node_are_kept():
    policy = RetryPolicy()
    graph = GraphBuilder(State).add_node(
        "a",
        node,
        retry_policy=policy,
        queue="gpu",
        metadata={"k": 1},
        destinations=["b"],
        defer=True,
    )
    options = graph.set_entry_point("a").freeze("g").nodes["a"].options
    assert options.retry == (policy,)
    assert (options.queue, options.metadata) == ("gpu", {"k": 1})
    assert (options.destinations, options.defer) == ({"b": None}, True)


def test_several_policies_keep_their_order():
    policies = [RetryPolicy(max_attempts=2), RetryPolicy(max_attempts=5)]
    graph = GraphBuilder(State).add_node("a", node, retry_policy=policies).set_entry_point("a")
    assert graph.freeze("g").nodes["a"].options.retry == tuple(policies)


# ---- schemas --------------------------------------------------------------------------------


def test_a_nodes_own_schema_adds_private_keys_and_is_what_it_sees():
    def takes(state: Seen): ...

    spec = GraphBuilder(State).add_node("a", takes).set_entry_point("a").freeze("g")
    assert spec.state_keys == ("x", "private")
    assert spec.nodes["a"].reader.keys == ("x", "private")
    assert spec.output_keys == spec.input_keys == ("x",)


def test_an_input_schema_goes_before_the_hint():
    class Small(TypedDict):
        x: int

    def takes(state: Seen): ...

    spec = GraphBuilder(State).add_node("a", takes, input_schema=Small).set_entry_point("a")
    assert spec.freeze("g").nodes["a"].reader.keys == ("x",)


def test_input_and_output_may_be_less_than_the_state():
    class Out(TypedDict):
        y: int

    spec = GraphBuilder(Seen, input_schema=State, output_schema=Out).add_node("a", node)
    spec = spec.set_entry_point("a").freeze("g")
    assert spec.input_keys == ("x",)
    assert spec.output_keys == ("y",)
    assert set(spec.state_keys) == {"x", "private", "y"}


def test_a_key_with_two_rules_is_refused():
    class Adds(TypedDict):
        x: Annotated[int, operator.add]

    class Multiplies(TypedDict):
        x: Annotated[int, operator.mul]

    with refused("the key 'x' has two rules: reduced:add and reduced:mul"):
        GraphBuilder(Adds, output_schema=Multiplies)


def test_a_key_with_one_lambda_written_in_two_schemas_has_one_rule():
    class Adds(TypedDict):
        x: Annotated[int, lambda a, b: a + b]

    class AddsToo(TypedDict):
        x: Annotated[int, lambda a, b: a + b]

    class Multiplies(TypedDict):
        x: Annotated[int, lambda a, b: a * b]

    assert GraphBuilder(Adds, input_schema=AddsToo).channels["x"].update(1, [2, 3]) == 6
    with refused("the key 'x' has two rules"):
        GraphBuilder(Adds, input_schema=Multiplies)


def test_a_reducer_stays_where_another_schema_only_names_the_key():
    class Adds(TypedDict):
        x: Annotated[int, operator.add]

    graph = GraphBuilder(Adds, output_schema=State)
    assert isinstance(graph.channels["x"], BinaryOperatorAggregate)


def test_a_reducer_given_later_for_the_same_type_counts():
    class Adds(TypedDict):
        x: Annotated[int, operator.add]

    assert isinstance(
        GraphBuilder(State, output_schema=Adds).channels["x"], BinaryOperatorAggregate
    )


# ---- edges ----------------------------------------------------------------------------------


def test_an_edge_from_the_end_or_to_the_start_is_refused():
    with refused("must not begin at END"):
        builder("a").add_edge(END, "a")
    with refused("must not begin at END"):
        builder("a").add_edge(["a", END], "a")
    with refused("must not lead to START"):
        builder("a").add_edge("a", START)


@pytest.mark.parametrize("sources", [[START, "a"], []])
def test_a_join_waits_for_nodes_only(sources):
    with refused("a join must begin at nodes"):
        builder("a", "b").add_edge(sources, "b")


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda g: g.add_edge("a", "nowhere"), "Found edge ending at unknown node 'nowhere'"),
        (lambda g: g.add_edge("nowhere", "a"), "Found edge starting at unknown node 'nowhere'"),
        (lambda g: g.add_edge(["a", "nowhere"], "a"), "starting at unknown node 'nowhere'"),
        (lambda g: g.add_edge(["a"], "nowhere"), "ending at unknown node 'nowhere'"),
        (lambda g: g.add_conditional_edges("nowhere", node), "starting at unknown node 'nowhere'"),
        (
            lambda g: g.add_conditional_edges("a", node, {1: "nowhere"}),
            "ending at unknown node 'nowhere'",
        ),
        (
            lambda g: g.add_conditional_edges("a", node, ["nowhere"]),
            "ending at unknown node 'nowhere'",
        ),
    ],
)
def test_an_edge_to_or_from_nowhere_names_it_and_lists_the_nodes(write, text):
    graph = builder("a").set_entry_point("a")
    write(graph)
    with pytest.raises(InvalidGraphError) as raised:
        graph.freeze("g")
    assert text in str(raised.value)
    assert "The nodes are: 'a'" in str(raised.value)


def test_a_graph_without_entry_says_how_to_add_one():
    with refused(r"no entry: add an edge from START, as add_edge\(START, 'first_node'\)"):
        builder("a").freeze("g")
    with refused("no entry"):
        GraphBuilder(State).freeze("g")


def test_a_graph_may_be_corrected_after_it_was_refused():
    graph = builder("a").add_edge("a", "b")
    with refused("ending at unknown node 'b'"):
        graph.set_entry_point("a").freeze("g")
    assert "b" in graph.add_node("b", node).freeze("g").nodes


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
def test_an_interrupt_at_no_node_is_refused_and_a_star_means_all(when):
    graph = builder("a", "b").set_entry_point("a")
    with refused("cannot interrupt at 'c', which is no node. The nodes are: 'a', 'b'"):
        graph.freeze("g", **{when: ["c"]})
    assert getattr(graph.freeze("g", **{when: "*"}), when) == {"a", "b"}
    assert getattr(graph.freeze("g", **{when: ["*"]}), when) == {"a", "b"}
    assert getattr(graph.freeze("g", **{when: ["b"]}), when) == {"b"}


def test_a_sequence_is_nodes_with_edges_between_them():
    def first(state): ...

    spec = GraphBuilder(State).add_sequence([first, ("second", node)]).set_entry_point("first")
    assert spec.freeze("g").nodes["first"].writes == ((branch_channel("second"), None),)


def test_an_empty_sequence_is_refused():
    with refused("needs at least one node"):
        GraphBuilder(State).add_sequence([])


# ---- wiring ---------------------------------------------------------------------------------


def test_edges_become_writes_and_triggers():
    spec = (
        builder("a", "b").set_entry_point("a").add_edge("a", "b").set_finish_point("b").freeze("g")
    )
    assert spec.start.writes == ((branch_channel("a"), None),)
    assert spec.nodes["a"].writes == ((branch_channel("b"), None),)
    assert spec.nodes["b"].writes == ()
    assert spec.nodes["b"].triggers == (branch_channel("b"),)
    assert isinstance(spec.channels[branch_channel("b")], EphemeralValue)


def test_a_join_is_a_barrier_that_each_source_writes_to():
    spec = builder("a", "b", "c").set_entry_point("a").add_edge(["a", "b"], "c").freeze("g")
    key = join_channel(("a", "b"), "c")
    assert isinstance(spec.channels[key], NamedBarrierValue)
    assert spec.nodes["a"].writes == ((key, "a"),)
    assert spec.nodes["c"].triggers == (branch_channel("c"), key)


def test_a_join_at_the_end_is_nothing_to_wait_for():
    spec = builder("a", "b").set_entry_point("a").add_edge(["a", "b"], END).freeze("g")
    assert spec.nodes["a"].writes == ()


def test_a_deferred_node_listens_to_channels_that_act_at_the_end():
    graph = builder("a").add_node("last", node, defer=True).set_entry_point("a")
    spec = graph.add_edge(["a"], "last").freeze("g")
    channels = [spec.channels[key] for key in spec.nodes["last"].triggers]
    assert [type(c) for c in channels] == [LastValueAfterFinish, NamedBarrierValueAfterFinish]


def test_freezing_twice_gives_equal_graphs_and_leaves_the_builder_alone():
    graph = builder("a").set_entry_point("a")
    assert graph.freeze("g").fingerprint == graph.freeze("g").fingerprint
    assert list(graph.channels) == ["x"]


# ---- routers --------------------------------------------------------------------------------


def test_two_routers_of_one_name_at_a_node_are_refused():
    with refused("the node 'a' already has a router named 'node'"):
        builder("a").add_conditional_edges("a", node).add_conditional_edges("a", node)


def test_a_router_without_a_name_is_called_by_its_class():
    class Router:
        def __call__(self, state): ...

    spec = builder("a").set_entry_point("a").add_conditional_edges("a", Router()).freeze("g")
    assert spec.nodes["a"].branches[0].name == "Router"


def test_a_router_that_names_a_schema_sees_that_one_and_no_result():
    def router(state: Seen): ...

    graph = builder("a").set_entry_point("a").add_conditional_edges("a", router)
    (branch,) = graph.add_conditional_edges(START, node).freeze("g").nodes["a"].branches
    assert branch.reader.keys == ("x", "private")
    assert not branch.passes_result
    assert graph.freeze("g").start.branches[0].passes_result


def test_the_ends_of_a_router_come_from_its_map_a_list_or_its_literal():
    def router(state) -> Literal["a", "b"]: ...

    assert ends_of(router, {1: "a"}) == {1: "a"}
    assert ends_of(router, ["c"]) == {"c": "c"}
    assert ends_of(router, None) == {"a": "a", "b": "b"}
    assert ends_of(node, None) is None


# ---- what functions tell --------------------------------------------------------------------


def test_parameters_are_injected_by_name_after_the_first():
    assert injected(lambda config: 0) == ()
    assert injected(lambda state, other, ctx, config: 0) == ("ctx", "config")
    assert injected(dict) == ()
    assert injected(3) == ()


def test_hints_that_cannot_be_resolved_or_name_no_fields_are_no_schema():
    def unknown(state: "NoSuchName"): ...  # noqa: F821 - that is the point

    def plain(state: dict): ...

    def nothing(): ...

    assert [first_hint(f) for f in (unknown, plain, nothing, dict, 3)] == [None] * 5


def test_a_callable_object_tells_its_hint():
    class Callable:
        def __call__(self, state: Seen): ...

    assert first_hint(Callable()) is Seen


def test_a_name_and_a_callable_are_a_node():
    assert named("a", node) == ("a", node)
    assert named(node, None) == ("node", node)
