"""Encoded lists, cut and joined without decoding them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.tails import Grown, is_list, joined, tail_of, whole
from orchestrator.serde.codec import Codec

CODEC = Codec()
encode = CODEC.encode

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary()
tagged = st.tuples(plain) | st.datetimes() | st.frozensets(st.integers())
items = st.recursive(
    plain | tagged, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)
lists = st.lists(items, max_size=20)


@settings(max_examples=60)
@given(st.lists(lists, min_size=1, max_size=5))
def test_what_is_joined_is_what_encoding_the_whole_list_gives(parts: list[list[Any]]) -> None:
    whole = encode([item for part in parts for item in part])
    assert joined([encode(part) for part in parts]) == whole


@settings(max_examples=60)
@given(lists, lists)
def test_a_list_that_grew_has_what_it_grew_by_as_its_tail(
    before: list[Any], new: list[Any]
) -> None:
    after = encode(before + new)
    assert tail_of(encode(before), after) == encode(new)


@settings(max_examples=60)
@given(lists, lists)
def test_only_what_is_joined_again_is_a_tail(before: list[Any], after: list[Any]) -> None:
    tail = tail_of(encode(before), encode(after))
    assert (tail is not None) == (encode(after[: len(before)]) == encode(before))
    assert tail is None or joined([encode(before), tail]) == encode(after)


@pytest.mark.parametrize("count", [15, 16, 17, 65_535, 65_536, 65_537])
def test_lists_of_any_length_are_joined(count: int) -> None:
    whole = encode(list(range(count)))
    assert joined([encode([]), encode(list(range(count - 1))), encode([count - 1])]) == whole
    assert tail_of(encode(list(range(count - 2))), whole) == encode([count - 2, count - 1])


@pytest.mark.parametrize(
    "value", [None, 0, "", b"", {}, (1, 2), {1}, dt.date(2026, 1, 1), dt.timedelta(1)]
)
def test_what_is_no_list_has_no_tail_and_is_joined_to_nothing(value: Any) -> None:
    data = encode(value)
    assert not is_list(data)
    assert tail_of(data, encode([value])) is None
    assert tail_of(encode([]), data) is None
    assert joined([encode([1]), data]) == data


def test_a_list_in_parts_is_joined_when_it_is_looked_at_and_goes_on() -> None:
    parts = [[1], ["two"], [], [4, 5]]
    grown = Grown(encode(parts[0]), encode(parts[1]))
    for part in parts[2:]:
        grown = Grown(grown, encode(part))
    assert (len(grown.parts), len(grown), is_list(grown)) == (4, 11, True)
    earlier = Grown(grown, encode(["branch"]))
    assert whole(grown) == encode([1, "two", 4, 5])
    assert grown.parts == (whole(grown),)
    assert whole(Grown(grown, encode([6]))) == encode([1, "two", 4, 5, 6])
    assert whole(earlier) == encode([1, "two", 4, 5, "branch"])
    assert not is_list(Grown(b"\xc1is damaged", encode([1])))


def test_a_list_of_values_of_types_is_a_list() -> None:
    assert is_list(encode([(1, 2)]))
    assert CODEC.decode(joined([encode([(1, 2)]), encode([{3}])])) == [(1, 2), {3}]


@pytest.mark.parametrize("data", [b"", b"\xc1is damaged", b"\xdc", b"\xdd\x00", b"\x91"])
def test_bytes_that_nothing_encodes_raise_nothing(data: bytes) -> None:
    is_list(data)
    joined([encode([1]), data])
    tail_of(data, encode([1]))
    tail_of(encode([1]), data)
