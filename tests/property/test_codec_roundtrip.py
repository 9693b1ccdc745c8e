"""What a codec stores is what it loads, type and value alike, at every depth; or it says so."""

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import itertools
import math
import operator
import pathlib
import random
import re
import string
import sys
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import END, START, Interrupt, MemoryCheckpointer, Overwrite, Send, StateGraph
from orchestrator.errors import StateCorruptedError, UnserializableValueError
from orchestrator.graph.schema import codec_classes
from orchestrator.serde.codec import Codec

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

T = TypeVar("T")


class Colour(enum.Enum):
    RED = (1, 2)
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "y"


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclasses.dataclass
class Plain:
    item: Any
    rest: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    item: Any


class Model(pydantic.BaseModel):
    item: Any
    note: str = "default"
    _hidden: Any = pydantic.PrivateAttr(default=None)


class FrozenModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    item: Any = None


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    item: Any = None


class Box(pydantic.BaseModel, Generic[T]):
    item: T


class Root(pydantic.RootModel[list[Any]]):
    pass


class Two(NamedTuple):
    first: Any
    second: Any = None


@dataclasses.dataclass(kw_only=True)
class Made:
    item: Any
    made: Any = dataclasses.field(init=False)


CLASSES = codec_classes(
    [
        *(Colour, Level, Word, Rights, Plain, Frozen, Model, FrozenModel, Open, Box[int], Root),
        *(Two, Made),
    ]
)
CODEC = Codec()
for each in CLASSES:
    CODEC.register_class(each)

ZONES = [
    zoneinfo.ZoneInfo(key)
    for key in ("Europe/Berlin", "America/New_York", "UTC")
    if key in zoneinfo.available_timezones()
]
OFFSETS = st.builds(
    dt.timezone,
    st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)),
    st.text(string.ascii_letters, max_size=4),
) | st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)))
ZONE = st.one_of(st.none(), OFFSETS, st.just(dt.UTC), *[st.sampled_from(ZONES)] * bool(ZONES))
TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud800", "a\udfffb", "\x00", ""])


def _folded(value: Any, fold: int, zone: dt.tzinfo | None) -> Any:
    return value.replace(fold=fold, tzinfo=zone)


HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63, 2**64, -(2**63) - 1]),
    st.floats(),
    st.sampled_from([math.inf, -math.inf, -0.0, 5e-324]),
    TEXT,
    st.binary(max_size=8),
    st.complex_numbers(),
    st.builds(_folded, st.datetimes(), st.integers(0, 1), ZONE),
    st.builds(_folded, st.times(), st.integers(0, 1), ZONE),
    st.dates(),
    st.timedeltas(),
    OFFSETS,
    st.decimals().filter(lambda value: not value.is_snan()),  # It cannot be hashed.
    st.uuids(),
    st.builds(pathlib.Path, st.text(string.ascii_letters + "/.", max_size=8)),
    st.builds(pathlib.PurePosixPath, st.text(string.ascii_letters, max_size=8)),
    st.builds(pathlib.PureWindowsPath, st.text(string.ascii_letters + "\\:/", max_size=8)),
    st.fractions(),
    st.ip_addresses() | st.ip_addresses().map(ipaddress.ip_network),
    st.ip_addresses().map(ipaddress.ip_interface),
    st.builds(range, st.integers(), st.integers(), st.integers(1, 2**70)),
    st.builds(re.compile, st.text(string.ascii_letters, max_size=4), st.sampled_from([0, 2, 8])),
    st.builds(re.compile, st.just(b"a+")),
    st.builds(pydantic.SecretStr, st.text(max_size=4)),
    st.sampled_from([*Colour, *Level, *Word, *Rights, Rights.READ | Rights.WRITE, Rights(0)]),
    *[st.sampled_from(ZONES)] * bool(ZONES),
)
KEYS = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Frozen, inner),
        st.builds(Two, inner, inner),
    ),
    max_leaves=4,
)


def _with_private(model: Model, hidden: Any) -> Model:
    model._hidden = hidden
    return model


def _made(item: Any, made: Any) -> Made:
    value = Made(item=item)
    if made is not None:
        value.made = made
    return value


def _default(factory: Any, items: dict[Any, Any]) -> defaultdict[Any, Any]:
    return defaultdict(factory, items)


VALUES = st.recursive(
    KEYS | st.binary(max_size=8).map(bytearray) | st.just(decimal.Decimal("-sNaN7")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.sets(KEYS, max_size=4),
        st.builds(deque, st.lists(inner, max_size=3), st.sampled_from([None, 3, 7])),
        st.builds(Plain, inner, st.lists(inner, max_size=2)),
        st.builds(_with_private, st.builds(Model, item=inner), inner),
        st.builds(Model, item=inner, note=st.text(max_size=3)),
        st.builds(FrozenModel) | st.builds(FrozenModel, item=inner),
        st.builds(Open, item=inner, more=inner),
        st.builds(Box[int], item=st.integers()),
        st.builds(Root, st.lists(inner, max_size=2)),
        st.builds(Two, inner, inner),
        st.builds(_made, inner, inner),
        st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict),
        st.dictionaries(KEYS, st.integers(), max_size=3).map(Counter),
        st.builds(
            _default,
            st.sampled_from([None, list, dict, set, int, Counter]),
            st.dictionaries(KEYS, inner, max_size=3),
        ),
        st.builds(Send, st.text(max_size=3), inner, timeout=st.none() | st.integers(1, 9)),
        st.builds(Interrupt, inner, st.text(max_size=3)),
        inner.map(Overwrite),
        inner.map(lambda item: Model.model_construct(item=item, note=5)),
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Return whether two values are alike to the last type and bit."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, deque):
        return left.maxlen == right.maxlen and same(list(left), list(right))
    if isinstance(left, (set, frozenset)):
        return len(left) == len(right) and all(any(same(a, b) for b in right) for a in left)
    if isinstance(left, defaultdict) and left.default_factory is not right.default_factory:
        return False
    if isinstance(left, dict):
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    if isinstance(left, pydantic.BaseModel):
        return all(same(*pair) for pair in zip(parts(left), parts(right), strict=True))
    if dataclasses.is_dataclass(left):
        return all(
            same(getattr(left, f.name, ...), getattr(right, f.name, ...))
            for f in dataclasses.fields(left)
        )
    if isinstance(left, Overwrite):
        return same(left.value, right.value)
    if isinstance(left, pydantic.SecretStr):
        return left.get_secret_value() == right.get_secret_value()
    if isinstance(left, (dt.datetime, dt.time)):
        zones = same(left.tzinfo, right.tzinfo)
        return zones and left.fold == right.fold and left.isoformat() == right.isoformat()
    if isinstance(left, (complex, decimal.Decimal, range)):
        return repr(left) == repr(right)
    if isinstance(left, dt.timezone):
        return repr(left) == repr(right)
    return left == right


def parts(model: pydantic.BaseModel) -> tuple[Any, ...]:
    return (
        dict(model),
        model.model_fields_set,
        model.__pydantic_extra__,
        model.__pydantic_private__,
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_what_is_stored_is_what_is_loaded(value: Any) -> None:
    data = CODEC.encode(value)
    loaded = CODEC.decode(data)
    assert same(loaded, value), (loaded, value)
    if not isinstance(value, (set, frozenset)):
        assert same(CODEC.decode(CODEC.encode(loaded)), value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=VALUES, seed=st.integers(0, 2**32))
def test_damaged_bytes_load_as_something_or_are_refused(value: Any, seed: int) -> None:
    data, chance = CODEC.encode(value), random.Random(seed)
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 1, 2, 8])):
            place = chance.randrange(len(damaged) + 1)
            change = chance.choice(["flip", "cut", "drop", "insert"])
            if change == "insert" or not damaged:
                damaged.insert(place, chance.choice([0x00, 0x81, 0x91, 0xC1, 0xC7, 0xD4, 0xFF]))
            elif change == "cut":
                del damaged[place:]
            elif change == "drop":
                del damaged[place : place + 1]
            else:
                damaged[place % len(damaged)] ^= 1 << chance.randrange(8)
        loads_or_is_refused(bytes(damaged))


RICH = [
    {"a": (1, {2, b"x"}), 5: frozenset({None}), (1,): bytearray(b"yz"), "d": deque([1], 3)},
    [dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.timedelta(1), decimal.Decimal("1.5"), 2**80],
    [OrderedDict(a=1), Counter("ab"), defaultdict(list, a=[1]), range(3), fractions.Fraction(1, 3)],
    [re.compile("a+"), pathlib.Path("/a"), uuid.UUID(int=5), ipaddress.ip_address("::1"), 1 + 2j],
    [Plain(1, [2.5]), Frozen(None), Model(item="x"), Open(item=1, more=2), Two(1), _made(1, 2)],
    [Colour.RED, Level.LOW, Word.YES, Rights.READ, Send("n", 1), Interrupt(1), Overwrite([1])],
    [pydantic.SecretStr("s"), pydantic.HttpUrl("http://a/b"), ZONES[0], dt.time(1, fold=1)],
]


def test_two_thousand_damaged_records_load_as_something_or_are_refused_and_import_nothing() -> None:
    chance, records = random.Random(20260101), [CODEC.encode(value) for value in RICH]
    for data in records:
        CODEC.decode(data)  # What they need is imported now.
    before = set(sys.modules)
    for number in range(2_000):
        damaged = bytearray(records[number % len(records)])
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        loads_or_is_refused(bytes(damaged))
    assert set(sys.modules) == before


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_load_as_something_or_are_refused(data: bytes) -> None:
    loads_or_is_refused(data)


def loads_or_is_refused(data: bytes) -> None:
    try:
        CODEC.decode(data)
    except StateCorruptedError as error:
        known = {"STATE_CORRUPTED", "UNKNOWN_TYPE"}  # A type's name may be what was damaged.
        assert error.code in known  # noqa: PT017 - anything else fails the test


@pytest.mark.parametrize("length", range(40))
def test_a_record_that_was_cut_short_is_refused(length: int) -> None:
    data = CODEC.encode([{"a": (1, 2)}, uuid.UUID(int=5), "text", Plain([1, 2.5])])
    with pytest.raises(StateCorruptedError):
        CODEC.decode(data[:length])


def test_what_a_node_returns_is_what_the_next_one_sees_type_and_all() -> None:
    moment = dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=dt.UTC)
    given_value = {"t": (1, {2}), "m": Model(item=moment), 5: [Frozen(Colour.RED)], (1,): 2**70}
    seen = []

    @dataclasses.dataclass
    class State:
        value: Annotated[list[Model | Frozen | Colour | Any], operator.add]

    def make(state: State) -> dict[str, Any]:
        return {"value": [given_value]}

    builder = StateGraph(State).add_sequence([make, ("look", lambda s: seen.extend(s.value))])
    graph = builder.add_edge(START, "make").add_edge("look", END).compile(MemoryCheckpointer())
    graph.invoke({"value": []}, "t")
    assert same(seen, [given_value])
    assert seen[0] is not given_value


@pytest.mark.parametrize("innermost", [1, [], {}, (), "text", bytearray(b"x")])
@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: (v,)])
def test_whatever_is_stored_can_be_loaded_however_deep(
    innermost: Any, wrap: Callable[[Any], Any]
) -> None:
    value = innermost
    for _ in range(1100):
        value = wrap(value)
        try:
            data = CODEC.encode(value)
        except UnserializableValueError:
            return
        CODEC.decode(data)
    pytest.fail("there is no limit")


def test_equal_values_of_other_types_stay_apart() -> None:
    ones = [1, True, 1.0, decimal.Decimal(1), 1 + 0j, Level.LOW]
    for left, right in itertools.combinations(ones, 2):
        assert not same(CODEC.decode(CODEC.encode([left]))[0], right)
