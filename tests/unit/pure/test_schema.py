"""From types to channels and back."""

import dataclasses
import enum
import operator
from typing import Annotated, Any, NotRequired, Required, TypedDict

import pydantic
import pytest

from orchestrator.channels import (
    BinaryOperatorAggregate,
    EphemeralValue,
    LastValue,
    Topic,
)
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.fields import field_hints
from orchestrator.graph.schema import (
    ROOT,
    Reader,
    channels_of,
    codec_classes,
    update_items,
)
from tests.fixtures.ids import plain


class Colour(enum.Enum):
    RED = 1


class State(TypedDict):
    name: str
    items: Annotated[list, operator.add]


@dataclasses.dataclass
class Point:
    x: int
    y: int | None = None


class Model(pydantic.BaseModel):
    colour: Colour
    point: Point | None = None
    size: int | None = 3


def reduce_two(one, two):
    return one


class CallableReducer:
    def __call__(self, one, two):
        return one


def kinds(schema):
    return {key: type(channel) for key, channel in channels_of(schema).items()}


# ---- fields ---------------------------------------------------------------------------------


def test_a_typed_dict_has_a_channel_for_each_key_in_order():
    assert kinds(State) == {"name": LastValue, "items": BinaryOperatorAggregate}
    assert list(channels_of(State)) == ["name", "items"]


@pytest.mark.parametrize(
    ("schema", "keys"), [(Point, ["x", "y"]), (Model, list(Model.model_fields))]
)
def test_dataclasses_and_models_have_their_fields(schema, keys):
    assert list(channels_of(schema)) == keys


def test_inherited_keys_come_along():
    class More(State):
        extra: int

    assert list(channels_of(More)) == ["name", "items", "extra"]


def test_class_variables_of_a_model_are_no_keys():
    class WithConfig(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        x: int

    assert list(field_hints(WithConfig)) == ["x"]


@pytest.mark.parametrize("schema", [int, list, Annotated[list, operator.add], dict])
def test_a_type_without_fields_is_one_channel(schema):
    assert list(channels_of(schema)) == [ROOT]


def test_an_annotation_that_names_nothing_says_so():
    class Broken(TypedDict):
        x: "NoSuchName"  # noqa: F821 - that is the point

    with pytest.raises(
        InvalidGraphError, match=r"annotations of .*Broken cannot be resolved.*NoSuch"
    ):
        field_hints(Broken)


@pytest.mark.parametrize("key", ["__mine__", "branch:to:a", "join:a:b"])
def test_reserved_keys_are_refused(key):
    schema = TypedDict("Odd", {key: int})
    with pytest.raises(InvalidGraphError, match=f"the key '{key}' of Odd is reserved"):
        channels_of(schema)


# ---- rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (int, LastValue),
        (Required[int], LastValue),
        (NotRequired[int], LastValue),
        (NotRequired[Annotated[list, operator.add]], BinaryOperatorAggregate),
        (Annotated[NotRequired[list], operator.add], BinaryOperatorAggregate),
        (Annotated[int, "words for people"], LastValue),
        (Annotated[int, int], LastValue),
        (Annotated[list, "words", reduce_two], BinaryOperatorAggregate),
        (Annotated[list, reduce_two, "words"], BinaryOperatorAggregate),
        (Annotated[list, CallableReducer()], BinaryOperatorAggregate),
        (Annotated[int, EphemeralValue], EphemeralValue),
        (Annotated[list, "words", Topic(int), "more"], Topic),
        (Annotated[dict, lambda a, b, /: a], BinaryOperatorAggregate),
    ],
    ids=plain,
)
def test_an_annotation_says_the_rule(hint, kind):
    assert kinds(TypedDict("One", {"key": hint})) == {"key": kind}


def test_a_channel_given_itself_keeps_its_rule_and_gets_the_name_of_its_key():
    topic = Topic(int, accumulate=True)
    channel = channels_of(TypedDict("One", {"key": Annotated[list, topic]}))["key"]
    assert (type(channel), channel.key, topic.key) == (Topic, "key", "")
    assert channel.describe() == topic.describe() != Topic(int).describe()


def test_a_built_in_without_a_signature_is_taken_at_its_word():
    assert kinds(TypedDict("One", {"key": Annotated[int, max]})) == {"key": BinaryOperatorAggregate}


@pytest.mark.parametrize("reducer", [lambda one: one, lambda one, two, three: one, lambda: None])
def test_a_reducer_that_does_not_take_two_is_refused(reducer):
    with pytest.raises(
        InvalidGraphError, match="Invalid reducer of 'key': it must take a value and a write"
    ):
        channels_of(TypedDict("One", {"key": Annotated[int, reducer]}))


# ---- reading --------------------------------------------------------------------------------


def reader(schema):
    channels = channels_of(schema)
    return Reader(schema, tuple(channels)), channels


def test_keys_without_a_value_are_left_out_but_reduced_ones_begin_empty():
    read, channels = reader(State)
    assert read.read(channels, {}) == {"items": []}
    assert read.read(channels, {"name": "n", "items": [1], "other": 2}) == {
        "name": "n",
        "items": [1],
    }


def test_a_dataclass_or_model_is_seen_as_an_instance():
    read, channels = reader(Point)
    assert read.read(channels, {"x": 1}) == Point(1)
    read, channels = reader(Model)
    assert read.read(channels, {"colour": Colour.RED}) == Model(colour=Colour.RED)


def test_a_state_without_fields_is_its_value():
    read, channels = reader(str)
    assert read.read(channels, {ROOT: "text"}) == "text"
    assert read.read(channels, {}) is None


# ---- updates that are objects ---------------------------------------------------------------


def test_what_was_not_set_and_is_none_by_default_is_no_update():
    assert update_items(Model(colour=Colour.RED), ["colour", "point", "size"]) == [
        ("colour", Colour.RED),
        ("size", 3),
    ]


def test_none_that_was_set_or_replaces_another_default_is_an_update():
    model = Model(colour=Colour.RED, point=None, size=None)
    assert update_items(model, ["point", "size"]) == [("point", None), ("size", None)]
    assert dict(update_items(Model.model_construct(colour=1, size=None), ["size"])) == {
        "size": None
    }


def test_a_dataclass_updates_the_keys_that_the_state_has():
    assert update_items(Point(1, 2), ["x", "z"]) == [("x", 1)]


def test_a_dataclass_cannot_tell_what_was_set_so_none_is_an_update():
    assert update_items(Point(1), ["x", "y"]) == [("x", 1), ("y", None)]


@pytest.mark.parametrize("result", [1, "text", [1], object()])
def test_other_objects_are_no_update(result):
    assert update_items(result, ["x"]) is None


# ---- classes that must be storable ----------------------------------------------------------


def test_classes_are_found_at_any_depth():
    class Outer(TypedDict):
        models: Annotated[list[dict[str, Model]], operator.add]
        maybe: Point | None
        again: list[Model]

    assert set(codec_classes([Outer])) == {Model, Point, Colour}


def test_a_class_that_names_itself_is_found_once():
    assert codec_classes([Tree]) == [Tree]


@dataclasses.dataclass
class Tree:
    children: list["Tree"]


def test_a_class_whose_annotations_cannot_be_read_is_still_storable():
    @dataclasses.dataclass
    class Foreign:
        x: "NoSuchName"  # noqa: F821 - that is the point

    assert codec_classes([Foreign]) == [Foreign]


@pytest.mark.parametrize("hint", [int, Any, list[int], str | None])
def test_plain_hints_name_no_classes(hint):
    assert codec_classes([hint]) == []
