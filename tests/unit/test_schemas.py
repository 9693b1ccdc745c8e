"""What a schema says is what happens: reducers wherever they stand, defaults, names of fields."""

import dataclasses
import operator
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
)

import annotated_types
import attrs
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions as te
from langchain_core.messages import AIMessage, HumanMessage
from pydantic.alias_generators import to_camel

from orchestrator import START, Command, MemoryCheckpointer, StateGraph, add_messages, interrupt
from orchestrator.channels import EphemeralValue, Topic
from orchestrator.errors import InvalidGraphError
from tests.fixtures.ids import plain

T = TypeVar("T")
U = TypeVar("U")


def keyed(hint: Any) -> Any:
    """Return a state with the one key `x`."""
    return te.TypedDict("Keyed", {"x": hint})


def run(schema: Any, *nodes: Any, given: Any = None, **schemas: Any) -> Any:
    """Run nodes one after the other; return the output."""
    builder = StateGraph(schema, **schemas).add_sequence(nodes)
    return builder.add_edge(START, nodes[0].__name__).compile().invoke(given or {})


# ---- reducers, wherever they stand --------------------------------------------------------------

Items = te.TypeAliasType("Items", Annotated[list, operator.add])
ItemsOf = te.TypeAliasType("ItemsOf", Annotated[list[T], operator.add], type_params=(T,))
Outer = te.TypeAliasType("Outer", Items)
Nested = te.TypeAliasType("Nested", ItemsOf[T], type_params=(T,))
New = NewType("New", Annotated[list, operator.add])

SPELLINGS = [
    Annotated[list, operator.add],
    Annotated[list, operator.add, "doc"],
    Annotated[list, "doc", operator.add, 7],
    Annotated[list, operator.add, te.Doc("doc")],
    Annotated[list, operator.add, pydantic.Field(description="doc")],
    Annotated[list, pydantic.Field(description="doc"), operator.add],
    Annotated[list, operator.add, annotated_types.MaxLen(9)],
    Annotated[list, operator.add, annotated_types.Predicate(bool)],
    Annotated[list, operator.add, int],
    Annotated[Annotated[list, operator.add], "doc"],
    Annotated[list, operator.add, operator.add],
    Required[Annotated[list, operator.add]],
    NotRequired[Annotated[list, operator.add]],
    Annotated[NotRequired[list], operator.add],
    te.ReadOnly[Annotated[list, operator.add, "doc"]],
    Required[te.ReadOnly[Annotated[list, operator.add]]],
    Annotated[te.ReadOnly[Required[list]], operator.add],
    Optional[Annotated[list, operator.add]],  # noqa: UP045 - another class before 3.14
    Annotated[list, operator.add] | None,
    NotRequired[Annotated[list, operator.add] | None],
    Items,
    Outer,
    ItemsOf[str],
    Nested[str],
    Items | None,
    Annotated[Outer, "doc"],
    NotRequired[te.ReadOnly[Items]],
    New,
]


@pytest.mark.parametrize("hint", SPELLINGS, ids=plain)
def test_a_reducer_counts_wherever_the_annotation_has_it(hint):
    def a(state):
        return {"x": ["a"]}

    def b(state):
        return {"x": ["b", len(state["x"])]}

    assert run(keyed(hint), a, b, given={"x": ["in"]}) == {"x": ["in", "a", "b", 2]}


def test_messages_with_a_doc_are_a_conversation():
    class Chat(TypedDict):
        messages: Annotated[list, add_messages, "what was said"]

    def answer(state):
        return {"messages": [AIMessage("hello", id="2")]}

    output = run(Chat, answer, given={"messages": [HumanMessage("hi", id="1")]})
    assert [message.content for message in output["messages"]] == ["hi", "hello"]


@pytest.mark.parametrize(
    "hint",
    [
        Annotated[list, operator.add, lambda a, b: b],
        Annotated[Items, max],
        Annotated[list, operator.add, EphemeralValue],
        Annotated[list, Topic(int), EphemeralValue],
        Annotated[list, operator.add] | Annotated[str, operator.concat],
    ],
    ids=plain,
)
def test_two_rules_for_a_key_are_refused_with_both_names(hint):
    with pytest.raises(InvalidGraphError, match=r"the key 'x' must have one rule.*has 2 \(.+, "):
        StateGraph(keyed(hint))


@pytest.mark.parametrize(
    "hint", [Annotated[list, lambda one: one, "doc"], Annotated[int, str.upper]]
)
def test_what_cannot_be_a_reducer_is_refused_wherever_it_stands(hint):
    with pytest.raises(
        InvalidGraphError, match=r"reducer of .x.: it must take a value and a write"
    ):
        StateGraph(keyed(hint))


def test_an_alias_may_be_a_text_and_one_that_names_nothing_says_so():
    def a(state):
        return {"x": ["a"]}

    text = te.TypeAliasType("Text", "Annotated[list, operator.add]")
    assert run(keyed(text), a, given={"x": ["in"]}) == {"x": ["in", "a"]}
    with pytest.raises(InvalidGraphError, match=r"alias Late cannot be resolved.*Missing"):
        StateGraph(keyed(te.TypeAliasType("Late", "Annotated[list, Missing]")))  # noqa: F821 - the point


# ---- generic states -----------------------------------------------------------------------------


class Generic1(TypedDict, Generic[T]):
    items: Annotated[list[T], operator.add]
    last: T


class Both(Generic1[U], Generic[U]):
    more: Annotated[list[U], operator.add, "doc"]


class Fixed(Generic1[str]):
    n: int


@dataclasses.dataclass
class GenericData(Generic[T]):
    items: Annotated[list[T], operator.add] = dataclasses.field(default_factory=list)
    last: T | None = None


class GenericModel(pydantic.BaseModel, Generic[T]):
    items: Annotated[list[T], operator.add] = []
    last: T | None = None


@dataclasses.dataclass
class SubData(GenericData[str]):
    n: int = 0


class SubModel(GenericModel[str]):
    n: int = 0


def last_of(state):
    return state["items"] if isinstance(state, dict) else state.items


@pytest.mark.parametrize(
    "schema",
    [
        *(Generic1, Generic1[str], Both[str], Fixed),
        *(GenericData, GenericData[str], SubData),
        *(GenericModel, GenericModel[str], SubModel),
        te.TypeAliasType("Alias", Generic1[str]),
        te.TypeAliasType("AliasOf", Generic1[T], type_params=(T,))[str],
        Annotated[GenericData[str], "doc"],
    ],
    ids=plain,
)
def test_a_generic_state_has_its_keys_and_their_rules(schema):
    def a(state):
        return {"items": ["a"], "last": "a"}

    def b(state):
        return {"items": ["b", *last_of(state)]}

    output = run(schema, a, b, given={"items": ["in"]})
    assert {k: output[k] for k in ("items", "last")} == {
        "items": ["in", "a", "b", "in", "a"],
        "last": "a",
    }


def test_arguments_of_generics_reach_the_fields_of_bases():
    from orchestrator.graph.fields import field_hints

    assert field_hints(Both[int])["last"] is int
    assert field_hints(Both[int])["more"] == Annotated[list[int], operator.add, "doc"]
    assert field_hints(Fixed)["items"] == Annotated[list[str], operator.add]
    assert field_hints(SubModel)["items"] == Annotated[list[str], operator.add]
    assert field_hints(SubData)["last"] == str | None


def test_a_node_may_ask_for_a_generic_view():
    def a(state: GenericData[str]):
        return {"items": [type(state).__name__]}

    assert run(Generic1[str], a, given={"items": []})["items"] == ["GenericData"]


@dataclasses.dataclass
class Part:
    n: int


def test_the_argument_of_a_generic_state_can_be_stored():
    def a(state):
        return {"items": [Part(1)]}

    def b(state):
        return {"x": [Part(1)]}

    graph = (
        StateGraph(Generic1[Part]).add_node(a).add_edge(START, "a").compile(MemoryCheckpointer())
    )
    assert graph.invoke({}, "t")["items"] == [Part(1)]
    graph = (
        StateGraph(keyed(ItemsOf[Part]))
        .add_node(b)
        .add_edge(START, "b")
        .compile(MemoryCheckpointer())
    )
    assert graph.invoke({}, "t")["x"] == [Part(1)]


# ---- declared defaults --------------------------------------------------------------------------


@dataclasses.dataclass
class DataDefaults:
    count: Annotated[int, operator.add] = 5
    log: Annotated[list, operator.add] = dataclasses.field(default_factory=lambda: ["begin"])
    best: Annotated[int | None, max] = 5
    none: Annotated[int | None, operator.add] = None


class ModelDefaults(pydantic.BaseModel):
    count: Annotated[int, operator.add] = 5
    log: Annotated[list, operator.add] = pydantic.Field(default_factory=lambda: ["begin"])
    best: Annotated[int | None, max] = 5
    none: Annotated[int | None, operator.add] = None


@pydantic.dataclasses.dataclass
class ModelDataDefaults:
    count: Annotated[int, operator.add] = pydantic.Field(default=5)
    log: Annotated[list, operator.add] = pydantic.Field(default_factory=lambda: ["begin"])
    best: Annotated[int | None, max] = 5
    none: Annotated[int | None, operator.add] = None


@attrs.define
class AttrsDefaults:
    count: Annotated[int, operator.add] = 5
    log: Annotated[list, operator.add] = attrs.field(factory=lambda: ["begin"])
    best: Annotated[int | None, max] = 5
    none: Annotated[int | None, operator.add] = None


class TupleDefaults(NamedTuple):
    count: Annotated[int, operator.add] = 5
    log: Annotated[list, operator.add] = ["begin"]  # noqa: RUF012 - a default, never changed
    best: Annotated[int | None, max] = 5
    none: Annotated[int | None, operator.add] = None


class ClassDefaults:
    name: ClassVar[str] = "no key"
    count: Annotated[int, operator.add] = 5
    log: Annotated[list, operator.add] = ["begin"]  # noqa: RUF012 - a default, never changed
    best: Annotated[int | None, max] = 5
    none: Annotated[int | None, operator.add] = None


class FieldDefaults(te.TypedDict):
    count: Annotated[int, operator.add, pydantic.Field(default=5)]
    log: Annotated[list, operator.add, pydantic.Field(default_factory=lambda: ["begin"])]
    best: Annotated[int | None, max, pydantic.Field(default=5)]
    none: Annotated[int | None, operator.add, pydantic.Field(default=None)]


DEFAULTS = [
    *(DataDefaults, ModelDefaults, ModelDataDefaults, AttrsDefaults),
    *(TupleDefaults, ClassDefaults, FieldDefaults),
]
INSTANCES = [each for each in DEFAULTS if each not in (ClassDefaults, FieldDefaults)]


def seen_of(state: Any) -> list[Any]:
    value = state.get if isinstance(state, dict) else lambda key: getattr(state, key)
    return [value("count"), value("log"), value("best")]


@pytest.mark.parametrize("schema", DEFAULTS)
def test_a_reduced_key_begins_with_its_declared_default(schema):
    def a(state):
        assert seen_of(state) == [5, ["begin"], 5]
        return {"count": 1, "log": ["a"], "best": 3, "none": 2}

    for _ in range(2):  # The default is no list that runs share.
        output = run(schema, a)
        assert output == {"count": 6, "log": ["begin", "a"], "best": 5, "none": 2}
    output = run(schema, a, given={"count": 0})
    assert output["count"] == 6


@pytest.mark.parametrize("schema", INSTANCES)
def test_an_instance_as_input_is_a_whole_state_and_its_defaults_count_once(schema):
    def a(state):
        return {"count": 1}

    more = {} if schema is ModelDefaults else {"none": None}  # Others cannot say it was not set.
    assert run(schema, a, given=schema()) == {"count": 6, "log": ["begin"], "best": 5, **more}
    given = schema(count=7, log=["mine"], best=9)
    assert run(schema, a, given=given) == {"count": 8, "log": ["mine"], "best": 9, **more}


def test_what_a_model_as_a_nodes_result_was_not_given_is_no_update():
    def a(state):
        return ModelDefaults(log=["a"])

    def b(state):
        return ModelDefaults(count=5)

    assert run(ModelDefaults, a, b) == {"count": 10, "log": ["begin", "a"], "best": 5}


def test_a_subgraph_begins_with_the_state_around_it_not_with_its_default_on_top():
    def inner(state):
        return {"log": [f"count is {state.count}"], "count": 1}

    sub = StateGraph(DataDefaults).add_node(inner).add_edge(START, "inner").compile()
    builder = StateGraph(DataDefaults).add_node("sub", sub).add_edge(START, "sub")
    output = builder.compile().invoke({})
    assert output["log"] == ["begin", "begin", "count is 5"]  # Reduced twice, as in LangGraph.
    assert output["count"] == 5 + 6


@dataclasses.dataclass
class Plain:
    n: int = 3
    tags: list = dataclasses.field(default_factory=list)
    note: str | None = None


def test_every_node_sees_a_declared_default_and_the_output_has_only_what_was_written():
    class View(TypedDict):
        n: int
        tags: list

    @dataclasses.dataclass
    class Strict:
        n: int

    def a(state: View):
        state["tags"].append("changed")
        return {"note": f"{state['n']}"}

    def b(state: Strict):
        return {"note": f"{state.n + 1}"}

    def c(state: View):
        return {"note": f"{state['tags']}"}

    assert run(Plain, a) == {"note": "3"}
    assert run(Plain, b) == {"note": "4"}
    assert run(Plain, a, c) == {"note": "[]"}


def test_a_default_that_needs_other_fields_is_left_to_the_class():
    class Derived(pydantic.BaseModel):
        base: int = 1
        twice: Annotated[int, operator.add] = pydantic.Field(
            default_factory=lambda d: d["base"] * 2
        )

    def a(state):
        return {"twice": 1}

    assert run(Derived, a, given={"base": 4}) == {"base": 4, "twice": 1}


# ---- instances by field name --------------------------------------------------------------------


class Camel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel)

    user_name: str = "unknown"
    all_items: Annotated[list, operator.add] = []


class Aliased(pydantic.BaseModel):
    user_name: str = pydantic.Field(default="unknown", alias="class")
    all_items: Annotated[list, operator.add] = pydantic.Field(default=[], validation_alias="items")


class Required1(pydantic.BaseModel):
    user_name: str = pydantic.Field(alias="userName")
    all_items: Annotated[list, operator.add] = pydantic.Field(
        validation_alias=pydantic.AliasChoices(pydantic.AliasPath("a", 0), "items")
    )


class Swapped(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)

    user_name: str = pydantic.Field(default="unknown", alias="other")
    other: str = pydantic.Field(default="unknown", alias="user_name")
    all_items: Annotated[list, operator.add] = []


class Paths(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)

    user_name: str = pydantic.Field(default="", validation_alias=pydantic.AliasPath("u", "n"))
    all_items: Annotated[list, operator.add] = []


class OnlyNames(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(validate_by_alias=False, validate_by_name=True)

    user_name: str = pydantic.Field(default="unknown", alias="userName")
    all_items: Annotated[list, operator.add] = []


@pydantic.dataclasses.dataclass
class AliasedData:
    user_name: str = pydantic.Field(default="unknown", alias="userName")
    all_items: Annotated[list, operator.add] = pydantic.Field(default_factory=list)


@dataclasses.dataclass
class Late:
    user_name: str = "unknown"
    all_items: Annotated[list, operator.add] = dataclasses.field(default_factory=list)
    made: str = dataclasses.field(init=False, default="made")
    never: int = dataclasses.field(init=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LateFrozen:
    made: str = dataclasses.field(init=False)
    user_name: str
    all_items: Annotated[list, operator.add]

    def __post_init__(self):
        object.__setattr__(self, "made", "by post_init")


@dataclasses.dataclass
class Seeded:
    user_name: str
    all_items: Annotated[list, operator.add]
    seed: dataclasses.InitVar[int]
    other: dataclasses.InitVar[int] = 3
    made: int = dataclasses.field(init=False)

    def __post_init__(self, seed, other):
        self.made = seed + other


@dataclasses.dataclass(init=False)
class NoInit:
    user_name: str
    all_items: Annotated[list, operator.add]


@pytest.mark.parametrize(
    ("schema", "more"),
    [
        *((each, {}) for each in (Camel, Aliased, Required1, Swapped, Paths, OnlyNames)),
        (AliasedData, {}),
        (Late, {"made": "given", "never": 7}),
        (LateFrozen, {}),
        (LateFrozen, {"made": "given"}),
        (Seeded, {"seed": 1}),
        (NoInit, {}),
    ],
)
def test_a_node_sees_an_instance_built_by_field_name(schema, more):
    seen = {}

    def a(state):
        assert type(state) is schema
        kept = {key: item for key, item in more.items() if key != "seed"}
        seen.update({key: getattr(state, key) for key in ("user_name", "all_items", *kept)})
        return {"all_items": ["a"]}

    given = {"user_name": "Ada", "all_items": ["in"], **more}
    output = run(schema, a, given=given)
    assert {**given, **seen} == given
    assert output["all_items"] == ["in", "a"]


def test_a_hook_sees_the_state_without_keys_that_only_nodes_have():
    class Private(TypedDict):
        secret: str

    def a(state: Plain):
        return {"secret": "s"}

    def b(state: Private):
        return {"tags": [interrupt("go on?"), state["secret"]]}

    builder = StateGraph(Plain).add_sequence([a, b]).add_edge(START, "a")
    builder.on_resume(lambda state, reason: {"note": f"{type(state).__name__} {state.n} {reason}"})
    graph = builder.compile(MemoryCheckpointer())
    graph.invoke({}, "t")
    output = graph.invoke(Command(resume="yes"), "t")
    assert output == {"tags": ["yes", "s"], "note": "Plain 3 answer"}


def test_a_model_without_a_name_for_a_field_is_refused_with_the_remedy():
    class Deep(pydantic.BaseModel):
        user: str = pydantic.Field(validation_alias=pydantic.AliasPath("u", "n"))

    with pytest.raises(
        InvalidGraphError, match=r"'user' of .*Deep must have.*populate_by_name=True"
    ):
        run(Deep, lambda state: None)


def test_an_init_only_field_reaches_post_init():
    def a(state):
        return {"all_items": [state.made]}

    given = {"user_name": "Ada", "all_items": [], "seed": 1}
    assert run(Seeded, a, given=given)["all_items"] == [4]


def test_a_model_that_names_what_is_defined_later_is_understood():
    class Early(pydantic.BaseModel):
        items: "Annotated[list[Later], operator.add]"

    with pytest.raises(InvalidGraphError, match=r"annotations of .*Early cannot be resolved"):
        StateGraph(Early)

    class Later(pydantic.BaseModel):
        n: int = 0

    Early.model_rebuild(_types_namespace={**globals(), "Later": Later})
    assert run(Early, lambda state: None, given={"items": [Later()]}) == {"items": [Later()]}
