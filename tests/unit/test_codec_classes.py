"""A class of the user's comes back with all it held, and none of its code runs."""

import collections
import dataclasses
import enum
import functools
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    TypeVar,
)

import pydantic
import pytest

from orchestrator.errors import StateCorruptedError, UnserializableValueError
from orchestrator.graph.schema import codec_classes
from orchestrator.serde.classes import class_form, has_class_form, tag_of
from orchestrator.serde.codec import Codec

T = TypeVar("T")


def codec_of(*hints):
    codec = Codec()
    for cls in codec_classes(hints):
        codec.register_class(cls)
    return codec


def back(value, *hints):
    codec = codec_of(type(value), *hints)
    return codec.decode(codec.encode(value))


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - an alias
    LIST = ["unhashable"]  # noqa: RUF012 - a value, not a class attribute


class Named(enum.Enum):
    A = 1

    @property
    def name(self):
        return "shadowed"


class Bits(enum.IntFlag):
    ONE = 1


class Point(NamedTuple):
    x: Any
    y: Any = 5


class Wider(Point):
    pass


Old = collections.namedtuple("Old", "a b")  # noqa: PYI024 - both kinds exist


@dataclasses.dataclass
class Counted:
    given: int
    made: list[int] = dataclasses.field(init=False, default_factory=list)
    never: int = dataclasses.field(init=False, repr=False, compare=False)
    named: str = dataclasses.field(kw_only=True, default="n")

    def __post_init__(self):
        self.noted = "no field"

    @functools.cached_property
    def doubled(self):
        return [self.given * 2, object()]


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int
    y: int = 2

    def __post_init__(self):
        if self.x < 0:
            raise ValueError("negative")


class OldBase:
    __slots__ = ("__hidden", "open")

    def hide(self, value):
        self.__hidden = value

    def hidden(self):
        return self.__hidden


@dataclasses.dataclass(eq=False)
class Mixed(OldBase):
    x: int = 0


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T
    right: T


@dataclasses.dataclass
class Broken(ValueError):  # noqa: N818 - its name is no matter
    x: int


class Model(pydantic.BaseModel):
    x: int = 1
    y: list[int] = pydantic.Field(default_factory=list)
    _note: Any = pydantic.PrivateAttr(default=None)

    @pydantic.field_validator("x")
    @classmethod
    def refuse(cls, value):
        if value > 100:
            raise ValueError("too much")
        return value

    @functools.cached_property
    def doubled(self):
        return self.x * 2


class Root(pydantic.RootModel[list[int]]):
    _note: int = pydantic.PrivateAttr(default=3)


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


# ---- enums and named tuples -----------------------------------------------------------------


@pytest.mark.parametrize("member", [Colour.RED, Colour.LIST, Named.A, Bits.ONE, Bits(0), Bits(7)])
def test_a_member_comes_back_as_itself(member):
    assert back(member) is member or back(member) == member
    assert type(back(member)) is type(member)


def test_a_member_that_is_gone_is_named():
    class Gone(enum.Enum):
        A = 1
        B = 2

    stored = Codec()
    stored.register_class(Gone, "gone")
    left = Codec()
    left.register_class(enum.Enum("Gone", {"A": 1}), "gone")
    with pytest.raises(
        StateCorruptedError,
        match=r"type 'gone' does not come back .*Gone has no member 'B' \(any more\)",
    ):
        left.decode(stored.encode(Gone.B))


@pytest.mark.parametrize("value", [Point(1), Point([1], {"a": 2}), Old(1, (2,)), Old([], {})])
def test_a_named_tuple_comes_back_as_one(value):
    assert back(value) == value
    assert type(back(value)) is type(value)


def test_what_was_set_on_a_named_tuple_comes_back_too():
    value = Wider([1], {})
    value.note = "kept"
    assert back(value).note == "kept"
    assert back(value) == value


def test_a_named_tuple_that_grew_a_default_is_filled_and_one_that_shrank_is_refused():
    codec, grown, shrunk = Codec(), Codec(), Codec()
    codec.register_class(Old, "t")
    grown.register_class(collections.namedtuple("G", "a b c", defaults=[7]), "t")  # noqa: PYI024
    shrunk.register_class(collections.namedtuple("S", "a"), "t")  # noqa: PYI024
    assert grown.decode(codec.encode(Old(1, 2))) == (1, 2, 7)
    with pytest.raises(StateCorruptedError, match=r"S has no field 'b' \(any more\)"):
        shrunk.decode(codec.encode(Old(1, 2)))


def test_the_path_into_a_named_tuple_uses_its_fields():
    with pytest.raises(UnserializableValueError, match=r"^value\.y is a builtins\.object"):
        codec_of(Point).encode(Point(1, object()))


# ---- dataclasses ----------------------------------------------------------------------------


def test_a_dataclass_keeps_what_is_no_field_and_what_was_never_set():
    value = Counted(1, named="k")
    value.made.append(3)
    loaded = back(value)
    assert loaded == value
    assert loaded.noted == "no field"
    assert not hasattr(loaded, "never")


def test_a_cached_property_is_worked_out_again():
    value = Counted(2)
    assert value.doubled[0] == 4
    assert "doubled" not in vars(back(value))


def test_no_code_of_a_dataclass_runs():
    value = Slotted(1)
    object.__setattr__(value, "x", -1)
    assert back(value) == value


def test_slots_of_bases_are_kept_with_private_names():
    value = Mixed(3)
    value.hide(5)
    loaded = back(value)
    assert (loaded.x, loaded.hidden()) == (3, 5)
    assert not hasattr(loaded, "open")


def test_a_generic_dataclass_forgets_what_it_was_written_with():
    value = Pair[int](1, 2)
    assert vars(value)["__orig_class__"]
    assert vars(back(value, Pair[int])) == {"left": 1, "right": 2}


def test_a_field_added_with_a_default_gets_it_and_one_that_was_deleted_stays_so():
    @dataclasses.dataclass
    class Before:
        x: int

    @dataclasses.dataclass
    class After:
        x: int
        y: list[int] = dataclasses.field(default_factory=lambda: [1])
        z: int = 3

    before, after = Codec(), Codec()
    before.register_class(Before, "c")
    after.register_class(After, "c")
    assert after.decode(before.encode(Before(1))) == After(1)
    value = After(1, [2])
    del value.y
    assert not hasattr(after.decode(after.encode(value)), "y")


def test_a_field_that_slots_no_longer_have_is_named():
    two = dataclasses.make_dataclass("Two", ["x", "y"], slots=True)
    one = dataclasses.make_dataclass("One", ["x"], slots=True)
    before, after = Codec(), Codec()
    before.register_class(two, "c")
    after.register_class(one, "c")
    with pytest.raises(StateCorruptedError, match=r"One has no field 'y' \(any more\)"):
        after.decode(before.encode(two(1, 2)))


def test_a_dataclass_that_is_an_exception_is_refused_when_it_is_stored_not_when_it_is_loaded():
    assert not has_class_form(Broken)
    assert codec_classes([Broken]) == []
    with pytest.raises(UnserializableValueError, match="Broken, which cannot be stored"):
        codec_of(Broken).encode(Broken(1))
    with pytest.raises(TypeError, match="Broken is no enum, dataclass or pydantic model"):
        class_form(Broken, "broken")


# ---- pydantic -------------------------------------------------------------------------------


def test_a_model_keeps_values_that_its_validators_would_refuse():
    value = Model.model_construct(x=1000, y="no list")
    loaded = back(value)
    assert (loaded.x, loaded.y, loaded.model_fields_set) == (1000, "no list", {"x", "y"})


def test_a_model_keeps_what_was_set_and_its_private_attributes():
    value = Model()
    value._note = {"a": (1,)}
    loaded = back(value)
    assert (loaded._note, loaded.model_fields_set) == ({"a": (1,)}, set())
    assert loaded == value


def test_a_cached_property_of_a_model_is_worked_out_again():
    value = Model(x=4)
    assert value.doubled == 8
    assert "doubled" not in vars(back(value))


def test_a_root_model_keeps_its_root_and_its_private_attributes():
    value = Root([1, 2])
    value._note = 9
    loaded = back(value)
    assert (loaded.root, loaded._note, vars(loaded)) == ([1, 2], 9, vars(value))


def test_a_field_added_to_a_model_gets_its_default_and_counts_as_not_set():
    class Before(pydantic.BaseModel):
        x: int

    class After(pydantic.BaseModel):
        x: int
        y: list[int] = pydantic.Field(default_factory=lambda: [1])

    before, after = Codec(), Codec()
    before.register_class(Before, "m")
    after.register_class(After, "m")
    loaded = after.decode(before.encode(Before(x=1)))
    assert (loaded.y, loaded.model_fields_set) == ([1], {"x"})


def test_generics_of_one_name_and_other_arguments_have_tags_of_their_own():
    class Meal(pydantic.BaseModel):  # Another one.
        pass

    tags = {tag_of(Box[int]), tag_of(Box[Meal]), tag_of(Box[globals()["Meal"]]), tag_of(Box)}
    assert len(tags) == 4
    assert tag_of(Box[int]).endswith("Box[int]")
    for value in (Box[int](item=1), Box[Meal](item=Meal()), Box(item="x")):
        assert back(value) == value
        assert type(back(value)) is type(value)


def test_a_subclass_is_not_stored_as_its_base():
    class Special(Model):
        pass

    with pytest.raises(UnserializableValueError, match=r"Special, which.*Model can be stored, its"):
        codec_of(Model).encode([Special()])


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Model.model_construct(x=object()), "value.x"),
        (Order.model_construct(items=[Meal.model_construct(kind=object())]), "value.items[0].kind"),
        (Counted({"a": object()}), "value.given['a']"),
    ],
    ids=["field", "nested", "dataclass"],
)
def test_the_path_into_a_class_uses_its_attributes(value, path):
    with pytest.raises(UnserializableValueError) as raised:
        codec_of(Model, Order, Counted).encode(value)
    assert str(raised.value).startswith(f"{path} is a builtins.object")


def test_a_private_attribute_that_cannot_be_stored_is_named():
    value = Model()
    value._note = object()
    with pytest.raises(UnserializableValueError, match=r"^value\._note is a"):
        codec_of(Model).encode(value)
