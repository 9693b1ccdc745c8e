"""What comes back is what went in, or the encoding says where it fails."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import uuid
import zoneinfo
from typing import Any

import msgpack
import pydantic
import pytest

from orchestrator import limits
from orchestrator.errors import StateCorruptedError, UnserializableValueError
from orchestrator.serde.msgpack import Codec

CODEC = Codec()


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Grade(enum.IntEnum):
    GOOD = 1


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int

    def __post_init__(self):
        assert self.x >= 0


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    x: int
    y: int | None = None
    _secret: int = pydantic.PrivateAttr(default=5)


class Named(tuple):
    __slots__ = ()


def registered(*classes):
    codec = Codec()
    for cls in classes:
        codec.register_class(cls)
    return codec


VALUES = [
    None,
    True,
    0,
    -1,
    2**63 - 1,
    2**64,
    -(2**70),
    1.5,
    "",
    "naïve ☃",
    "\ud800",
    b"\x00\xff",
    [],
    [1, [2]],
    {},
    {"a": {1: 2, None: 3, (1, 2): 4}},
    (),
    (1, (2,)),
    [(1,), [1]],
    set(),
    {1, "a"},
    frozenset({1}),
    collections.deque([1, 2], maxlen=5),
    complex(1, -2),
    dt.datetime(2024, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - naive on purpose
    dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
    dt.datetime(2024, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2), "name")),
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    dt.date(2024, 2, 29),
    dt.time(1, 2, 3, tzinfo=dt.UTC),
    dt.timedelta(days=-1, microseconds=7),
    decimal.Decimal("1.10"),
    uuid.UUID(int=7),
    pathlib.Path("/a/b"),
    pathlib.PurePosixPath("c"),
]


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_a_value_comes_back_with_its_type(value):
    back = CODEC.decode(CODEC.encode(value))
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_the_second_of_a_repeated_hour_stays_the_second():
    value = dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    back = CODEC.decode(CODEC.encode(value))
    assert (back.fold, back.utcoffset()) == (1, value.utcoffset())


def test_bytes_like_values_come_back_as_bytes():
    assert CODEC.decode(CODEC.encode(bytearray(b"x"))) == b"x"


@pytest.mark.parametrize("value", [Colour.RED, Access.READ | Access.WRITE, Access(0), Grade.GOOD])
def test_enums_come_back_as_members(value):
    codec = registered(Colour, Access, Grade)
    back = codec.decode(codec.encode(value))
    assert back is value or (back == value and type(back) is type(value))


def test_dataclasses_come_back_without_running_their_code():
    codec = registered(Point, Frozen)
    assert codec.decode(codec.encode(Point(1, [Frozen(2)]))) == Point(1, [Frozen(2)])
    broken = object.__new__(Frozen)
    object.__setattr__(broken, "x", -1)
    assert codec.decode(codec.encode(broken)).x == -1


def test_models_come_back_with_what_was_set_extra_and_private():
    codec, model = registered(Model), Model(x=1, more=2)
    model._secret = 6
    back = codec.decode(codec.encode(model))
    assert back == model
    assert (back.model_fields_set, back.model_extra) == ({"x", "more"}, {"more": 2})
    assert back._secret == 6


# ---- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (object(), "value is a builtins.object, which cannot be stored"),
        ({"a": [1, {"b": object()}]}, "value['a'][1]['b'] is a builtins.object"),
        ({"a": ({1}, object())}, "value['a'][1] is a"),
        ({frozenset({Colour.RED}): 1}, "which cannot be stored"),
        (Point(1, object()), "value.y is a builtins.object"),
        (Model.model_construct(x=object()), "value.x is a builtins.object"),
        (Model(x=1, more=object()), "value.more is a builtins.object"),
        (Colour.RED, "Colour, which cannot be stored. Return plain data, or name the type"),
        (lambda: 0, "value is a builtins.function"),
        (Named((1,)), "Named, which cannot be stored"),
    ],
    ids=ascii,
)
def test_what_cannot_be_stored_is_found_by_its_path(value, text):
    with pytest.raises(UnserializableValueError) as raised:
        registered(Point, Model).encode(value)
    assert text in str(raised.value)
    assert raised.value.code == "UNSERIALIZABLE_VALUE"


@pytest.mark.parametrize(
    "kind", [lambda inner: [inner], lambda inner: (inner,), lambda inner: {"k": inner}]
)
def test_what_is_nested_too_deep_says_so_and_does_not_crash(kind):
    value = None
    for _ in range(100_000):
        value = kind(value)
    with pytest.raises(UnserializableValueError, match=f"deeper than {limits.VALUE_DEPTH_MAX}"):
        CODEC.encode(value)
    while value:  # Undone one by one: the interpreter would recurse.
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]


def test_a_value_that_holds_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(UnserializableValueError, match="nested deeper"):
        CODEC.encode(value)


def test_a_function_that_makes_a_value_plain_and_raises_is_the_reason():
    codec = Codec()
    codec.register("odd", Point, lambda value: 1 // 0, Point)
    with pytest.raises(UnserializableValueError, match=r"value\['p'\] cannot be stored: ZeroDiv"):
        codec.encode({"p": Point(1)})


# ---- registering ----------------------------------------------------------------------------


def test_a_type_is_stored_under_its_tag_not_under_its_name():
    codec = Codec()
    codec.register_class(Point, "point")
    data = codec.encode(Point(1))
    assert b"Point" not in data
    other = Codec()
    other.register("point", Frozen, lambda value: value.x, lambda plain: Frozen(plain["x"]))
    assert other.decode(data) == Frozen(1)


def test_registering_twice_is_fine_and_another_class_under_a_tag_is_not():
    codec = registered(Point, Point)
    codec.register_class(Model, "tag")
    with pytest.raises(ValueError, match=r"tag 'tag' already stands.*give Frozen its own"):
        codec.register_class(Frozen, "tag")


def test_a_class_without_fields_is_registered_with_functions_only():
    with pytest.raises(TypeError, match="Named is no enum, dataclass or pydantic model"):
        Codec().register_class(Named)


@pytest.mark.parametrize(("cls", "known"), [(int, True), (dt.date, True), (Point, False)])
def test_a_codec_tells_what_it_knows(cls, known):
    assert CODEC.knows(cls) is known
    assert registered(Point).knows(Point)


# ---- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        CODEC.encode([1, 2])[:-1],
        CODEC.encode(1) + b"\x00",
        msgpack.packb(msgpack.ExtType(1, b"tuple")),
        msgpack.packb([msgpack.ExtType(1, b"tuple")]),
        msgpack.packb([msgpack.ExtType(1, b"tuple"), 3]),
        msgpack.packb([msgpack.ExtType(9, b"?"), [3]]),
        msgpack.packb([1, msgpack.ExtType(1, b"tuple")]),
        msgpack.packb([msgpack.ExtType(1, b"decimal"), "no number"]),
        msgpack.packb([msgpack.ExtType(1, b"\xff"), 1]),
        b"\x91" * 5000,
    ],
    ids=ascii,
)
def test_damaged_bytes_are_refused(data):
    with pytest.raises(StateCorruptedError):
        CODEC.decode(data)


def test_a_type_that_is_not_allowed_here_is_named_and_never_imported():
    data = registered(Point).encode(Point(1))
    with pytest.raises(StateCorruptedError, match=r"type '.*Point', which this process does not"):
        CODEC.decode(data)
    evil = msgpack.packb([msgpack.ExtType(1, b"os.system"), "true"])
    with pytest.raises(StateCorruptedError, match=r"'os\.system'"):
        CODEC.decode(evil)
