"""What comes back is what went in, or the encoding says where it fails."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import io
import ipaddress
import pathlib
import re
import struct
import uuid
import zoneinfo
from typing import Any

import msgpack
import pydantic
import pytest

from orchestrator import limits
from orchestrator.errors import StateCorruptedError, UnserializableValueError
from orchestrator.serde.codec import Codec
from tests.fixtures.ids import plain

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


class Loud(bytes):
    __slots__ = ()


class Later(dt.datetime):
    pass


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
    pathlib.PureWindowsPath("C:/d"),
    bytearray(b""),
    bytearray(b"x" * 300),
    [b"a", {"k": (bytearray(b"b"), "\ud800", 2**70)}],
    range(3),
    range(-5, 2**70, 3),
    fractions.Fraction(-1, 3),
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.Counter({"a": 2, "b": -1}),
    collections.defaultdict(list, {"a": [1]}),
    collections.defaultdict(None, {1: 2}),
    collections.defaultdict(collections.Counter),
    ipaddress.ip_address("10.0.0.1"),
    ipaddress.ip_address("fe80::1%eth0"),
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_network("2001:db8::/32"),
    ipaddress.ip_interface("10.0.0.1/8"),
    ipaddress.ip_interface("::1/64"),
    re.compile("a.(?P<b>c)", re.IGNORECASE | re.DOTALL),
    re.compile(b"[a-z]+"),
    zoneinfo.ZoneInfo("Europe/Berlin"),
    dt.timezone(dt.timedelta(minutes=-90)),
    decimal.Decimal("-0"),
    decimal.Decimal("Infinity"),
]


@pytest.mark.parametrize("value", VALUES, ids=plain)
def test_a_value_comes_back_with_its_type(value):
    back = CODEC.decode(CODEC.encode(value))
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_the_second_of_a_repeated_hour_stays_the_second():
    value = dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    back = CODEC.decode(CODEC.encode(value))
    assert (back.fold, back.utcoffset()) == (1, value.utcoffset())


@pytest.mark.parametrize("text", ["NaN", "sNaN123", "-sNaN", "-NaN", "1E+999999"])
def test_a_decimal_that_is_no_number_or_a_huge_one_stays_that(text):
    assert str(CODEC.decode(CODEC.encode(decimal.Decimal(text)))) == text


def test_an_ordered_dict_keeps_its_order_and_a_default_dict_its_factory():
    value = [collections.OrderedDict(b=1, a=2), collections.defaultdict(set, x={1})]
    back = CODEC.decode(CODEC.encode(value))
    assert list(back[0]) == ["b", "a"]
    assert back[1]["new"] == set()


def test_a_uuid_keeps_whether_it_is_safe():
    value = uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)
    assert CODEC.decode(CODEC.encode(value)).is_safe is uuid.SafeUUID.safe


def test_utc_stays_the_one_object():
    assert CODEC.decode(CODEC.encode(dt.UTC)) is dt.UTC


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
        ([memoryview(b"x")], "value[0] is a builtins.memoryview, which cannot be stored"),
        ({"a": msgpack.ExtType(1, b"\xc4")}, "value['a'] is a msgpack.ext.ExtType"),
        (Point(1, {"k": (bytearray(b"x"), memoryview(b"x"))}), "value.y['k'][1] is a builtins.mem"),
        (
            collections.defaultdict(lambda: 1),
            "value cannot be stored: TypeError: its default_factory is <function",
        ),
        (Loud(b"x"), "bytes can be stored, its subclasses only on their own"),
        (Later(2024, 1, 1), "datetime can be stored, its subclasses only on their own"),
        (object(), "give it to orchestrator.register_type with functions that encode and decode"),
        (Frozen(1), "give it to orchestrator.register_type"),
        (Named((1,)), "Named, which cannot be stored"),
    ],
    ids=plain,
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


def test_a_pattern_that_prints_is_refused(capsys):
    value = re.compile("a", re.DEBUG)
    assert capsys.readouterr().out
    with pytest.raises(UnserializableValueError, match=r"re\.DEBUG would print at every load"):
        CODEC.encode(value)


def test_a_function_that_makes_a_value_plain_and_raises_is_the_reason():
    codec = Codec()
    codec.register("odd", Point, lambda value: 1 // 0, Point)
    with pytest.raises(UnserializableValueError, match=r"value\['p'\] cannot be stored: ZeroDiv"):
        codec.encode({"p": Point(1)})


def test_integers_have_no_limit():
    assert CODEC.decode(CODEC.encode([10**5000, -(10**5000)])) == [10**5000, -(10**5000)]


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: {"k": v}, lambda v: (v,), Point, lambda v: frozenset([v])],
    ids=["list", "dict", "tuple", "dataclass", "frozenset"],
)
@pytest.mark.parametrize("depth", [10, 200, 400, 2_000, 20_000])
def test_any_depth_comes_back_or_is_refused_and_never_overflows_a_stack(depth, wrap):
    value, codec = 1, registered(Point)
    for _ in range(depth):
        value = wrap(value)
    if depth > 400:
        with pytest.raises(UnserializableValueError, match="nested deeper than 400 levels"):
            codec.encode(value)
    else:
        data = codec.encode(value)
        assert codec.encode(codec.decode(data)) == data


def test_a_key_that_cannot_be_printed_does_not_hide_the_path():
    with pytest.raises(
        UnserializableValueError, match=r"^value\[a int\]\[0\] is a builtins.object"
    ):
        CODEC.encode({10**5000: [object()]})


def test_a_zone_without_a_name_is_refused_with_its_path():
    utc = struct.pack(">4s16x6l", b"TZif", 0, 0, 0, 0, 1, 4) + struct.pack(
        ">lbb4s", 0, 0, 0, b"UTC"
    )
    value = {"zone": zoneinfo.ZoneInfo.from_file(io.BytesIO(utc))}
    with pytest.raises(
        UnserializableValueError, match=r"^value\['zone'\] cannot be stored: TypeError"
    ):
        CODEC.encode(value)


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
    with pytest.raises(ValueError, match=r"tag 'tag' is already used.*give Frozen its own"):
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
        msgpack.packb([msgpack.ExtType(1, b"bytearray"), 10**15]),
        msgpack.packb([msgpack.ExtType(1, b"set"), {}]),
        msgpack.packb([msgpack.ExtType(1, b"tuple"), [msgpack.ExtType(1, b"range"), [10**15]]]),
        msgpack.packb([msgpack.ExtType(1, b"fraction"), ["1e999999999", 1]]),
        msgpack.packb([msgpack.ExtType(1, b"fraction"), [1, 0]]),
        msgpack.packb([msgpack.ExtType(1, b"counter"), "abc"]),
        msgpack.packb([msgpack.ExtType(1, b"defaultdict"), ["eval", {}]]),
        msgpack.packb([msgpack.ExtType(1, b"pattern"), ["(", 0]]),
        b"\x91" * 5000,
    ],
    ids=plain,
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
