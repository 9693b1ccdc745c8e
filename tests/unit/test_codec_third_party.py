"""Types of other packages come back as they were, and those packages are not needed otherwise."""

import datetime as dt
import subprocess
import sys
import types

import msgpack
import pydantic
import pydantic_core
import pytest

from orchestrator import Interrupt, Overwrite, Send
from orchestrator.errors import StateCorruptedError, UnserializableValueError
from orchestrator.graph.policy import TimeoutPolicy
from orchestrator.serde import third_party
from orchestrator.serde.codec import Codec


def back(value):
    """Encode and decode with codecs that nothing was registered with."""
    return Codec().decode(Codec().encode(value))


def stored(tag, plain):
    return msgpack.packb([msgpack.ExtType(1, tag.encode()), plain])


# ---- numpy ----------------------------------------------------------------------------------


@pytest.fixture
def np():
    return pytest.importorskip("numpy")


def arrays(np):
    grid = np.arange(12, dtype="<i4").reshape(3, 4)
    return [
        grid,
        np.asfortranarray(grid),
        grid[:, ::2],
        np.broadcast_to(grid, (2, 3, 4)),
        np.array(5.5),
        np.zeros((0, 3), dtype=">f8"),
        np.array([np.nan, -0.0, np.inf], dtype=np.float16),
        np.array(["a", "long\0"]),
        np.array([b"a", b"b\0"]),
        np.array(["2024-01-01", "NaT"], dtype="M8[D]"),
        np.array([1, 2], dtype="m8[ns]"),
        np.array([1 + 2j]),
        np.array([True, False]),
        np.array([1], dtype=np.longlong),
        np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", ">f8")]),
        np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8", (2,))], align=True)),
        np.array([b"abc"], dtype="V3"),
    ]


@pytest.mark.parametrize("number", range(17))
def test_an_array_keeps_its_dtype_shape_order_and_bytes(np, number):
    value = arrays(np)[number]
    loaded = back([value])[0]
    assert type(loaded) is np.ndarray
    assert (loaded.dtype, loaded.dtype.num, loaded.shape) == (
        value.dtype,
        value.dtype.num,
        value.shape,
    )
    if value.dtype.names:  # What lies between the fields is no part of the value.
        assert (loaded == value).all()
    else:
        assert loaded.tobytes() == value.tobytes()
    assert loaded.flags.f_contiguous or not value.flags.f_contiguous
    assert loaded.flags.writeable == value.flags.writeable
    assert loaded.flags.owndata


def test_a_scalar_keeps_its_type(np):
    kinds = [np.float64, np.float32, np.int8, np.longlong, np.uint64, np.bool_, np.complex64]
    values = [kind(1) for kind in kinds]
    values += [np.str_("a\0"), np.bytes_(b"a\0"), np.datetime64("2024-01-01"), np.str_("")]
    values += [np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", "f8")])[0], np.longdouble("0.1")]
    for value, loaded in zip(values, back(values), strict=True):
        assert type(loaded) is type(value)
        assert loaded == value
        assert repr(loaded) == repr(value)


@pytest.mark.parametrize("dtype", ["O", [("a", "i4"), ("b", "O")]])
def test_an_array_of_objects_is_refused_both_ways(np, dtype):
    with pytest.raises(UnserializableValueError, match=r"value\['a'\] cannot be stored.*objects"):
        Codec().encode({"a": np.zeros(1, dtype=dtype)})
    pointer = stored("numpy.ndarray", ["|O", [1], "C", True, bytes(8)])
    with pytest.raises(StateCorruptedError, match="does not come back"):
        Codec().decode(pointer)


def test_an_array_with_too_many_or_too_few_bytes_is_refused(np):
    for shape, data in (([2], bytes(17)), ([3], bytes(16)), ([-1], bytes(8)), ([10**12], b"")):
        with pytest.raises(StateCorruptedError):
            Codec().decode(stored("numpy.ndarray", ["<f8", shape, "C", True, data]))


def test_a_subclass_of_an_array_is_refused(np):
    with pytest.raises(UnserializableValueError, match="ndarray can be stored, its subclasses"):
        Codec().encode(np.ma.masked_array([1]))


# ---- langchain ------------------------------------------------------------------------------


@pytest.fixture
def langchain():
    return pytest.importorskip("langchain_core.messages")


def messages(langchain):
    call = {"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    return [
        langchain.HumanMessage("hi", id="1", name="n", additional_kwargs={"k": [1]}),
        langchain.AIMessage("", tool_calls=[call], usage_metadata=usage),
        langchain.AIMessage([{"type": "text", "text": "t"}], response_metadata={"model": "m"}),
        langchain.AIMessageChunk(
            "a",
            tool_call_chunks=[{"name": "f", "args": '{"a":', "id": "c", "index": 0}],
        ),
        langchain.SystemMessage("be kind"),
        langchain.ToolMessage("ok", tool_call_id="c1", artifact={"x": (1,)}, status="error"),
        langchain.FunctionMessage("r", name="f"),
        langchain.ChatMessage("c", role="r"),
        langchain.RemoveMessage("5"),
        langchain.HumanMessageChunk("h"),
        langchain.ToolMessageChunk("t", tool_call_id="1"),
    ]


def test_every_message_comes_back_as_it_was(langchain):
    values = messages(langchain)
    for value, loaded in zip(values, back(values), strict=True):
        assert type(loaded) is type(value)
        assert loaded == value
        assert vars(loaded) == vars(value)
        assert loaded.model_fields_set == value.model_fields_set


def test_all_kinds_of_messages_are_in_the_table(langchain):
    tags = {f"{type(m).__module__}.{type(m).__qualname__}" for m in messages(langchain)}
    assert tags <= set(third_party._MESSAGES)
    for tag, name in third_party._MESSAGES.items():
        assert third_party.third_party_tag(tag).cls is getattr(langchain, name)


def test_a_document_comes_back_as_it_was(langchain):
    from langchain_core.documents import Document

    value = Document("text", metadata={"page": 1}, id="d")
    assert back(value) == value


def test_a_schema_stores_messages_under_the_tag_that_is_read_without_it(langchain):
    codec = Codec()
    codec.register_class(langchain.AIMessage)
    value = langchain.AIMessage("x")
    assert codec.encode(value) == Codec().encode(value)


def test_a_message_class_of_the_users_own_is_refused(langchain):
    class Mine(langchain.HumanMessage):
        pass

    with pytest.raises(UnserializableValueError, match=r"Mine.*\(HumanMessage can be stored, its"):
        Codec().encode([Mine("x")])


# ---- pydantic -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [pydantic.SecretStr("s"), pydantic.SecretStr(""), pydantic.SecretBytes(b"\xff")]
)
def test_a_secret_keeps_what_it_hides(value):
    assert back(value).get_secret_value() == value.get_secret_value()
    assert type(back(value)) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        pydantic.HttpUrl("https://user@exämple.com:8443/a?b=%20#c"),
        pydantic.AnyUrl("custom:thing"),
        pydantic.RedisDsn("redis://localhost"),
        pydantic.PostgresDsn("postgres://u:p@h1,h2:3/db"),
        pydantic_core.Url("ftp://a/b"),
        pydantic_core.MultiHostUrl("mongodb://a,b:1/c"),
        pydantic.ByteSize(1024),
    ],
    ids=str,
)
def test_what_pydantic_makes_of_text_comes_back(value):
    assert back([value]) == [value]
    assert type(back(value)) is type(value)


def test_the_zone_of_a_datetime_that_pydantic_read_comes_back():
    class Event(pydantic.BaseModel):
        at: dt.datetime

    value = Event(at="2024-01-02T03:04:05+02:30").at
    assert type(value.tzinfo) is pydantic_core.TzInfo
    assert back(value) == value
    assert (type(back(value).tzinfo), repr(back(value))) == (pydantic_core.TzInfo, repr(value))


# ---- the engine's own -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        Send("node", {"a": (1, b"x")}),
        Send("node", [Send("inner", None)], timeout=5),
        Interrupt({"q": [1]}, id="i", key="k"),
        Interrupt(None),
        Overwrite([1, (2,)]),
        TimeoutPolicy(run_timeout=dt.timedelta(seconds=1)),
    ],
    ids=str,
)
def test_what_steers_a_run_can_be_part_of_a_state(value):
    assert back({"kept": [value]}) == {"kept": [value]}
    assert type(back(value)) is type(value)


# ---- what is not there ----------------------------------------------------------------------


def test_a_class_that_says_it_is_of_a_known_package_is_not_taken_for_one():
    fake = type("AIMessage", (), {"__module__": "langchain_core.messages.ai"})
    own = type("Send", (), {"__module__": "orchestrator.graph.routing"})
    for cls in (fake, own):
        with pytest.raises(UnserializableValueError, match="which cannot be stored"):
            Codec().encode(cls())


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    def missing():
        raise ImportError("no module")

    monkeypatch.setitem(third_party._PACKAGES, "numpy", missing)
    with pytest.raises(StateCorruptedError, match="numpy is not installed: install it"):
        Codec().decode(stored("numpy.ndarray", None))


@pytest.mark.parametrize("tag", ["numpy.matrix", "langchain_core.evil", "pydantic.x", "os.system"])
def test_a_tag_that_is_not_in_the_tables_imports_nothing(tag):
    before = set(sys.modules)
    with pytest.raises(StateCorruptedError, match="which this process does not know"):
        Codec().decode(stored(tag, []))
    assert set(sys.modules) == before


def test_nothing_is_imported_that_no_value_needs():
    code = (
        "import sys; from orchestrator.serde.codec import Codec; c = Codec();"
        "c.decode(c.encode([1, (2,), {3}, 'x', b'y', bytearray(b'z')]));"
        "found = {'numpy', 'langchain_core', 'pydantic', 'orchestrator.graph'} & set(sys.modules);"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stored_send_is_read_by_a_process_that_has_built_no_graph():
    data = Codec().encode(Send("n", 1, timeout=2))
    code = (
        "import sys; from orchestrator.serde.codec import Codec;"
        f"print(Codec().decode({data!r}).timeout.run_timeout)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2.0\n", "")


def test_an_odd_module_name_is_no_package():
    cls = type("Odd", (), {"__module__": types.SimpleNamespace()})
    with pytest.raises(UnserializableValueError, match="Odd, which cannot be stored"):
        Codec().encode(cls())
