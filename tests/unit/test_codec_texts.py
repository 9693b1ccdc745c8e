"""Classes of text: stored as the text where that is all they are, as what they are where known."""

import enum
import functools
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessage

from orchestrator import START, MemoryCheckpointer, StateGraph, register_type
from orchestrator.errors import UnserializableValueError
from orchestrator.graph.schema import codec_classes
from orchestrator.serde.codec import Codec


class UserId(str):  # noqa: SLOT000 - as people write it
    """A text of another name."""


class Slotted(UserId):
    __slots__ = ()

    def __new__(cls, text):
        return super().__new__(cls, text)


class Email(str):
    __slots__ = ()

    @property
    def domain(self):
        return self.partition("@")[2]


class Loud(str):
    __slots__ = ()

    def __str__(self):
        return self.upper()


class Noted(str):  # noqa: SLOT000 - it needs a place for what it caches
    @functools.cached_property
    def shout(self):
        return self.upper()


class Holding(str):
    __slots__ = ("held",)


def stored(value: Any, *hints: Any) -> Any:
    codec = Codec()
    for cls in codec_classes(hints):
        codec.register_class(cls)
    return codec.decode(codec.encode(value))


@pytest.mark.parametrize("value", [AIMessage("hi").text, UserId("hi"), Slotted("hi"), UserId("")])
@pytest.mark.parametrize(
    "around",
    [lambda v: v, lambda v: [{"k": (v,)}], lambda v: {v: v}, lambda v: [v, bytearray(b"x")]],
)
def test_a_class_that_adds_nothing_to_str_is_stored_as_the_text(value, around):
    found = stored(around(value))
    assert found == around(str.__str__(value))
    text = stored([value])[0]
    assert (text, type(text)) == (value, str)


def test_a_text_with_attributes_or_methods_of_its_own_is_refused_with_the_remedy():
    marked = UserId("hi")
    marked.found_at = 3
    for value in (marked, Email("a@b.c"), Loud("hi"), Noted("hi"), Holding("hi")):
        with pytest.raises(UnserializableValueError, match=r"value\['x'\] is a .*register_type"):
            stored({"x": value})


def test_a_text_comes_back_as_its_class_where_the_schema_names_it():
    marked = UserId("hi")
    marked.found_at = 3
    noted = Noted("hi")
    assert noted.shout == "HI"
    for value in (UserId("hi"), marked, Email("a@b.c"), Loud("hi"), noted, Slotted("ü\ud800")):
        found = stored(value, dict[str, type(value)])
        assert (str.__str__(found), type(found)) == (str.__str__(value), type(value))
    assert stored(marked, UserId).found_at == 3
    assert vars(stored(noted, Noted)) == {}
    assert stored(Email("a@b.c"), Email).domain == "b.c"


def test_what_a_text_holds_must_be_storable_too():
    marked = UserId("hi")
    marked.lock = object()
    with pytest.raises(UnserializableValueError, match=r"value\.lock is a builtins\.object"):
        stored(marked, UserId)


def test_a_class_of_text_can_be_registered_without_functions():
    @register_type("tests.codec.texts.tag")
    class Tag(str):
        __slots__ = ()

        def bold(self):
            return f"*{self}*"

    assert stored(Tag("x")).bold() == "*x*"
    with pytest.raises(TypeError, match="register it with its own functions"):
        register_type(Holding)


def test_a_member_of_an_enum_is_no_text():
    class Kind(str, enum.Enum):  # noqa: UP042 - as people write it
        A = "a"

    with pytest.raises(UnserializableValueError, match="Kind, which cannot be stored"):
        stored(Kind.A)


@pytest.mark.parametrize("store", [None, MemoryCheckpointer])
def test_a_node_returns_the_text_of_a_message(store):
    class State(TypedDict):
        said: str

    def node(state: State) -> dict[str, Any]:
        return {"said": AIMessage(state["said"]).text}

    builder = StateGraph(State).add_node(node).add_edge(START, "node")
    graph = builder.compile(store and store())
    output = graph.invoke({"said": AIMessage("hi").text}, "t")
    assert output == {"said": "hi"}
    assert type(output["said"]) is str
