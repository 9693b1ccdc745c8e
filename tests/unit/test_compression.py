"""Records are made smaller where that pays; none is ever read as another than was stored."""

from __future__ import annotations

import os

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import limits
from orchestrator.envelope.damage import Damaged
from orchestrator.envelope.seal import (
    compressed,
    decompressed,
    needs,
    seal,
    unseal,
    unseal_needing,
)

TEXT = b"a paragraph that says the same again. " * 100
NOISE = os.urandom(10_000)
NAMES = ("\x1flog\x1f6460a",)


def test_a_long_text_is_stored_smaller_and_comes_back() -> None:
    stored = seal("place", TEXT, compact=True)
    assert len(stored) < len(TEXT) / 4
    assert unseal("place", stored) == TEXT
    assert unseal_needing("place", stored) == ((), TEXT)


def test_what_a_record_needs_stays_readable() -> None:
    stored = seal("place", TEXT, needs=NAMES, compact=True)
    assert len(stored) < len(TEXT) / 4
    assert needs(stored) == NAMES
    assert unseal_needing("place", stored) == (NAMES, TEXT)


@pytest.mark.parametrize(
    "record",
    [TEXT[: limits.COMPRESSED_BYTES_MIN - 1], NOISE, b""],
    ids=["short", "noise", "empty"],
)
def test_what_is_short_or_does_not_shrink_is_stored_as_it_is(record: bytes) -> None:
    assert compressed(record) is None
    assert seal("place", record, compact=True) == seal("place", record)


@pytest.mark.parametrize(
    "stored",
    [seal("place", TEXT, compact=True), seal("place", TEXT, needs=NAMES, compact=True)],
    ids=["plain", "with needs"],
)
def test_no_layout_is_taken_for_another(stored: bytes) -> None:
    for layout in (b"\x01", b"\x02", b"\x03", b"\x04"):
        if layout != stored[:1]:
            assert isinstance(unseal_needing("place", layout + stored[1:])[1], Damaged)
    assert isinstance(unseal_needing("elsewhere", stored)[1], Damaged)


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_nothing_is_decompressed_that_is_not_what_was_stored(at: int) -> None:
    stored = bytearray(seal("place", TEXT, compact=True))
    stored[at] ^= 1
    assert isinstance(unseal("place", bytes(stored)), Damaged)


def test_a_record_that_says_it_is_larger_than_any_is_refused_before_it_takes_memory() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 20))
    forged = bomb[:4] + bytes([0b11100000]) + (1 << 40).to_bytes(8, "little") + bomb[9:]
    assert zstandard.frame_content_size(forged) == 1 << 40
    with pytest.raises(ValueError, match="as large as a record may be"):
        decompressed(forged)


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decompressed(data)
    assert isinstance(unseal("place", b"\x03" + data), Damaged)
    assert isinstance(unseal_needing("place", b"\x04" + data)[1], Damaged)
