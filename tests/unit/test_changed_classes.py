"""A class changed between two deploys: its stored values are as they were, completed, or refused.

Each test runs a graph whose state names the class as it was, and then one that names it as it is,
on the same thread.
"""

from __future__ import annotations

import dataclasses
import enum
import operator
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, TypedDict

import attrs
import pydantic
import pytest

from orchestrator import START, MemoryCheckpointer, SqliteCheckpointer, StateGraph, interrupt
from orchestrator.errors import StateCorruptedError, UnserializableValueError
from orchestrator.serde.codec import Codec


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryCheckpointer()
        return
    made = SqliteCheckpointer(tmp_path / "threads.db")
    yield made
    made.close()


def named(cls: Any, name: str = "Thing") -> Any:
    """Return a class under the name that both deploys have for it."""
    cls.__name__ = cls.__qualname__ = name
    return cls


def graph_of(store: Any, cls: Any) -> Any:
    fields = {"value": cls, "seen": Annotated[list, operator.add]}

    def ask(state):
        return {"seen": [interrupt("go on?")]}

    return (
        StateGraph(TypedDict("State", fields)).add_node(ask).add_edge(START, "ask").compile(store)
    )


def loaded(store: Any, before: Any, after: Any, value: Any, thread: str = "t") -> Any:
    """Return a value that a graph with the class as it was has stored, as it is loaded now."""
    graph_of(store, named(before)).invoke({"value": value}, thread)
    return graph_of(store, named(after)).get_state(thread).values["value"]


# ---- named tuples -------------------------------------------------------------------------------


class Point(NamedTuple):
    x: int
    y: int


class Swapped(NamedTuple):
    y: int
    x: int


class Inserted(NamedTuple):
    x: int
    z: int = 0
    y: int = 9


class Grown(NamedTuple):
    x: int
    y: int
    z: int


class Shrunk(NamedTuple):
    x: int


def test_a_named_tuple_is_loaded_by_name(store):
    assert loaded(store, Point, Swapped, Point(1, 2)) == Swapped(x=1, y=2)
    assert graph_of(store, named(Inserted)).get_state("t").values["value"] == Inserted(1, 0, 2)


def test_a_named_tuple_without_a_required_field_is_an_error_that_names_it(store):
    with pytest.raises(StateCorruptedError, match=r"must have the field 'z'.*give the field a def"):
        loaded(store, Point, Grown, Point(1, 2))
    with pytest.raises(StateCorruptedError, match=r"has no field 'y' \(any more\)"):
        graph_of(store, named(Shrunk)).get_state("t")


# ---- dataclasses, attrs and models --------------------------------------------------------------


@dataclasses.dataclass
class Data:
    x: int


@dataclasses.dataclass
class DataDefault:
    y: list[int] = dataclasses.field(default_factory=lambda: [7])
    x: int = 0


@dataclasses.dataclass
class DataRequired:
    x: int
    y: int


@attrs.define
class Attrs:
    x: int


@attrs.define
class AttrsDefault:
    y: list[int] = attrs.field(factory=lambda: [7])
    x: int = 0


@attrs.define
class AttrsRequired:
    x: int
    y: int


class Model(pydantic.BaseModel):
    x: int


class ModelDefault(pydantic.BaseModel):
    y: list[int] = [7]
    x: int = 0


class ModelRequired(pydantic.BaseModel):
    x: int
    y: int


@pytest.mark.parametrize(
    ("before", "default", "required"),
    [
        (Data, DataDefault, DataRequired),
        (Attrs, AttrsDefault, AttrsRequired),
        (Model, ModelDefault, ModelRequired),
    ],
)
def test_a_new_field_gets_its_default_and_a_required_one_is_an_error(
    store, before, default, required
):
    assert loaded(store, before, default, before(x=1)) == default(x=1, y=[7])
    with pytest.raises(StateCorruptedError, match=r"Thing must have the field 'y'"):
        graph_of(store, named(required)).get_state("t")


def test_a_required_field_that_was_absent_when_it_was_stored_stays_absent(store):
    value = DataRequired(1, 2)
    del value.y
    assert vars(loaded(store, DataRequired, DataRequired, value)) == {"x": 1}
    made = ModelRequired.model_construct(x=1)
    assert vars(loaded(store, ModelRequired, ModelRequired, made, "u")) == {"x": 1}


class Private(pydantic.BaseModel):
    x: int
    _note: list[int] = pydantic.PrivateAttr(default_factory=lambda: [3])
    _unset: int


class PrivateRoot(pydantic.RootModel[int]):
    _note: int = pydantic.PrivateAttr(default=3)


class Other(pydantic.BaseModel):
    x: int
    _first: int = 1


class Both(pydantic.BaseModel):
    x: int
    _first: int = 1
    _second: int = 2


def test_a_new_private_attribute_gets_its_default(store):
    value = loaded(store, Model, Private, Model(x=1))
    assert value._note == [3]
    assert value == Private(x=1)
    value._note.append(4)
    assert Private(x=1)._note == [3]
    value = loaded(store, Other, Both, Other(x=1), "u")
    assert (value._first, value._second) == (1, 2)

    class Root(pydantic.RootModel[int]):
        pass

    value = loaded(store, Root, PrivateRoot, Root(5), "v")
    assert (value.root, value._note) == (5, 3)


def test_a_private_attribute_that_was_deleted_stays_so(store):
    value = Both(x=1)
    del value._second
    again = loaded(store, Both, Both, value)
    assert again._first == 1
    assert not hasattr(again, "_second")


def test_a_model_that_allows_more_since_then_takes_more(store):
    class Allows(pydantic.BaseModel, extra="allow"):
        x: int

    value = loaded(store, Model, Allows, Model(x=1))
    assert (value.model_extra, value) == ({}, Allows(x=1))
    value.more = 2
    assert value.model_extra == {"more": 2}


@attrs.frozen(cache_hash=True)
class Hashed:
    x: str
    y: str = attrs.field(default=attrs.Factory(lambda self: self.x + "!", takes_self=True))


def test_an_attrs_class_comes_back_without_its_hash_and_also_as_a_key():
    value = Hashed("a")
    assert hash(value)
    codec = Codec()
    codec.register_class(Hashed)
    again = codec.decode(codec.encode({value: [value]}))
    assert again == {value: [value]}
    assert type(next(iter(again))) is Hashed


# ---- enums --------------------------------------------------------------------------------------


def test_members_and_flags_are_stored_by_name(store):
    before = enum.Enum("Thing", {"RED": 1, "GREEN": 2})
    after = enum.Enum("Thing", {"GREEN": 1, "RED": 2})
    assert loaded(store, before, after, before.RED) is after.RED
    before = enum.Flag("Thing", ["READ", "WRITE"])
    after = enum.Flag("Thing", ["NONE_YET", "WRITE", "READ"])
    assert loaded(store, before, after, before.READ, "u") is after.READ
    both = loaded(store, before, after, before.READ | before.WRITE, "v")
    assert both == after.READ | after.WRITE


def test_a_flag_that_is_gone_is_an_error_that_names_it(store):
    before = enum.Flag("Thing", ["READ", "WRITE"])
    for boundary in enum.FlagBoundary:
        after = enum.Flag("Thing", ["READ"], boundary=boundary)
        with pytest.raises(StateCorruptedError, match=r"Thing has no flag 'WRITE' \(any more\)"):
            loaded(store, before, after, before.WRITE, boundary.name)


class Wide(enum.Flag, boundary=enum.KEEP):
    ONE = 1
    BOTH = 12
    ALIAS = 1
    NONE = 0


@pytest.mark.parametrize("value", [0, 1, 2, 4, 12, 13, 15, 0xF0])
def test_flags_with_bits_without_a_name_come_back(value):
    codec = Codec()
    codec.register_class(Wide)
    again = codec.decode(codec.encode(Wide(value)))
    assert (type(again), again.value) == (Wide, value)


class Level(enum.IntEnum):
    """Open: every number is a member, and the same one each time."""

    LOW = 1

    @classmethod
    def _missing_(cls, value):
        if not isinstance(value, int):
            return None
        made = int.__new__(cls, value)
        made._name_, made._value_ = f"LEVEL_{value}", value
        return cls._value2member_map_.setdefault(value, made)


class Loose(enum.Enum):
    KNOWN = "known"

    @classmethod
    def _missing_(cls, value):
        made = object.__new__(cls)
        made._name_, made._value_ = None, value
        return made


def test_members_that_an_open_enum_makes_are_found_again(store):
    assert loaded(store, Level, Level, Level(7)) is Level(7)
    again = loaded(store, Loose, Loose, Loose("new"), "u")
    assert (type(again), again.name, again.value) == (Loose, None, "new")


def test_a_made_member_that_cannot_be_found_again_is_refused_when_it_is_stored(store):
    class Once(enum.Enum):
        KNOWN = 1

        @classmethod
        def make(cls, value):
            made = object.__new__(cls)
            made._name_, made._value_ = "made", value
            return made

    with pytest.raises(UnserializableValueError, match=r"is no member of .* can be found again"):
        graph_of(store, Once).invoke({"value": Once.make(2)}, "t")
    assert graph_of(store, Once).get_state("t").values == {}


def test_a_made_member_of_an_enum_that_is_closed_since_then_is_an_error(store):
    closed = enum.IntEnum("Thing", {"LOW": 1})
    with pytest.raises(StateCorruptedError, match=r"has no member for 7 \(any more\)"):
        loaded(store, Level, closed, Level(7))
