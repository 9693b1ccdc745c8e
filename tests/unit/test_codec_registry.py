"""A type that no schema names is stored under the tag that the program gave it."""

import dataclasses
import enum
import itertools

import pytest

from orchestrator.errors import StateCorruptedError, UnserializableValueError
from orchestrator.serde import register_type
from orchestrator.serde.codec import Codec

TAGS = (f"test.{number}" for number in itertools.count())  # The registry is the whole process's.


class Money:
    def __init__(self, amount, currency):
        self.amount, self.currency = amount, currency

    def __eq__(self, other):
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None


def money():
    """Return a class that nobody knows yet."""
    return type("Money", (Money,), {"__qualname__": "test.<locals>.Money"})


def functions(cls):
    return {"encode": lambda m: (m.amount, m.currency), "decode": lambda plain: cls(*plain)}


def test_a_registered_type_is_stored_by_every_codec_also_by_those_there_are():
    codec, cls, tag = Codec(), money(), next(TAGS)
    assert register_type(cls, tag, **functions(cls)) is cls
    data = codec.encode([cls(5, "EUR")])
    assert tag.encode() in data
    assert Codec().decode(data) == [cls(5, "EUR")]
    assert codec.knows(cls)


def test_the_decorator_needs_no_tag_and_takes_one():
    @register_type
    @dataclasses.dataclass
    class Plain:
        x: int

    tag = next(TAGS)

    @register_type(tag)
    class Level(enum.Enum):
        LOW = 1

    @register_type(tag=next(TAGS))
    @dataclasses.dataclass
    class Other:
        x: int

    data = Codec().encode([Plain(1), Level.LOW, Other(2)])
    assert Codec().decode(data) == [Plain(1), Level.LOW, Other(2)]
    assert tag.encode() in data
    assert f"{__name__}.{Plain.__qualname__}".encode() in data


def test_registering_again_is_fine_and_takes_the_newer_functions():
    cls, tag = money(), next(TAGS)
    register_type(cls, tag, encode=lambda m: m.currency, decode=lambda c: cls(0, c))
    register_type(cls, tag, **functions(cls))
    assert Codec().decode(Codec().encode(cls(5, "EUR"))) == cls(5, "EUR")


def test_a_tag_stands_for_one_class():
    tag = next(TAGS)
    register_type(money(), tag, **functions(Money))
    with pytest.raises(ValueError, match=rf"'{tag}' is already used by .*Money; give .*Other its"):
        register_type(type("Other", (), {}), tag, **functions(Money))
    with pytest.raises(ValueError, match="is already used by"):  # Local classes are never the same.
        register_type(money(), tag, **functions(Money))


def test_a_class_has_one_tag():
    cls, tag = money(), next(TAGS)
    register_type(cls, tag, **functions(cls))
    with pytest.raises(ValueError, match=rf"has the tag '{tag}' already"):
        register_type(cls, next(TAGS), **functions(cls))


def test_a_class_that_is_defined_again_takes_the_tag_over_and_the_old_one_is_refused():
    tag, classes = next(TAGS), []
    for _ in range(2):  # A module that is loaded twice, or a cell of a notebook.
        cls = dataclasses.make_dataclass("Cell", ["x"])
        cls.__module__ = "cells"
        classes.append(register_type(cls, tag))
    old, new = classes
    with pytest.raises(UnserializableValueError, match=r"cells\.Cell, which cannot be stored"):
        Codec().encode(old(1))
    assert type(Codec().decode(Codec().encode(new(1)))) is new


@pytest.mark.parametrize("tag", ["tuple", "decimal", "numpy.ndarray", "graphstalk.Send"])
def test_a_tag_of_a_type_that_is_always_known_is_refused(tag):
    with pytest.raises(ValueError, match="must not be that of a built-in type"):
        register_type(money(), tag, **functions(Money))
    with pytest.raises(ValueError, match="is already used by another type"):
        Codec().register(tag, Money, str, str)


@pytest.mark.parametrize("cls", [int, dict, bytearray, type(None), set])
def test_a_type_that_is_stored_anyway_is_not_registered(cls):
    with pytest.raises(ValueError, match="must not be registered"):
        register_type(cls, next(TAGS), **functions(Money))


@pytest.mark.parametrize("tag", ["", "x" * 300, b"bytes", "\ud800"])
def test_a_tag_is_a_text_that_can_be_stored(tag):
    with pytest.raises(ValueError, match=r"a tag must be|surrogates not allowed"):
        register_type(money(), tag, **functions(Money))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((money(),), "Money is no enum, dataclass or pydantic model"),
        ((5,), r"must be given a class \(5\)"),
        (("one", "two"), "the tag twice"),
    ],
)
def test_what_cannot_be_registered_says_why(arguments, text):
    with pytest.raises(TypeError, match=text):
        register_type(*arguments)


@pytest.mark.parametrize("half", ["encode", "decode"])
def test_one_way_is_not_enough(half):
    with pytest.raises(TypeError, match="needs both encode and decode"):
        register_type(money(), next(TAGS), **{half: str})


def test_a_subclass_of_a_registered_type_is_refused():
    cls, tag = money(), next(TAGS)
    register_type(cls, tag, **functions(cls))
    with pytest.raises(UnserializableValueError, match="Money can be stored, its subclasses only"):
        Codec().encode(type("Special", (cls,), {})(1, "EUR"))


def test_a_tag_that_nobody_registered_is_named_with_the_remedy():
    codec, cls = Codec(), money()
    codec.register("test.nobody", cls, vars, cls)
    with pytest.raises(StateCorruptedError, match=r"'test\.nobody'.*orchestrator\.register_type"):
        Codec().decode(codec.encode(cls(1, "EUR")))


def test_functions_that_fail_are_told_with_the_path_and_with_the_tag():
    cls, tag = money(), next(TAGS)
    register_type(cls, tag, encode=lambda m: m.amount, decode=lambda plain: 1 // plain)
    with pytest.raises(UnserializableValueError, match=r"value\['m'\] cannot be stored: Attr"):
        Codec().encode({"m": cls.__new__(cls)})
    with pytest.raises(StateCorruptedError, match=rf"'{tag}' does not come back \(ZeroDivision"):
        Codec().decode(Codec().encode(cls(0, "EUR")))


def test_what_a_function_returns_is_stored_exactly_too():
    cls, tag = money(), next(TAGS)
    register_type(cls, tag, **functions(cls))
    value = cls(bytearray(b"x"), ("\ud800", {1}))
    assert Codec().decode(Codec().encode([value])) == [value]
    with pytest.raises(UnserializableValueError, match=r"value\[0\]\[1\] is a builtins\.object"):
        Codec().encode([cls(1, object())])


# ---- together with the state's schema -------------------------------------------------------


def test_a_schema_uses_the_tag_that_was_given_and_still_reads_what_was_stored_without():
    @dataclasses.dataclass
    class Item:
        x: int

    before = Codec()
    before.register_class(Item)
    old, tag = before.encode(Item(1)), next(TAGS)
    register_type(Item, tag)
    now = Codec()
    now.register_class(Item)
    assert tag.encode() in now.encode(Item(1))
    assert now.decode(old) == Item(1)


def test_bytes_stored_without_functions_are_not_given_to_them():
    @dataclasses.dataclass
    class Item:
        x: int

    before = Codec()
    before.register_class(Item)
    register_type(Item, next(TAGS), encode=lambda i: i.x, decode=Item)
    now = Codec()
    now.register_class(Item)
    with pytest.raises(StateCorruptedError, match="which this process does not know"):
        now.decode(before.encode(Item(1)))


def test_one_tag_for_two_classes_of_a_schema_is_refused():
    first, second = (dataclasses.make_dataclass("Same", ["x"]) for _ in range(2))
    first.__module__ = second.__module__ = "one"
    codec = Codec()
    codec.register_class(first)
    with pytest.raises(
        ValueError, match=r"'one\.Same' is already used.*its own, with register_type"
    ):
        codec.register_class(second)
