"""The schemas that a graph shows of its input, output and context, compared with LangGraph's."""

import dataclasses
import operator
import warnings
from typing import Annotated, Any, Literal, NotRequired, Optional, Required

import langgraph.func
import langgraph.graph
import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from orchestrator import START, StateGraph, entrypoint

NAMED = {None: "LangGraph", "agent": "agent", "Agent": "Agent"}


class Item(BaseModel):
    cents: int


@dataclasses.dataclass
class Fields:
    needed: str
    maybe: int | None
    old: Optional[str] = None  # noqa: UP045 - as people write it
    given: str = "d"
    made: list[int] = dataclasses.field(default_factory=list)
    folded: Annotated[list, operator.add] = dataclasses.field(default_factory=list)
    _hidden: int = 1
    copy: int = 2


@dataclasses.dataclass(kw_only=True)
class Noted:
    item: Item
    note: Annotated[Optional[str], "a note"]  # noqa: UP045 - as people write it


class Model(BaseModel):
    needed: str
    maybe: int | None = None
    made: list[int] = Field(default_factory=list, description="numbers")


class Keys(TypedDict):
    needed: str
    absent: NotRequired[int]
    there: Required[str | None]
    folded: Annotated[list, operator.add]
    kind: Literal["a", "b"]
    item: Item


class Partial(TypedDict, total=False):
    x: int


class Plain:
    x: int


SCHEMAS = {
    "a dataclass": Fields,
    "a keyword-only dataclass": Noted,
    "a pydantic model": Model,
    "a TypedDict": Keys,
    "a TypedDict without required keys": Partial,
    "a plain class": Plain,
    "one value": int,
    "one list": list[str],
    "one value with a reducer": Annotated[list, operator.add],
}


def compiled(module, schema, name=None, **more):
    graph = module.StateGraph(schema, **more).add_node("n", lambda state: None)
    return graph.add_edge(START, "n").compile(name=name)


class Ours:
    StateGraph = StateGraph


def both(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, of a field that shadows a method of a model
        return make(Ours), make(langgraph.graph)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_json_schemas_of_a_graph_are_those_of_langgraph(schema, name):
    def schemas(module):
        graph = compiled(module, schema, name)
        return graph.get_input_jsonschema(), graph.get_output_jsonschema()

    ours, theirs = both(schemas)
    assert ours == theirs


@pytest.mark.parametrize("schema", [each for each in SCHEMAS.values() if each is not Plain])
def test_models_of_input_and_output_are_those_of_langgraph(schema):
    def schemas(module):
        graph = compiled(module, schema)
        models = (graph.get_input_schema(), graph.get_output_schema())
        assert [type(graph.input_schema), type(graph.output_schema)] == [type(m) for m in models]
        return [model.model_json_schema() for model in models]

    ours, theirs = both(schemas)
    assert ours == theirs


def test_input_and_output_may_have_schemas_of_their_own():
    def schemas(module):
        graph = compiled(module, Keys, input_schema=Model, output_schema=Noted)
        return graph.get_input_jsonschema(), graph.get_output_jsonschema()

    ours, theirs = both(schemas)
    assert ours == theirs


@pytest.mark.parametrize("context", [Keys, Fields, Model, None])
def test_the_schema_of_the_context_is_that_of_langgraph(context):
    ours, theirs = both(
        lambda module: compiled(module, Partial, context_schema=context).get_context_jsonschema()
    )
    assert ours == theirs


@pytest.mark.parametrize("suffix", [None, "Input", "X"])
@pytest.mark.parametrize("name", NAMED)
def test_a_graph_is_called_as_in_langgraph(name, suffix):
    ours, theirs = both(lambda module: compiled(module, Partial, name).get_name(suffix))
    assert ours == theirs
    assert ours.startswith(NAMED[name])


def numbers(n: list[int]) -> int: ...
def models(n: Model) -> Model: ...
def keys(n: Keys) -> dict[str, int]: ...
def fields(n: Fields) -> Fields: ...
def untyped(n): ...
def anything(n: Any) -> Any: ...


@pytest.mark.parametrize("function", [numbers, models, keys, fields, untyped, anything])
def test_json_schemas_of_an_entrypoint_are_those_of_langgraph(function):
    ours, theirs = entrypoint()(function), langgraph.func.entrypoint()(function)
    assert ours.get_input_jsonschema() == theirs.get_input_jsonschema()
    assert ours.get_output_jsonschema() == theirs.get_output_jsonschema()


def test_final_tells_the_type_of_what_is_returned_and_alone_nothing():
    @entrypoint()
    def two(n: int) -> entrypoint.final[int, str]:
        return entrypoint.final(value=n, save="s")

    @entrypoint()
    def bare(n: int) -> entrypoint.final:
        return entrypoint.final(value=n, save="s")

    assert two.get_output_jsonschema() == {"title": "LangGraphOutput", "type": "integer"}
    assert bare.get_output_jsonschema() == {"title": "LangGraphOutput"}
    assert two.invoke(1) == bare.invoke(1) == 1


def test_a_graph_without_a_name_names_its_node_as_in_langgraph():
    inner = compiled(Ours, Partial)
    outer = StateGraph(Partial).add_node(inner).add_edge(START, "LangGraph").compile()
    assert outer.invoke({"x": 1}) == {"x": 1}
    named = StateGraph(Partial).add_node(compiled(Ours, Partial, "inner"))
    assert named.add_edge(START, "inner").compile().invoke({"x": 1}) == {"x": 1}
