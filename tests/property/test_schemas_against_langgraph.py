"""States of every kind, and every form of a return value, come out as in LangGraph.

The shapes of graphs are drawn at random in `test_against_langgraph.py`; here each case is written
once for both libraries and compared: what calls return, and the whole history.
"""

import dataclasses
import operator
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypedDict

import attrs
import langgraph.channels
import langgraph.graph
import langgraph.types
import pydantic
import pytest
import typing_extensions as te
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

import orchestrator
import orchestrator.channels

START, END = "__start__", "__end__"
CONFIG = {"configurable": {"thread_id": "t"}}


@dataclass(frozen=True)
class Library:
    """The names that both libraries have."""

    graph: Any
    types: Any
    channels: Any
    memory: Callable[[], Any]

    def build(self, schema: Any, *nodes: Any, **schemas: Any) -> Any:
        """Return a builder with these nodes; START leads to the first."""
        builder = self.graph.StateGraph(schema, **schemas)
        for node in nodes:
            builder.add_node(node)
        return builder.add_edge(START, nodes[0].__name__)


OURS = Library(orchestrator, orchestrator, orchestrator.channels, orchestrator.MemoryCheckpointer)
THEIRS = Library(langgraph.graph, langgraph.types, langgraph.channels, InMemorySaver)

Case = tuple[Any, list[Any]]  # A builder, and what its graph is invoked with.


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    n: int


def write_b(state: State) -> State:
    return {"log": ["b"]}


def write_c(state: State) -> State:
    return {"log": ["c"]}


class Model(pydantic.BaseModel):
    n: int = 0
    log: Annotated[list[str], operator.add] = []
    note: str | None = None


def a_model(lib: Library) -> Case:
    def a(state: Model) -> Model:
        return Model(n=state.n + 1, log=["a"])

    def b(state: Model) -> dict[str, Any]:
        return {"log": [f"{state.n} {state.note}"]}

    return lib.build(Model, a, b).add_edge("a", "b"), [{"n": 1}, Model(n=4), {"note": "x"}]


@dataclasses.dataclass
class Data:
    n: int = 0
    log: Annotated[list[str], operator.add] = dataclasses.field(default_factory=list)


def a_dataclass(lib: Library) -> Case:
    def a(state: Data) -> Data:
        return Data(state.n + 1, ["a"])

    def b(state):
        return {"log": [type(state).__name__]}

    return lib.build(Data, a, b).add_edge("a", "b"), [{"n": 1}, {}]


def a_state_without_fields(lib: Library) -> Case:
    def a(state):
        return ["a"]

    def b(state):
        return ["b", len(state)]

    builder = lib.build(Annotated[list, operator.add], a, b).add_edge("a", "b")
    return builder, [["in"], ["more"]]


def an_input_and_an_output_of_their_own(lib: Library) -> Case:
    class Question(TypedDict):
        question: str

    class Answer(TypedDict):
        answer: str

    class Both(Question, Answer):
        draft: str

    def a(state: Question):
        return {"draft": state["question"] + "!"}

    def b(state: Both):
        return {"answer": state["draft"] + "?"}

    builder = lib.build(Both, a, b, input_schema=Question, output_schema=Answer)
    return builder.add_edge("a", "b"), [{"question": "why"}]


def a_private_key(lib: Library) -> Case:
    class Private(TypedDict):
        secret: str

    def a(state: State):
        return {"secret": "s"}

    def b(state: Private):
        return {"log": [state["secret"]]}

    def route(state):
        return "b" if "secret" in state else END

    return lib.build(State, a, b).add_conditional_edges("a", route), [{"n": 1}]


def channels_of_every_kind(lib: Library) -> Case:
    class Kinds(TypedDict, total=False):
        brief: Annotated[int, lib.channels.EphemeralValue]
        same: Annotated[int, lib.channels.AnyValue]
        topic: Annotated[list, lib.channels.Topic(int)]
        topics: Annotated[list, lib.channels.Topic(int, accumulate=True)]
        n: int

    def a(state):
        return {"brief": 1, "same": 2, "topic": 3, "topics": [4, 5], "n": 1}

    def b(state):
        return {"n": len(state), "topics": 6}

    def c(state):
        return {"n": 100 + len(state)}

    builder = lib.build(Kinds, a, b, c).add_edge("a", "b").add_edge("b", "c")
    return builder, [{"n": 0}, {"n": 5}]


def equal_values_of_two_nodes(lib: Library) -> Case:
    class Same(TypedDict, total=False):
        v: Annotated[int, lib.channels.AnyValue]

    def a(state):
        return {"v": 3}

    def b(state):
        return {"v": 3}

    return lib.build(Same, a, b).add_edge(START, "b"), [{}]


def start_values_of_reduced_keys(lib: Library) -> Case:
    class Start(TypedDict, total=False):
        members: Annotated[set, operator.or_]
        table: Annotated[dict, operator.or_]
        count: Annotated[int, operator.add]
        text: Annotated[str, operator.add]
        best: Annotated[int | None, operator.add]
        share: Annotated[float, operator.add]
        flag: Annotated[bool, operator.or_]
        pair: Annotated[tuple, operator.add]
        row: Annotated[Sequence[int], operator.add]

    def a(state):
        return {"members": {1}, "best": 5}

    return lib.build(Start, a), [{}, {"best": 1}]


def values_of_none(lib: Library) -> Case:
    def a(state):
        return {"n": None}

    return lib.build(State, a), [{"n": None}, {}]


def a_list_of_command_and_update(lib: Library) -> Case:
    def a(state):
        return [lib.types.Command(update={"log": ["x"]}, goto="write_b"), {"log": ["y"]}]

    return lib.build(State, a, write_b), [{}]


def a_command_that_writes_a_key_twice(lib: Library) -> Case:
    def a(state):
        return lib.types.Command(update=[("log", ["x"]), ("log", ["y"])])

    return lib.build(State, a), [{}]


def a_send_that_is_returned(lib: Library) -> Case:
    def a(state):
        return lib.types.Send("b", {"n": 7})

    def b(given):
        return {"log": [given["n"]]}

    return lib.build(State, a, b), [{}]


def a_router_that_returns_several_labels(lib: Library) -> Case:
    def a(state):
        return None

    ends = {"x": "write_b", "y": "write_c"}
    builder = lib.build(State, a, write_b, write_c)
    return builder.add_conditional_edges("a", lambda state: ["x", "y"], ends), [{}]


def two_routers_to_one_node(lib: Library) -> Case:
    def a(state):
        return None

    def one(state):
        return "write_b"

    def two(state):
        return ["write_b", "write_c"]

    builder = lib.build(State, a, write_b, write_c)
    return builder.add_conditional_edges("a", one).add_conditional_edges("a", two), [{}]


def a_router_after_a_node_that_was_sent_something(lib: Library) -> Case:
    def a(state):
        return [lib.types.Send("b", {"n": 5, "private": 1})]

    def b(given):
        return {"log": [given["n"]]}

    def route(state):
        return END if sorted(state) == ["log"] else "write_c"

    builder = lib.build(State, write_c, b).add_conditional_edges("write_c", a)
    return builder.add_conditional_edges("b", route), [{}]


def a_question_beside_a_step_that_completes(lib: Library) -> Case:
    def a(state):
        return {"log": [lib.types.interrupt("sure?")]}

    builder = lib.build(State, a, write_b).add_edge(START, "write_b")
    return builder, [{}, lib.types.Command(resume="yes"), {"n": 1}]


class Row(NamedTuple):
    n: int = 0
    log: Annotated[list[str], operator.add] = []  # noqa: RUF012 - a default, never changed


def a_named_tuple(lib: Library) -> Case:
    def a(state: Row) -> Row:
        return Row(state["n"] + 1, ["a"])

    def b(state):
        return {"log": [type(state).__name__]}

    return lib.build(Row, a, b).add_edge("a", "b"), [{"n": 1}, {"n": 2, "log": ["in"]}]


@attrs.define
class Attrs:
    n: int = 0
    log: Annotated[list[str], operator.add] = attrs.field(factory=list)


def an_attrs_class(lib: Library) -> Case:
    def a(state: Attrs) -> Attrs:
        return Attrs(state["n"] + 1, ["a"])

    def b(state):
        return {"log": [type(state).__name__]}

    return lib.build(Attrs, a, b).add_edge("a", "b"), [{"n": 1}, {}]


class Own:
    n: int
    log: Annotated[list[str], operator.add]

    def __init__(self, n: int = 0, log: Sequence[str] = ()) -> None:
        self.n, self.log = n + 100, list(log)


def a_class_with_its_own_init(lib: Library) -> Case:
    def a(state: Own) -> Any:
        return Own(state["n"], ["a"])

    def b(state):
        return {"log": [f"{type(state).__name__} {state['n']}"]}

    return lib.build(Own, a, b).add_edge("a", "b"), [{"n": 1}, {}]


@dataclasses.dataclass(kw_only=True)
class Seeded:
    seed: dataclasses.InitVar[int] = 3
    n: int = 0
    log: Annotated[list[str], operator.add]

    def __post_init__(self, seed: int) -> None:
        self.n += seed


def a_dataclass_with_an_init_only_field(lib: Library) -> Case:
    def a(state: Seeded) -> Any:
        return {"log": [str(state.n)], "n": 5}

    return lib.build(Seeded, a), [{"n": 1}, {"seed": 7}, {}]


@dataclasses.dataclass
class Base(Data):
    more: str = "more"


def an_instance_of_a_subclass_as_update(lib: Library) -> Case:
    def a(state: Data) -> Base:
        return Base(3, ["a"], "dropped")

    return lib.build(Data, a), [{"n": 1}, {"log": ["in"]}]


def a_node_with_a_narrower_class(lib: Library) -> Case:
    @dataclasses.dataclass
    class View:
        n: int

    def a(state: View) -> dict[str, Any]:
        return {"log": [f"{state.n}"]}

    return lib.build(State, a), [{"n": 1}, {"n": 2, "log": ["in"]}]


@pytest.mark.parametrize(
    "case",
    [
        a_model,
        a_named_tuple,
        an_attrs_class,
        a_class_with_its_own_init,
        a_dataclass_with_an_init_only_field,
        an_instance_of_a_subclass_as_update,
        a_node_with_a_narrower_class,
        a_dataclass,
        a_state_without_fields,
        an_input_and_an_output_of_their_own,
        a_private_key,
        channels_of_every_kind,
        equal_values_of_two_nodes,
        start_values_of_reduced_keys,
        values_of_none,
        a_list_of_command_and_update,
        a_command_that_writes_a_key_twice,
        a_send_that_is_returned,
        a_router_that_returns_several_labels,
        two_routers_to_one_node,
        a_router_after_a_node_that_was_sent_something,
        a_question_beside_a_step_that_completes,
    ],
    ids=lambda case: case.__name__,
)
def test_a_case_comes_out_as_in_langgraph(case: Callable[[Library], Case]) -> None:
    assert outcome(OURS, case) == outcome(THEIRS, case)


def outcome(lib: Library, case: Callable[[Library], Case]) -> tuple[list[Any], list[Any]]:
    """Return what the calls of a case returned, and the thread's history."""
    builder, inputs = case(lib)
    graph = builder.compile(lib.memory())
    returned = [shown(graph.invoke(given, CONFIG)) for given in inputs]
    history = [
        (s.values, tuple(s.next), s.metadata["source"], s.metadata["step"])
        for s in graph.get_state_history(CONFIG)
    ]
    return returned, history


def shown(result: Any) -> Any:
    """Return a result with its questions as plain values."""
    if isinstance(result, dict) and "__interrupt__" in result:
        return {**result, "__interrupt__": [i.value for i in result["__interrupt__"]]}
    return result


# ---- spellings of keys ------------------------------------------------------------------------
#
# The rule, the type and where words stand around it are drawn; the keys are one state in each
# library, and each key gets the same writes. Where LangGraph finds no reducer, although the
# annotation has one, the key must be as with the reducer alone.


def greatest(value: int, write: int) -> int:
    """Return the greater one; LangGraph cannot read the signature of `max`."""
    return max(value, write)


RULES: dict[str, tuple[Any, Any, list[Any]]] = {
    "list": (list, operator.add, [["in"], ["a"], ["b"]]),
    "list of": (list[str], operator.add, [["in"], ["a"], ["b"]]),
    "sequence": (Sequence[str], operator.add, [["in"], ["a"], ["b"]]),
    "count": (int, operator.add, [1, 2, 3]),
    "text": (str, operator.add, ["in", "a", "b"]),
    "set": (set, operator.or_, [{0}, {1}, {2}]),
    "optional": (int | None, greatest, [4, 2, 7]),
    "lambda": (dict, lambda a, b: {**a, **b}, [{"in": 1}, {"a": 1}, {"b": 1}]),
    "last": (str, None, ["in", "a", "b"]),
    "untyped": (Any, None, ["in", 1, None]),
}
Spelling = Callable[[Any, Any], Any]


def alias(value: Any) -> Any:
    """Return an alias, as `type Alias = value` makes it."""
    return te.TypeAliasType("Alias", value)


FOUND: dict[str, Spelling] = {  # As LangGraph understands them, too.
    "annotated": lambda typ, rule: Annotated[typ, rule],
    "doc first": lambda typ, rule: Annotated[typ, "doc", rule],
    "field first": lambda typ, rule: Annotated[typ, pydantic.Field(description="d"), rule],
    "nested": lambda typ, rule: Annotated[Annotated[typ, "doc"], rule],
    "required": lambda typ, rule: te.Required[Annotated[typ, rule]],
    "not required": lambda typ, rule: te.NotRequired[Annotated[typ, rule]],
    "inside": lambda typ, rule: Annotated[te.NotRequired[typ], rule],
}
LOST: dict[str, Spelling] = {  # LangGraph takes the last write.
    "doc last": lambda typ, rule: Annotated[typ, rule, "doc"],
    "doc class": lambda typ, rule: Annotated[typ, rule, te.Doc("doc")],
    "field last": lambda typ, rule: Annotated[typ, rule, pydantic.Field(description="d")],
    "outside": lambda typ, rule: Annotated[Annotated[typ, rule], "doc"],
    "read only": lambda typ, rule: te.ReadOnly[Annotated[typ, rule]],
    "qualifiers": lambda typ, rule: te.Required[te.ReadOnly[Annotated[typ, rule]]],
    "optional": lambda typ, rule: Annotated[typ, rule] | None,
    "alias": lambda typ, rule: alias(Annotated[typ, rule]),
    "alias of alias": lambda typ, rule: alias(alias(Annotated[typ, rule])),
    "alias inside": lambda typ, rule: te.NotRequired[alias(Annotated[typ, rule]) | None],
    "new type": lambda typ, rule: typing.NewType("N", Annotated[typ, rule]),
}
WORDS: dict[str, Spelling] = {  # Of keys without a reducer.
    "bare": lambda typ, _: typ,
    "doc": lambda typ, _: Annotated[typ, "doc"],
    "required": lambda typ, _: te.Required[typ],
    "read only": lambda typ, _: te.ReadOnly[typ],
    "optional": lambda typ, _: typ | None,
}
FORMS = ("typing", "typing_extensions", "dataclass", "model")


@st.composite
def spelled(draw: st.DrawFn) -> tuple[str, dict[str, tuple[str, str]]]:
    """Draw the form of a state, and for each key its rule and its spelling."""
    form = draw(st.sampled_from(FORMS))
    keys = {}
    for number in range(draw(st.integers(1, 4))):
        rule = draw(st.sampled_from(sorted(RULES)))
        words = WORDS if RULES[rule][1] is None else {**FOUND, **LOST}
        fitting = sorted(words)
        if form in {"dataclass", "model"}:  # Qualifiers are for TypedDicts.
            fitting = [w for w in fitting if "requ" not in w and w not in QUALIFIED]
        keys[f"k{number}"] = (rule, draw(st.sampled_from(fitting)))
    return form, keys


QUALIFIED = {"read only", "qualifiers", "inside", "alias inside"}


def hint_of(rule: str, spelling: str, *, plain: bool) -> Any:
    """Return an annotation; `plain`: as LangGraph understands its rule."""
    typ, reducer, _ = RULES[rule]
    if reducer is None:
        return WORDS[spelling](typ, None)
    if plain and spelling in LOST:
        optional = spelling in {"optional", "alias inside"}
        return Annotated[typ | None if optional else typ, reducer]
    return {**FOUND, **LOST}[spelling](typ, reducer)


def state_of(form: str, hints: dict[str, Any]) -> Any:
    """Return a state with these keys; those of classes are `None` by default."""
    if form == "dataclass":
        return dataclasses.make_dataclass("Data", [(k, h, None) for k, h in hints.items()])
    if form == "model":
        return pydantic.create_model("Model", **{k: (h, None) for k, h in hints.items()})
    made = typing.TypedDict if form == "typing" else te.TypedDict
    return made("State", hints, total=False)  # type: ignore[operator]


@settings(deadline=None)
@given(spelled(), st.booleans())
def test_a_key_is_updated_by_its_rule_however_that_is_spelled(
    case: tuple[str, dict[str, tuple[str, str]]], empty: bool
) -> None:
    form, keys = case
    outcomes = []
    for lib, plain in ((OURS, False), (THEIRS, True)):
        hints = {k: hint_of(rule, spelling, plain=plain) for k, (rule, spelling) in keys.items()}
        builder = lib.graph.StateGraph(state_of(form, hints))
        for name, number in (("a", 1), ("b", 2)):
            update = {k: RULES[rule][2][number] for k, (rule, _) in keys.items()}
            builder.add_node(name, lambda _, update=update: update)
        builder.add_edge(START, "a").add_edge("a", "b")
        graph = builder.compile(lib.memory())
        begin = {} if empty else {k: RULES[rule][2][0] for k, (rule, _) in keys.items()}
        outcomes.append((graph.invoke(begin, CONFIG), graph.get_state(CONFIG).values))
    assert outcomes[0] == outcomes[1]


def test_langgraph_loses_the_reducers_that_the_table_says_it_loses() -> None:
    for spelling in LOST:
        hint = hint_of("list", spelling, plain=False)
        graph = langgraph.graph.StateGraph(te.TypedDict("S", {"k": hint}))
        assert type(graph.channels["k"]) is langgraph.channels.LastValue, spelling
