"""What shows that a record is not what was stored where it was stored."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.envelope.damage import Damaged
from orchestrator.envelope.seal import needs, seal, unseal, unseal_needing

NAMES = ("\x1flog\x1f6460a", "\ud800 two words")
NEEDING = seal("place", b"\n\nrecord", needs=NAMES)


def test_a_record_that_needs_others_comes_back_with_their_names() -> None:
    assert needs(NEEDING) == NAMES
    assert unseal_needing("place", NEEDING) == (NAMES, b"\n\nrecord")


def test_a_record_that_needs_none_is_read_as_before() -> None:
    assert needs(seal("place", b"record")) == ()
    assert unseal_needing("place", seal("place", b"record")) == ((), b"record")


def test_a_record_is_damaged_in_another_place_or_for_who_expects_no_names() -> None:
    assert isinstance(unseal_needing("other", NEEDING)[1], Damaged)
    assert isinstance(unseal("place", NEEDING), Damaged)


@pytest.mark.parametrize("stored", [NEEDING, seal("place", b"a\n\nrecord")])
def test_one_layout_is_not_taken_for_the_other(stored: bytes) -> None:
    for layout in (b"\x00", b"\x01", b"\x02", b"\x03"):
        if layout != stored[:1]:
            names, record = unseal_needing("place", layout + stored[1:])
            assert (names, isinstance(record, Damaged)) == ((), True)


@settings(max_examples=200)
@given(st.binary(max_size=40))
def test_no_bytes_raise_anything(stored: bytes) -> None:
    for each in (stored, b"\x02" + stored, NEEDING[:9] + stored):
        needs(each)
        assert isinstance(unseal_needing("place", each)[1], Damaged)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("names", [(), NAMES])
def test_a_damaged_record_that_is_sealed_again_stays_damaged(
    names: tuple[str, ...], *, compact: bool
) -> None:
    lost = unseal("place" * 2_000, b"nothing of a seal")
    again = seal("place", lost, needs=names, compact=compact)
    assert isinstance(unseal_needing("place", again)[1], Damaged)
