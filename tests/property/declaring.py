"""State schemas of every kind, as source text: drawn, built for both libraries, and run.

The text is what a user would write, so that a difference is its own reproducer. A reducer or a
default may be *spelled* in a way that LangGraph does not understand; then its graph is built from
the plain spelling, and both must come to the same.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hypothesis import strategies as st

from tests.property.plans import Brief
from tests.property.whole import Plain, error_of

HEAD = """
import datetime, enum, operator, uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, Optional, Sequence, TypeVar, Union
from typing_extensions import NotRequired, ReadOnly, Required, TypedDict
from pydantic import BaseModel, Field

T = TypeVar("T")

def last(left, right):
    return left if right is None else right

class Inner(BaseModel):
    v: int = 1

class Colour(str, enum.Enum):
    RED = "red"
    BLUE = "blue"
"""
TYPES: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("list[int]", "operator.add", ([1], [2, 3], [])),
    ("int", "operator.add", (1, 2, 0)),
    ("str", "operator.add", ("a", "b")),
    ("int", "", (1, 2)),
    ("str", "", ("a", "b")),
    ("dict[str, int]", "operator.or_", ({"a": 1}, {"b": 2})),
    ("int | None", "", (1, None)),
    ("int | None", "last", (1, None)),
    ("Optional[str]", "", ("a", None)),
    ("float", "", (1.5,)),
    ("bool", "", (True,)),
    ("Any", "", (1, "x")),
    ("object", "", (1,)),
    ("list", "operator.add", ([1], [2])),
    ("dict", "", ({"a": 1},)),
    ("set[int]", "operator.or_", ({1}, {2})),
    ("frozenset[int]", "operator.or_", (frozenset({1}),)),
    ("tuple[int, str]", "", ((1, "a"),)),
    ("Literal['a', 'b']", "", ("a", "b")),
    ("Inner", "", ({"v": 2},)),
    ("Inner | None", "", (None, {"v": 3})),
    ("list[Inner]", "operator.add", ([{"v": 1}],)),
    ("Colour", "", ("red",)),
    ("datetime.date", "", ("2020-01-02",)),
    ("uuid.UUID", "", ("00000000-0000-0000-0000-000000000001",)),
    ("Sequence[int]", "operator.add", ([1], [2])),
    ("bytes", "", (b"a",)),
    ("list[dict[str, Any]]", "operator.add", ([{"a": 1}],)),
    ("Union[int, str]", "", (1, "a")),
    ("int", "lambda left, right: left * 2 + right", (1, 2)),
)
SPELLINGS = (  # All mean the same.
    'Annotated[{type}, {reducer}, "doc"]',
    'Annotated[{type}, "doc", {reducer}]',
    'Annotated[Annotated[{type}, {reducer}], "doc"]',
    'Annotated[{type}, {reducer}, Field(description="doc")]',
)
TYPED_SPELLINGS = (
    "Required[Annotated[{type}, {reducer}]]",
    "NotRequired[Annotated[{type}, {reducer}]]",
    "ReadOnly[Annotated[{type}, {reducer}]]",
)
KINDS = ("TypedDict", "open TypedDict", "dataclass", "model")


@dataclass(frozen=True, repr=False)
class FieldPlan(Brief):
    name: str
    type: str
    reducer: str = ""
    given: Any = None  # What the input has.
    written: Any = None  # What a node writes.
    default: str = ""  # How its default is declared: value | factory.
    spelling: str = "Annotated[{type}, {reducer}]"

    def text(self, *, plain: bool) -> str:
        spelling = "Annotated[{type}, {reducer}]" if plain else self.spelling
        return spelling.format(type=self.type, reducer=self.reducer) if self.reducer else self.type


@dataclass(frozen=True, repr=False)
class SchemaPlan(Brief):
    kind: str
    fields: tuple[FieldPlan, ...]
    gives: tuple[str, ...]  # Which keys the input has.
    writes: tuple[str, ...]
    instance: bool = False  # Whether the input is an instance of the schema.
    extra: str = ""  # Where a schema of the first field alone is used: in | out | node | context.

    @property
    def spelled(self) -> bool:
        """Return whether it is written in a way of its own."""
        return any(f.spelling != FieldPlan.spelling for f in self.fields)

    def text(self, *, plain: bool) -> str:
        """Return the source of the schemas."""
        kind = "TypedDict" if self.extra == "context" else self.kind
        extra = self._class("Extra", kind, self.fields[:1], plain=plain) if self.extra else ""
        return f"{self._class('State', self.kind, self.fields, plain=plain)}\n{extra}"

    def _class(self, name: str, kind: str, fields: tuple[FieldPlan, ...], *, plain: bool) -> str:
        heads = {
            "TypedDict": f"class {name}(TypedDict):",
            "open TypedDict": f"class {name}(TypedDict, total=False):",
            "dataclass": f"@dataclass\nclass {name}:",
            "model": f"class {name}(BaseModel):",
        }
        in_order = sorted(fields, key=lambda f: bool(f.default)) if kind == "dataclass" else fields
        lines = [f"    {f.name}: {f.text(plain=plain)}{_default(f, kind)}" for f in in_order]
        return "\n".join([heads[kind], *lines])


def _default(plan: FieldPlan, kind: str) -> str:
    if not plan.default or kind.endswith("TypedDict"):
        return ""
    if kind == "dataclass":
        return f" = field(default_factory=lambda: {plan.given!r})"
    if plan.default == "factory":
        return f" = Field(default_factory=lambda: {plan.given!r})"
    return f" = {plan.given!r}"


@st.composite
def schemas(draw: st.DrawFn, *, spelled: bool = False) -> SchemaPlan:
    """Draw a schema, and what is written by it."""
    kind = draw(st.sampled_from(KINDS))
    spellings = SPELLINGS + (TYPED_SPELLINGS if kind.endswith("TypedDict") else ())
    fields = []
    for index in range(draw(st.integers(1, 3))):
        type_, reducer, values = draw(st.sampled_from(TYPES))
        value = st.sampled_from(values)
        plain = FieldPlan.spelling
        fields.append(
            FieldPlan(
                f"f{index}",
                type_,
                reducer,
                draw(value),
                draw(value),
                draw(st.sampled_from(["", "", "value", "factory"])),
                draw(st.sampled_from(spellings)) if spelled and reducer else plain,
            )
        )
    names = st.sets(st.sampled_from([f.name for f in fields])).map(sorted).map(tuple)
    return SchemaPlan(
        kind,
        tuple(fields),
        draw(names),
        draw(names),
        draw(st.booleans()) and not kind.endswith("TypedDict"),
        draw(st.sampled_from(["", "", "in", "out", "node", "context"])),
    )


def observed(plan: SchemaPlan, library: Any, *, plain: bool) -> dict[str, Any]:
    """Return all that can be seen of a graph with the schema, in one library."""
    module = ModuleType("declared")
    sys.modules["declared"] = module
    found, made = Plain().plain, module.__dict__
    exec(HEAD + plan.text(plain=plain), made)
    seen: list[Any] = []

    def first(state: Any) -> Any:
        seen.append(state)
        return {f.name: f.written for f in plan.fields if f.name in plan.writes}

    def second(state: Any) -> None:
        seen.append(state)

    second.__annotations__ = {"state": made["Extra" if plan.extra == "node" else "State"]}
    uses = {"in": "input_schema", "out": "output_schema", "context": "context_schema"}
    extra = {uses[plan.extra]: made["Extra"]} if plan.extra in uses else {}

    def build() -> Any:
        builder = library.StateGraph(made["State"], **extra)
        builder.add_node("first", first).add_node("second", second)
        builder.add_edge("__start__", "first").add_edge("first", "second")
        return builder.compile(checkpointer=library.checkpointer())

    graph = _or_error(build)
    if isinstance(graph, str):
        return {"built": graph}
    results: dict[str, Any] = {}
    if plain or not plan.spelled:
        for name in ("get_input_jsonschema", "get_output_jsonschema", "get_context_jsonschema"):
            results[name] = _or_error(getattr(graph, name))
    taken = plan.fields[:1] if plan.extra == "in" else plan.fields
    given = {f.name: f.given for f in taken if f.name in plan.gives}
    if plan.instance and plan.extra != "in":
        try:
            given = made["State"](**given)
        except (TypeError, ValueError):
            return {}  # Not an input.
    config = {"configurable": {"thread_id": "t"}}
    for index in range(2):
        results[f"returned {index}"] = _or_error(lambda: graph.invoke(given, config))
    results["state"] = _or_error(lambda: graph.get_state(config).values)
    results["seen"] = seen
    return {key: found(value) for key, value in results.items()}


def _or_error(call: Any) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - every error is compared
        return error_of(error)
