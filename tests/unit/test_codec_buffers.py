"""A bytearray is found wherever it is, and looking for one costs nothing where there is none."""

import collections
import decimal
import gc
import struct
import weakref

import msgpack
import pytest

from orchestrator.errors import UnserializableValueError
from orchestrator.serde.codec import Codec, hold_buffers, may_hold_bytes
from tests.fixtures.ids import plain

CODEC = Codec()
LENGTHS = [0, 1, 195, 196, 197, 198, 216, 217, 255, 256, 0xC4C4, 0xFFFF, 0x10000]


def exact(value):
    back = CODEC.decode(CODEC.encode(value))
    return repr(back) == repr(value)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_bytearray_of_any_length_is_told_from_bytes(length):
    assert exact(bytearray(length))
    assert exact(bytes(length))
    assert exact([bytes(length), {"k": bytearray(b"T" * length)}])


@pytest.mark.parametrize("length", [196, 197])
@pytest.mark.parametrize(
    "before",
    [217, -39, 0x01D9, 0x010101D9, 0x01010101010101D9, 5e-324 * 217, "x" * 217, [1] * 217],
    ids=lambda v: f"{v!r:.20}",
)
def test_what_ends_like_the_head_of_a_text_does_not_hide_a_bytearray(before, length):
    for text in (b"a" * 97, b"a" * length):
        assert exact([before, bytearray(text)])
        assert exact({"k": [before, (bytearray(text),)], before if before != [1] * 217 else 1: 2})


def test_a_list_of_bytearrays_as_long_as_the_head_of_a_text_is_exact():
    assert exact([bytearray(b"a" * 97)] * 217)
    assert exact({number: bytearray(b"x") for number in range(217)})


@pytest.mark.parametrize("length", [195, 196, 197, 198, 255, 256])
def test_texts_do_not_look_like_bytes(length):
    assert not may_hold_bytes(msgpack.packb([{"text": "a" * length, "n": 5, "ok": None}] * 4))


@pytest.mark.parametrize("number", [1.5e-300, 1792.0, 0.1, 196, 197, -60, 50_400, 0xC4C4C4, 2**60])
def test_numbers_do_not_look_like_bytes(number):
    assert not may_hold_bytes(msgpack.packb([{"number": number, "text": "a"}]))


def test_a_float_full_of_heads_does_not_look_like_bytes_and_hides_none():
    number = struct.unpack(">d", bytes.fromhex("41c4d9cbc4d9c5c4"))[0]
    assert not may_hold_bytes(msgpack.packb(["key", number]))
    for length in range(1, 200):
        assert exact([number, bytearray(b"a" * length), number])


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 256, b"x" * 70_000], ids=len)
def test_bytes_look_like_bytes(data):
    assert may_hold_bytes(msgpack.packb([data]))
    assert may_hold_bytes(msgpack.packb(data))


@pytest.mark.parametrize(
    "value",
    [
        [bytearray()],
        [{"a": [1, {"b": bytearray()}]}],
        [[1.0, bytearray(), 2.0]],
        [1.0, [bytearray()], 2.0],
        [1.0, decimal.Decimal("sNaN"), bytearray(), 2.0],
        [memoryview(b"")],
        [msgpack.ExtType(5, b"")],
    ],
    ids=plain,
)
def test_what_is_no_bytes_is_found(value):
    assert hold_buffers(value)


@pytest.mark.parametrize(
    "value",
    [[], [b"x"], [[1.5, 2, 2.5]], [1.0, decimal.Decimal("sNaN"), 2.0], [{"a": []}], [[[[]]]]],
    ids=plain,
)
def test_plain_data_holds_none(value):
    assert not hold_buffers(value)


def test_a_bytearray_in_a_type_of_the_table_is_exact():
    assert exact(collections.deque([(bytearray(b"x"), frozenset({b"x"}))], maxlen=3))


def test_the_writer_of_a_value_that_failed_is_not_used_again():
    codec = Codec()
    for _ in range(3):
        with pytest.raises(UnserializableValueError):
            codec.encode([(bytearray(b"x"),), object()])
        assert codec.decode(codec.encode([b"x"])) == [b"x"]


def test_encoding_inside_of_encoding_works():
    codec = Codec()

    class Letter:
        pass

    codec.register("letter", Letter, lambda _: codec.encode([bytearray(b"x")]), codec.decode)
    assert codec.decode(codec.encode([Letter(), bytearray(b"y")])) == [
        [bytearray(b"x")],
        bytearray(b"y"),
    ]


@pytest.mark.parametrize("text", ["\u02c0", "\u02c0abcde", "a\u0644", "\u01ff\u03ff"], ids=ascii)
def test_a_character_that_begins_like_a_head_does_not_hide_a_bytearray(text):
    assert exact([text, bytearray(b"x")])
    assert exact({text: bytearray(b"x" * 300)})


def test_a_writer_that_grew_big_is_not_kept():
    codec = Codec()
    codec.encode("x" * 1000)
    assert len(codec._writers) == 1
    codec.encode("x" * 2_000_000)
    assert codec._writers == []


def test_a_writer_keeps_nothing_of_what_it_wrote():
    codec, made = Codec(), []

    class Letter:
        pass

    def plain(_):
        content = {1}
        made.append(weakref.ref(content))
        return content

    codec.register("letter", Letter, plain, lambda _: None)
    codec.encode([Letter()])
    gc.collect()
    assert made[0]() is None
