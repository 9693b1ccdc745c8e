"""A schema names every class that its values may have, and a codec knows them all."""

import dataclasses
import enum
import operator
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import pydantic
import pytest
import typing_extensions

from orchestrator.channels import Topic
from orchestrator.graph.schema import codec_classes
from tests.fixtures.ids import plain

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: Any


@dataclasses.dataclass
class Slotted:
    x: int


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T
    right: T


class Box(pydantic.BaseModel, Generic[T]):
    item: T


class Meal(pydantic.BaseModel):
    kind: Literal["meal"] = "meal"


class Drink(pydantic.BaseModel):
    kind: Literal["drink"] = "drink"


class Order(pydantic.BaseModel):
    items: list[Annotated[Meal | Drink, pydantic.Field(discriminator="kind")]]
    nested: "Order | None" = None
    colour: Literal[Colour.RED] = Colour.RED


Id = NewType("Id", Slotted)
Alias = typing_extensions.TypeAliasType("Alias", list[Meal])
Bound = TypeVar("Bound", bound=Slotted)
Choice = TypeVar("Choice", Meal, Drink)


class Fields(TypedDict):
    point: NotRequired[Point]


class Partly:
    """Stands for a module where a name exists for type checkers only."""

    @dataclasses.dataclass
    class Known:
        seen: "Meal"
        hidden: "NoSuchName"  # noqa: F821 - that is the point


class WithPrivate(pydantic.BaseModel):
    _drink: Drink | None = None


@pytest.mark.parametrize(
    ("hint", "classes"),
    [
        (Optional[Meal], {Meal}),  # noqa: UP045 - both spellings exist
        (Union[Meal, None, Drink], {Meal, Drink}),  # noqa: UP007
        (dict[str, list[tuple[Meal, ...]]], {Meal}),
        (Annotated[list[Meal], operator.add], {Meal}),
        (Annotated[list, Topic(Meal)], {Meal}),
        (Literal[Colour.RED], {Colour}),
        (Pair[Meal], {Pair, Meal}),
        (Box[Meal], {Box[Meal], Box, Meal}),
        (Order, {Order, Meal, Drink, Colour}),
        (Id, {Slotted}),
        (list[Bound], {Slotted}),
        (dict[str, Alias], {Meal}),
        (list[Choice], {Meal, Drink}),
        (Fields, {Point}),
        (Partly.Known, {Partly.Known, Meal}),
        (WithPrivate, {WithPrivate, Drink}),
        (type[Meal], {Meal}),
    ],
    ids=plain,
)
def test_a_schema_names_all_classes_that_its_values_may_have(hint, classes):
    assert set(codec_classes([hint])) == classes


def test_hints_that_are_no_types_name_no_classes():
    assert codec_classes([Any, "Later", None, 5, ..., [int]]) == []
